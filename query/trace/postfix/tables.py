"""Lookups in Postfix's tables through postmap(1), many keys at a time, kept for a minute.

All tables of a round are asked at once, and whoever needs an answer waits for that table only: one
that is stuck holds nobody else, and is not asked again for ``TROUBLE_KEPT_S``. Answers are kept
until the table's files change or ``KEPT_S`` have gone by; the longest unused go first. A table
behind ``proxy:`` is asked directly, because the proxymap(8) socket is closed to others. Raises
TableError.
"""

import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from posttrail.errors import PosttrailError
from query.trace.postfix import patterns
from query.trace.postfix.patterns import Trust, is_pattern
from query.trace.postfix.postmap import Asking, stamp_of

KEPT_S: Final = 60.0
TROUBLE_KEPT_S: Final = 5.0  # why a table cannot be asked may be over soon
MOST_KEPT: Final = 100_000  # answers
_FILE: Final = re.compile(r"(?<=[:\s])/[^\s,{}]+")
_SUFFIXES: Final = ("", ".db", ".lmdb", ".cdb")
_BAD: Final = frozenset("\n\0")  # no key that postmap reads may have them
_Stamp = tuple[tuple[int, int, int], ...]


class Found(NamedTuple):
    """What a table said."""

    table: str
    key: str
    value: str
    at: float  # time.time() of the asking


class TableError(PosttrailError):
    """A table cannot be asked: not there, not permitted, of a type that is not installed."""

    def __init__(self, table: str, why: str) -> None:
        super().__init__(f"{table}: {why}")
        self.table = table
        self.why = why


class _Way(NamedTuple):
    """How a table is asked: its name, and whether rules with ``$1`` are left out."""

    table: str
    literal: bool


class Tables:
    """All tables of one Postfix; several callers may share them."""

    def __init__(
        self,
        config: str = "",
        *,
        clock: Callable[[], float] = time.time,
        most: int = MOST_KEPT,
    ) -> None:
        self._config = config
        self._clock = clock
        self._most = most
        self._kept: OrderedDict[tuple[_Way, str], Asking] = OrderedDict()
        self._stuck: dict[_Way, Asking] = {}
        self._texts: dict[str, tuple[_Stamp, str | None]] = {}
        self._lock = threading.Lock()  # of what is kept; never held while a process is started
        self.spawned = 0

    def prefetch(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Ask for all of (table, key) that is not known: one postmap a table, all at once.

        Waits for none of them.
        """
        self._ask([(_Way(table, literal=False), key) for table, key in wanted])

    def find(
        self, maps: Sequence[str], keys: Sequence[str], *, trust: Trust = Trust.ANY
    ) -> Found | None:
        """The first that is found: each key over all tables before the next key (maps_find)."""
        ways = [self._way(table, trust) for table in maps]
        asked = [
            (way, key)
            for place, key in enumerate(keys)
            for way in ways
            if place == 0 or not is_pattern(way.table)
        ]
        answers = self._ask([each for each in asked if not _refused(each[0].table, trust)])
        for way, key in asked:
            why = _refused(way.table, trust)
            if why is not None:
                raise TableError(way.table, why)
            asking = answers.get((way, key))
            value = None if asking is None else self._value(asking, way, key)
            if asking is not None and value is not None:
                return Found(way.table, key, value, asking.at)
        return None

    def skipped(
        self, maps: Sequence[str], keys: Sequence[str], found: Found | None, *, trust: Trust
    ) -> str | None:
        """What to say where a rule would have fired that ``trust`` forbids; None: no such rule."""
        if not any(self._way(table, trust).literal for table in maps):
            return None
        otherwise = self.find(maps, keys)
        if otherwise is None or otherwise[:3] == (found[:3] if found else None):
            return None
        return (
            f"a rule of {otherwise.table} for {otherwise.key} is ignored: its result takes text"
            " from the address ($1), which Postfix does not allow here"
        )

    def _way(self, table: str, trust: Trust) -> _Way:
        if trust is Trust.ANY or not re.search(r"(?:regexp|pcre):", table):
            return _Way(table, literal=False)
        return _Way(table, literal=self._literal(table) is not None)

    def _literal(self, table: str) -> str | None:
        """The text of the rules that are left of a table of patterns; None: nothing is left out."""
        stamp = stamp_of(_paths(table))
        known = self._texts.get(table)
        if known is None or known[0] != stamp:
            left: list[str] = []

            def kept(text: str) -> str:
                left.append(text)
                return "-"

            try:
                patterns.literal(table, _text, kept)
            except OSError:
                left = []  # postmap says why it cannot be read
            known = (stamp, "".join(left) if left else None)
            self._texts[table] = known
        return known[1]

    def _ask(self, wanted: Iterable[tuple[_Way, str]]) -> dict[tuple[_Way, str], Asking]:
        """Who answers for each; what is not known is asked now."""
        asked = [each for each in dict.fromkeys(wanted) if each[1] and not _BAD & set(each[1])]
        stamps = {way: stamp_of(_paths(way.table)) for way in dict.fromkeys(w for w, _ in asked)}
        now = self._clock()
        answers: dict[tuple[_Way, str], Asking] = {}
        with self._lock:
            missing: dict[_Way, list[str]] = {}
            for way, key in asked:
                known = self._known(way, key, now, stamps[way])
                if known is None:
                    missing.setdefault(way, []).append(key)
                else:
                    answers[way, key] = known
            fresh = [Asking(way.table, keys, now, stamps[way]) for way, keys in missing.items()]
            for way, asking in zip(missing, fresh, strict=True):
                for key in asking.keys:
                    self._kept[way, key] = answers[way, key] = asking
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            self.spawned += len(fresh)
        for way, asking in zip(missing, fresh, strict=True):
            self._start(way, asking)
        return answers

    def _known(self, way: _Way, key: str, now: float, stamp: _Stamp) -> Asking | None:
        """Needs the lock."""
        stuck = self._stuck.get(way)
        if stuck is not None:
            if stuck.stamp == stamp and now - stuck.at <= TROUBLE_KEPT_S:
                return stuck
            del self._stuck[way]
        known = self._kept.get((way, key))
        if known is None:
            return None
        kept_s = KEPT_S if known.why is None else TROUBLE_KEPT_S
        if known.stamp != stamp or now - known.at > kept_s:
            return None
        self._kept.move_to_end((way, key))
        return known

    def _start(self, way: _Way, asking: Asking) -> None:
        if ":" not in way.table:  # postmap would take it for a table of the default type
            asking.failed(f'expecting "type:name" form instead of "{way.table}"')
            return
        if not way.literal:
            asking.start(self._config, patterns.direct(way.table))
            return
        files: list[int] = []

        def kept(text: str) -> str:
            file = os.memfd_create("rules")
            files.append(file)
            os.write(file, text.encode("utf-8", "surrogateescape"))
            return f"/dev/fd/{file}"

        try:
            named = patterns.literal(patterns.direct(way.table), _text, kept)
            asking.start(self._config, named, inherited=files)
        except OSError as error:
            asking.failed(error.strerror or str(error))
        finally:
            for file in files:
                os.close(file)

    def _value(self, asking: Asking, way: _Way, key: str) -> str | None:
        asking.done.wait()
        value = asking.values.get(key)
        if value:
            return value
        if value is not None:
            raise TableError(way.table, f"an empty result for {key}, which Postfix takes for none")
        if asking.why is None:
            return None
        if asking.stuck:
            with self._lock:
                self._stuck[way] = asking
        if asking.alone:
            raise TableError(way.table, asking.why)
        alone = Asking(way.table, [key], self._clock(), asking.stamp)
        with self._lock:
            self._kept[way, key] = alone
            self.spawned += 1
        self._start(way, alone)
        return self._value(alone, way, key)


def _refused(table: str, trust: Trust) -> str | None:
    return patterns.forbidden(table) if trust is Trust.PARANOID else None


def _paths(table: str) -> list[str]:
    """The files that the table's name names, and their indexes."""
    return [path + suffix for path in _FILE.findall(table) for suffix in _SUFFIXES]


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        return stream.read()
