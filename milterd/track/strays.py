"""Keeps events that name no queue id until the message they are about is seen.

A filter or Dovecot's LDA names a Message-ID, a policy daemon a client and a sender. Such a
line may come before the first that ties its words to a queue file. What waits is bounded; what
is never claimed tells nothing and is let go. Raises nothing.
"""

from collections.abc import Iterator
from typing import Final

from journal import address, kinds
from journal.events import Event

Key = tuple[bytes, bytes]  # host, and Message-ID or client with sender

MOST: Final = 2_000

_FILED_ID, _VERDICT_ID, _VERDICT_IP, _VERDICT_SENDER = 4, 6, 7, 8


def message_id_of(event: Event) -> bytes:
    """The Message-ID that a stray names, b"" where it names none."""
    place = _FILED_ID if event.kind == kinds.FILED else _VERDICT_ID
    return event.fields[place] if len(event.fields) > place else b""


def client_key(ip: bytes, sender: bytes) -> bytes:
    """What a policy daemon's line and a queue file have in common."""
    return b"\0%b\0%b" % (ip, address.fold(sender))


def _client_of(event: Event) -> bytes:
    fields = event.fields
    if event.kind != kinds.VERDICT or len(fields) <= _VERDICT_SENDER or not fields[_VERDICT_IP]:
        return b""
    return client_key(fields[_VERDICT_IP], fields[_VERDICT_SENDER])


class Strays:
    """The events that wait, by what they name."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Event]] = {}
        self._count = 0
        self.clients = False  # whether any waits for a client

    def __bool__(self) -> bool:
        return self._count > 0

    def keep(self, event: Event, host: bytes) -> bool:
        """Have an event wait; False where it names nothing to wait for."""
        name = message_id_of(event) or _client_of(event)
        if not name:
            return False
        waiting = self._waiting.setdefault((host, name), [])
        if event not in waiting:
            waiting.append(event)
            self._count += 1
            self.clients = self.clients or name.startswith(b"\0")
            while self._count > MOST:
                self._count -= len(self._waiting.pop(next(iter(self._waiting))))
        return True

    def claim(self, host: bytes, name: bytes) -> list[Event]:
        """The events that wait for a Message-ID or a client; they wait no more."""
        found = self._waiting.pop((host, name), [])
        self._count -= len(found)
        self.clients = self.clients and self._count > 0
        return found

    def all(self) -> Iterator[tuple[bytes, Event]]:
        """Every host and event, to be saved."""
        for (host, _), events in self._waiting.items():
            for event in events:
                yield host, event
