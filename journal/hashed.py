"""Scrubs records of old days: tokens stand for everybody (``tokens``), subjects and dates go.

Who was erased is so first. Repeatable, as ``scrub`` is. Pure; raises nothing.
"""

from collections.abc import Iterable
from typing import Final

from journal import kinds
from journal.events import Event
from journal.placeholders import is_placeholder
from journal.records import Message, Record
from journal.scrub import Scrubber
from journal.tokens import Hashing, is_token

_GONE: Final = {kinds.TRANSACTION: (10, 11, 12), kinds.MESSAGE_ID: (2,)}
"""Fields that go: subject, From, Date."""


def _stays(local: bytes) -> bool:
    return is_token(local) or is_placeholder(local)


class Hasher(Scrubber):
    """Scrubs what is of an old day: first whoever was erased, then everybody."""

    def __init__(self, hashing: Hashing, first: Scrubber | None) -> None:
        super().__init__(hashing)
        self._wanted = self._wanted._replace(stays=_stays)
        self._hashing = hashing
        self._first = first

    def message_id(self, raw: bytes) -> bytes:
        """Every Message-ID becomes a token."""
        return self._hashing.id(raw)

    def event(self, event: Event) -> Event:
        """One event, with tokens."""
        event = super().event(event if self._first is None else self._first.event(event))
        places = _GONE.get(event.kind)
        if places is None:
            return event
        fields = event.fields
        new = tuple(b"" if at in places else field for at, field in enumerate(fields))
        return event if new == fields else event._replace(fields=new)

    def events(self, events: Iterable[Event]) -> list[Event]:
        """All events of one message."""
        own = list(events) if self._first is None else self._first.events(events)
        return [self.event(event) for event in own]

    def may_be(self, event: Event) -> bool:
        """Whether a login may be an erased one."""
        return self._first is not None and self._first.may_be(event)

    def record(self, record: Record) -> Record:
        """A record with its view."""
        return super().record(record if self._first is None else self._first.record(record))

    def _message(self, message: Message, events: list[Event]) -> Message:
        return super()._message(message, events)._replace(subject=None)
