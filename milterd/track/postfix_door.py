"""Understand refusals and other actions at the door: smtpd, cleanup, postscreen.

Formats (Postfix source: log_whatsup() of smtpd_check.c, cleanup_act_log() and
cleanup_milter.c, psc_smtpd.c)::

    smtpd, milters: ACTION: STAGE from NAME[IP]: REPLY; from=<A> to=<B> proto=P helo=<H>
    postscreen:     reject: RCPT from [IP]:PORT: REPLY; from=<A>, to=<B>, proto=P, helo=<H>
    cleanup:        ACTION: header CONTENT from NAME[IP]; from=<A> to=<B> proto=P helo=<H>: TEXT
    proxy filter:   proxy-reject: END-OF-MESSAGE: REPLY; from=<A> to=<B> proto=P helo=<H>

Content, HELO and the addresses inside a reply are the client's words, and may imitate
the fields. The fields begin at the one ``; KEY=`` of the line; where there are two, it
cannot be told which is Postfix's, and neither sender nor recipient is taken from it.
Raises nothing.
"""

from typing import Final, NamedTuple

from journal.events import ABSENT
from milterd.track import scan
from milterd.track.scan import UNKNOWN, Parsed, address_end, client, codes, make
from milterd.track.syslog import Line

ACTIONS: Final = frozenset(
    prefix + action
    for prefix in (b"", b"milter-", b"milter-header-", b"milter-body-")
    for action in (b"reject", b"discard", b"hold", b"redirect", b"filter", b"bcc")
) | frozenset(
    (b"milter-quarantine", b"proxy-reject", b"proxy-accept", b"proxy-discard", b"proxy-hold")
)
"""What Postfix does to a message or its client, as logged."""

SILENT: Final = frozenset(
    prefix + action
    for prefix in (b"", b"milter-header-", b"milter-body-")
    for action in (
        b"reject_warning", b"warn", b"warning", b"info", b"permit", b"delay", b"sleep", b"trigger",
        b"replace", b"prepend", b"strip", b"pass", b"dunno", b"ignore", b"abort", b"accept",
    )
)  # fmt: skip
"""Actions that change nothing of a message's fate."""

_KEYS: Final = (b"; from=<", b"; to=<", b"; proto=", b"; helo=<", b"; sasl_username=")


class _Fields(NamedTuple):
    """What the client said, as the end of the line has it."""

    sender: bytes
    recipient: bytes
    proto: bytes
    helo: bytes
    text: bytes


_NOTHING: Final = _Fields(ABSENT, b"", b"", b"", b"")


def door(line: Line, queue_id: bytes, action: bytes, begin: int) -> Parsed:
    """An action of smtpd, cleanup or postscreen; ``begin`` is where its stage begins."""
    if action in SILENT:
        return None
    if action not in ACTIONS:
        return UNKNOWN
    text = line.text
    if action.startswith(b"proxy-"):
        end = text.find(b":", begin)
        if end < 0:
            return UNKNOWN
        return _reply(line, queue_id, action, text[begin:end], (b"", b"", b""), end + 1)
    if text[begin : begin + 1].islower():
        return _content(line, queue_id, action, begin)
    end = text.find(b" from ", begin)
    found = client(text, end + 6) if end >= 0 else None
    if found is None or text[found[3] : found[3] + 1] not in (b":", b";"):
        return UNKNOWN
    return _reply(line, queue_id, action, text[begin:end], found[:3], found[3] + 1)


def _reply(
    line: Line,
    queue_id: bytes,
    action: bytes,
    stage: bytes,
    who: tuple[bytes, bytes, bytes],
    begin: int,
) -> Parsed:
    """The rest of a line whose stage and client are known: reply, then fields."""
    text = line.text
    fields_at, unique = _fields_at(text, begin - 1)
    reply = text[begin : max(begin, fields_at)].strip(b" ").removesuffix(b";")
    fields = _fields(text, fields_at + 2, content=False) if unique else _NOTHING
    return _event(line, queue_id, action, stage, reply, who, fields)


def _content(line: Line, queue_id: bytes, action: bytes, begin: int) -> Parsed:
    """header_checks and the like: the client's text stands before the fields."""
    text = line.text
    fields_at, unique = _fields_at(text, begin)
    stage, _, content = text[begin:fields_at].partition(b" ")
    if not unique:
        return _event(line, queue_id, action, stage, content, (b"", b"", b""), _NOTHING)
    who = (b"", b"", b"")
    content, mark, origin = content.rpartition(b" from ")
    if mark and (found := client(origin, 0)):
        who = found[:3]
    elif not mark:
        content = origin
    fields = _fields(text, fields_at + 2, content=True)
    return _event(line, queue_id, action, stage, fields.text or content, who, fields)


def _event(
    line: Line,
    queue_id: bytes,
    action: bytes,
    stage: bytes,
    reply: bytes,
    who: tuple[bytes, bytes, bytes],
    fields: _Fields,
) -> Parsed:
    """The event itself."""
    code, enhanced = codes(reply)
    recipient = fields.recipient
    if action.endswith(b"redirect"):
        recipient = _new_recipient(reply) or recipient
    return make(
        line,
        scan.DOOR,
        queue_id,
        (
            action, stage, code, enhanced, reply, fields.sender, recipient,
            *who, fields.proto, fields.helo, line.daemon,
        ),
    )  # fmt: skip


def _new_recipient(reply: bytes) -> bytes:
    """The address that REDIRECT names, last in its text; b"" where none is."""
    address = reply.rpartition(b" triggers REDIRECT ")[2]
    return address if b"@" in address and b" " not in address else b""


def _fields_at(text: bytes, begin: int) -> tuple[int, bool]:
    """Where the first ``; KEY=`` is (the end where none is), and whether it is the only one."""
    first, count = len(text), 0
    for key in _KEYS:
        at = text.find(key, begin)
        if at >= 0:
            count += text.count(key, at)
            first = min(first, at)
    return first, count == 1


def _fields(text: bytes, at: int, *, content: bool) -> _Fields:
    """The fields from ``at`` on, in Postfix's order, with blanks or commas between."""
    if text.count(b"> to=<", at) > 1:
        return _NOTHING  # a quoted address, or a HELO, says it as well
    sender, at = _bracketed(text, at, b"from=<", ABSENT)
    recipient, at = _bracketed(text, at, b"to=<", b"")
    proto = b""
    if text.startswith(b"proto=", at):
        end = _word_end(text, at + 6)
        proto, at = text[at + 6 : end].rstrip(b":"), end
        at = _skip(text, at)
    helo = b""
    if text.startswith(b"helo=<", at):
        end = text.find(b">: ", at) if content else _helo_end(text, at)
        end = text.rfind(b">", at) if end < 0 else end
        helo, at = (text[at + 6 : end], end + 1) if end >= 0 else (text[at + 6 :], len(text))
    # "helo=<h>: text"; from a local sender "to=<b>: text", whose colon _skip() took.
    return _Fields(sender, recipient, proto, helo, text[at:].lstrip(b": ") if content else b"")


def _bracketed(text: bytes, at: int, key: bytes, absent: bytes) -> tuple[bytes, int]:
    """The address behind ``key`` at ``at``, and where the next field begins."""
    if not text.startswith(key, at):
        return absent, at
    begin = at + len(key)
    end = address_end(text, begin - 1)
    return (text[begin:end], _skip(text, end + 1)) if end >= 0 else (absent, len(text))


def _skip(text: bytes, at: int) -> int:
    """Over the separator of two fields: a blank, a comma and a blank, or a colon."""
    while text[at : at + 1] in (b" ", b",", b":"):
        at += 1
    return at


def _word_end(text: bytes, at: int) -> int:
    """Where a word without blank or comma ends."""
    blank = text.find(b" ", at)
    comma = text.find(b",", at)
    ends = [end for end in (blank, comma) if end >= 0]
    return min(ends, default=len(text))


def _helo_end(text: bytes, at: int) -> int:
    """The ``>`` of a HELO that may hold any; Postfix 3.? puts the login behind it."""
    return text.rfind(b"> sasl_username=<", at)
