"""Decides which message each event is about: opens, joins, merges and splits.

Events come from the log and from the milter's spool, each source in its own
order, the sources in any. The correlator keeps recent messages in memory, asks the
journal for others, and hands changed ones to the writer. What it decides depends
on the events alone, so that a crash between and a replay after change nothing:

- **join** on (host, queue id) within a life of that id (``lives``);
- **merge** when a delivery says ``queued as`` or ``forwarded as`` a queue id of this
  host, or ``postsuper -r`` gave a new one: two queue files, one message;
- **split** when a short queue id turns out to have begun a new life;
- a refusal without a queue id joins the milter's transaction (``refusals``).
"""

from collections import OrderedDict
from collections.abc import Container
from typing import Final, Protocol

from journal import kinds
from journal.events import STARTS, Event
from journal.fold import fold
from journal.locality import Locality
from journal.records import Record
from milterd.track.lives import DAY, LAG_US, SECOND, Life, Open, belongs, is_long
from milterd.track.refusals import Refusals
from milterd.track.sessions import Sessions

HOP_US: Final = 3600 * SECOND
"""How long before the reply ``queued as X`` queue file X may have begun (a slow filter)."""

_SENT: Final = b"sent"


class Store(Protocol):
    """What the correlator needs of journal.writer.Writer."""

    def new_id(self, time_us: int, identity: bytes) -> bytes: ...
    def find(
        self,
        kind: bytes,
        value: bytes,
        begin_us: int,
        end_us: int,
        *,
        skip: Container[bytes] = ...,
    ) -> list[Record]: ...
    def put(self, record: Record, old: Record | None) -> None: ...
    def tombstone(self, old: Record, into: bytes) -> None: ...


class Correlator:
    """Holds the open messages of every host and folds events into them."""

    def __init__(self, store: Store, *, locality: Locality, lifetime_days: int = 5) -> None:
        self._store = store
        self._locality = locality
        self._lifetime_us = (lifetime_days + 2) * DAY
        self._lives: dict[bytes, dict[bytes, Life]] = {}  # host → queue id → newest life
        self._mentions: dict[tuple[bytes, bytes], Open] = {}
        self._by_id: dict[bytes, Open] = {}  # every stored message that is in memory
        self._open: OrderedDict[int, Open] = OrderedDict()  # least recently touched first
        self._merged: list[tuple[Open, Open]] = []  # (from, into)
        self.messages = 0  # new ones put to the store, less those that became part of others
        self.rows = 0
        self.sessions = Sessions()
        self.refusals = Refusals(self._bring)

    def __len__(self) -> int:
        return len(self._open)

    # -- taking events ----------------------------------------------------------------

    def take(self, event: Event, host: bytes) -> Open | None:
        """Fold one event of the log; returns the message it joined, None for context."""
        if event.kind >= kinds.CONNECT:
            self.sessions.note(event, host)
            return None
        if not event.queue_id:
            return self._take_refusal(event, host) if event.kind == kinds.DOOR else None
        if self.sessions.known:
            event = self.sessions.enrich(event, host)
        message = self._join(event, host)
        if event.kind == kinds.CLIENT:
            self.sessions.opened(event, host)
            if self.sessions.holds:
                for hold in self.sessions.take_holds(event, host):
                    self._add(message, hold)
        return message

    def adopt_orphans(self) -> None:
        """All lines there are were read: queue files meet the sessions that they belong to."""
        for host, event in self.sessions.orphans():
            self.take(event, host)

    def take_transaction(self, events: list[Event], host: bytes) -> Open | None:
        """Fold what the milter recorded of one transaction (TRANSACTION first, then RCPTs)."""
        transaction = events[0]
        if transaction.queue_id:
            life = self._life(transaction, host)
            life.note(transaction)
            message = life.message
        else:
            known = self.refusals.holding(transaction, events, host)
            message = known if known is not None else Open(host)
        for event in events:
            self._add(message, event)
        for refused in self.refusals.of_transaction(events, message):
            self._merge(message, refused)
        self.refusals.register(message, events)
        return message

    def _join(self, event: Event, host: bytes) -> Open:
        """Add an event with a queue id to its life's message and follow where it points."""
        life = self._life(event, host)
        life.note(event)
        message = life.message
        self._add(message, event)
        kind = event.kind
        if kind == kinds.DELIVERY:
            fields = event.fields
            if fields[10] and fields[7] == _SENT:
                self._follow(message, event, fields[10])
        elif kind == kinds.MESSAGE_ID:
            self._recall(life)
        elif kind == kinds.NOTICE and event.fields[1]:
            notice = (event.queue_id, event.fields[0])
            parent = Event(
                event.at_us, kinds.PARENT, event.source, event.pid, event.fields[1], notice
            )
            self._join(parent, host)
        elif kind == kinds.PICKUP and len(event.fields) > 2 and event.fields[2]:
            before = self._find_life(event.fields[2], event, host)
            if before is not None and before.message is not message:
                self._merge(before.message, message)
        return life.message

    def _add(self, message: Open, event: Event) -> None:
        message.events.append(event)
        message.dirty = True
        self._touch(message)

    def _touch(self, message: Open) -> None:
        key = id(message)
        if key in self._open:
            self._open.move_to_end(key)
        else:
            self._open[key] = message

    # -- lives ------------------------------------------------------------------------

    def _life(self, event: Event, host: bytes) -> Life:
        """The life an event belongs to; a new one where there is none."""
        queue_id = event.queue_id
        lives = self._lives.get(host)
        if lives is None:
            lives = self._lives[host] = {}
        life = lives.get(queue_id)
        if life is not None:
            if is_long(queue_id) and not life.instance:
                return life
            found = _matching(life, event)
            if found is not None:
                return found
        self._load(queue_id, event, host)
        found = _matching(lives.get(queue_id), event)
        return found if found is not None else self._begin(event, host, lives)

    def _begin(self, event: Event, host: bytes, lives: dict[bytes, Life]) -> Life:
        """A new life, and with it a new message; splits what an older one held of it."""
        message = Open(host)
        life = Life(event.queue_id, message, event.at_us)
        message.lives.append(life)
        older = lives.get(event.queue_id)
        if older is not None and older.first_us > event.at_us:
            _insert(older, life)
        else:
            life.older = older
            lives[event.queue_id] = life
            if older is not None and event.kind in STARTS:
                self._split(older, life, event.at_us)
        self._touch(message)
        self._recall(life)
        return life

    def _split(self, older: Life, life: Life, start_us: int) -> None:
        """Give a new life the events that an older life of the same id held of it."""
        moved = [
            event
            for event in older.message.events
            if event.queue_id == life.queue_id and event.at_us > start_us
        ]
        if not moved:
            return
        gone = set(moved)
        older.message.events = [event for event in older.message.events if event not in gone]
        older.message.dirty = True
        ends = [e.at_us for e in older.message.events if e.queue_id == life.queue_id]
        older.closed_us = min(older.closed_us, max(ends, default=start_us))
        for event in moved:
            life.note(event)
            self._add(life.message, event)

    def _load(self, queue_id: bytes, event: Event, host: bytes) -> None:
        """Bring the journal's messages with this queue id into memory."""
        early = event.kind in STARTS or event.kind in (kinds.TRANSACTION, kinds.MESSAGE_ID)
        begin = event.at_us - (HOP_US if early else self._lifetime_us)
        self._bring(host, b"q", queue_id, begin, event.at_us + self._lifetime_us)

    def _bring(self, host: bytes, kind: bytes, value: bytes, begin_us: int, end_us: int) -> None:
        """Bring this host's stored records with a value into memory, where they are not yet."""
        for record in self._store.find(kind, value, begin_us, end_us, skip=self._by_id):
            if record.message.host == host:
                self._adopt(record)

    def _adopt(self, record: Record) -> None:
        """Bring a stored record into memory."""
        message = Open(record.message.host)
        message.events = list(record.events)
        message.dropped = record.dropped
        message.stored = record
        message.flags = record.message.flags
        self._by_id[record.id] = message
        self._register(message, record)

    def _register(self, message: Open, record: Record) -> None:
        """Make an adopted message findable by all its queue ids."""
        lives = self._lives.setdefault(message.host, {})
        for queue_id in record.message.queue_ids:
            events = [event for event in record.events if event.queue_id == queue_id]
            life = Life(queue_id, message, events[0].at_us)
            for event in events:
                life.note(event)
            message.lives.append(life)
            newest = lives.get(queue_id)
            if newest is not None and newest.first_us > life.first_us:
                _insert(newest, life)
            else:
                life.older = newest
                lives[queue_id] = life
        for queue_id in record.message.next_queue_ids:
            self._mention(message, queue_id)
        self.refusals.register(message, message.events)
        self._touch(message)

    # -- hops -------------------------------------------------------------------------

    def _find_life(self, queue_id: bytes, event: Event, host: bytes) -> Life | None:
        """The life of another queue id that an event points at."""
        for attempt in (0, 1):
            life = self._lives.get(host, {}).get(queue_id)
            while life is not None:
                if event.at_us - HOP_US <= life.first_us <= event.at_us + LAG_US or (
                    is_long(queue_id) and life.first_us <= event.at_us + LAG_US
                ):
                    return life
                life = life.older
            if attempt == 0:
                begin = event.at_us - HOP_US
                self._bring(host, b"q", queue_id, begin, event.at_us + LAG_US)
        return None

    def _follow(self, message: Open, event: Event, next_id: bytes) -> None:
        """A delivery went on under another queue id: of this host, or of the next."""
        life = self._find_life(next_id, event, message.host)
        if life is not None and life.message is not message and _is_hop(message, event, life):
            self._merge(message, life.message)
        elif life is None or life.message is not message:
            self._mention(message, next_id)

    def _mention(self, message: Open, queue_id: bytes) -> None:
        self._mentions[message.host, queue_id] = message
        message.mentions.append(queue_id)

    def _recall(self, life: Life) -> None:
        """A new life: did an earlier delivery go on under this queue id?"""
        message = self._mentions.get((life.message.host, life.queue_id))
        if message is None or message is life.message:
            return
        for event in message.events:
            if (
                event.kind == kinds.DELIVERY
                and event.fields[10] == life.queue_id
                and event.at_us - HOP_US <= life.first_us <= event.at_us + LAG_US
                and _is_hop(message, event, life)
            ):
                self._merge(message, life.message)
                return

    def _merge(self, into: Open, gone: Open) -> None:
        """Two queue files turn out to be one message."""
        into.events.extend(gone.events)
        into.dropped = tuple(sorted({*into.dropped, *gone.dropped}))
        into.flags |= gone.flags
        into.dirty = True
        for life in gone.lives:
            life.message = into
        into.lives.extend(gone.lives)
        for queue_id in gone.mentions:
            self._mention(into, queue_id)
        gone.lives = []
        self.refusals.move(gone, into)
        self._open.pop(id(gone), None)
        if gone.stored is not None:
            self._merged.append((gone, into))
            self._by_id[gone.stored.id] = into
        for known, target in list(self._merged):
            if target is gone:
                self._merged.append((known, into))
                self._merged.remove((known, target))
                if known.stored is not None:
                    self._by_id[known.stored.id] = into
        gone.dirty = False
        self._touch(into)

    # -- refusals ---------------------------------------------------------------------

    def _take_refusal(self, event: Event, host: bytes) -> Open | None:
        """A line of the SMTP door without a queue id."""
        if event.kind != kinds.DOOR:
            return None
        action = event.fields[0]
        if action == b"hold":
            self.sessions.hold(event, host)
            return None
        if action not in REFUSING:
            return None
        message = self.refusals.of_line(event, host)
        if message is None:
            message = Open(host)
            self._add(message, event)
            self.refusals.register(message, [event])
        elif event not in message.events:
            self._add(message, event)
        return message

    # -- giving to the writer ---------------------------------------------------------

    def flush(self, most: int | None = None) -> int:
        """Put changed messages to the writer, all or the ``most`` least recently touched."""
        count = 0
        chosen = list(self._open.values())
        if most is not None:
            chosen = chosen[:most]
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
            del self._by_id[gone.stored.id]
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
        self._by_id[key] = message
        message.events = list(record.events)
        message.dropped = record.dropped
        message.dirty = False

    def evict(self, keep: int) -> None:
        """After a commit: let go of the least recently touched messages."""
        while len(self._open) > keep:
            key, message = self._open.popitem(last=False)
            if message.dirty:
                self._open[key] = message
                self._open.move_to_end(key, last=False)
                return
            self._forget(message)

    def _forget(self, message: Open) -> None:
        if message.stored is not None:
            del self._by_id[message.stored.id]
        lives = self._lives.get(message.host, {})
        for life in message.lives:
            newest = lives.get(life.queue_id)
            if newest is life:
                if life.older is not None:
                    lives[life.queue_id] = life.older
                else:
                    del lives[life.queue_id]
            else:
                _unlink(newest, life)
        for queue_id in message.mentions:
            if self._mentions.get((message.host, queue_id)) is message:
                del self._mentions[message.host, queue_id]
        message.lives.clear()  # a circle; memory must not wait for the collector
        self.refusals.forget(message)


REFUSING: Final = frozenset(
    {b"reject", b"milter-reject", b"proxy-reject", b"discard", b"milter-discard"}
)


def _matching(life: Life | None, event: Event) -> Life | None:
    """The first life of a chain, newest first, to which an event belongs."""
    while life is not None:
        if belongs(event, life):
            return life
        life = life.older
    return None


def _insert(newest: Life, life: Life) -> None:
    """Put an older life into its place of the chain."""
    step = newest
    while step.older is not None and step.older.first_us > life.first_us:
        step = step.older
    life.older = step.older
    step.older = life


def _unlink(newest: Life | None, life: Life) -> None:
    step = newest
    while step is not None:
        if step.older is life:
            step.older = life.older
            return
        step = step.older


def _is_hop(message: Open, event: Event, life: Life) -> bool:
    """Whether a delivery's next queue id is this life, not another host's id that looks the same.

    Both Message-IDs known: they decide. Otherwise only a hop that stays on this host is believed.
    """
    ours = next((known.message_id for known in message.lives if known.message_id), b"")
    theirs = life.message_id
    if ours and theirs:
        return ours == theirs
    relay = event.fields[3]
    return event.fields[11] in (b"forwarded", b"lmtp") or b"[127." in relay or b"[::1]" in relay
