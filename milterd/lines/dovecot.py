"""Understand what Dovecot's delivery agents say they did with one recipient's mail.

Formats (Dovecot 2.0 to 2.4 and its Pigeonhole sieve), all behind the tag ``dovecot``::

    lmtp(USER)<PID><SESSION>: [LEVEL: ][sieve: ]msgid=VALUE: ACTION      2.3, 2.4
    lmtp(USER): SESSION: [sieve: ]msgid=VALUE: ACTION                    2.2
    lmtp(PID, USER): SESSION: [sieve: ]msgid=VALUE: ACTION               2.0, 2.1

and the same of ``lda`` (``deliver`` of 1.x), whose session no other program knows. VALUE is the
Message-ID field as its sender wrote it, cut after 200 characters, so it may imitate an action.
Dovecot writes its own last: what counts is the last action that is whole up to the end of the
line and not inside another one's address. Other services (imap, login, auth, ...) tell nothing
of a message's fate. Raises nothing.
"""

from typing import Final, NamedTuple

from milterd.lines import scan
from milterd.lines.mutf7 import folder_name
from milterd.lines.scan import UNKNOWN, Parsed, address_end, is_session, make
from milterd.lines.syslog import Line

AGENTS: Final = (b"lmtp", b"lda", b"deliver", b"dovecot-lda")
"""Services that file mail; lines of every other service tell nothing."""

_LEVELS: Final = (b"Info: ", b"Warning: ", b"Error: ", b"Fatal: ", b"Panic: ")
_WINDOW: Final = 2048  # an action begins within these: Dovecot cuts VALUE at 200 characters
_PREFIX: Final = 1024  # user, process and session end within these
_CHATTER: Final = (
    b"Connect from ",
    b"Disconnect from ",
    b"Sent message to ",  # LMTP proxying: Postfix's line has the answer, too
    b"Mailbox created",
    b"Mailbox deleted",
    b"Mailbox renamed",
    b"lmtp-server: ",
    # The mail_log plugin: "save: box=INBOX, uid=1, msgid=<>, size=1"
    b"save: ",
    b"copy from ",
    b"delete: ",
    b"undelete: ",
    b"expunge: ",
    b"append: ",
    b"flag_change: ",
)

STORED: Final = b"stored"
DISCARDED: Final = b"discarded"
REJECTED: Final = b"rejected"
FORWARDED: Final = b"forwarded"
VACATION: Final = b"vacation"
FAILED: Final = b"failed"
_NOTHING: Final = b""  # understood, and no fate: another line or Postfix tells it

# What follows the words of an action.
_ADDRESS: Final = 0  # <address>, then the end
_REASON: Final = 1  # <address>, then free words
_QUOTED: Final = 2  # 'mailbox', 'mailbox' (its name for IMAP), then the end
_QUOTED_REASON: Final = 3  # the same, then ": reason"
_BARE: Final = 4  # a mailbox up to the end
_BARE_REASON: Final = 5  # a mailbox, then ": reason"
_FREE: Final = 6  # words of Dovecot's

_ACTIONS: Final[tuple[tuple[bytes, bytes, int], ...]] = (
    (b"stored mail into mailbox ", STORED, _QUOTED),
    (b"left message in mailbox ", STORED, _QUOTED),
    (b"saved mail to ", STORED, _BARE),
    (b"failed to store into mailbox ", FAILED, _QUOTED_REASON),
    (b"save failed to open mailbox ", FAILED, _BARE_REASON),
    (b"save failed to ", FAILED, _BARE_REASON),
    (b"store into mailbox ", _NOTHING, _FREE),  # skipped, aborted
    (b"forwarded to ", FORWARDED, _ADDRESS),
    (b"discarded duplicate forward to ", DISCARDED, _ADDRESS),
    (b"not forwarding message to ", _NOTHING, _REASON),  # a loop: kept
    (b"failed to redirect message to ", FAILED, _REASON),
    (b"marked message to be discarded", DISCARDED, _FREE),
    (b"Marked message to be discarded", DISCARDED, _FREE),
    (b"discarded message", DISCARDED, _FREE),
    (b"rejected message from ", REJECTED, _REASON),
    (b"rejected: ", REJECTED, _FREE),
    (b"not sending reject message to <>", DISCARDED, _FREE),
    (b"not sending reject message (would ", DISCARDED, _FREE),
    (b"not sending reject message (skipped)", _NOTHING, _FREE),
    (b"reject action aborted: ", _NOTHING, _FREE),
    (b"failed to send rejection message to ", FAILED, _REASON),
    (b"Auto-submitted message discarded: ", DISCARDED, _FREE),
    (b"Return-Path missing, rejection reason: ", DISCARDED, _FREE),
    (b"Temporarily failed to send rejection: ", FAILED, _FREE),
    (b"Permanently failed to send rejection: ", FAILED, _FREE),
    (b"sent vacation response to ", VACATION, _ADDRESS),
    (b"discarded vacation reply to ", _NOTHING, _REASON),
    (b"discarded duplicate vacation response to ", _NOTHING, _ADDRESS),
    (b"discarding vacation response ", _NOTHING, _FREE),
    (b"not sending vacation re", _NOTHING, _FREE),
    (b"failed to send vacation response to ", _NOTHING, _FREE),
    (b"vacation action ", _NOTHING, _FREE),
    (b"sent mail notification to ", _NOTHING, _FREE),
    (b"sent notification ", _NOTHING, _FREE),
    (b"sent '", _NOTHING, _FREE),  # a report to an abuse desk
    (b"piped message to program ", FORWARDED, _FREE),
    (b"failed to pipe message to program ", FAILED, _FREE),
)
"""Words that begin an action, what it is, and what follows; the longer of two stands first."""

_WORDS: Final = tuple(words for words, _, _ in _ACTIONS)


class _Action(NamedTuple):
    """What Dovecot did, and where in the text it says so."""

    action: bytes
    folder: bytes
    at: int
    inside: int  # up to here the text is an address, which may imitate an action
    untold: bool = False  # the reply to Postfix does not name the session


def parse(line: Line) -> Parsed:
    """One line of Dovecot."""
    text = line.text
    name_end = _service_end(text)
    if text[:name_end] not in AGENTS:
        return None
    user, session, begin = _prefix(text, name_end)
    if begin < 0:
        return UNKNOWN
    level = text[begin : text.find(b" ", begin) + 1]
    if level == b"Debug: ":
        return None
    if level in _LEVELS:
        begin += len(level)
    if not session:
        session, begin = _session(text, begin)
    if text.startswith(_CHATTER, begin):
        return None
    told = _told(text, begin)
    if told is None:
        troubled = level in _LEVELS and level != b"Info: "
        return None if troubled or _is_sieves(text, begin) else UNKNOWN
    if not told.action:
        return None
    if text[:name_end] != b"lmtp" or told.untold:
        session = b""  # Postfix does not know it
    message_id = _message_id(text, begin, told.at)
    filed = (text[:name_end], told.action, user, told.folder, message_id, text[told.at :])
    return make(line, scan.FILED, session, filed)


def _service_end(text: bytes) -> int:
    """Where the name of the service ends."""
    bracket, colon = text.find(b"(", 0, 64), text.find(b":", 0, 64)
    return bracket if 0 <= bracket < colon or colon < 0 else colon


def _prefix(text: bytes, end: int) -> tuple[bytes, bytes, int]:
    """User, session and the end of ``(USER)<PID><SESSION>: ``; -1 where it is none."""
    if text[end : end + 2] == b": ":
        return b"", b"", end + 2
    most = end + _PREFIX
    close = text.find(b")<", end, most)
    while close >= 0:  # an address may hold a bracket
        between = text.find(b"><", close, most)
        last = text.find(b">: ", between, most)
        if between < 0 or last < 0:
            break
        session = text[between + 2 : last]
        if text[close + 2 : between].isdigit() and b" " not in session:
            return text[end + 1 : close], session, last + 3
        close = text.find(b")<", close + 1, most)
    close = text.find(b"): ", end)
    if close < 0 or text[end : end + 1] != b"(":
        return b"", b"", -1
    pid, comma, user = text[end + 1 : close].partition(b", ")
    if comma and pid.isdigit():  # Dovecot 2.0, 2.1
        return user, b"", close + 3
    return (b"" if pid.isdigit() else text[end + 1 : close]), b"", close + 3


def _session(text: bytes, begin: int) -> tuple[bytes, int]:
    """The session of Dovecot before 2.3, which stands as a word of its own, and its end."""
    end = text.find(b": ", begin, begin + 80)
    word = text[begin:end]
    return (word, end + 2) if end >= 0 and is_session(word) else (b"", begin)


def _is_sieves(text: bytes, begin: int) -> bool:
    """Whether the line is about a script, not about a message."""
    return text.startswith(b"sieve: ", begin) and not text.startswith(b"sieve: msgid=", begin)


def _told(text: bytes, begin: int) -> _Action | None:
    """The action of the text: the last that is whole and not inside an address."""
    plain = begin + 7 if text.startswith(b"sieve: ", begin) else begin
    if text.startswith(b"Execution of script ", plain):
        kept = b" but implicit keep was successful" in text
        return _Action(FAILED, b"", plain, len(text), not kept)
    best = None
    limit = min(len(text), begin + _WINDOW)
    at = plain
    while 0 < at < limit:
        inside = best is not None and at < best.inside
        if not inside and text.startswith(_WORDS, at) and _begins(text, plain, at):
            best = _action(text, at) or best
        at = text.find(b" ", at, limit) + 1
    return best


def _begins(text: bytes, plain: int, at: int) -> bool:
    """Whether an action may begin at ``at``: behind a mark that ends the Message-ID, or first."""
    return at == plain or (not text[at - 2 : at - 1].isalnum() and b"msgid=" in text[plain:at])


def _action(text: bytes, at: int) -> _Action | None:
    """The action whose words begin at ``at``; None where it is not whole."""
    words, action, shape = next(form for form in _ACTIONS if text.startswith(form[0], at))
    end = at + len(words)
    if shape == _FREE:
        return _Action(action, b"", at, at)
    if shape in (_ADDRESS, _REASON):
        inside = _address(text, end, shape)
        return None if inside < 0 else _Action(action, b"", at, inside)
    folder = _folder(text[end:], shape)
    untold = action == FAILED
    return None if folder is None else _Action(action, folder_name(folder), at, at, untold)


def _address(text: bytes, begin: int, shape: int) -> int:
    """Where the ``<address>`` ends, or -1; Dovecot cuts long ones, and ends them in dots."""
    if text[begin : begin + 1] != b"<":
        return -1
    close = address_end(text, begin)
    if close < 0:
        close = text.find(b"...>", begin) + 3
        if close < 3:
            return -1
    return close + 1 if shape == _REASON or close + 1 == len(text) else -1


def _folder(rest: bytes, shape: int) -> bytes | None:
    """The mailbox that an action names, as IMAP calls it; None where it is not whole."""
    if shape == _BARE:
        return None if b": " in rest else rest
    if shape == _BARE_REASON:
        folder, found, _ = rest.partition(b": ")
        return folder if found else None
    if rest[:1] != b"'":
        return None
    if shape == _QUOTED:
        if rest[-1:] == b"'" and len(rest) > 2:
            return rest[1:-1]
        called = rest.rfind(b"' (")
        return rest[called + 3 : -1] if called >= 0 and rest[-1:] == b")" else None
    named, called = rest.find(b"': "), rest.find(b"' (")
    if 0 <= called < named or named < 0 <= called:
        end = rest.find(b"): ", called)
        return rest[called + 3 : end] if end >= 0 else None
    return rest[1:named] if named >= 0 else None


def _message_id(text: bytes, begin: int, end: int) -> bytes:
    """The Message-ID before the action at ``end``, without its brackets."""
    at = begin + 7 if text.startswith(b"sieve: ", begin) else begin
    if not text.startswith(b"msgid=", at):  # deliver_log_format is the administrator's
        at = text.rfind(b"msgid=", at, end)
    if at < 0:
        return b""
    value = text[at + 6 : end].rstrip(b" :,")
    while value.endswith(b" action"):  # "fileinto action: " and the like
        value = value[: value.rfind(b":")].rstrip(b" :,") if b":" in value else b""
    following = value.find(b">, ")
    if value[:1] == b"<" and b"=" in value[following : following + 24] and following >= 0:
        value = value[: following + 1]
    if value[:1] == b"<" and value[-1:] == b">":
        return value[1:-1]
    return b"" if value == b"unspecified" else value
