"""From the journal's change log to calls: one look reads a piece of what is new for each hook.

A hook has a cursor of its own: where its calls pile up (``MOST_WAITING``) it stands still and the
others go on; the journal keeps what it has not read. A day whose file is another one (rebuilt,
restored, compacted) is gone through again from its beginning, all days where the change number
went back; what was told is not told again. Not told is, too, what became so before the hook
began, or more than ``LATE_US`` before it looked last. Raises what the reader raises, StateError.

Log messages: "hook begins" (info), "hook is configured no more" (info), "journal is another one,
hooks begin now" (warning), "change number went back or a day went, days are gone through again"
(warning), "day is gone through again" (info), "hook has too many calls waiting, it stands
still" (warning).
"""

import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from journal import days, keys
from journal.reader import Change, Reader
from journal.records import Message
from posttrail.errors import PosttrailError
from query import redact, rows
from query.changes import Versions
from query.hooks import payload, state
from query.hooks.events import DEFERRED, Keyed, Mark, News, is_of, kind_of, names_erased, news
from query.hooks.payload import Envelope
from query.hooks.state import Call, Place, Told
from query.hooks.wanted import Wanted
from query.httpd.state import State

log = logging.getLogger(__name__)

PIECE: Final = 200
"""Changes of one look, and at most so many rows but for the last change."""
PIECE_ROWS: Final = 2_000
MOST_WAITING: Final = 20_000
"""Calls of one hook, some 2 kB each, before it reads on."""
LATE_US: Final = 8 * keys.DAY_US
"""How late an outcome may be learned of: a follower that was down, an import into a gap."""
STAMP_US: Final = 1_000_000
"""A log's stamp may be a whole second, cut."""
LOOKED_US: Final = 60_000_000
"""How often a hook that has nothing to read keeps when it looked."""


class Look:
    """The reading half of the program; for one thread."""

    def __init__(self, wanted: Iterable[Wanted], store: State, lifetime_days: int) -> None:
        self._wanted = {each.name: each for each in wanted}
        self._state = store
        self._keep_us = LATE_US + (lifetime_days + 1) * keys.DAY_US
        self._versions = Versions()
        self._keyed = Keyed(b"")
        self._begun = False
        self._inodes: dict[int, int] = {}
        self._owed: set[int] = set()  # days that are to be gone through again
        self._again: Iterator[Change] | None = None  # the pass that is under way
        self._full: set[str] = set()
        self.places: list[Place] = []

    def begin(self, reader: Reader, directory: Path, *, now_us: int) -> None:
        """Before the first look: hooks that are new begin, those that are gone are forgotten."""
        key = days.read_key(directory)
        self._keyed = Keyed(key)
        mark = self._keyed.short(b"journal")
        last = reader.last_change()
        known = _inodes(directory)

        def work(db: sqlite3.Connection) -> None:
            before = state.journal_key(db)
            is_other = before is not None and before != mark
            if is_other:
                log.warning("journal is another one, hooks begin now")
            for place in state.places(db):
                if place.name not in self._wanted or is_other:
                    state.drop(db, place.number)
                    if not is_other:
                        log.info("hook is configured no more name=%s", place.name)
            digests = {place.name: place.digest for place in state.places(db)}
            for name, wanted in self._wanted.items():
                if digests.get(name) != wanted.digest:
                    log.info("hook begins name=%s change=%d", name, last)
                    state.begin(db, name, wanted.digest, cursor=last, now_us=now_us)
            if before is None or is_other:
                state.set_journal_key(db, mark)
                state.set_inodes(db, known)
            self._inodes = state.inodes(db)

        self._state.write(work)
        self._versions.learn(reader)
        self._begun = True

    @property
    def is_begun(self) -> bool:
        """Whether there was a journal to begin at."""
        return self._begun

    def tick(self, reader: Reader, directory: Path, *, now_us: int) -> bool:
        """Read a piece; whether there may be more at once."""
        until = reader.last_change()
        self.places = self._state.read(state.places)
        self._notice(reader, directory, until)
        more = self._go_again(reader, now_us)
        ready = [each for each in self.places if not each.off and self._has_room(each)]
        by_cursor: dict[int, list[Place]] = {}
        for place in ready:
            by_cursor.setdefault(place.cursor, []).append(place)
        for cursor, group in by_cursor.items():
            more |= self._read(reader, group, cursor, until, now_us=now_us)
        return more

    # What was read is no more what it was

    def _notice(self, reader: Reader, directory: Path, until: int) -> None:
        found = _with_missing(_inodes(directory), self._inodes)
        back = [place for place in self.places if place.cursor > until]
        if found == self._inodes and not back:
            return
        changed = {day for day, inode in found.items() if self._inodes.get(day, inode) != inode}
        if back or any(not found[day] for day in changed):
            log.warning(
                "change number went back or a day went, days are gone through again change=%d",
                until,
            )
            changed = set(found)
        else:
            for day in sorted(changed):
                log.info("day is gone through again day=%s", keys.day_name(day))
        if changed:  # one pass at a time, anew
            self._owed |= changed
            self._again = None

        def work(db: sqlite3.Connection) -> None:
            for place in back:
                state.move(db, place.number, until, None)
            if not self._owed:  # else when that is done
                state.set_inodes(db, found)

        self._state.write(work)
        self._inodes = found
        self.places = self._state.read(state.places)

    def _go_again(self, reader: Reader, now_us: int) -> bool:
        """A piece of the days that are gone through again."""
        if not self._owed:
            return False
        if not all(self._has_room(place) for place in self.places if not place.off):
            return False  # it waits until nobody misses a part of it
        if self._again is None:
            self._again = _changes_of(reader, self._owed)
        try:
            piece = _piece(self._again)
        except PosttrailError:
            self._again = None  # a day went under our hands: from the beginning
            raise
        with_all = [place for place in self.places if not place.off]

        def work(db: sqlite3.Connection) -> None:
            self._tell(db, piece, with_all, now_us)
            if not piece:
                state.set_inodes(db, self._inodes)

        self._state.write(work)
        if not piece:
            self._again, self._owed = None, set()
        return bool(piece)

    # What is new

    def _read(
        self, reader: Reader, group: list[Place], cursor: int, until: int, *, now_us: int
    ) -> bool:
        piece = _piece(reader.news(cursor, until)) if until > cursor else []
        more = len(piece) == PIECE or sum(map(_weight, piece)) >= PIECE_ROWS
        at = piece[-1].seq if more else until
        into = {}
        for change in piece:
            if change.message is None:
                found = reader.message(change.id)
                into[change.id] = found.id if found is not None else None
        stale = any(now_us - place.looked_us > LOOKED_US for place in group)
        if at == cursor and not stale:
            return False

        def work(db: sqlite3.Connection) -> None:
            for gone, target in into.items():
                if target is not None:
                    state.merged(db, gone, target)
            self._tell(db, piece, group, now_us)
            for place in group:
                state.move(db, place.number, at, None if more else now_us)

        self._state.write(work, durable=bool(piece))
        for change in piece:
            self._versions.add(change)
        return more

    def _tell(
        self, db: sqlite3.Connection, piece: list[Change], group: list[Place], now_us: int
    ) -> None:
        for change in piece:
            if change.message is None:
                continue
            self._unsay(db, change.message)
            for place in group:
                for told in self._told(db, place, change, change.message, now_us):
                    state.tell(db, told)

    def _told(
        self, db: sqlite3.Connection, place: Place, change: Change, message: Message, now_us: int
    ) -> Iterator[Told]:
        wanted = self._wanted[place.name]
        if all(kind_of(row) not in wanted.kinds for row in message.rows):
            return
        shown = _shown(message, wanted)
        if not shown:
            return
        since_us = max(place.begun_us - STAMP_US, place.looked_us - LATE_US)
        known = state.marks(db, place.number, message.id)
        for each in news(message, wanted.kinds, known, self._keyed):
            number = shown.get(each.place)
            if number is None or each.at_us < since_us:
                continue
            if state.knows(db, place.number, each.facts):
                continue
            seen = redact.seen(message, wanted.scope)
            if not wanted.fits(seen, seen.rows[number - 1]):
                continue
            id = self._keyed.id(message.id, *each.mark.names, each.mark.kind.encode())
            envelope = Envelope(
                id=id,
                event=each.mark.kind,
                at_us=each.at_us,
                previous_status=self._previous(change, each, known),
            )
            row = rows.make(seen, number, seen.rows[number - 1])
            body = payload.of_row(envelope, wanted.hook, row)
            call = Call(id, envelope.event, message.id, each.mark.names, body, now_us, now_us)
            yield Told(place.number, message.id, each.mark, each.facts, call)

    def _previous(self, change: Change, told: News, known: list[Mark]) -> str | None:
        """What the row was when it was seen last; None where it was not."""
        old = self._versions.at(change.id, change.seq - 1)
        for row in old.rows if old is not None else ():
            if self._keyed.names(row) == told.mark.names:
                return rows.status_token(row.status)
        names = told.mark.names
        said = {mark.kind for mark in known if mark.names == names}
        return DEFERRED if DEFERRED in said and told.mark.kind != DEFERRED else None

    def _unsay(self, db: sqlite3.Connection, message: Message) -> None:
        """What waits of a row that is no more, or of a message that names an erased address."""
        waiting = state.names_waiting(db, message.id)
        if not waiting:
            return
        gone = names_erased(message)
        for names in waiting:
            if gone or not is_of(names, message, self._keyed):
                state.unsay(db, message.id, names)

    def _has_room(self, place: Place) -> bool:
        number = self._state.read(lambda db: state.waiting(db, place.number))
        if number < MOST_WAITING:
            self._full.discard(place.name)
        elif place.name not in self._full:
            self._full.add(place.name)
            log.warning(
                "hook has too many calls waiting, it stands still name=%s calls=%d",
                place.name, number,
            )  # fmt: skip
        return number < MOST_WAITING

    def forget(self, *, now_us: int, dead_us: int) -> bool:
        """Let go of what nothing can ask for any more; whether there is more to let go of."""
        looked = min((place.looked_us for place in self.places), default=now_us)
        day = keys.day_of(max(looked - self._keep_us, 0))
        return self._state.write(lambda db: state.forget(db, day, now_us - dead_us))


def _shown(message: Message, wanted: Wanted) -> dict[int, int]:
    """The rows in the hook's scope: their places, and the numbers they have there."""
    scope = wanted.scope
    if scope.sees_whole(message):
        return {place: place + 1 for place in range(len(message.rows))}
    places = (place for place, row in enumerate(message.rows) if scope.received(row))
    return {place: number for number, place in enumerate(places, 1)}


def _piece(changes: Iterator[Change]) -> list[Change]:
    """The next of them, so many as are read at once."""
    found: list[Change] = []
    weight = 0
    for change in islice(changes, PIECE):
        found.append(change)
        weight += _weight(change)
        if weight >= PIECE_ROWS:
            break
    return found


def _weight(change: Change) -> int:
    return 1 if change.message is None else 1 + len(change.message.rows)


def _changes_of(reader: Reader, wanted: set[int]) -> Iterator[Change]:
    """Every message of some days, as it is now."""
    for _, message_id in reader.changes(0):
        if keys.id_day(message_id) in wanted:
            found = reader.change(message_id)
            if found is not None and found.message is not None:
                yield found


def _with_missing(found: dict[int, int], known: dict[int, int]) -> dict[int, int]:
    """With 0 for each day that was there and is not, but for those that grew old."""
    oldest = min(found, default=0)
    return {day: 0 for day in known if day > oldest and day not in found} | found


def _inodes(directory: Path) -> dict[int, int]:
    """The file of each day there is."""
    found = {}
    for day in days.present(directory):
        try:
            found[day] = (directory / keys.day_name(day) / "data.mdb").stat().st_ino
        except OSError:
            pass  # dropped meanwhile
    return found


def clock_us() -> int:
    """The time."""
    return time.time_ns() // 1000
