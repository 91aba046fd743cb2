"""Which life of a queue id an event belongs to: pure rules, no store.

Postfix's short queue ids come again (``enable_long_queue_ids = no``: inode and
microseconds), so a queue id alone is no identity. A *life* is one queue file
from its first line to ``removed``. Long ids (postconf(5)) never come again.
"""

from typing import Final

from journal.events import STARTS, Event, Kind

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
LAG_US: Final = 5 * SECOND
"""Lines of one instant may be logged out of order by this much."""

AFTER_END_US: Final = 60 * SECOND
"""A line this long after ``removed`` belongs to another life."""

_ENDS: Final = frozenset({Kind.REMOVED, Kind.DELETED, Kind.REQUEUED})


class Open:
    """A message in memory: the events known so far, and what the journal holds of it."""

    __slots__ = (
        "dirty", "doors", "dropped", "events", "flags", "host", "lives", "mentions", "stored",
    )  # fmt: skip

    def __init__(self, host: bytes) -> None:
        self.host = host
        self.events: list[Event] = []
        self.dropped: tuple[bytes, ...] = ()
        self.lives: list[Life] = []
        self.mentions: list[bytes] = []  # queue ids it was passed on under, not found yet
        self.doors: list[bytes] = []  # keys under which its refusals are looked up
        self.stored: object | None = None  # journal.records.Record
        self.flags = 0
        self.dirty = False


class Life:
    """One queue file of an open message."""

    __slots__ = ("closed_us", "first_us", "instance", "message", "message_id", "older", "queue_id", "start")

    def __init__(self, queue_id: bytes, message: Open, first_us: int) -> None:
        self.queue_id = queue_id
        self.message = message
        self.first_us = first_us
        self.start: Event | None = None
        self.closed_us = 0
        self.instance = b""
        self.message_id = b""
        self.older: Life | None = None  # the life before, while it is still in memory

    def note(self, event: Event) -> None:
        """Learn from an event of this life what tells lives apart."""
        kind = event.kind
        if event.at_us < self.first_us:
            self.first_us = event.at_us
        if kind in STARTS:
            self.start = event
        elif kind in _ENDS:
            self.closed_us = max(self.closed_us, event.at_us)
        elif kind == Kind.MESSAGE_ID:
            self.message_id = self.message_id or event.fields[0]
            self.instance = self.instance or event.fields[1]
        elif kind == Kind.QUEUED:
            self.instance = self.instance or event.fields[3]


def is_long(queue_id: bytes) -> bool:
    """Whether a queue id has the long form: base 52, seconds, microseconds, "z", inode."""
    return len(queue_id) >= 12 and b"z" in queue_id[10:]


def belongs(event: Event, life: Life) -> bool:
    """Whether an event with this queue id is of this life."""
    kind = event.kind
    if kind == Kind.QUEUED or kind == Kind.MESSAGE_ID:
        instance = event.fields[3 if kind == Kind.QUEUED else 1]
        if life.instance and instance and instance != life.instance:
            return False  # two instances on one host
    if is_long(life.queue_id):
        return True
    start = life.start
    if kind in STARTS:
        if start is not None:
            return start == event
        if life.closed_us and event.at_us > life.closed_us:
            return False
        return event.at_us <= life.first_us + LAG_US or _only_milter(life)
    if start is not None and event.at_us < start.at_us - AFTER_END_US:
        return kind == Kind.TRANSACTION and int(event.fields[15] or 0) >= start.at_us - LAG_US
    return not life.closed_us or event.at_us <= life.closed_us + AFTER_END_US


def _only_milter(life: Life) -> bool:
    """Whether only the milter has spoken of it yet, who may come a slow client earlier."""
    return all(
        event.kind <= Kind.RCPT or event.kind == Kind.VERDICT
        for event in life.message.events
        if event.queue_id == life.queue_id
    )
