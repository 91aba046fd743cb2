"""The journal's only writer: buffers changed records and commits them in groups.

A commit writes each touched day in one transaction (record, index, change log, counters)
and ``state/`` last (positions, contexts, coverage): a crash in between is undone by
replaying from the old positions, since all merges are idempotent. A tombstone that
points into another day is written after that day, so that no evidence is ever
in neither. Reads see the committed state.

Raises ``WriterBusyError``, ``JournalFormatError`` (nothing touched), ``DiskFullError`` (the
group stays buffered), ``NotPermittedError``, and ``UnavailableError`` on damage: end the
process then, the next start puts the day aside.
"""

import grp
import logging
import os
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final, Self

from journal import (
    address,
    batch,
    codec,
    counters,
    days,
    erased,
    hits,
    keys,
    retention,
    store,
    sums,
)
from journal.batch import Pending
from journal.coverage import Coverage
from journal.forget import Forget
from journal.hits import Day, Span, Term
from journal.keys import (
    DAY_US,
    HASH_BITS,
    HASH_MASK,
    HOUR_US,
    ID_BYTES,
    STATUS,
    Keyer,
    day_name,
    day_of,
    id_day,
    make_id,
    parse_day,
)
from journal.records import NO_STATUS, Gap, Message, Record, Status
from journal.store import Change, DamagedStoreError, DiskFullError, Store
from journal.terms import entries, value_of, values
from journal.tokens import Hashing
from posttrail.errors import TryAgainError, UnavailableError

log = logging.getLogger(__name__)

_READER_CHECK_S: Final = 60.0
_MAX_HOPS: Final = 100
_BODIES: Final = 512
_COUNTERS_MOST: Final = 1024  # of a day: hours, statuses, directions


class WriterBusyError(TryAgainError):
    """Another process writes to this journal."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"another process is writing to {directory}")


class Writer:
    """Holds the journal's lock from ``open`` to ``close``. Not for use by several threads."""

    def __init__(
        self, directory: Path, lock: int, gid: int | None, map_size: int, delimiters: bytes
    ) -> None:
        self._directory = directory
        self._lock = lock
        self._gid = gid
        self._map_size = map_size
        self._key = days.read_key(directory)
        self._keyer = Keyer(self._key)
        self._hashing = Hashing(self._key, delimiters)
        self._counted: set[int] = set()  # days of which counters alone stay
        self.forget = Forget(erased.load(directory, self._key), hashing=self._hashing)
        """Who was erased, and which days are hashed: nothing else of those is to be put."""
        self._delimiters = delimiters  # of the days that we make
        self._keyers: dict[bytes, Keyer] = {}
        self._touching = days.Touching(directory, gid)
        self._open_days: dict[int, Store] = {}
        self._pending: dict[bytes, Pending] = {}
        self._given: set[bytes] = set()
        self._newest: dict[int, int] = {}  # the latest millisecond of an id, by day
        self._latest: dict[int, int] = {}  # the latest time in the days that we made ourselves
        self._positions: dict[bytes, bytes] = {}
        self._contexts: dict[bytes, bytes] = {}
        self._sick: set[str] = set()
        self._opened_state: Store | None = None
        self.bad_days: list[str] = []
        """What was put aside as damaged: days to be rebuilt, and "state" (positions are lost)."""
        self._coverage = Coverage()
        self._covered: dict[bytes, bytes] = {}
        self._seq = 0
        self._present: list[int] = []
        self._checked = time.monotonic()

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        group: str | None = None,
        map_size: int = store.MAP_SIZE,
        delimiters: bytes = address.DELIMITERS,
    ) -> Self:
        """Take the lock, make what is missing, put aside what is damaged.

        In new days ``user+x@`` is found under ``user@``, too, for each of the ``delimiters``.
        """
        if os.path.exists(directory / "FORMAT"):  # False, too, where we may not look: see take_lock
            days.check_format(directory)
        gid = _gid(group)
        lock = days.take_lock(directory, gid)
        if lock is None:
            raise WriterBusyError(directory)
        try:
            days.create(directory, gid)
            writer = cls(directory, lock, gid, map_size, delimiters)
        except BaseException:
            os.close(lock)
            raise
        try:
            writer._start()
        except BaseException:
            writer.close()
            raise
        return writer

    def _start(self) -> None:
        suspects = self._touching.suspects
        self.bad_days += days.put_aside_damaged(self._directory, suspects)
        self._check_key()
        retention.finish(self._directory, self._state)
        self._coverage = Coverage(self._state.every(b"v"))
        self._covered = self._coverage.pairs()
        for day in days.present(self._directory):
            self._first_look(day)
        for day in self._present:
            self._note_marks(day)
        self.recycle()

    def _check_key(self) -> None:
        """With another key every message would be looked for in vain, and made again."""
        if not sums.key_is_known(self._state, self._key):
            raise days.WrongKeyError(self._directory)
        if self._state.get(b"k", sums.of_key(self._key)[0]) is None:
            self._state.apply({b"k": Change((), [sums.of_key(self._key)])})

    def _first_look(self, day: int) -> None:
        """Learn a day's last change number; what LMDB refuses to open is put aside."""
        self._present.append(day)
        try:
            last = self._day(day).last_key(b"l")
            self._open_days[day].clean_readers()
        except DamagedStoreError as error:
            log.error("journal day cannot be read day=%s error=%s", day_name(day), error)
            self._forget(day)
            self._present.remove(day)
            self.bad_days.append(day_name(day))
            days.quarantine(self._directory, day_name(day))
            return
        self._seq = max(self._seq, int.from_bytes(last or b"", "big"))

    @property
    def _state(self) -> Store:
        if self._opened_state is not None:
            return self._opened_state
        path = self._directory / days.STATE
        if not path.exists():
            days.create_store(self._directory, days.STATE, store.STATE_DATABASES, self._gid)
        self._touching.add(days.STATE)
        opened = Store(path, store.STATE_DATABASES, writable=True, gid=self._gid)
        opened.clean_readers()
        self._opened_state = opened
        return opened

    def _forget_state(self) -> None:
        if self._opened_state is not None:
            self._opened_state.close()
            self._opened_state = None

    # Reading

    def new_id(self, time_us: int, identity: bytes) -> bytes:
        """An id that no message has, nor will get from another call."""
        day = day_of(time_us)
        bits = self._keyer.bits(identity)
        message_id = make_id(day, time_us, bits)
        if self._is_newest(day, message_id):
            self._given.add(message_id)
            return message_id
        while True:
            if message_id not in self._given and self._body(message_id) is None:
                self._given.add(message_id)
                return message_id
            bits = bits + 1 & HASH_MASK
            message_id = make_id(day, time_us, bits)

    def _is_newest(self, day: int, message_id: bytes) -> bool:
        """Whether an id is of a later millisecond than all of its day: then it is free."""
        newest = self._newest.get(day)
        if newest is None:
            opened = self._day_if_present(day)
            last = opened.last_key(b"m") if opened is not None else None
            newest = int.from_bytes(last or b"", "big") >> HASH_BITS
        ms = int.from_bytes(message_id[2:], "big") >> HASH_BITS
        self._newest[day] = max(newest, ms)
        return ms > newest

    def get(self, message_id: bytes) -> Record | None:
        """The committed record of an id, or of the one it was merged into."""
        for _ in range(_MAX_HOPS):
            body = self._body(message_id)
            if body is None:
                return None
            into = codec.merged_into(message_id, body)
            if into is None:
                return codec.decode(message_id, body)
            message_id = into
        raise UnavailableError(f"journal damaged: tombstones of {message_id.hex()} form a circle")

    def find(
        self,
        kind: bytes,
        value: bytes,
        begin_us: int,
        end_us: int,
        *,
        skip: Container[bytes] = (),
        most: int = 0,
    ) -> list[Record]:
        """The committed records with that value and begin <= time <= end, newest first.

        Those whose id is in ``skip`` are passed over without being read. ``most``: of each
        day so many of the newest at most; 0: all.
        """
        first, last = day_of(begin_us), day_of(end_us) + 1  # + 1: its time may have moved back
        days_within = [
            day
            for day in reversed(self._present)
            if first <= day <= last and self._latest.get(day, begin_us) >= begin_us
        ]
        found: list[Record] = []
        if not days_within:
            return found
        wanted = value_of(kind, value)
        terms = [Term(self._keyer.term(wanted))]
        key = terms[0].key
        for day in days_within:
            opened = self._open_days.get(day) or self._day(day)
            if opened.begins(b"x", key):  # a miss ends here: it is the rule
                span = Span(begin_us // 1000, end_us // 1000 + 1)
                hit = hits.newest_first([Day(day, opened)], lambda _: terms, span, self._time_of)
                unread = (each.id for each in hit if each.id not in skip)
                ids = list(islice(unread, most or None))
                found += self._verified(opened, ids, wanted, begin_us, end_us)
        found.sort(key=lambda record: (record.message.time_us, record.id), reverse=True)
        return found

    def _verified(
        self, opened: Store, ids: list[bytes], wanted: bytes, begin_us: int, end_us: int
    ) -> Iterator[Record]:
        """The records of a day that truly have a value, within a span."""
        for message_id in ids:
            body = opened.get(b"m", message_id[2:])
            if body is None or codec.merged_into(message_id, body) is not None:
                continue
            record = codec.decode(message_id, body)
            if begin_us <= record.message.time_us <= end_us and wanted in values(record.message):
                yield record

    def rows(self, since_us: int, until_us: int) -> dict[int, int]:
        """Committed rows by status, of the messages of a period that is widened to whole hours."""
        found: dict[int, int] = {}
        for day in self._present:
            if not day_of(since_us) <= day <= day_of(until_us):
                continue
            for key, value in self._day(day).up(b"c", b"", limit=_COUNTERS_MOST):
                hour_us = day * DAY_US + key[0] * HOUR_US
                if since_us - HOUR_US < hour_us <= until_us and key[1] != NO_STATUS:
                    found[key[1]] = found.get(key[1], 0) + int.from_bytes(value, "big")
        return found

    def silent(self, before_us: int, *, most: int) -> int:
        """Messages with a row in progress that came before an instant, and no word of them since.

        ``most`` records are read, the newest; what lies behind them counts unread.
        """
        key = self._keyer.term(value_of(STATUS, Status.IN_PROGRESS.token.encode()))
        last = day_of(before_us) + 1
        within = [Day(day, self._day(day)) for day in reversed(self._present) if day <= last]
        span = Span(0, before_us // 1000 + 1)
        count = 0
        waiting = hits.newest_first(within, lambda _: [Term(key)], span, self._time_of)
        for number, hit in enumerate(waiting):
            if number >= most:
                count += 1
                continue
            record = self.get(hit.id)
            if record is not None and record.id == hit.id and _is_silent(record, before_us):
                count += 1
        return count

    def position(self, name: str) -> bytes | None:
        """A follower's committed position."""
        return sums.get(self._state, b"p", name.encode())

    def context(self, name: str) -> bytes | None:
        """A committed blob of the correlator."""
        return sums.get(self._state, b"k", name.encode())

    def _body(self, message_id: bytes) -> bytes | None:
        opened = self._day_if_present(id_day(message_id))
        return None if opened is None else opened.get(b"m", message_id[2:])

    def _time_of(self, message_id: bytes) -> int | None:
        body = self._body(message_id)
        if body is None or codec.merged_into(message_id, body) is not None:
            return None
        return codec.decode_message(message_id, body).time_us

    def has(self, message_id: bytes) -> bool:
        """Whether an id is taken, by a record or a tombstone that is committed."""
        return self._body(message_id) is not None

    def bodies(self, day: int) -> Iterator[tuple[bytes, bytes]]:
        """Id and body of all that is committed in a day; it may be written to meanwhile."""
        low = b""
        while (opened := self._day_if_present(day)) is not None:
            pairs = opened.up(b"m", low, limit=_BODIES)
            if not pairs:
                return
            for key, body in pairs:
                yield day.to_bytes(2, "big") + key, body
            low = pairs[-1][0] + b"\0"

    def entries(self, message: Message) -> dict[bytes, bytes]:
        """The index entries of a message (journal.terms)."""
        return entries(message, self._keyer)

    @property
    def directory(self) -> Path:
        """Where the journal is."""
        return self._directory

    def gaps(self, begin_us: int, end_us: int) -> list[Gap]:
        """Known gaps of all sources that touch a time."""
        found = [each for each in self._coverage.intervals() if isinstance(each, Gap)]
        return [gap for gap in found if gap.begin_us < end_us and gap.end_us > begin_us]

    # Changing

    def adopt(self, record: Record) -> None:
        """Buffer a record of which the journal lost its own, under the id that it had."""
        self._is_newest(id_day(record.id), record.id)
        if self.forget.until_us >= 0:
            record = self.forget.record(record)
        self._pending[record.id] = Pending(record, b"", None)

    def lead(self, message_id: bytes, into: bytes) -> None:
        """Buffer a tombstone under an id that nothing has: it leads to a message from now on."""
        self._pending[message_id] = Pending(None, into, None)

    def put(self, record: Record, old: Record | None) -> None:
        """Buffer a record; ``old`` is the one put before it, or what ``get`` gives, or None."""
        if self._counted and id_day(record.id) in self._counted:
            return
        if self.forget.until_us >= 0:  # whatever way it came: nothing of whom we forgot
            record = self.forget.record(record)
        waiting = self._pending.get(record.id)
        committed = old if waiting is None else waiting.old
        self._pending[record.id] = Pending(record, b"", committed)

    def tombstone(self, old: Record, into: bytes) -> None:
        """Buffer that a record was merged into another one; its counters are taken back."""
        if len(into) != ID_BYTES or into == old.id:
            raise ValueError("a message cannot be merged there")
        if self._counted and id_day(old.id) in self._counted:
            return
        waiting = self._pending.get(old.id)
        committed = old if waiting is None else waiting.old
        self._pending[old.id] = Pending(None, into, committed)

    def set_context(self, name: str, blob: bytes) -> None:
        """Buffer a small named blob; it is committed with the positions."""
        self._contexts[name.encode()] = blob

    def extend(self, source: str, begin_us: int, end_us: int) -> None:
        """Buffer that a source was up and gapless."""
        self._coverage.extend(source, begin_us, end_us)

    def gap(self, gap: Gap) -> None:
        """Buffer that a source was not recording."""
        self._coverage.gap(gap)

    def commit(self, positions: Mapping[str, bytes] | None = None) -> int:
        """Make everything buffered durable; returns the number of changed messages."""
        for name, position in (positions or {}).items():
            self._positions[name.encode()] = position
        changed = len(self._pending)
        for group in self._groups():
            self._commit_day(id_day(next(iter(group))), group)
        self._commit_state()
        if time.monotonic() - self._checked > _READER_CHECK_S:
            self._clean_readers()
        return changed

    def _groups(self) -> Iterator[dict[bytes, Pending]]:
        """One group a day, oldest first; then the tombstones that point out of their day."""
        groups: dict[tuple[bool, int], dict[bytes, Pending]] = {}
        for message_id, pending in self._pending.items():
            day = id_day(message_id)
            leaves = pending.record is None and id_day(pending.into) != day
            groups.setdefault((leaves, day), {})[message_id] = pending
        for place in sorted(groups):
            yield groups[place]

    def _commit_day(self, day: int, group: dict[bytes, Pending]) -> None:
        opened = self._day(day)
        try:
            keyer = self._keyer_of(opened)
            built = batch.build(opened, keyer, group, self._seq, fresh=self._given)
            self._seq = built.seq
            opened.apply(built.changes)
        except DiskFullError:
            self._forget(day)  # LMDB may not go on with an environment that failed to sync
            raise
        except DamagedStoreError:
            self._sick.add(day_name(day))
            raise
        if day in self._latest:
            times = [one.record.message.time_us for one in group.values() if one.record]
            self._latest[day] = max(self._latest[day], *times, 0)
        for message_id in group:
            del self._pending[message_id]
        self._given.difference_update(group)

    def _commit_state(self) -> None:
        covered = self._coverage.pairs()
        summed = sums.of(self._positions, self._contexts)
        changes = {
            b"p": Change((), sorted(self._positions.items())),
            b"k": Change((), sorted((self._contexts | summed).items())),
            b"v": Change(
                sorted(self._covered.keys() - covered.keys()),
                sorted(covered.items() - self._covered.items()),
            ),
        }
        if not any(change.puts or change.deletes for change in changes.values()):
            return
        try:
            self._state.apply(changes)
        except DiskFullError:
            self._forget_state()
            raise
        except DamagedStoreError:
            self._sick.add(days.STATE)
            raise
        self._covered = covered
        self._positions.clear()
        self._contexts.clear()

    # Erasing

    def begin_erasure(self, raw: bytes, at_us: int, delimiters: bytes) -> None:
        """Remember, durably, that an address is to be forgotten in all that began until then."""
        self._remember(self.forget.erased.with_address(raw, at_us, delimiters))

    def end_erasure(self, addresses: Iterable[str]) -> None:
        """Remember that the journal holds nothing more of these (as ``Entry.address``)."""
        self._remember(self.forget.erased.done(addresses))

    def _remember(self, known: erased.Erased) -> None:
        with days.writing(self._directory):
            erased.save(self._directory, known, self._gid)
        before_us = self.forget.hashed_before_us
        self.forget = Forget(known, hashing=self._hashing, hashed_before_us=before_us)

    @property
    def day_names(self) -> list[str]:
        """The names of the days, oldest first."""
        return [day_name(day) for day in self._present]

    def stored(self, name: str, after: bytes, limit: int) -> list[tuple[bytes, Record | None]]:
        """At most ``limit`` messages of a day behind a key, by key; None is a tombstone."""
        day = parse_day(name)
        if day is None or day not in self._present:
            return []
        found: list[tuple[bytes, Record | None]] = []
        prefix = day.to_bytes(2, "big")
        for key, body in self._day(day).up(b"m", after + b"\0", limit=limit):
            into = codec.merged_into(prefix + key, body)
            found.append((key, None if into is not None else codec.decode(prefix + key, body)))
        return found

    def _note_marks(self, day: int) -> None:
        """What is to become of records of a day, by its marks."""
        opened = self._day(day)
        if opened.get(b"x", keys.COUNTED) is not None:
            self._counted.add(day)
        if opened.get(b"x", keys.HASHED) is not None:
            before_us = max(self.forget.hashed_before_us, (day + 1) * DAY_US)
            known = self.forget.erased
            self.forget = Forget(known, hashing=self._hashing, hashed_before_us=before_us)

    def is_marked(self, name: str, mark: bytes) -> bool:
        """Whether the work that a mark of a day stands for was ended."""
        day = parse_day(name)
        return day is not None and self._day(day).get(b"x", mark) == keys.DONE

    def mark(self, name: str, mark: bytes, *, done: bool) -> None:
        """Set a day's mark, durably; from now on what is put into it is hashed, or left out."""
        day = parse_day(name)
        assert day is not None
        value = keys.DONE if done else keys.DOING
        self._apply(day, {b"x": Change((), [(mark, value)])})
        self._note_marks(day)

    def strip(self, name: str, most: int) -> bool:
        """Remove some records, index and change-log entries of a day; whether any were left."""
        day = parse_day(name)
        assert day is not None
        opened = self._day(day)
        for database in (b"x", b"l", b"m"):
            found = [
                key for key, _ in opened.up(database, b"", limit=most) if key not in keys.MARKS
            ]
            if found:
                self._apply(day, {database: Change(found, ())})
                return True
        return False

    def at(self, name: str, key: bytes) -> Record | None:
        """The record of a day under a key; None for a tombstone."""
        day = parse_day(name)
        assert day is not None
        message_id = day.to_bytes(2, "big") + key
        body = self._body(message_id)
        if body is None or codec.merged_into(message_id, body) is not None:
            return None
        return codec.decode(message_id, body)

    def _apply(self, day: int, changes: dict[bytes, Change]) -> None:
        try:
            self._day(day).apply(changes)
        except DiskFullError:
            self._forget(day)
            raise
        except DamagedStoreError:
            self._sick.add(day_name(day))
            raise

    def compact_state(self) -> bool:
        """Give back what is free in ``state``; what was read through it may be seen anew."""
        done = days.compact(
            self._directory, days.STATE, self._state, self._gid, databases=store.STATE_DATABASES
        )
        self._forget_state()
        return done

    def leftovers(self) -> list[str]:
        """What damage or a crash left in the journal's folder, which nobody reads any more."""
        marks = (days.BAD, days.GONE, days.NEW)
        return sorted(
            path.name for path in self._directory.iterdir() if path.name.startswith(marks)
        )

    def remove_leftover(self, name: str) -> None:
        """Remove one of them. Raises OSError."""
        path = self._directory / name
        if path.is_dir():
            retention.remove(self._directory, name)
        else:
            path.unlink()

    # Days

    def _day_if_present(self, day: int) -> Store | None:
        opened = self._open_days.get(day)
        if opened is None and day in self._present:
            opened = self._day(day)
        return opened

    def _day(self, day: int) -> Store:
        """The environment of a day, made where it is missing."""
        opened = self._open_days.get(day)
        if opened is None:
            if day not in self._present:
                self._make(day)
            self._touching.add(day_name(day))
            path = self._directory / day_name(day)
            opened = Store(
                path, store.DAY_DATABASES, writable=True, gid=self._gid, map_size=self._map_size
            )
            self._open_days[day] = opened
        return opened

    def _make(self, day: int) -> None:
        retention.welcome(self._state, day)
        self._latest[day] = 0
        days.create_store(
            self._directory,
            day_name(day),
            store.DAY_DATABASES,
            self._gid,
            self._map_size,
            first={
                b"x": Change((), [(keys.MARK, self._delimiters)]),
                b"c": Change((), [(counters.MARK, counters.KINDS.to_bytes(8, "big"))]),
            },
        )
        self._present = sorted({*self._present, day})

    def _keyer_of(self, opened: Store) -> Keyer:
        """What makes the terms of a day: each keeps the delimiters that it began with."""
        delimiters = opened.get(b"x", keys.MARK) or b""
        keyer = self._keyers.get(delimiters)
        if keyer is None:
            keyer = self._keyers[delimiters] = Keyer(self._key, delimiters)
        return keyer

    def _forget(self, day: int) -> None:
        opened = self._open_days.pop(day, None)
        if opened is not None:
            opened.close()

    def _clean_readers(self) -> None:
        self._checked = time.monotonic()
        for opened in (*self._open_days.values(), self._state):
            opened.clean_readers()

    def recycle(self) -> None:
        """Unmap the days, so that what an import touched does not stay in memory."""
        closed = set(self._open_days)
        for day in closed:
            self._forget(day)
        self._touching.discard({day_name(day) for day in closed} - self._sick)

    def compact(self, name: str) -> bool:
        """Give back what is free in a day's file; for a day that will hardly change any more."""
        day = parse_day(name)
        if day is None or day not in self._present:
            return False
        done = days.compact(self._directory, name, self._day(day), self._gid)
        self._forget(day)  # what is open may be the old file
        self._touching.discard({name} - self._sick)
        return done

    def put_aside(self, day: int) -> bool:
        """Rename a day that was found damaged; False where there is none. Commit beforehand."""
        if day not in self._present:
            return False
        self._forget(day)
        self._touching.discard({day_name(day)})
        self._present.remove(day)
        self._newest.pop(day, None)
        days.quarantine(self._directory, day_name(day))
        return True

    def prune(self, now_us: int, keep_days: int) -> list[str]:
        """Drop the days past retention; returns their names."""
        today = day_of(now_us)
        dropped = []
        for day in retention.expired(self._present, today, keep_days):
            self.drop(day)
            dropped.append(day_name(day))
        for name in retention.expired_bad(self._directory, today, keep_days):
            retention.remove(self._directory, name)
            dropped.append(name)
        self._coverage.forget((today - keep_days + 1) * DAY_US)
        return dropped

    def drop(self, day: int) -> int:
        """Drop a day, its counters carried; the rows that it had. Commit beforehand."""
        totals = retention.sums(self._day(day))
        retention.carry(self._state, day, totals)
        self._forget(day)
        self._touching.discard({day_name(day)})
        self._present.remove(day)
        self._newest.pop(day, None)
        self._latest.pop(day, None)
        retention.remove(self._directory, day_name(day))
        return sum(value for key, value in totals.items() if len(key) == 2 and key[0] != NO_STATUS)

    @property
    def present(self) -> list[int]:
        """The days that there are, oldest first."""
        return list(self._present)

    def shrink(self, cap_bytes: int, protected: int) -> list[str]:
        """Drop the oldest days before ``protected`` until the journal is within ``cap_bytes``."""
        whole = retention.size_of(self._directory)
        if whole <= cap_bytes:
            return []
        sizes = [(day, retention.size_of(self._directory / day_name(day))) for day in self.present]
        found = retention.oversize(sizes, cap_bytes, whole, protected)
        for day in found:
            self.drop(day)
        if found:
            self._coverage.forget((found[-1] + 1) * DAY_US)
        return [day_name(day) for day in found]

    def close(self) -> None:
        """Close all; what was not committed is gone. Closing twice is harmless."""
        if self._lock < 0:
            return
        self.recycle()
        self._forget_state()
        self._touching.discard({days.STATE} - self._sick)
        self._touching.close()
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, UnavailableError):
            # It may be damage that reading met: the next start looks at all that is open now.
            self._sick |= {day_name(day) for day in self._open_days} | {days.STATE}
        self.close()


def _is_silent(record: Record, before_us: int) -> bool:
    waits = any(row.status == Status.IN_PROGRESS for row in record.message.rows)
    return waits and all(event.at_us <= before_us for event in record.events)


def _gid(group: str | None) -> int | None:
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        log.info("journal group does not exist group=%s", group)
        return None
