"""The environments that the writer has open: its days, and ``state``.

A day is made where it is missing, opened on use, and closed again by ``recycle``. Their names are
in ``TOUCHING`` while they are open (journal/touching.py); what was found damaged stays there, so
that the next start looks at it. Changes go through ``applying``: after a full disk LMDB may not go
on with an environment, so it is closed then and opened anew.

Raises what journal/days.py and journal/store.py raise.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from journal import counters, days, keys, retention, store
from journal.keys import day_name, parse_day
from journal.records import NO_STATUS
from journal.store import Change, DamagedStoreError, DiskFullError, Store
from journal.touching import Touching

log = logging.getLogger(__name__)

_READER_CHECK_S: Final = 60.0


class OpenDays:
    """The days of a journal whose lock is held, by number; ``state`` has none."""

    def __init__(
        self, directory: Path, gid: int | None, *, map_size: int, delimiters: bytes
    ) -> None:
        self.directory = directory
        self.gid = gid
        self.present: list[int] = []
        """The days that there are, oldest first. To be read only."""
        self.opened: dict[int, Store] = {}
        """Those of them that are open. To be read only."""
        self.bad: list[str] = []
        """What was put aside as damaged: days to be rebuilt, and "state" (positions are lost)."""
        self.newest: dict[int, int] = {}
        """The latest millisecond of an id, of the days where that was asked (journal/ids.py)."""
        self.latest: dict[int, int] = {}
        """The latest time of a message in the days that we made ourselves."""
        self._map_size = map_size
        self._delimiters = delimiters  # of the days that we make
        self._touching = Touching(directory, gid)
        self._state: Store | None = None
        self._sick: set[str] = set()
        self._checked = time.monotonic()

    def put_aside_suspects(self) -> None:
        """Rename what is damaged of that which the process before had open."""
        self.bad += days.put_aside_damaged(self.directory, self._touching.suspects)

    def look(self) -> int:
        """Learn which days there are; the greatest change number in them."""
        return max(map(self._first_look, days.present(self.directory)), default=0)

    def _first_look(self, day: int) -> int:
        """A day's last change number; what LMDB refuses to open is put aside."""
        self.present.append(day)
        try:
            last = self.of(day).last_key(b"l")
            self.opened[day].clean_readers()
        except DamagedStoreError as error:
            log.error("journal day cannot be read day=%s error=%s", day_name(day), error)
            self._shut(day)
            self.present.remove(day)
            self.bad.append(day_name(day))
            days.quarantine(self.directory, day_name(day))
            return 0
        return int.from_bytes(last or b"", "big")

    @property
    def names(self) -> list[str]:
        """The names of the days, oldest first."""
        return [day_name(day) for day in self.present]

    # Opening

    @property
    def state(self) -> Store:
        """The environment that is of no day."""
        if self._state is not None:
            return self._state
        path = self.directory / days.STATE
        if not path.exists():
            days.create_store(self.directory, days.STATE, store.STATE_DATABASES, self.gid)
        self._touching.add(days.STATE)
        opened = Store(path, store.STATE_DATABASES, writable=True, gid=self.gid)
        opened.clean_readers()
        self._state = opened
        return opened

    def of(self, day: int) -> Store:
        """The environment of a day, made where it is missing."""
        opened = self.opened.get(day)
        if opened is None:
            if day not in self.present:
                self._make(day)
            self._touching.add(day_name(day))
            path = self.directory / day_name(day)
            opened = Store(
                path, store.DAY_DATABASES, writable=True, gid=self.gid, map_size=self._map_size
            )
            self.opened[day] = opened
        return opened

    def if_present(self, day: int) -> Store | None:
        """The same; None where it is missing."""
        opened = self.opened.get(day)
        if opened is None and day in self.present:
            opened = self.of(day)
        return opened

    def named(self, name: str) -> int | None:
        """The number of a day that there is."""
        day = parse_day(name)
        return day if day in self.present else None

    def _make(self, day: int) -> None:
        retention.welcome(self.state, day)
        self.latest[day] = 0
        days.create_store(
            self.directory,
            day_name(day),
            store.DAY_DATABASES,
            self.gid,
            self._map_size,
            first={
                b"x": Change((), [(keys.MARK, self._delimiters)]),
                b"c": Change((), [(counters.MARK, counters.KINDS.to_bytes(8, "big"))]),
            },
        )
        self.present = sorted({*self.present, day})

    # Changing

    @contextmanager
    def applying(self, day: int | None) -> Iterator[Store]:
        """The environment of a day, or with None ``state``, for as long as it is changed."""
        try:
            yield self.state if day is None else self.of(day)
        except DiskFullError:
            self._shut(day)  # LMDB may not go on with an environment that failed to sync
            raise
        except DamagedStoreError:
            self._sick.add(days.STATE if day is None else day_name(day))
            raise

    def suspect_all(self) -> None:
        """Something that is open may be damaged: the next start looks at all of it."""
        self._sick |= {day_name(day) for day in self.opened} | {days.STATE}

    def clean_readers(self) -> None:
        """Free the slots of readers that died; once a minute, however often it is called."""
        if time.monotonic() - self._checked <= _READER_CHECK_S:
            return
        self._checked = time.monotonic()
        for opened in (*self.opened.values(), self.state):
            opened.clean_readers()

    # Closing

    def _shut(self, day: int | None) -> None:
        if day is None:
            opened, self._state = self._state, None
        else:
            opened = self.opened.pop(day, None)
        if opened is not None:
            opened.close()

    def recycle(self) -> None:
        """Unmap the days, so that what an import touched does not stay in memory."""
        closed = set(self.opened)
        for day in closed:
            self._shut(day)
        self._touching.discard({day_name(day) for day in closed} - self._sick)

    def compact(self, name: str) -> bool:
        """Give back what is free in a day's file; for a day that will hardly change any more."""
        day = self.named(name)
        if day is None:
            return False
        done = days.compact(self.directory, name, self.of(day), self.gid)
        self._shut(day)  # what is open may be the old file
        self._touching.discard({name} - self._sick)
        return done

    def compact_state(self) -> bool:
        """Give back what is free in ``state``; what was read through it may be seen anew."""
        done = days.compact(
            self.directory, days.STATE, self.state, self.gid, databases=store.STATE_DATABASES
        )
        self._shut(None)
        return done

    def put_aside(self, day: int) -> bool:
        """Rename a day that was found damaged; False where there is none. Commit beforehand."""
        if day not in self.present:
            return False
        self._leave(day)
        days.quarantine(self.directory, day_name(day))
        return True

    def drop(self, day: int) -> int:
        """Drop a day, its counters carried; the rows that it had. Commit beforehand."""
        totals = retention.sums(self.of(day))
        retention.carry(self.state, day, totals)
        self._leave(day)
        retention.remove(self.directory, day_name(day))
        return sum(value for key, value in totals.items() if len(key) == 2 and key[0] != NO_STATUS)

    def _leave(self, day: int) -> None:
        """Close a day that is about to go, and forget what we know of it."""
        self._shut(day)
        self._touching.discard({day_name(day)})
        self.present.remove(day)
        self.newest.pop(day, None)
        self.latest.pop(day, None)

    def close(self) -> None:
        """Close all; the names of what was found damaged stay in ``TOUCHING``."""
        self.recycle()
        self._shut(None)
        self._touching.discard({days.STATE} - self._sick)
        self._touching.close()
