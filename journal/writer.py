"""The journal's only writer: buffers changed records and commits them in groups.

A commit writes each touched day in one transaction (record, index, change log, counters)
and ``state/`` last (positions, contexts, coverage): a crash in between is undone by
replaying from the old positions, since all merges are idempotent. A tombstone that
points into another day is written after that day, so that no evidence is ever
in neither. Reads see the committed state.

The parts of it: ``days`` (what is open), ``committed`` (reading), ``ids``, and ``forgetting``
(who and what is not to be kept).

Raises ``WriterBusyError``, ``JournalFormatError`` (nothing touched), ``DiskFullError`` (the
group stays buffered), ``NotPermittedError``, and ``UnavailableError`` on damage: end the
process then, the next start puts the day aside.
"""

import grp
import logging
import os
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Self

from journal import address, batch, days, erased, keys, retention, store, sums
from journal.batch import Pending
from journal.committed import Committed
from journal.coverage import Coverage
from journal.forget import Forget
from journal.forgetting import Forgetting
from journal.ids import Ids
from journal.keys import DAY_US, ID_BYTES, Keyer, day_name, day_of, id_day
from journal.open_days import OpenDays
from journal.records import Gap, Message, Record
from journal.store import Change, Store
from journal.terms import entries
from journal.tokens import Hashing
from posttrail.errors import TryAgainError, UnavailableError

log = logging.getLogger(__name__)


class WriterBusyError(TryAgainError):
    """Another process writes to this journal."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"another process is writing to {directory}")


class Writer:
    """Holds the journal's lock from ``open`` to ``close``. Not for use by several threads."""

    def __init__(
        self, directory: Path, lock: int, gid: int | None, map_size: int, delimiters: bytes
    ) -> None:
        self._lock = lock
        self._key = days.read_key(directory)
        self._keyer = Keyer(self._key)
        known, hashing = erased.load(directory, self._key), Hashing(self._key, delimiters)
        self.days = OpenDays(directory, gid, map_size=map_size, delimiters=delimiters)
        self.committed = Committed(self.days, self._keyer)
        self.ids = Ids(self.days, self.committed, self._keyer)
        self.forgetting = Forgetting(self.days, known, hashing)
        self._keyers: dict[bytes, Keyer] = {}
        self._pending: dict[bytes, Pending] = {}
        self._positions: dict[bytes, bytes] = {}
        self._contexts: dict[bytes, bytes] = {}
        self._coverage = Coverage()
        self._covered: dict[bytes, bytes] = {}
        self._seq = 0

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
        self.days.put_aside_suspects()
        self._check_key()
        retention.finish(self.directory, self.days.state)
        self._coverage = Coverage(self.days.state.every(b"v"))
        self._covered = self._coverage.pairs()
        self._seq = self.days.look()
        self.forgetting.look()
        self.days.recycle()

    def _check_key(self) -> None:
        """With another key every message would be looked for in vain, and made again."""
        state = self.days.state
        if not sums.key_is_known(state, self._key):
            raise days.WrongKeyError(self.directory)
        if state.get(b"k", sums.of_key(self._key)[0]) is None:
            state.apply({b"k": Change((), [sums.of_key(self._key)])})

    @property
    def directory(self) -> Path:
        """Where the journal is."""
        return self.days.directory

    @property
    def bad_days(self) -> list[str]:
        """What was put aside as damaged: days to be rebuilt, and "state" (positions are lost)."""
        return self.days.bad

    @property
    def forget(self) -> Forget:
        """Who was erased, and which days are hashed: nothing else of those is to be put."""
        return self.forgetting.forget

    # Reading

    def get(self, message_id: bytes) -> Record | None:
        """The committed record of an id, or of the one it was merged into."""
        return self.committed.get(message_id)

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
        """The committed records with a value within a span: ``Committed.find``."""
        return self.committed.find(kind, value, begin_us, end_us, skip=skip, most=most)

    def position(self, name: str) -> bytes | None:
        """A follower's committed position."""
        return self.committed.position(name)

    def context(self, name: str) -> bytes | None:
        """A committed blob of the correlator."""
        return self.committed.context(name)

    def entries(self, message: Message) -> dict[bytes, bytes]:
        """The index entries of a message (journal.terms)."""
        return entries(message, self._keyer)

    def gaps(self, begin_us: int, end_us: int) -> list[Gap]:
        """Known gaps of all sources that touch a time."""
        found = [each for each in self._coverage.intervals() if isinstance(each, Gap)]
        return [gap for gap in found if gap.begin_us < end_us and gap.end_us > begin_us]

    # Changing

    def new_id(self, time_us: int, identity: bytes) -> bytes:
        """An id that no message has, nor will get from another call."""
        return self.ids.new(time_us, identity)

    def adopt(self, record: Record) -> None:
        """Buffer a record of which the journal lost its own, under the id that it had."""
        self.ids.take(record.id)
        if self.forget.until_us >= 0:
            record = self.forget.record(record)
        self._pending[record.id] = Pending(record, b"", None)

    def lead(self, message_id: bytes, into: bytes) -> None:
        """Buffer a tombstone under an id that nothing has: it leads to a message from now on."""
        self._pending[message_id] = Pending(None, into, None)

    def put(self, record: Record, old: Record | None) -> None:
        """Buffer a record; ``old`` is the one put before it, or what ``get`` gives, or None."""
        forgetting = self.forgetting
        if forgetting.counted and id_day(record.id) in forgetting.counted:
            return
        if forgetting.forget.until_us >= 0:  # whatever way it came: nothing of whom we forgot
            record = forgetting.forget.record(record)
        waiting = self._pending.get(record.id)
        committed = old if waiting is None else waiting.old
        self._pending[record.id] = Pending(record, b"", committed)

    def tombstone(self, old: Record, into: bytes) -> None:
        """Buffer that a record was merged into another one; its counters are taken back."""
        if len(into) != ID_BYTES or into == old.id:
            raise ValueError("a message cannot be merged there")
        if self.forgetting.counted and id_day(old.id) in self.forgetting.counted:
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
        self.days.clean_readers()
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
        with self.days.applying(day) as opened:
            keyer = self._keyer_of(opened)
            built = batch.build(opened, keyer, group, self._seq, fresh=self.ids.given)
            self._seq = built.seq
            opened.apply(built.changes)
        latest = self.days.latest
        if day in latest:
            times = [one.record.message.time_us for one in group.values() if one.record]
            latest[day] = max(latest[day], *times, 0)
        for message_id in group:
            del self._pending[message_id]
        self.ids.settle(group)

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
        with self.days.applying(None) as state:
            state.apply(changes)
        self._covered = covered
        self._positions.clear()
        self._contexts.clear()

    def _keyer_of(self, opened: Store) -> Keyer:
        """What makes the terms of a day: each keeps the delimiters that it began with."""
        delimiters = opened.get(b"x", keys.MARK) or b""
        keyer = self._keyers.get(delimiters)
        if keyer is None:
            keyer = self._keyers[delimiters] = Keyer(self._key, delimiters)
        return keyer

    # Keeping

    def prune(self, now_us: int, keep_days: int) -> list[str]:
        """Drop the days past retention; returns their names. Commit beforehand."""
        today = day_of(now_us)
        dropped = []
        for day in retention.expired(self.days.present, today, keep_days):
            self.days.drop(day)
            dropped.append(day_name(day))
        for name in retention.expired_bad(self.directory, today, keep_days):
            retention.remove(self.directory, name)
            dropped.append(name)
        self._coverage.forget((today - keep_days + 1) * DAY_US)
        return dropped

    def shrink(self, cap_bytes: int, protected: int) -> list[str]:
        """Drop the oldest days before ``protected`` until the journal is within ``cap_bytes``."""
        found = retention.beyond(self.directory, self.days.present, cap_bytes, protected)
        for day in found:
            self.days.drop(day)
        if found:
            self._coverage.forget((found[-1] + 1) * DAY_US)
        return [day_name(day) for day in found]

    def close(self) -> None:
        """Close all; what was not committed is gone. Closing twice is harmless."""
        if self._lock < 0:
            return
        self.days.close()
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, UnavailableError):
            self.days.suspect_all()  # it may be damage that reading met
        self.close()


def _gid(group: str | None) -> int | None:
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        log.info("journal group does not exist group=%s", group)
        return None
