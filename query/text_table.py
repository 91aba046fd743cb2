"""Tables for people: aligned text in a pipe, rich's on a terminal.

Local time exists here, with its zone named. Every text from mail is escaped.
Raises nothing.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple, TextIO
from unicodedata import combining, east_asian_width

from posttrail.text import safe
from query.rows import Row


class Face(NamedTuple):
    """How a status looks: never by colour alone."""

    icon: str
    word: str
    style: str


FACES: Final[Mapping[str, Face]] = {
    "delivered": Face("✓", "delivered", "green"),
    "in_progress": Face("…", "in progress", "cyan"),
    "filtered": Face("▽", "filtered", "blue"),
    "deferred": Face("↻", "deferred", "yellow"),
    "rejected": Face("⊘", "rejected", "magenta"),
    "error": Face("✗", "error", "bold red"),
}
HEADINGS: Final = ("time", "status", "from", "to", "reason", "id", "what was said")
_STATUS_COLUMN: Final = 1
_TEXT_COLUMN: Final = 6
_LEAST: Final = (19, 13, 24, 24, 12, 13, 0)
"""Widths of columns before it is known what comes."""
_TEXT_LEAST: Final = 20
"""With less room for a reply a row takes two lines."""
_CHUNK: Final = 1000
"""Rows are laid out by the thousand, so that ``--limit all`` needs no room for all."""


def write_rows(rows: Iterable[Row], out: TextIO, *, heading: str = "") -> int:
    """The report table; how many rows."""
    rows, count = iter(rows), 0
    while chunk := list(islice(rows, _CHUNK)):
        if not count:
            out.write(heading)
        if out.isatty():
            _write_rich(chunk, out)
        else:
            lines = [tuple(_cells(row, out)) for row in chunk]
            out.writelines(aligned(lines if count else [HEADINGS, *lines]))
        count += len(chunk)
    return count


class Running:
    """The table of rows that come one by one: a line each, columns as wide as was needed so far."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._widths = list(_LEAST)
        self._headed = False

    def write(self, row: Row, *, gone: bool = False) -> None:
        """One row; one that is ``gone`` answers no more."""
        cells = list(_cells(row, self._out))
        if gone:
            cells[_STATUS_COLUMN] = "gone"
        if not self._headed:
            self._out.write(self._line(HEADINGS))
            self._headed = True
        line = self._line(cells)
        if not self._out.isatty():
            self._out.write(line)
            return
        from rich.console import Console
        from rich.text import Text

        shown, begin = Text(line.rstrip("\n")), self._widths[0] + 2
        style = "dim" if gone else FACES[row.status].style
        shown.stylize(style, begin, begin + len(cells[_STATUS_COLUMN]))
        Console(file=self._out, highlight=False).print(shown, soft_wrap=True)

    def _line(self, cells: Sequence[str]) -> str:
        self._widths = [
            max(width, _width(cell)) for width, cell in zip(self._widths, cells, strict=True)
        ]
        padded = [
            cell + " " * (width - _width(cell))
            for width, cell in zip(self._widths[:-1], cells[:-1], strict=True)
        ]
        return "  ".join([*padded, cells[-1]]).rstrip() + "\n"


def heading(counts: Mapping[str, int], what: str, out: TextIO) -> str:
    """The counts by status and the time zone, as the line above a table."""
    parts = [f"{face(status, out)} {count:,}" for status, count in counts.items() if count]
    total = sum(counts.values())
    said = f"{total:,} {what}{'s' * (total != 1)}: {', '.join(parts)}; " if parts else ""
    return f"{said}times in {zone_name()}\n"


def face(status: str, out: TextIO) -> str:
    """Icon and word of a status; the word alone where ``out`` cannot spell the icon."""
    shown = FACES[status]
    utf8 = (out.encoding or "").lower().startswith("utf")
    return f"{shown.icon} {shown.word}" if utf8 else shown.word


def local(rfc3339_text: str) -> str:
    """Local time, to the second, of a row's time."""
    return datetime.fromisoformat(rfc3339_text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def local_us(at_us: int) -> str:
    """Local time, to the second, of a time in microseconds."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_us // 1_000_000))


def zone_name(at_us: int | None = None) -> str:
    """This machine's zone as ``CET (+0100)``."""
    at = time.localtime(None if at_us is None else at_us // 1_000_000)
    return time.strftime("%Z (%z)", at)


def aligned(lines: Sequence[Sequence[str]], *, indent: str = "") -> Iterator[str]:
    """Lines of cells as columns, two blanks apart; the last column is as long as it is."""
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ]
        yield f"{indent}{'  '.join(padded).rstrip()}\n"


def _cells(row: Row, out: TextIO) -> Iterator[str]:
    yield local(row.time)
    yield face(row.status, out)
    yield sender(row.sender)
    yield recipients(row)
    yield safe(row.reason if row.folder is None else f"{row.reason} ({row.folder})")
    yield row.id
    yield safe(row.reply or "-")


def sender(name: str | None) -> str:
    """A sender for eyes: the null sender is ``<>``, an unknown one ``-``."""
    return "-" if name is None else safe(name) or "<>"


def recipients(row: Row) -> str:
    """Whom a row is for, and whom aliases made of it."""
    if row.recipient is None:
        return safe(row.final_recipient or "-")
    if row.final_recipient in (None, row.recipient):
        return safe(row.recipient)
    return safe(f"{row.recipient} → {row.final_recipient}")


def _write_rich(rows: list[Row], out: TextIO) -> None:
    """A line a row where the terminal is wide enough, else two."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out, highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=True)
    cells = [tuple(_cells(row, out)) for row in rows]
    widths = [max(map(_width, column)) for column in zip(HEADINGS, *cells, strict=True)]
    fixed = sum(widths[:_TEXT_COLUMN]) + 2 * len(HEADINGS)
    is_wide = fixed + _TEXT_LEAST <= console.width
    if is_wide:
        for name in HEADINGS[:_TEXT_COLUMN]:
            table.add_column(name, no_wrap=True)
        table.add_column(HEADINGS[_TEXT_COLUMN], ratio=1, no_wrap=True, overflow="ellipsis")
    else:
        table.add_column("time, id", no_wrap=True)
        table.add_column("status, reason", no_wrap=True)
        table.add_column("from → to, what was said", ratio=1, overflow="fold")
    room = console.width - widths[0] - max(widths[1], widths[4], _width("status, reason")) - 6
    for row, line in zip(rows, cells, strict=True):
        shown = [Text(cell) for cell in (line if is_wide else _stacked(line))]
        shown[_STATUS_COLUMN].stylize(FACES[row.status].style, 0, _width(line[_STATUS_COLUMN]))
        if not is_wide:
            said = Text(line[_TEXT_COLUMN], style="dim")
            said.truncate(room, overflow="ellipsis")
            shown[-1].append_text(said)
        table.add_row(*shown)
    console.print(table)


def _stacked(cells: Sequence[str]) -> tuple[str, ...]:
    """The cells of a row in three columns of two lines; the reply is still to come."""
    at, status, sender, recipient, reason, id, _said = cells
    return f"{at}\n{id}", f"{status}\n{reason}", f"{sender} → {recipient}\n"


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )


def say(words: str) -> None:
    """A sentence for a person, on stderr."""
    print(f"posttrail: {safe(words)}", file=sys.stderr)
