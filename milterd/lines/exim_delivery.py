"""Understand what Exim says of one delivery: ``=>`` ``->`` ``>>`` ``*>`` ``**`` ``==``.

Format, by deliver.c (string_log_address, delivery_log, deferral_log, failure_log)::

    => FINAL[ (PARENT, ...)][ <ORIGINAL>][ F=<A>][ P=<A>][ R=R] T=T[ S=n][ H=HOST [IP][:port]]
       [ X=TLS][ A=auth][ C="REPLY"][ QT=time][ DT=time]
    ** FINAL[ <ORIGINAL>][ F=<A>][ P=<A>][ R=R][ T=T][ H=HOST [IP]][ X=TLS] : TEXT
    == FINAL[ <ORIGINAL>][ R=R][ T=T] defer (N)[: ERROR][ H=HOST [IP]][ DT=time][: TEXT]

FINAL is a bare local part where the mail stays here, ``|command``, ``/file``, ``>address`` of
an answer, ``:blackhole:`` or ``discarded``; quotes of a local part are taken off it, and are
kept in ORIGINAL, which tells where an address with blanks ends. Raises nothing.
"""

from typing import Final, NamedTuple

from journal.events import ABSENT, Event
from journal.status import reply_at
from milterd.lines import scan
from milterd.lines.exim_scan import items, seconds, tls
from milterd.lines.scan import UNKNOWN, Parsed, Unknown, address_end, codes, is_session, make
from milterd.lines.syslog import Line

FLAGS: Final = frozenset({b"=>", b"->", b">>", b"*>", b"**", b"=="})
"""What stands behind the message id of a delivery."""

_TRAILERS: Final = (
    b" F=<", b" P=<", b" Q=", b" R=", b" T=", b" defer (", b" routing ", b" mua_wrapper ", b" :",
    b":",
)  # fmt: skip
_STOP: Final = frozenset({b"defer", b"routing", b"mua_wrapper"})
_NOWHERE: Final = frozenset({b":blackhole:", b"discarded"})
"""What stands for an address where the mail is thrown away, and no transport is named."""

_PROGRAMS: Final = (b"|", b"/", b">", b"save ")
_MAX_PLACES: Final = 64  # a line that has more of them was made to be misread


class _Addressee(NamedTuple):
    """Whom a delivery was for."""

    final: bytes
    parent: bytes  # the address that made a command or file of it, b"" where it is not told
    original: bytes  # b"" where it is the same as final
    end: int
    plain: bytes = b""  # final as logged, where that is the original without its quotes


def delivery(line: Line, queue_id: bytes, flag: bytes, rest: bytes) -> Parsed:
    """The attempt whose flag is ``flag``; ``rest`` is what stands behind the flag's blank."""
    if rest.startswith((b"blackhole ", b"discarded (")) and flag == b"=>":
        return _nobody(line, queue_id, rest, b"discard")
    if rest.startswith(b"mua_wrapper is set ") and flag == b"**":
        return _nobody(line, queue_id, rest, b"reject")
    found = _addressee(rest, last=flag not in (b"**", b"=="))
    if found is None:
        return UNKNOWN
    if flag == b"==":
        return _deferred(line, queue_id, found, rest)
    if flag == b"**":
        return _failed(line, queue_id, found, rest)
    return _delivered(line, queue_id, flag, found, rest)


def _nobody(line: Line, queue_id: bytes, text: bytes, action: bytes) -> Event:
    """The whole message was thrown away (an ACL, local_scan(), the system filter) or failed."""
    who = (b"", b"", b"", b"", b"", line.daemon)
    fields = (action, b"END-OF-MESSAGE", b"", b"", text, ABSENT, b"", *who)
    return make(line, scan.DOOR, queue_id, fields)


# -- whom it was for ------------------------------------------------------------------------


def _addressee(text: bytes, *, last: bool) -> _Addressee | None:
    """Read FINAL, its parents and ORIGINAL; None where the line is cut before their end.

    A command may hold what looks like ORIGINAL: with ``last`` no words of others follow it.
    """
    places = _places(text)
    for final_end, begin, end in reversed(places):
        original = text[begin:end]
        if original[:1] == b'"' and _same(text[:final_end], original):
            return _Addressee(original, b"", original, end + 1, plain=text[:final_end])
    if not text.startswith(_PROGRAMS):
        blank = text.find(b" ")
        word = text[:blank] if blank >= 0 else text
        if word.endswith(b":") and len(word) > 1 and not word.startswith(b":"):
            return _Addressee(word[:-1], b"", b"", len(word) - 1)
        if word and text.startswith(_TRAILERS, len(word)):
            return _Addressee(word, b"", b"", len(word))
    elif not places:
        end = min((at for key in (b" R=", b" T=") if (at := text.find(key)) >= 0), default=-1)
        return _Addressee(text[:end], b"", b"", end) if end >= 0 else None
    if not places:
        return _Addressee(text, b"", b"", len(text)) if text and b" " not in text else None
    final_end, begin, end = places[-1 if last and text.startswith(_PROGRAMS) else 0]
    final, mark, parents = text[:final_end].partition(b" (")
    if not mark or not parents.endswith(b")"):
        final, parents = text[:final_end], b")"
    return _Addressee(final, parents[:-1].partition(b", ")[0], text[begin:end], end + 1)


def _places(text: bytes) -> list[tuple[int, int, int]]:
    """Where ``<ORIGINAL>`` could stand: the end of FINAL, begin and end of the address."""
    found: list[tuple[int, int, int]] = []
    at = text.find(b" <")
    for _ in range(_MAX_PLACES):
        if at < 0:
            break
        end = address_end(text, at + 1)
        if end >= 0 and (end + 1 == len(text) or text.startswith(_TRAILERS, end + 1)):
            found.append((at, at + 2, end))
        at = text.find(b" <", at + 1)
    return found


def _same(final: bytes, original: bytes) -> bool:
    """Whether FINAL is ORIGINAL without its quotes (a local delivery has the local part only)."""
    close = original.rfind(b'"')
    local = original[1:close].replace(b'\\"', b'"').replace(b"\\\\", b"\\")
    return final == local or final.lower() == (local + original[close + 1 :]).lower()


def _recipients(found: _Addressee) -> tuple[bytes, bytes]:
    """Recipient and final recipient: a command, a file or a user of the same name is no alias."""
    final, original = found.final, found.original
    if not original:
        return b"", final
    if final.startswith(_PROGRAMS) or final in _NOWHERE:
        return original, found.parent or original
    if b"@" not in final and original.rpartition(b"@")[0].lower() == final.lower():
        return original, original
    return original, final


# -- what became of it ----------------------------------------------------------------------


def _delivered(
    line: Line, queue_id: bytes, flag: bytes, found: _Addressee, text: bytes
) -> Event | Unknown:
    """``=>`` and its kin: the mail left, or was thrown away."""
    values = items(text, found.end, _STOP).values
    transport, reply = values.get(b"T", b""), values.get(b"C", b"")
    host = values.get(b"H", b"")
    relay = host if host.endswith(b"]") or b"]:" in host else transport
    if transport == b"**bypassed**":  # a delivery to /dev/null
        relay = transport = b""
    daemon = _agent(found.final, transport, relay, reply)
    if not transport and (found.final in _NOWHERE or found.plain in _NOWHERE):
        daemon = b"discard"
    elif not transport and daemon != b"discard":
        return UNKNOWN  # cut: C= or H= may be missing as well
    if flag == b"*>":  # -N: written as if, and thrown away
        daemon = b"discard"
    next_id = next_hop = b""
    if daemon == b"smtp":
        next_id = _next(reply)
        next_hop = b"queued" if next_id else b""
    elif daemon == b"lmtp" and reply.endswith(b" Saved"):  # "250 2.0.0 <bob> SESSION Saved"
        session = reply[:-6].rpartition(b"> ")[2]
        next_id, next_hop = (session, b"lmtp") if is_session(session) else (b"", b"")
    recipient, final = _recipients(found)
    outcome = b"sent"
    if found.final.startswith(b">") and recipient:  # an answer, which is a message of its own
        outcome, reply = b"answered", found.final
    cipher = values.get(b"X", b"")
    return make(
        line,
        scan.DELIVERY,
        queue_id,
        (
            daemon, recipient, final, relay, seconds(values.get(b"QT", b"")), b"",
            codes(reply)[1], outcome, reply, tls(cipher) if cipher else b"", next_id, next_hop,
        ),
    )  # fmt: skip


def _agent(final: bytes, transport: bytes, relay: bytes, reply: bytes) -> bytes:
    """Which of the delivery agents that the rules of a row know did it.

    A reply without host is a local LMTP server's; a host that answers for one recipient,
    ``250 2.0.0 <user> SESSION Saved``, is Dovecot's (RFC 2033 4.2).
    """
    if final == b"/dev/null":
        return b"discard"
    if final.startswith(b"|"):
        return b"pipe"
    if relay != transport:
        return b"lmtp" if b"lmtp" in transport.lower() or reply.endswith(b" Saved") else b"smtp"
    if reply:
        return b"lmtp"
    return b"pipe" if b"pipe" in transport.lower() and not final.startswith(b"/") else b"local"


def _next(reply: bytes) -> bytes:
    """The message's id at the host that took it: Exim's ``OK id=``, Postfix's ``queued as``."""
    for mark in (b" OK id=", b" queued as "):
        at = reply.rfind(mark)
        if at >= 0:
            words = reply[at + len(mark) : at + 80].split(None, 1)
            word = words[0].rstrip(b").,;") if words else b""
            if len(word) <= 64 and word.replace(b"-", b"0").replace(b"_", b"0").isalnum():
                return word
    return b""


def _failed(line: Line, queue_id: bytes, found: _Addressee, text: bytes) -> Event:
    """``**``: it failed for good."""
    read = items(text, found.end, _STOP)
    reason = text[read.end :]
    if reason[:1] == b":":
        reason = reason[1:]
    return _unsent(line, queue_id, found, read.values, b"bounced", _timed(reason.strip(b" ")))


def _deferred(line: Line, queue_id: bytes, found: _Addressee, text: bytes) -> Event | Unknown:
    """``==``: it failed for now."""
    read = items(text, found.end, _STOP)
    at = text.find(b"defer (", read.end)
    close = text.find(b")", at)
    if read.word not in (b"defer", b"routing") or at < 0 or close < 0:
        return UNKNOWN
    values, rest = read.values, text[close + 1 :]
    error = b""
    if text[at + 7 : at + 8] != b"-" and rest.startswith(b": "):  # an errno has its words
        colon = rest.find(b": ", 2)
        for key in (b" H=", b" DT="):
            at = rest.find(key)
            if at >= 0 and (colon < 0 or at < colon):
                error, rest = rest[2:at], rest[at:]
                break
    if rest.startswith((b" H=", b" DT=")):
        more = items(rest, 0, _STOP)
        values, rest = {**more.values, **values}, rest[more.end :]
    reason = rest[1:].strip(b" ") if rest[:1] == b":" else rest.strip(b" ")
    if error:
        reason = error + b": " + reason if reason else error
    return _unsent(line, queue_id, found, values, b"deferred", reason)


def _unsent(
    line: Line,
    queue_id: bytes,
    found: _Addressee,
    values: dict[bytes, bytes],
    outcome: bytes,
    reason: bytes,
) -> Event:
    """An attempt that failed."""
    transport, host = values.get(b"T", b""), values.get(b"H", b"")
    relay = host or transport
    known = host or found.final.startswith(_PROGRAMS)  # else it may not have come to an agent
    daemon = _agent(found.final, transport, relay, b"") if known else b""
    recipient, final = _recipients(found)
    answer = reply_at(reason)
    enhanced = codes(reason[answer:])[1] if answer >= 0 else b""
    session = values.get(b"X", b"")
    return make(
        line,
        scan.DELIVERY,
        queue_id,
        (
            daemon, recipient, final, relay, b"", b"",
            enhanced, outcome, reason, tls(session) if session else b"", b"", b"",
        ),
    )  # fmt: skip


def _timed(reason: bytes) -> bytes:
    """The reason of a failure without the time that it took (``DT=``)."""
    at = reason.rfind(b" DT=")
    return reason[:at] if at >= 0 and seconds(reason[at + 4 :]) else reason
