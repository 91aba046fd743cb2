"""Joins refusals that the log gives no queue id to the milter's transactions.

A ``NOQUEUE: reject:`` line and the transaction it is of find each other by the
client's address and port (``smtpd_client_port_logging = yes``), else by address,
sender and recipient, within the transaction's time. Without a milter each such
line is a message of its own. Either may come first: one row, never two.
"""

from collections.abc import Callable, Iterable
from typing import Final

from journal import address, echoes, keys, kinds
from journal.events import ABSENT, Event
from journal.fold import forwarded
from milterd.track.lives import LAG_US, SECOND, Open

NEAR_US: Final = 600 * SECOND
"""A refusal's line and its transaction's MAIL lie no further apart (smtpd_timeout, tarpits)."""

Bring = Callable[[bytes, bytes, bytes, int, int], None]
"""Brings a host's stored messages with an index value, between two times, into memory."""


class Refusals:
    """The open messages that a refusal could belong to, by door key."""

    def __init__(self, bring: Bring) -> None:
        self._bring = bring
        self._by_key: dict[bytes, list[Open]] = {}

    # -- memory -----------------------------------------------------------------------

    def register(self, message: Open, events: Iterable[Event]) -> None:
        """Make a message findable by the refusals and transactions in ``events``."""
        for key in _keys(list(events)):
            if key not in message.doors:
                message.doors.append(key)
                self._by_key.setdefault(key, []).append(message)

    def forget(self, message: Open) -> None:
        """Let go of a message."""
        if not message.doors:
            return
        for key in message.doors:
            holders = self._by_key.get(key, [])
            if message in holders:
                holders.remove(message)
            if not holders:
                self._by_key.pop(key, None)
        message.doors = []

    def move(self, gone: Open, into: Open) -> None:
        """A message became part of another."""
        doors = list(gone.doors)
        self.forget(gone)
        for key in doors:
            if key not in into.doors:
                into.doors.append(key)
                self._by_key.setdefault(key, []).append(into)

    def _candidates(self, key: bytes, host: bytes, at_us: int) -> list[Open]:
        """Messages of this host under a door key near a time."""
        self._bring(host, keys.DOOR, key, at_us - NEAR_US, at_us + NEAR_US)
        return [message for message in self._by_key.get(key, []) if message.host == host]

    # -- joining ----------------------------------------------------------------------

    def of_line(self, event: Event, host: bytes) -> Open | None:
        """The message a refusal line belongs to, or is already in; None: it is a new one."""
        candidates = self._candidates(line_key(event), host, event.at_us)
        for message in candidates:
            if event in message.events:
                return message
        for message in candidates:
            if echoes.free(event, message.events):
                return message
        taking = [message for message in candidates if _takes(message, event)]
        return min(taking, key=_begin, default=None)

    def holding(self, transaction: Event, events: list[Event], host: bytes) -> Open | None:
        """The message that has this very transaction already (a spool read twice)."""
        for key in _keys(events):
            for message in self._candidates(key, host, transaction.at_us):
                if transaction in message.events:
                    return message
        return None

    def of_transaction(self, events: list[Event], message: Open) -> list[Open]:
        """Messages made of refusal lines alone that this transaction turns out to be about."""
        found: list[Open] = []
        for key in _keys(events):
            candidates = self._candidates(key, message.host, events[0].at_us)
            for other in sorted(candidates, key=_begin):
                if other is message or other in found or _transaction(other) is not None:
                    continue
                lines = [event for event in other.events if event.kind == kinds.DOOR]
                if any(line.queue_id for line in lines):
                    lines = [line for line in lines if _is_loose(line)]
                taken = [line for one in found for line in one.events]
                if lines and all(
                    _is_loose(line) and _fits(line, events, [*message.events, *taken])
                    for line in lines
                ):
                    found.append(other)
        return found


def line_key(event: Event) -> bytes:
    """The door key of a refusal line: by port where the line has it."""
    fields = event.fields
    if fields[9].isdigit() and len(fields[9]) <= 5:
        return keys.door_port(fields[8], int(fields[9]), _folded(fields[6]))
    return _by_recipient(fields[8], fields[5], fields[6])


def _keys(events: Iterable[Event]) -> list[bytes]:
    """All door keys of a message's events; journal/terms.py makes the same of its rows."""
    found: dict[bytes, None] = {}
    transaction: Event | None = None
    start: Event | None = None
    for event in events:
        if event.kind == kinds.TRANSACTION:
            transaction = event
            _add_port(found, event, b"")
        elif event.kind == kinds.RCPT and transaction is not None:
            _add_port(found, transaction, event.fields[0])
            if event.fields[3] == b"1" or not event.queue_id:
                spoken = transaction.fields
                found[_by_recipient(spoken[1], spoken[7], event.fields[0])] = None
        elif event.kind == kinds.CLIENT:
            start = event
        elif event.kind == kinds.DOOR:
            line = event if not event.queue_id else behind_proxy(event, start)
            if line is not None:
                found[line_key(line)] = None
    return list(found)


def behind_proxy(event: Event, start: Event | None) -> Event | None:
    """A proxy-accept line with the client that it does not name: None where nobody does.

    The filter told the inner session, which ``start`` opened, whom it speaks for (XFORWARD).
    """
    if event.fields[0] != b"proxy-accept" or start is None or len(start.fields) < 7:
        return None
    name, ip, port = forwarded(start.fields[6])
    if not ip:
        return None
    fields = event.fields
    return event._replace(queue_id=b"", fields=(*fields[:7], name, ip, port, *fields[10:]))


def _is_loose(line: Event) -> bool:
    """Whether a line of the door is of a session that had no queue file (of its own)."""
    return not line.queue_id or line.fields[0] == b"proxy-accept"


def _add_port(found: dict[bytes, None], transaction: Event, recipient: bytes) -> None:
    port = transaction.fields[2]
    if port.isdigit() and port != b"0" and len(port) <= 5:
        found[keys.door_port(transaction.fields[1], int(port), _folded(recipient))] = None


def _folded(recipient: bytes) -> bytes:
    return address.fold(recipient) if recipient else ABSENT


def _by_recipient(ip: bytes, sender: bytes, recipient: bytes) -> bytes:
    """The door key where no port is known; journal/terms.py indexes the same."""
    folded = ABSENT if sender == ABSENT else address.fold(sender)
    return keys.door_rcpt(ip, folded, _folded(recipient))


def _transaction(message: Open) -> Event | None:
    return next((event for event in message.events if event.kind == kinds.TRANSACTION), None)


def _begin(message: Open) -> Event:
    """The first event: candidates are tried in the order of their time."""
    return min(message.events)


def _takes(message: Open, line: Event) -> bool:
    """Whether a message has the transaction that a refusal line is of."""
    return _transaction(message) is not None and _fits(line, message.events, message.events)


def _fits(line: Event, transaction: list[Event], held: Iterable[Event]) -> bool:
    """Whether a line is of a transaction: in its time, of its recipients, not told before."""
    head = next(event for event in transaction if event.kind == kinds.TRANSACTION)
    end = head.fields[15]
    last_us = int(end) if end.isdigit() and len(end) <= 18 else head.at_us
    if not head.at_us - LAG_US <= line.at_us <= last_us + LAG_US:
        return False
    recipient = address.fold(line.fields[6])
    if line.fields[6] and not any(
        event.kind == kinds.RCPT and address.fold(event.fields[0]) == recipient
        for event in transaction
    ):
        return False
    return not any(
        event.kind == kinds.DOOR
        and not event.queue_id
        and event != line
        and address.fold(event.fields[6]) == recipient
        for event in held
    )
