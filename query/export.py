"""Rows to JSON lines and CSV (RFC 4180, lines ended by LF alone): what programs read.

A CSV cell from mail never begins a formula, and neither form holds a character
that a terminal acts on. In CSV unknown is an empty cell, the null sender is
``<>``, several queue ids or sources are parted by a blank. Raises nothing.
"""

from collections.abc import Callable, Iterable
from typing import Final, TextIO

from posttrail.text import json_dump, safe
from query.rows import FIELDS, Cell, Row, document

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
_ADDRESSES: Final = frozenset({"sender"})


def write_json(rows: Iterable[Row], out: TextIO) -> int:
    """One JSON object a line; how many."""
    count = 0
    for row in rows:
        out.write(json_line(document(row), out))
        count += 1
    return count


def json_line(value: object, out: TextIO) -> str:
    """One line of JSON that ``out`` can spell."""
    encoding = (out.encoding or "utf-8").replace("-", "").lower()
    return json_dump(value, ascii_only=encoding != "utf8") + "\n"


def write_csv(rows: Iterable[Row], out: TextIO) -> int:
    """A heading and one line a row; how many rows."""
    return csv_writer()(rows, out)


def csv_writer() -> Callable[[Iterable[Row], TextIO], int]:
    """What writes rows in several goes, the heading in the first."""
    import csv

    headed = False

    def write(rows: Iterable[Row], out: TextIO) -> int:
        nonlocal headed
        writer = csv.writer(out, lineterminator="\n")
        if not headed:
            writer.writerow(FIELDS)
            headed = True
        count = 0
        for row in rows:
            writer.writerow([_csv_cell(name, getattr(row, name)) for name in FIELDS])
            count += 1
        return count

    return write


def _csv_cell(name: str, cell: Cell) -> str | int | float:
    if cell is None:
        return ""
    if isinstance(cell, (int, float)):
        return cell
    if isinstance(cell, list):
        return inert(" ".join(cell))
    return "<>" if not cell and name in _ADDRESSES else inert(cell)


def inert(cell: str) -> str:
    """The text of a cell that no spreadsheet takes for a formula and no terminal obeys."""
    guard = "'" if cell.lstrip(" ").startswith(_FORMULA) else ""
    return guard + safe(cell)
