"""From a line of Exim's main log to what it tells.

Format, by Exim's specification, chapter "Log files", and receive.c: a message id, a flag of two
characters, and fields at their places::

    ID <= SENDER[ R=ID][ H=HOST (HELO) [IP]:port][ U=USER] P=PROTOCOL[ X=TLS][ A=AUTH[:LOGIN]]
       S=size[ id=MESSAGE-ID][ T="SUBJECT"][ from <SENDER>][ for RECIPIENT ...]
    ID (= as <=, but the client was told that it was refused (fakereject)
    ID Completed[ QT=time]      ID Frozen ...      ID frozen by USER      ID removed by USER

Deliveries are in exim_delivery, refusals in exim_door and exim_sa. All other text is written as the
configuration likes (logwrite, log_message) and tells nothing. Raises nothing.
"""

from typing import Final

from journal.events import Event
from milterd.lines import scan
from milterd.lines.exim_delivery import FLAGS, delivery
from milterd.lines.exim_door import door
from milterd.lines.exim_header import id_end, inner
from milterd.lines.exim_sa import SCORED, scored
from milterd.lines.exim_scan import Items, Peer, address, items, peer, tls
from milterd.lines.scan import UNKNOWN, Parsed, Unknown, make
from milterd.lines.syslog import Line

_LONGEST: Final = 16_384
"""Exim's own lines end after 8,192 bytes (LOG_BUFFER_SIZE); what is longer is cut."""
_LISTS: Final = frozenset({b"for", b"from"})
_ARRIVALS: Final = frozenset({b"<=", b"(="})


def parse(line: Line) -> Parsed:
    """One line of Exim, through syslog or from its own file."""
    text = inner(line.text[:_LONGEST])
    if text is None:
        return None
    end = id_end(text)
    if end < 0:
        return door(line, b"", text)
    queue_id, rest = text[:end], text[end + 1 :]
    flag = rest[:2]
    if rest[2:3] == b" ":
        if flag in _ARRIVALS:
            return _arrival(line, queue_id, rest)
        if flag in FLAGS:
            return delivery(line, queue_id, flag, rest[3:])
    if rest.startswith(SCORED):
        return scored(line, queue_id, rest)
    told = _handled(line, queue_id, rest)
    return told if told is not None else door(line, queue_id, rest)


# -- arrival ----------------------------------------------------------------------------------


def _arrival(line: Line, queue_id: bytes, text: bytes) -> list[Event] | Unknown:
    """A message that was accepted."""
    end = address(text, 3)
    sender = text[3:end]
    if sender == b"<>":
        sender = b""
    parent = b""
    if text.startswith(b" R=", end):
        length = id_end(text[end + 3 : end + 27])
        if length > 0:
            parent, end = text[end + 3 : end + 3 + length], end + 3 + length
    client = None
    if text.startswith(b" DS H=", end):
        end += 3
    if text.startswith(b" H=", end):
        client = peer(text, end + 3)
        if client is None:
            return UNKNOWN
        end = client.end
    read = items(text, end, _LISTS)
    size = read.values.get(b"S", b"")
    if not size:
        return UNKNOWN  # cut
    events = [_begin(line, queue_id, sender, client, read.values)] if not parent else []
    events += _headers(line, queue_id, read.values)
    recipients = _recipients(text, read)
    count = b"%d" % len(recipients) if recipients else b""
    events.append(make(line, scan.QUEUED, queue_id, (sender, size, count, line.instance)))
    for recipient in recipients:
        if b"@" not in recipient:  # as the command line has it; no delivery will name it so
            continue
        events.append(make(line, scan.RCPT, queue_id, (recipient, b"", b"", b"", b"", b"", b"")))
    if parent:
        events.append(make(line, scan.NOTICE, parent, (b"sender", queue_id)))
    return events


def _begin(
    line: Line, queue_id: bytes, sender: bytes, client: Peer | None, values: dict[bytes, bytes]
) -> Event:
    """Where the message came from: a host, or a user of this one."""
    if client is None:
        return make(line, scan.PICKUP, queue_id, (values.get(b"U", b""), sender, b""))
    auth = values.get(b"A", b"").split(b":")
    session = values.get(b"X", b"")
    fields = (
        client.name, client.ip, client.port, auth[1] if len(auth) > 1 else b"", auth[0],
        tls(session) if session else b"", b"", b"", client.helo or client.name,
    )  # fmt: skip
    return make(line, scan.CLIENT, queue_id, fields)


def _headers(line: Line, queue_id: bytes, values: dict[bytes, bytes]) -> list[Event]:
    """Message-ID and subject."""
    message_id = values.get(b"id", b"") or values.get(b"id*", b"")
    subject = values.get(b"T", b"")
    if not message_id and not subject:
        return []
    return [make(line, scan.MESSAGE_ID, queue_id, (message_id, line.instance, subject))]


def _recipients(text: bytes, read: Items) -> list[bytes]:
    """The addresses of ``for``, last in the line (log_selector: +received_recipients)."""
    at = read.end
    if read.word == b"from":
        at = items(text, text.find(b" ", at + 6), _LISTS).end if b" " in text[at + 6 :] else -1
    if at < 0 or not text.startswith(b" for ", at):
        return []
    found: list[bytes] = []
    at += 5
    while at < len(text):
        end = address(text, at)
        if end > at:
            found.append(text[at:end].removesuffix(b"<trunc>"))
        at = end + 1
    return found


# -- what was done to it ------------------------------------------------------------------------


def _handled(line: Line, queue_id: bytes, text: bytes) -> Event | None:
    """The end of a message, and what an operator or Exim itself did to it; None: none of these."""
    if text == b"Completed" or text.startswith(b"Completed QT="):
        return make(line, scan.REMOVED, queue_id, ())
    if text == b"Frozen" or text.startswith((b"Frozen (", b"Frozen by the system filter")):
        return make(line, scan.HELD, queue_id, (b"exim", text))
    if text.startswith((b"frozen by ", b"*** Frozen")):
        return make(line, scan.HELD, queue_id, (text.partition(b" by ")[2] or b"exim", text))
    if text.startswith((b"Unfrozen by ", b"unfrozen by ")):
        return make(line, scan.RELEASED, queue_id, (text[12:],))
    if text.startswith(b"removed by "):
        return make(line, scan.DELETED, queue_id, (text[11:],))
    if text == b"cancelled by timeout_frozen_after":
        return make(line, scan.EXPIRED, queue_id, (b"timeout_frozen_after",))
    if text.startswith(b"Message removed because older than "):
        return make(line, scan.EXPIRED, queue_id, (text,))
    if text.startswith(b"cancelled by "):
        return make(line, scan.DELETED, queue_id, (text[13:],))
    if text.startswith(b"address <"):
        return _marked(line, queue_id, text)
    if text.startswith(b"recipient <"):
        recipient, mark, _ = text[11:].rpartition(b"> added by ")
        if mark:
            return make(line, scan.RCPT, queue_id, (recipient, b"", b"", b"", b"", b"", b""))
    return None


def _marked(line: Line, queue_id: bytes, text: bytes) -> Event | None:
    """An operator gave up one recipient (exim -Mmd): nobody will try it again."""
    recipient, mark, _ = text[9:].rpartition(b"> marked delivered by ")
    if not mark:
        return None
    fields = (
        b"discard", b"", recipient, b"", b"", b"", b"", b"sent", text, b"", b"", b"",
    )  # fmt: skip
    return make(line, scan.DELIVERY, queue_id, fields)
