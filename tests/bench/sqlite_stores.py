"""The same rows in SQLite, twice: an index joined to the rows, and one covering index.

Both answer what a report's first page asks: the newest rows to or from an address, all
columns, and how many rows of each status there are. Filled with the very rows that our
journal holds.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from journal.address import fold
from journal.reader import Reader
from query.rows import FIELDS, make

PAGE: Final = 50
_COLUMNS: Final = ", ".join(f'"{name}"' for name in FIELDS)
_OF_ROWS: Final = ", ".join(f'rows."{name}"' for name in FIELDS)
_MARKS: Final = ", ".join("?" * len(FIELDS))
_MMAP: Final = 16 << 30
_BATCH: Final = 10_000

Cells = tuple[str | int | float | None, ...]


def entries(reader: Reader) -> Iterator[tuple[set[str], int, Cells]]:
    """For each row of the journal: the addresses it is found by, its time, its cells."""
    for message_id, _ in reader.scan():
        message = reader.message(message_id)
        if message is None or message.id != message_id:
            continue
        for number, row in enumerate(message.rows, 1):
            made = make(message, number, row)
            cells = tuple(
                " ".join(value) if isinstance(value, list) else value
                for value in (getattr(made, name) for name in FIELDS)
            )
            sides = {
                fold(raw).decode("utf-8", "surrogateescape")
                for raw in (message.sender, row.recipient, row.final_recipient)
                if raw
            }
            yield sides, message.time_us, cells


class Rival:
    """One SQLite file and its two statements."""

    def __init__(self, path: Path, page: str, counts: str) -> None:
        self.path = path
        self._page = page
        self._counts = counts
        self._database = sqlite3.connect(path)
        self._database.execute(f"PRAGMA mmap_size = {_MMAP}")
        self._database.execute("PRAGMA synchronous = OFF")

    def script(self, text: str) -> None:
        """Run DDL."""
        self._database.executescript(text)

    def put(self, statement: str, rows: list[Cells]) -> None:
        """Insert many."""
        with self._database:
            self._database.executemany(statement, rows)

    def first_page(self, name: str) -> tuple[list[Cells], dict[str, int]]:
        """The newest rows of an address, and its rows by status."""
        page = self._database.execute(self._page, (name, PAGE)).fetchall()
        return page, dict(self._database.execute(self._counts, (name,)).fetchall())

    def plan(self, name: str) -> str:
        """How SQLite looks the page up: a bench of a table scan would prove nothing."""
        steps = self._database.execute("EXPLAIN QUERY PLAN " + self._page, (name, PAGE))
        return "; ".join(str(step[3]) for step in steps)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def joined(path: Path) -> Rival:
    """Rows once; an index of (address, time, row, status) that leads to them."""
    rival = Rival(
        path,
        f"SELECT {_OF_ROWS} FROM side JOIN rows ON rows.number = side.number WHERE side.name = ? "
        "ORDER BY side.at DESC, side.number LIMIT ?",
        "SELECT status, count(*) FROM side WHERE name = ? GROUP BY status",
    )
    rival.script(
        f"CREATE TABLE rows (number INTEGER PRIMARY KEY, {_COLUMNS});"
        "CREATE TABLE side (name, at, number, status,"
        " PRIMARY KEY (name, at DESC, number)) WITHOUT ROWID;"
    )
    return rival


def covering(path: Path) -> Rival:
    """Rows once for each of their addresses; one index that holds every column."""
    rival = Rival(
        path,
        f"SELECT {_COLUMNS} FROM found WHERE name = ? ORDER BY at DESC LIMIT ?",
        "SELECT status, count(*) FROM found WHERE name = ? GROUP BY status",
    )
    rival.script(f"CREATE TABLE found (name, at, {_COLUMNS});")
    return rival


def fill(reader: Reader, one: Rival, two: Rival) -> Counter[str]:
    """Load both from the journal; how many rows each address has."""
    names: Counter[str] = Counter()
    rows: list[Cells] = []
    sides: list[Cells] = []
    wide: list[Cells] = []
    status = FIELDS.index("status")

    def flush() -> None:
        one.put(f"INSERT INTO rows VALUES (?, {_MARKS})", rows)
        one.put("INSERT INTO side VALUES (?, ?, ?, ?)", sides)
        two.put(f"INSERT INTO found VALUES (?, ?, {_MARKS})", wide)
        for each in (rows, sides, wide):
            each.clear()

    for number, (found_by, time_us, cells) in enumerate(entries(reader)):
        names.update(found_by)
        rows.append((number, *cells))
        sides += [(name, time_us, number, cells[status]) for name in found_by]
        wide += [(name, time_us, *cells) for name in found_by]
        if len(rows) >= _BATCH:
            flush()
    flush()
    two.script(f"CREATE INDEX covering ON found (name, at DESC, {_COLUMNS});")
    for rival in (one, two):
        rival.script("ANALYZE;")
    return names
