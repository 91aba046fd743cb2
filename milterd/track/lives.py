"""Which life of a queue id an event belongs to: pure rules, no store.

Postfix's short queue ids come again (``enable_long_queue_ids = no``: inode and
microseconds), so a queue id alone is no identity. A *life* is one queue file
from its first line to ``removed``. Long ids (postconf(5)) never come again.
"""

from typing import Final

from journal import echoes, kinds
from journal.events import ABSENT, STARTS, Event
from journal.places import AT_US, KIND
from journal.records import Record

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
LAG_US: Final = 5 * SECOND
"""Lines of one instant may be logged out of order by this much."""

AFTER_END_US: Final = 60 * SECOND
"""A line this long after ``removed`` belongs to another life."""

SILENT_END_US: Final = 3600 * SECOND
"""What a client abandons ends without a word, an hour after its begin at the latest."""

_HEX: Final = b"0123456789ABCDEF"

_ENDS: Final = frozenset({kinds.REMOVED, kinds.DELETED, kinds.REQUEUED})
_BEGINNINGS: Final = frozenset({kinds.QUEUED, kinds.DOOR, kinds.MESSAGE_ID})
_THROWN_AWAY: Final = frozenset(
    {b"reject", b"milter-reject", b"discard", b"milter-discard", b"too-large"}
)
_AT_END: Final = frozenset({b"END-OF-MESSAGE", b"header", b"body"})
"""Refused or discarded there, a queue file is gone: qmgr never saw it and says nothing."""


class Open:
    """A message in memory: the events known so far, and what the journal holds of it."""

    __slots__ = (
        "dirty", "doors", "dropped", "events", "flags", "held", "host", "lives", "mentions",
        "message_ids", "stored", "touched",
    )  # fmt: skip

    def __init__(self, host: bytes) -> None:
        self.host = host
        self.events: list[Event] = []
        self.dropped: tuple[bytes, ...] = ()
        self.lives: list[Life] = []
        self.mentions: list[bytes] = []  # queue ids it was passed on under, not found yet
        self.doors: list[bytes] = []  # keys under which its refusals are looked up
        self.message_ids: list[bytes] = []  # under which it is looked up
        self.stored: Record | None = None
        self.flags = 0
        self.dirty = False
        self.held = False  # whether the memory has it
        self.touched = 0  # the greater, the later


class Life:
    """One queue file of an open message."""

    __slots__ = (
        "closed_us",
        "first_us",
        "instance",
        "message",
        "message_id",
        "message_id_us",
        "newer_us",
        "notice",
        "older",
        "queue_id",
        "sender",
        "spoken",
        "start",
        "transaction",
    )

    def __init__(self, queue_id: bytes, message: Open, first_us: int) -> None:
        self.queue_id = queue_id
        self.message = message
        self.first_us = first_us
        self.start: Event | None = None
        self.transaction: Event | None = None
        self.closed_us = 0
        self.instance = b""  # its queue manager's or cleanup's
        self.spoken = b""  # that of the first line, which may be one service's own
        self.message_id = b""
        self.sender: bytes | None = None  # None: not told yet
        self.message_id_us = 0
        self.newer_us = 0  # when a life after this one began, in memory or let go; 0: none known
        self.notice = False  # bounce(8) made it: no client, no pickup
        self.older: Life | None = None  # the life before, while it is still in memory

    def note(self, event: Event) -> None:
        """Learn from an event of this life what tells lives apart."""
        kind, at_us = event[KIND], event[AT_US]
        if at_us < self.first_us:
            self.first_us = at_us
        if kind in STARTS:
            self.start = event
        elif kind == kinds.TRANSACTION:
            self.transaction = event
            if self.sender is None and event.fields[7] != ABSENT:
                self.sender = event.fields[7]
            self.message_id = self.message_id or event.fields[9]
        elif kind in _ENDS:
            self.closed_us = max(self.closed_us, at_us)
        elif kind == kinds.PARENT:
            self.notice = True
        elif kind == kinds.DOOR:
            if _throws_away(event):
                self.closed_us = max(self.closed_us, event.at_us)
        elif kind == kinds.MESSAGE_ID:
            self.message_id = self.message_id or event.fields[0]
            self.message_id_us = self.message_id_us or event.at_us
            self.instance = self.instance or event.fields[1]
        elif kind == kinds.FILED:
            self.message_id = self.message_id or event.fields[4]
        elif kind == kinds.QUEUED:
            self.sender = event.fields[0]
            self.instance = self.instance or event.fields[3]

    def recall(self, events: list[Event]) -> None:
        """Know only what these events tell."""
        mine = [event for event in events if event.queue_id == self.queue_id]
        self.first_us = mine[0].at_us if mine else self.first_us
        self.start = self.transaction = self.sender = None
        self.closed_us = self.message_id_us = 0
        self.instance = self.message_id = b""
        self.notice = False
        for event in mine:
            self.note(event)


def is_long(queue_id: bytes) -> bool:
    """Whether a queue id never comes again.

    Postfix's long form is base 52, seconds, microseconds, "z", inode. Sendmail's is date and
    time (base 60), a number, and the pid: the last six digits. What could be inode and
    microseconds in hexadecimal as well is not taken for it. Exim's are seconds, process, fraction.
    """
    if len(queue_id) < 12:
        return False
    if 0x7A in queue_id[10:] or queue_id[6:7] == b"-":  # "z"
        return True
    return (
        queue_id[-5:].isdigit() and bool(queue_id[:8].translate(None, _HEX)) and queue_id.isalnum()
    )


def speaks(life: Life, instance: bytes) -> bool:
    """Whether a line of an instance may be of this life; b"" on a side: nothing is known."""
    if not instance or instance == life.instance or instance == life.spoken:
        return True
    return not life.instance and not life.spoken


def follow(older: Life, life: Life) -> None:
    """A life is known to have begun after another of the same queue id: there that one is over.

    But for two instances on one host, which may use one short queue id at a time.
    """
    apart = life.first_us > older.first_us + LAG_US
    if apart and speaks(older, life.instance or life.spoken):
        older.newer_us = life.first_us


def matching(newest: Life | None, event: Event, instance: bytes = b"") -> Life | None:
    """The life of a chain to which an event belongs.

    Of those that could have had a begin, or talk at the door, the one that surely had, else the
    first. Better one of the line's own instance: two on one host may use one short queue id
    at a time. Another one will do, for a service may have a syslog_name of its own.
    """
    begins = event.kind in STARTS or event.kind == kinds.TRANSACTION or event.kind == kinds.DOOR
    found: Life | None = None
    other: Life | None = None
    life = newest
    while life is not None:
        same = speaks(life, instance)
        if belongs(event, life):
            if same:
                if not begins or is_sure(event, life):
                    return life
                found = life
            elif other is None:
                other = life
        elif same and not begins:
            if is_over(event, life):
                return other
        elif same and event.at_us < life.first_us - LAG_US:
            found = None  # another file lies between
        life = life.older
    return found if found is not None else other


def is_sure(event: Event, life: Life) -> bool:
    """Whether no other life, in the journal say, could be meant as well."""
    if is_long(life.queue_id) or life.start is not None or life.transaction is not None:
        return True
    kind = event.kind
    return kind not in STARTS and kind != kinds.TRANSACTION and kind != kinds.DOOR


def belongs(event: Event, life: Life) -> bool:
    """Whether an event with this queue id is of this life."""
    kind = event[KIND]
    if not same_instance(event, life):
        return False  # two instances on one host
    if kind == kinds.FILED and life.message_id and event.fields[4]:
        return event.fields[4] == life.message_id  # a session's id serves for all of its mails
    if is_long(life.queue_id):
        return True
    if kind in STARTS:
        return _starts(event, life)
    if kind == kinds.TRANSACTION:
        return _is_spoken(event, life)
    if kind == kinds.MESSAGE_ID and not _names(event, life):
        return False
    if kind == kinds.PARENT and not _is_notice(event, life):
        return False
    for begin in (life.start, life.transaction):
        if begin is not None and event.at_us < begin.at_us - LAG_US:
            return False
    # A message's header is read before all that becomes of it; at the door it may take its time.
    at_door = kind == kinds.DOOR and event.fields[1] not in _AT_END and not life.notice
    patience = SILENT_END_US if at_door else LAG_US
    if event.at_us < life.message_id_us - patience:
        return False
    if life.newer_us and event.at_us >= life.newer_us - LAG_US:
        return False
    if not life.closed_us:
        return True
    # What was deleted may still be on its way, but nothing enters the queue again.
    return event.at_us <= life.closed_us + (LAG_US if kind in _BEGINNINGS else AFTER_END_US)


def is_over(event: Event, life: Life) -> bool:
    """Whether an event that is not of this life cannot be of an older one either.

    A queue id names one file at a time: with the next one's begin the one before has ended.
    """
    if is_long(life.queue_id) or event.at_us <= life.first_us + LAG_US:
        return False
    return same_instance(event, life)


def same_instance(event: Event, life: Life) -> bool:
    """Not False where either did not say."""
    kind = event.kind
    if not life.instance or (kind != kinds.QUEUED and kind != kinds.MESSAGE_ID):
        return True
    instance = event.fields[3 if kind == kinds.QUEUED else 1]
    return not instance or instance == life.instance


def _throws_away(event: Event) -> bool:
    """Whether a line of the door ends a queue file."""
    fields = event.fields
    return fields[0] in _THROWN_AWAY and (fields[1] in _AT_END or fields[0] == b"too-large")


def _names(event: Event, life: Life) -> bool:
    """Whether a Message-ID may be this life's: cleanup logs it once a queue file, near its begin.

    bounce(8) and local(8) do not say that they open a file, its Message-ID is the first of it.
    """
    if life.message_id_us:
        near = abs(event.at_us - life.message_id_us) <= LAG_US
        return near or event.fields[0] == life.message_id
    if life.transaction is not None:
        return _within(life.transaction, event.at_us)
    return life.start is None or event.at_us <= life.start.at_us + SILENT_END_US


def _is_notice(event: Event, life: Life) -> bool:
    """Whether a queue file may be the notice that bounce(8) says it made just now."""
    if life.start is not None or life.transaction is not None:
        return False
    return not life.message_id_us or abs(event.at_us - life.message_id_us) <= AFTER_END_US


def _starts(event: Event, life: Life) -> bool:
    """Whether a line that opens a queue file opened this life's."""
    if life.start is not None:
        # The fields of one line differ by what was read before.
        return life.start[:5] == event[:5] or echoes.same(life.start, event)
    if life.notice or (life.closed_us and event.at_us > life.closed_us):
        return False
    if life.transaction is not None:
        return _within(life.transaction, event.at_us)
    if event.at_us < life.message_id_us - SILENT_END_US:
        return False
    return event.at_us <= life.first_us + LAG_US


def _is_spoken(event: Event, life: Life) -> bool:
    """Whether a transaction that the milter saw is the one that made this life."""
    if life.transaction is not None:
        return life.transaction == event
    if life.start is not None:
        return _within(event, life.start.at_us)
    if life.notice:
        return False
    if life.message_id_us:  # the header was read before the transaction's end
        return _within(event, life.message_id_us)
    return event.at_us <= life.first_us + LAG_US


def _within(transaction: Event, at_us: int) -> bool:
    """Whether an instant lies in a transaction."""
    end = transaction.fields[15]
    last_us = int(end) if end.isdigit() and len(end) <= 18 else transaction.at_us
    return transaction.at_us - LAG_US <= at_us <= last_us + LAG_US
