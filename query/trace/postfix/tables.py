"""Lookups in Postfix's tables through postmap(1), many keys at a time, kept for a minute.

``postmap -q - TABLE`` reads keys and prints ``key TAB value`` for those it has. Exit code 1 means
"nothing found" and "cannot be read" alike: words on stderr tell one from the other. A table behind
``proxy:`` is asked directly, because the proxymap(8) socket is closed to others. Raises TableError.
"""

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from posttrail.errors import PosttrailError
from query.trace.postfix.settings import program

KEPT_S: Final = 60.0
TIMEOUT_S: Final = 10.0  # for all tables of one round together
MOST_KEPT: Final = 100_000  # answers
_FILE: Final = re.compile(r"(?<=[:\s])/[^\s,{}]+")
_BAD: Final = frozenset("\n\0")  # no key that postmap reads may have them
_PATTERNS: Final = ("regexp:", "pcre:", "cidr:", "socketmap:", "tcp:", "randmap:", "fail:")


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


class _Answer(NamedTuple):
    at: float
    value: str | None
    why: str | None = None  # the table could not be asked


class Tables:
    """All tables of one Postfix."""

    def __init__(self, config: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._kept: dict[tuple[str, str], _Answer] = {}
        self._stamps: dict[str, tuple[int, ...]] = {}
        self._lock = threading.RLock()  # several callers may share the answers
        self.spawned = 0

    def prefetch(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Ask for all of (table, key) that is not known: one postmap a table, all at once."""
        with self._lock:
            self._prefetch(wanted)

    def _prefetch(self, wanted: Iterable[tuple[str, str]]) -> None:
        now = self._clock()
        wanted = list(dict.fromkeys(wanted))
        self._forget_changed({table for table, _ in wanted})
        missing: dict[str, list[str]] = {}
        for table, key in wanted:
            known = self._kept.get((table, key))
            if key and not _BAD & set(key) and (known is None or now - known.at > KEPT_S):
                missing.setdefault(table, []).append(key)
        if len(self._kept) > MOST_KEPT:
            self._kept.clear()
        running = [(table, keys, self._start(table)) for table, keys in missing.items()]
        until = time.monotonic() + TIMEOUT_S
        for table, keys, process in running:
            self._take(table, keys, process, now=now, until=until)

    def _forget_changed(self, tables: Iterable[str]) -> None:
        """What a table said is not kept when its file has changed."""
        for table in tables:
            stamp = stamp_of(table)
            if self._stamps.setdefault(table, stamp) != stamp:
                self._stamps[table] = stamp
                self._kept = {key: each for key, each in self._kept.items() if key[0] != table}

    def find(self, maps: Sequence[str], keys: Sequence[str]) -> Found | None:
        """The first that is found: each key over all tables before the next key (maps_find)."""
        with self._lock:
            return self._find(maps, keys)

    def _find(self, maps: Sequence[str], keys: Sequence[str]) -> Found | None:
        asked = [
            (table, key)
            for place, key in enumerate(keys)
            for table in maps
            if place == 0 or not is_pattern(table)
        ]
        self.prefetch(asked)
        for table, key in asked:
            answer = self._kept.get((table, key))
            if answer is None:
                continue
            if answer.why is not None:
                raise TableError(table, answer.why)
            if answer.value is not None:
                return Found(table, key, answer.value, answer.at)
        return None

    def _start(self, table: str) -> "subprocess.Popen[str]":
        self.spawned += 1
        where = ["-c", self._config] if self._config else []
        return subprocess.Popen(
            [program("postmap"), *where, "-q", "-", table.removeprefix("proxy:")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
        )

    def _take(
        self,
        table: str,
        keys: Sequence[str],
        process: "subprocess.Popen[str]",
        *,
        now: float,
        until: float,
    ) -> None:
        why: str | None = None
        try:
            output, errors = process.communicate(
                "\n".join(keys) + "\n", timeout=max(0.1, until - time.monotonic())
            )
            why = trouble(process.returncode, errors)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            why = f"no answer within {TIMEOUT_S:.0f} s"
        values = values_of(output)
        for key in keys:
            value = values.get(key)
            self._kept[table, key] = _Answer(now, value, why if value is None else None)


def stamp_of(table: str) -> tuple[int, ...]:
    """When the files that the table's name names were changed; -1 for one that is not there."""
    stamps = []
    for path in _FILE.findall(table):
        for suffix in ("", ".db", ".lmdb", ".cdb"):
            try:
                stamps.append(os.stat(path + suffix).st_mtime_ns)
            except OSError:
                stamps.append(-1)
    return tuple(stamps)


def values_of(output: str) -> dict[str, str]:
    """``key TAB value`` lines."""
    parts = (line.partition("\t") for line in output.split("\n"))
    return {key: value for key, tab, value in parts if tab}


def trouble(code: int, errors: str) -> str | None:
    """Why a table could not be asked, in postmap's words without its own name."""
    lines = [line for line in errors.splitlines() if "fatal:" in line or "error:" in line]
    if lines:
        return lines[-1].partition("postmap: ")[2].removeprefix("fatal: ") or lines[-1]
    if code not in (0, 1):
        return f"postmap ended with {code}"
    return None


def is_pattern(table: str) -> bool:
    """Is it asked with full addresses only?"""
    name = table.removeprefix("proxy:")
    if name.startswith(("unionmap:", "pipemap:")):
        return any(each in name for each in _PATTERNS)
    return name.startswith(_PATTERNS)
