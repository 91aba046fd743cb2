"""What is not to be put into the journal: who was erased, and what old days do not keep.

Both are durable before anything is taken out: an erasure in the file ERASED (journal/erased.py),
a day's hashing or stripping as a *mark* in its index (docs/journal-format.md, "Day"). The work
itself is in steps of the caller's (milterd/track/erase.py, aging.py), which may be done again.
Raises what journal/store.py raises, and ``DiskFullError`` where the list cannot be written.
"""

from collections.abc import Iterable

from journal import days, erased, keys
from journal.forget import Forget
from journal.keys import DAY_US, parse_day
from journal.open_days import OpenDays
from journal.store import Change
from journal.tokens import Hashing


class Forgetting:
    """That of one journal."""

    def __init__(self, open_days: OpenDays, known: erased.Erased, hashing: Hashing) -> None:
        self._days = open_days
        self._hashing = hashing
        self.counted: set[int] = set()
        """The days of which counters alone stay."""
        self.forget = Forget(known, hashing=hashing)
        """Who was erased, and which days are hashed: nothing else of those is to be put."""

    # Erasing

    def begin(self, raw: bytes, at_us: int, delimiters: bytes) -> None:
        """Remember, durably, that an address is to be forgotten in all that began until then."""
        self._remember(self.forget.erased.with_address(raw, at_us, delimiters))

    def end(self, addresses: Iterable[str]) -> None:
        """Remember that the journal holds nothing more of these (as ``Entry.address``)."""
        self._remember(self.forget.erased.done(addresses))

    def _remember(self, known: erased.Erased) -> None:
        directory = self._days.directory
        with days.writing(directory):
            erased.save(directory, known, self._days.gid)
        self._set(known, self.forget.hashed_before_us)

    def _set(self, known: erased.Erased, hashed_before_us: int) -> None:
        self.forget = Forget(known, hashing=self._hashing, hashed_before_us=hashed_before_us)

    # Marks

    def look(self) -> None:
        """Learn the marks of all days."""
        for day in self._days.present:
            self._note(day)

    def _note(self, day: int) -> None:
        """What is to become of records of a day, by its marks."""
        opened = self._days.of(day)
        if opened.get(b"x", keys.COUNTED) is not None:
            self.counted.add(day)
        if opened.get(b"x", keys.HASHED) is not None:
            before_us = max(self.forget.hashed_before_us, (day + 1) * DAY_US)
            self._set(self.forget.erased, before_us)

    def is_marked(self, name: str, mark: bytes) -> bool:
        """Whether the work that a mark of a day stands for was ended."""
        day = parse_day(name)
        return day is not None and self._days.of(day).get(b"x", mark) == keys.DONE

    def mark(self, name: str, mark: bytes, *, done: bool) -> None:
        """Set a day's mark, durably; from now on what is put into it is hashed, or left out."""
        day = parse_day(name)
        assert day is not None
        value = keys.DONE if done else keys.DOING
        with self._days.applying(day) as opened:
            opened.apply({b"x": Change((), [(mark, value)])})
        self._note(day)

    def strip(self, name: str, most: int) -> bool:
        """Remove some records, index and change-log entries of a day; whether any were left."""
        day = parse_day(name)
        assert day is not None
        with self._days.applying(day) as opened:
            for database in (b"x", b"l", b"m"):
                found = [key for key, _ in opened.up(database, b"", limit=most)]
                found = [key for key in found if key not in keys.MARKS]
                if found:
                    opened.apply({database: Change(found, ())})
                    return True
        return False
