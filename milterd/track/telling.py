"""What ``posttrail import`` shows people: a bar while it goes on, and the summary.

Times are UTC, numbers have their thousands; colours stand on a terminal only, and never alone.
What came from a log is escaped. Raises nothing.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from milterd.track.summary import Progress, Summary
from posttrail.text import rfc3339, safe

KINDS_MOST: Final = 5
GAPS_MOST: Final = 10
SHAPE_WIDTH: Final = 100

_COLOURS: Final = {
    "delivered": "green",
    "in_progress": "cyan",
    "deferred": "yellow",
    "error": "red",
    "rejected": "magenta",
    "filtered": "blue",
}

Show = Callable[[Progress], None]


def silent(_step: Progress) -> None:
    """Nobody is looking."""


@contextmanager
def bar() -> Iterator[Show]:
    """A bar on standard error: which file of how many, lines, rate, messages, time left."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[told]}", markup=False),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    began = time.monotonic()
    with Bar(*columns, console=Console(stderr=True), transient=True, expand=True) as shown:
        task = shown.add_task("import", total=None, told="")

        def show(step: Progress) -> None:
            rate = step.lines / max(time.monotonic() - began, 0.001)
            told = f"{step.lines:,} lines, {rate:,.0f} lines/s, {step.messages:,} messages"
            shown.update(
                task,
                description=f"{safe(Path(step.file).name)} ({step.number} of {step.files})",
                completed=step.bytes_done,
                total=step.bytes_all or None,
                told=told,
            )

        yield show


def lines(summary: Summary, seconds: float) -> Iterator[str]:
    """The summary."""
    rate = summary.lines / max(seconds, 0.001)
    yield _row("period", _period(summary))
    years = ", ".join(map(str, sorted(summary.years))) or "in the stamps"
    yield _row("time zone", f"{summary.timezone} (year {years})")
    yield _row("lines", f"{summary.lines:,} ({rate:,.0f} a second)")
    yield _row("understood", f"{summary.understood:,}")
    yield _row("ignored", f"{summary.ignored:,} (other programs, or nothing about a message)")
    yield _row("unknown", f"{summary.unknown:,}{_share(summary)}")
    if summary.forged:
        yield _row(
            "", f"{summary.forged:,} records ignored: not of the mail server's own units or users"
        )
    if summary.bare:
        yield _row("", f"{summary.bare:,} records name no unit; they are believed, as a file is")
    yield _row("messages", f"{summary.messages:,} new")
    yield _row("rows", f"{summary.rows:,} new")
    if summary.statuses:
        told = (_coloured(token, count) for token, count in summary.statuses.items())
        yield _row("", f"in the journal for this period: {', '.join(told)}")
    yield from _files(summary)
    yield from _gaps(summary)
    yield from _kinds(summary)


def _row(name: str, value: str) -> str:
    return f"{name:<11} {value}"


def _period(summary: Summary) -> str:
    if not summary.newest_us:
        return "no stamps"
    return f"{rfc3339(summary.oldest_us)} to {rfc3339(summary.newest_us)}"


def _share(summary: Summary) -> str:
    if not summary.unknown:
        return ""
    return f" ({100 * summary.unknown / summary.lines:.2f} %, see below)"


def _coloured(token: str, count: int) -> str:
    told = f"{count:,} {token}"
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return told
    return click.style(told, fg=_COLOURS.get(token))


def _files(summary: Summary) -> Iterator[str]:
    """Where there is more to say of the files than that they were read."""
    if all(file["how"] == "read" for file in summary.per_file):
        return
    yield ""
    yield "files"
    for file in summary.per_file:
        skipped = f", {file['skipped']:,} read before" if file["skipped"] and file["lines"] else ""
        count = f": {file['lines']:,} lines{skipped}" if file["lines"] else ""
        yield safe(f"  {file['file']}: {file['how']}{count}")
    if summary.per_file and all(file["how"] == "read before" for file in summary.per_file):
        yield "  nothing new; --again reads them all the same"


def _gaps(summary: Summary) -> Iterator[str]:
    if not summary.gaps:
        return
    yield ""
    yield "the log says that it lost lines"
    for gap in summary.gaps[:GAPS_MOST]:
        lost = f", {gap['lines_lost']:,} lines" if gap["lines_lost"] else ""
        yield f"  {gap['begin']} to {gap['end']}: {gap['reason'].replace('_', ' ')}{lost}"
    if len(summary.gaps) > GAPS_MOST:
        yield f"  and {len(summary.gaps) - GAPS_MOST} more: posttrail coverage"


def _kinds(summary: Summary) -> Iterator[str]:
    """The kinds of lines that were not understood, and how to look."""
    kinds = summary.unknown_kinds
    if not kinds:
        return
    yield ""
    yield "not understood"
    for kind in kinds[:KINDS_MOST]:
        shape = kind["shape"]
        if len(shape) > SHAPE_WIDTH:
            shape = shape[: SHAPE_WIDTH - 3] + "..."
        yield f"  {kind['lines']:>7,}  {kind['program'] or '(no header)'}: {shape}"
    if len(kinds) > KINDS_MOST:
        yield f"  and {len(kinds) - KINDS_MOST} kinds more: --format json"
    yield f"the first: {kinds[0]['example'][:300]}"
    yield "what is known of a line: posttrail explain-line < FILE"
