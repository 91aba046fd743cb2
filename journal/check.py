"""Read a journal through and say what does not hold.

Of every day: checksums of all records, each record's index entries and change-log entry,
no entry without its record, counters equal to the sum over the messages, tombstones that
lead somewhere. Each part is read in a child process of its own, since a damaged page
kills who touches it. Nothing is written.

Raises ``UnavailableError`` (no journal), ``JournalFormatError``, ``NotPermittedError``.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from journal import codec, counters, days, store, sums
from journal.codec import DamagedRecordError
from journal.coverage import Coverage
from journal.keys import COUNTED, MARK, MARKS, Keyer, day_name, id_day, id_text, parse_day
from journal.store import Store
from journal.terms import entries
from posttrail.errors import NotPermittedError, PosttrailError, UnavailableError

_CHUNK: Final = 1024
_MOST_PROBLEMS: Final = 20
"""Named one by one; the rest of a part's problems are only counted."""


class DamagedJournalError(UnavailableError):
    """The check found something."""

    def __init__(self, directory: Path, problems: int) -> None:
        super().__init__(f"journal damaged: {directory}: {problems} problems")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What the check of one day, or of ``state``, gave."""

    name: str
    messages: int = 0
    tombstones: int = 0
    entries: int = 0
    problems: int = 0
    first_problems: tuple[str, ...] = ()  # sentences


def check_journal(directory: Path, only: Sequence[str] = ()) -> Iterator[Part]:
    """Check ``state`` and each day, oldest first, or some; no lmdb is opened in this process."""
    days.check_format(directory)
    yield from check_parts(directory, only or [days.STATE, *map(day_name, days.present(directory))])


def check_parts(directory: Path, names: Iterable[str]) -> Iterator[Part]:
    """The same for some of them."""
    days.check_format(directory)
    for name in names:
        yield check_in_child(directory, name)


def check_part(directory: Path, name: str) -> Part:
    """Check one day or ``state`` in this process."""
    # One snapshot: a writer may be at work.
    if name == days.STATE:
        with Store(directory / name, store.STATE_DATABASES, writable=False, snapshot=True) as state:
            found = len(Coverage(state.every(b"v")).pairs())
            if not sums.key_is_known(state, days.read_key(directory)):
                raise days.WrongKeyError(directory)
            for database in store.STATE_DATABASES:
                for pairs in state.chunks(database):
                    if database in (b"p", b"k"):
                        sums.look(state, database, pairs)
        return Part(name=name, entries=found)
    day = parse_day(name)
    if day is None:
        raise UnavailableError(f"no day {name} in {directory}")
    with Store(directory / name, store.DAY_DATABASES, writable=False, snapshot=True) as opened:
        return _Check(directory, day, opened).run()


class _Check:
    """The state of one day's check."""

    def __init__(self, directory: Path, day: int, opened: Store) -> None:
        self._directory = directory
        self._day = day
        self._store = opened
        self._keyer = Keyer(days.read_key(directory), opened.get(b"x", MARK) or b"")
        self._problems: list[str] = []
        self._count = 0
        self._unreadable = 0
        self._expected = 0  # index entries that the records call for
        self._figures = opened.get(b"c", counters.MARK) is not None
        self._counters: dict[bytes, int] = {}

    def run(self) -> Part:
        if self._store.get(b"x", COUNTED) is not None:  # its records are going, or went
            left = sum(1 for _ in _all(self._store, b"m"))
            return Part(name=day_name(self._day), messages=left)
        messages = tombstones = 0
        for key, body in _all(self._store, b"m"):
            message_id = self._day.to_bytes(2, "big") + key
            try:
                into = codec.merged_into(message_id, body)
                if into is None:
                    self._message(message_id, body)
                    messages += 1
                else:
                    self._tombstone(message_id, into)
                    tombstones += 1
            except DamagedRecordError as error:
                self._unreadable += 1
                self._problem(str(error))
            if self._store.get(b"l", body[6:14]) != key:
                self._problem(f"{id_text(message_id)} is not in the change log")
        self._compare("change log", messages + tombstones + self._unreadable, b"l")
        found = self._compare("index", self._expected, b"x")
        if not self._unreadable:  # else its rows are missing in the sum
            self._check_counters()
        return Part(
            name=day_name(self._day),
            messages=messages,
            tombstones=tombstones,
            entries=found,
            problems=self._count,
            first_problems=tuple(self._problems),
        )

    def _message(self, message_id: bytes, body: bytes) -> None:
        message = codec.decode(message_id, body).message
        wanted = entries(message, self._keyer)
        self._expected += len(wanted)
        for key, value in wanted.items():
            if self._store.get(b"x", key) != value:
                kind = chr(key[0])
                self._problem(f"{id_text(message_id)} is not in the index under kind {kind}")
        counters.add(self._counters, message, 1, figures=self._figures)

    def _tombstone(self, message_id: bytes, into: bytes) -> None:
        path = self._directory / day_name(id_day(into))
        if id_day(into) == self._day:
            there = self._store.get(b"m", into[2:]) is not None
        elif path.exists():
            with Store(path, store.DAY_DATABASES, writable=False) as other:
                there = other.get(b"m", into[2:]) is not None
        else:
            there = True  # that day was dropped
        if not there:
            self._problem(f"{id_text(message_id)} was merged into a message that is not there")

    def _compare(self, what: str, expected: int, database: bytes) -> int:
        """Entries that should be there were looked for one by one; now for those too many."""
        found = sum(1 for key, _ in _all(self._store, database) if key not in MARKS)
        unknown = self._unreadable if database == b"x" else 0
        if found < expected or (found > expected and not unknown):
            self._problem(f"the {what} has {found} entries, the records call for {expected}")
        return found

    def _check_counters(self) -> None:
        kept = {key: int.from_bytes(value, "big") for key, value in _all(self._store, b"c")}
        kept.pop(counters.MARK, None)
        for key in sorted(kept.keys() | self._counters.keys()):
            expected = self._counters.get(key, 0)
            if kept.get(key, 0) != expected:
                self._problem(
                    f"counter {counters.name(key)} is {kept.get(key, 0)}, the rows say {expected}"
                )

    def _problem(self, sentence: str) -> None:
        self._count += 1
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(f"{day_name(self._day)}: {sentence}")


def _all(opened: Store, database: bytes) -> Iterator[tuple[bytes, bytes]]:
    for pairs in opened.chunks(database, size=_CHUNK):
        yield from pairs


def check_in_child(directory: Path, name: str) -> Part:
    """``check_part`` where a damaged page can do no harm."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        days.expect_death()
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                json.dump(_answer(directory, name), pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) or not text:
        signal = os.WTERMSIG(status)
        sentence = f"{name}: a damaged page ends its reader (signal {signal})"
        return Part(name=name, problems=1, first_problems=(sentence,))
    answer = json.loads(text)
    if "no_permission" in answer:
        raise NotPermittedError(*answer["no_permission"])
    answer["first_problems"] = tuple(answer["first_problems"])
    return Part(**answer)


def _answer(directory: Path, name: str) -> dict[str, object]:
    try:
        return asdict(check_part(directory, name))
    except NotPermittedError:
        path = directory / name
        return {"no_permission": [os.fspath(path), store.group_of(path)]}
    except PosttrailError as error:
        return asdict(Part(name=name, problems=1, first_problems=(f"{name}: {error}",)))
