"""The open messages: what the correlator holds in memory of each host, and the journal behind it.

Messages are found by queue id, by Message-ID (``kin``), by the door they were refused at
(``refusals``), and by queue ids that a delivery named before they were seen (mentions). What
is not in memory is brought from the store; what changed is folded and given to it.
Raises what the store raises.
"""

from collections.abc import Container
from typing import Final, Protocol

from journal import kinds
from journal.events import STARTS, Event
from journal.fold import fold
from journal.forget import Forget
from journal.locality import Locality
from journal.records import Record
from milterd.track.kin import Kin
from milterd.track.lives import DAY, SECOND, Life, Open, follow
from milterd.track.refusals import Refusals

HOP_US: Final = 3600 * SECOND
"""How long before the reply ``queued as X`` queue file X may have begun (a slow filter)."""


class Store(Protocol):
    """What the correlator needs of journal.writer.Writer."""

    @property
    def forget(self) -> Forget: ...
    def new_id(self, time_us: int, identity: bytes) -> bytes: ...
    def find(
        self,
        kind: bytes,
        value: bytes,
        begin_us: int,
        end_us: int,
        *,
        skip: Container[bytes] = (),
        most: int = 0,
    ) -> list[Record]: ...
    def put(self, record: Record, old: Record | None) -> None: ...
    def tombstone(self, old: Record, into: bytes) -> None: ...


class Memory:
    """Holds the open messages of every host."""

    def __init__(self, store: Store, *, locality: Locality, lifetime_days: int) -> None:
        self._store = store
        self._locality = locality
        self.lifetime_us = (lifetime_days + 2) * DAY
        self.lives: dict[bytes, dict[bytes, Life]] = {}  # host → queue id → newest life
        self.mentions: dict[tuple[bytes, bytes], list[Open]] = {}
        self.by_id: dict[bytes, Open] = {}  # every stored message that is in memory
        self._open: dict[int, Open] = {}
        self._touches = 0
        self._merged: list[tuple[Open, Open]] = []  # (from, into)
        self.messages = 0  # new ones put to the store, less those that became part of others
        self.rows = 0
        self.refusals = Refusals(self.bring)
        self.kin = Kin(self.bring)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def forget(self) -> Forget:
        """Who was erased."""
        return self._store.forget

    def all(self) -> list[Open]:
        """Every open message, the least recently touched first."""
        return list(self._open.values())

    def add(self, message: Open, event: Event) -> None:
        """Give a message one event more."""
        message.events.append(event)
        message.dirty = True
        # Most events come for a message that is there already: a number, not a place in a queue.
        self._touches = message.touched = self._touches + 1
        if not message.held:
            self.touch(message)

    def touch(self, message: Open) -> None:
        """Make a message the most recently touched."""
        self._touches = message.touched = self._touches + 1
        self._open[id(message)] = message
        message.held = True

    def load(self, queue_id: bytes, event: Event, host: bytes) -> None:
        """Bring the journal's messages with this queue id into memory."""
        early = event.kind in STARTS or event.kind in (kinds.TRANSACTION, kinds.MESSAGE_ID)
        begin = event.at_us - (HOP_US if early else self.lifetime_us)
        self.bring(host, b"q", queue_id, begin, event.at_us + self.lifetime_us)

    def bring(
        self, host: bytes, kind: bytes, value: bytes, begin_us: int, end_us: int, most: int = 0
    ) -> None:
        """Bring this host's stored records with a value into memory, where they are not yet.

        ``most``: only so many of each day, the newest; 0: all.
        """
        for record in self._store.find(kind, value, begin_us, end_us, skip=self.by_id, most=most):
            if record.message.host == host:
                self._adopt(record)

    def _adopt(self, record: Record) -> None:
        """Bring a stored record into memory."""
        message = Open(record.message.host)
        message.events = list(record.events)
        message.dropped = record.dropped
        message.stored = record
        message.flags = record.message.flags
        self.by_id[record.id] = message
        self._register(message, record)

    def _register(self, message: Open, record: Record) -> None:
        """Make an adopted message findable by all its queue ids."""
        lives = self.lives.setdefault(message.host, {})
        view = record.message
        for queue_id in (*view.queue_ids, *view.next_queue_ids):
            events = [event for event in record.events if event.queue_id == queue_id]
            if not events:
                self.mention(message, queue_id)
                continue
            life = Life(queue_id, message, events[0].at_us)
            for event in events:
                life.note(event)
            message.lives.append(life)
            self.kin.register(message, life.message_id)
            newest = lives.get(queue_id)
            if newest is not None and newest.first_us > life.first_us:
                insert(newest, life)
            else:
                life.older = newest
                lives[queue_id] = life
            if life.older is not None:
                follow(life.older, life)
        self.refusals.register(message, message.events)
        self.touch(message)

    def mention(self, message: Open, queue_id: bytes) -> None:
        """Remember the queue id that a message went on under, until such a queue file is seen."""
        if queue_id in message.mentions:
            return
        message.mentions.append(queue_id)
        self.mentions.setdefault((message.host, queue_id), []).append(message)

    def _unmention(self, message: Open) -> None:
        for queue_id in message.mentions:
            known = self.mentions[message.host, queue_id]
            if len(known) == 1:
                del self.mentions[message.host, queue_id]
            else:
                known.remove(message)
        message.mentions = []

    def absorb(self, into: Open, empty: Open) -> None:
        """A message all of whose events turned out to be another's is that other one."""
        for life in empty.lives:
            self._unlink(life)
        empty.lives = []
        self.merge(into, empty)

    def _unlink(self, life: Life) -> None:
        """Take a life out of its chain."""
        lives = self.lives.get(life.message.host, {})
        newest = lives.get(life.queue_id)
        if newest is not life:
            _unlink(newest, life)
        elif life.older is not None:
            lives[life.queue_id] = life.older
        else:
            del lives[life.queue_id]

    def merge(self, into: Open, gone: Open) -> None:
        """Two queue files turn out to be one message."""
        into.events.extend(gone.events)
        into.dropped = tuple(sorted({*into.dropped, *gone.dropped}))
        into.flags |= gone.flags
        into.dirty = True
        for life in gone.lives:
            life.message = into
        into.lives.extend(gone.lives)
        for queue_id in gone.mentions:
            self.mention(into, queue_id)
        self._unmention(gone)
        gone.lives = []
        self.refusals.move(gone, into)
        self.kin.move(gone, into)
        self._open.pop(id(gone), None)
        gone.held = False
        if gone.stored is not None:
            self._merged.append((gone, into))
            self.by_id[gone.stored.id] = into
        for known, target in list(self._merged):
            if target is gone:
                self._merged.append((known, into))
                self._merged.remove((known, target))
                if known.stored is not None:
                    self.by_id[known.stored.id] = into
        gone.dirty = False
        self.touch(into)

    def flush(self, most: int | None = None) -> int:
        """Put changed messages to the writer, all or the ``most`` least recently touched."""
        count = 0
        if most is None:
            dirty = [message for message in self._open.values() if message.dirty]
            chosen = sorted(dirty, key=_touched)
        else:
            chosen = self._by_touch()[:most]
            wanted = {id(message) for message in chosen}
            chosen.extend(into for _, into in self._merged if id(into) not in wanted and into.dirty)
        for message in chosen:
            if message.dirty:
                self._put(message)
                count += 1
        for gone, into in self._merged:
            assert gone.stored is not None
            assert into.stored is not None
            self._store.tombstone(gone.stored, into.stored.id)
            del self.by_id[gone.stored.id]
            self.messages -= 1
            self.rows -= len(gone.stored.message.rows)
        self._merged.clear()
        return count

    def _put(self, message: Open) -> None:
        """Fold a message and buffer it for the next commit."""
        old = message.stored
        if old is None:
            first = min(message.events)
            identity = b"%b\0%b\0%d\0%d" % (message.host, first.queue_id, first.at_us, first.pid)
            key = self._store.new_id(first.at_us, identity)
        else:
            key = old.id
        forget = self._store.forget
        if forget.until_us >= 0:
            self._scrub(message, forget)
        record = fold(
            message.events,
            message.dropped,
            id=key,
            host=message.host,
            locality=self._locality,
            flags=message.flags,
        )
        if record != old:
            self._store.put(record, old)
            self.messages += old is None
            self.rows += len(record.message.rows) - (len(old.message.rows) if old else 0)
        message.stored = record
        message.flags = record.message.flags
        self.by_id[key] = message
        message.events = list(record.events)
        message.dropped = record.dropped
        message.dirty = False

    @staticmethod
    def _scrub(message: Open, forget: Forget) -> None:
        """Whoever was erased after the message began is not in it, whatever was read again."""
        scrubber = forget.at(min(event.at_us for event in message.events))
        if scrubber is not None:
            events = scrubber.events(message.events)
            message.dropped = scrubber.dropped(message.events, events, message.dropped)
            message.events = events

    def evict(self, keep: int) -> None:
        """After a commit: let go of the least recently touched messages, best of many at once."""
        if len(self._open) <= keep:
            return
        for message in self._by_touch()[: len(self._open) - keep]:
            if message.dirty:
                return
            del self._open[id(message)]
            message.held = False
            self._forget(message)

    def _by_touch(self) -> list[Open]:
        """The open messages, the least recently touched first; the dict keeps that order."""
        ordered = sorted(self._open.values(), key=_touched)
        self._open = {id(message): message for message in ordered}
        return ordered

    def _forget(self, message: Open) -> None:
        if message.stored is not None:
            del self.by_id[message.stored.id]
        for life in message.lives:
            self._unlink(life)
        if not self.lives.get(message.host, True):  # names of hosts come from the log, too
            del self.lives[message.host]
        self._unmention(message)
        message.lives.clear()  # a circle; memory must not wait for the collector
        self.refusals.forget(message)
        self.kin.forget(message)


def _touched(message: Open) -> int:
    return message.touched


def insert(newest: Life, life: Life) -> Life:
    """Put an older life into its place of the chain; the life that follows it there."""
    step = newest
    while step.older is not None and step.older.first_us > life.first_us:
        step = step.older
    life.older = step.older
    follow(life, step)
    step.older = life
    return step


def _unlink(newest: Life | None, life: Life) -> None:
    step = newest
    while step is not None:
        if step.older is life:
            step.older = life.older
            return
        step = step.older
