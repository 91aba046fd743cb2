"""Understand what Exim refuses: connections, commands, recipients and whole messages.

Format, by smtp_in.c (smtp_handle_acl_fail), receive.c and daemon.c; PEER is ``H=HOST`` or, for
local SMTP, ``U=USER``::

    PEER[ X=TLS][ F=<A>[ A=AUTH]] [temporarily ]rejected RCPT <A>[: TEXT]
    PEER ... [temporarily ]rejected MAIL <A> | EHLO or HELO NAME | DATA | after DATA[: TEXT]
    PEER [temporarily ]rejected connection in "connect" ACL[: TEXT]
    PEER F=<A> RCPT <A>: discarded by RCPT ACL[: TEXT]
    F=A H=HOST P=P [temporarily ]rejected by local_scan(): TEXT
    rejected from <A> H=HOST: TEXT        rejected MAIL FROM:<A> PEER: TEXT
    rejected EHLO from HOST: TEXT         [temporarily ]refused connection from HOST (...)

With a message id the client was answered after DATA. Raises nothing.
"""

from typing import Final

from journal.events import ABSENT, Event
from milterd.lines import scan
from milterd.lines.exim_scan import Items, Peer, items, peer
from milterd.lines.scan import Parsed, address_end, codes, make
from milterd.lines.syslog import Line

_STOP: Final = frozenset({b"rejected", b"temporarily", b"RCPT", b"tmp-reject", b"Warning:"})
_NOBODY: Final = Peer(b"", b"", b"", b"", 0)
_STAGES: Final = {
    b"connection": b"CONNECT",
    b"EHLO": b"EHLO",
    b"HELO": b"EHLO",
    b"MAIL": b"MAIL",
    b"RCPT": b"RCPT",
    b"DATA": b"DATA",
    b"after": b"END-OF-MESSAGE",
    b"during": b"END-OF-MESSAGE",
    b"from": b"END-OF-MESSAGE",
    b"by": b"END-OF-MESSAGE",
    b"DKIM": b"END-OF-MESSAGE",
}
"""The first word of what was rejected; AUTH, VRFY, ETRN and the like are no mail."""


def door(line: Line, queue_id: bytes, text: bytes) -> Parsed:
    """A refusal; None where the line is none."""
    if b"reject" not in text and b"refused" not in text and b"discarded by " not in text:
        return None
    if text.startswith((b"DS H=", b"H=", b"U=", b"F=")):
        return _answered(line, queue_id, text)
    if text.startswith(b"rejected "):
        return _at_once(line, queue_id, text)
    if text.startswith(b"unqualified "):
        return _unqualified(line, text)
    if text.startswith(b"too many recipients: "):
        return _too_many(line, text)
    return _unheard(line, queue_id, text)


def refused(
    line: Line,
    queue_id: bytes,
    stage: bytes,
    who: Peer,
    reply: bytes,
    *,
    sender: bytes = ABSENT,
    recipient: bytes = b"",
    temporary: bool = False,
    action: bytes = b"reject",
) -> Event:
    """The event; a refusal for now says so in its text, for Exim does not log the code."""
    code, enhanced = codes(reply)
    # A name without HELO behind it is the HELO as well; before that there is none.
    helo = who.helo or (who.name if stage != b"CONNECT" else b"")
    if temporary:
        reply = b"temporarily rejected: " + reply if reply else b"temporarily rejected"
    fields = (
        action, stage, code, enhanced, reply, sender, recipient,
        who.name, who.ip, who.port, b"", helo, line.daemon,
    )  # fmt: skip
    return make(line, scan.DOOR, queue_id, fields)


# -- lines that begin with the client -----------------------------------------------------------


def _answered(line: Line, queue_id: bytes, text: bytes) -> Parsed:
    """``H=... F=<...> rejected WHAT: TEXT``, the form of every ACL."""
    at = 3 if text.startswith(b"DS ") else 0
    who: Peer | None = _NOBODY
    padded = b" " + text[at:]
    if padded.startswith(b" H="):
        who = peer(padded, 3)
        if who is None:
            return None
        read = items(padded, who.end, _STOP)
    else:
        read = items(padded, 0, _STOP)
        host = padded.find(b" H=", 0, read.end)
        if b"H" in read.values and host >= 0:
            who = peer(padded, host + 3)
    rest = padded[read.end + 1 :]
    if who is None:
        return None
    if read.word == b"RCPT":
        return _discarded(line, queue_id, who, read, rest)
    temporary = read.word in (b"temporarily", b"tmp-reject")
    rest = rest.removeprefix(b"temporarily ")
    if not rest.startswith((b"rejected ", b"tmp-reject ")):
        return None
    what = rest.partition(b" ")[2]
    return _rejected(line, queue_id, who, read.values, what, temporary=temporary)


def _rejected(
    line: Line,
    queue_id: bytes,
    who: Peer,
    values: dict[bytes, bytes],
    what: bytes,
    *,
    temporary: bool,
) -> Event | None:
    """What was rejected, and why."""
    stage = _STAGES.get(what.partition(b" ")[0].rstrip(b":"))
    if stage is None:
        return None
    sender = _bare(values.get(b"F", ABSENT))
    named, reply = b"", b""
    if stage in (b"RCPT", b"MAIL"):
        named, reply = _named(what[5:])
    else:
        reply = what.partition(b": ")[2]
    if stage == b"MAIL":
        sender, named = named, b""
    return refused(
        line,
        queue_id,
        stage,
        who,
        reply,
        sender=sender,
        recipient=named,
        temporary=temporary,
    )


def _named(argument: bytes) -> tuple[bytes, bytes]:
    """The address of a command's argument, of which 100 characters are logged, and the text."""
    if argument[:1] == b"<":
        end = address_end(argument, 0)
        if end >= 0:
            return argument[1:end], argument[end + 1 :].partition(b": ")[2]
    name, _, reply = argument.partition(b": ")
    return name.lstrip(b"<").partition(b" ")[0], reply


def _bare(address: bytes) -> bytes:
    """An address without its brackets, where it has them (local_scan() writes none)."""
    return b"" if address == b"<>" else address


def _discarded(line: Line, queue_id: bytes, who: Peer, read: Items, rest: bytes) -> Event | None:
    """``RCPT <A>: discarded by RCPT ACL``: taken with 250, and thrown away."""
    end = address_end(rest, 5) if rest[5:6] == b"<" else -1
    name, tail = (rest[6:end], rest[end + 1 :]) if end >= 0 else (b"", b"")
    if end < 0:
        name, colon, after = rest[5:].partition(b": ")
        tail = colon + after
    if not tail.startswith(b": discarded by "):
        return None
    return refused(
        line,
        queue_id,
        b"RCPT",
        who,
        tail[2:],
        sender=_bare(read.values.get(b"F", ABSENT)),
        recipient=name,
        action=b"discard",
    )


# -- lines that begin with what was done ----------------------------------------------------------


def _at_once(line: Line, queue_id: bytes, text: bytes) -> Parsed:
    """``rejected WHAT``, before any ACL."""
    rest = text[9:]
    if rest.startswith((b"from <", b"MAIL FROM:<")):
        begin = rest.find(b"<")
        end = address_end(rest, begin)
        if end < 0:
            return None
        who, reply = _tail(rest[end + 1 :])
        stage = b"END-OF-MESSAGE" if rest.startswith(b"from") else b"MAIL"
        return refused(line, queue_id, stage, who, reply, sender=rest[begin + 1 : end])
    command, mark, origin = rest.partition(b" from ")
    where = _STAGES.get(command.partition(b" ")[0])
    if not mark or where is None:
        return None
    who, reply = _tail(b" H=" + origin)
    return refused(line, queue_id, where, who, reply)


def _tail(text: bytes) -> tuple[Peer, bytes]:
    """Client and text of `` H=HOST[ U=USER]: TEXT``; the blank before H= may be missing."""
    begin = text.find(b"H=", 0, 3)
    who = peer(text, begin + 2) if begin >= 0 else None
    return who or _NOBODY, text[who.end if who else 0 :].partition(b": ")[2]


def _unqualified(line: Line, text: bytes) -> Event | None:
    """``unqualified recipient rejected: <A> H=HOST``: an address without a domain."""
    what, mark, rest = text[12:].partition(b" rejected: <")
    end = rest.find(b"> ")
    if not mark or what not in (b"sender", b"recipient") or end < 0:
        return None
    who, _ = _tail(b" " + rest[end + 2 :])
    reply = b"unqualified " + what
    if what == b"sender":
        return refused(line, b"", b"MAIL", who, reply, sender=rest[:end])
    return refused(line, b"", b"RCPT", who, reply, recipient=rest[:end])


def _too_many(line: Line, text: bytes) -> Event | None:
    """``too many recipients: excess temporarily rejected: sender=<A> H=HOST``."""
    head, mark, rest = text.partition(b"rejected: sender=<")
    end = rest.find(b"> ")
    if not mark or end < 0:
        return None
    who, _ = _tail(b" " + rest[end + 2 :])
    return refused(
        line,
        b"",
        b"RCPT",
        who,
        b"too many recipients",
        sender=rest[:end],
        temporary=head.endswith(b"temporarily "),
    )


def _unheard(line: Line, queue_id: bytes, text: bytes) -> Event | None:
    """A connection that was not taken, or cut for speaking out of turn; a crash of local_scan()."""
    head, mark, host = text.partition(b" connection from ")
    if mark and head in (b"refused", b"temporarily refused"):
        who = peer(host, 0)
        if who is None:
            return None
        reason = head + b" connection" + host[who.end :]
        return refused(line, b"", b"CONNECT", who, reason, temporary=head != b"refused")
    if text.startswith((b"connection from ", b"Connection from ")):
        who = peer(text, 16)
        if who is None or not text.startswith(b" refused", who.end):
            return None
        return refused(line, b"", b"CONNECT", who, text[who.end + 1 :])
    if text.startswith((b"SMTP protocol synchronization error", b"SMTP synchronization error")):
        at = text.find(b" H=")  # behind the command, or "connection from"
        who = peer(text, at + 3) if at >= 0 else None
        return (
            refused(line, b"", b"CONNECT", who, text.partition(b": rejected ")[0]) if who else None
        )
    if queue_id and b"message temporarily rejected (size " in text:
        return refused(line, queue_id, b"END-OF-MESSAGE", _NOBODY, text, temporary=True)
    return None
