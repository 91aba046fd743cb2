"""``posttrail coverage``: when each source was recording, and each gap with its reason.

What an import brought in is its span only: nobody can say whether the file was whole.
Exit codes: 0, and those of ``errors``.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from journal.records import Cover, Gap
from posttrail.cli import Globals
from posttrail.text import rfc3339, safe
from query import export, source, text_table
from query.options import text_or_json

if TYPE_CHECKING:
    from query.answers import Answers

IMPORT: Final = "import"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A source was up; ``gapless`` is None where that cannot be known (an import)."""

    source: str
    begin: str
    end: str
    gapless: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A source was not recording."""

    source: str
    begin: str
    end: str
    reason: str
    lines_lost: int | None  # None: nobody counted them


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The document of ``coverage`` (docs/schema/coverage.json), oldest first."""

    intervals: list[Interval]
    gaps: list[Hole]


@click.command("coverage")
@text_or_json
@click.pass_obj
def coverage(options: Globals, /, form: str) -> int:
    """When capture was up without a gap, by source, and the gaps with their reasons."""

    def work(answers: "Answers") -> int:
        known = answers.coverage()
        if form == "json":
            sys.stdout.write(export.json_line(asdict(known), sys.stdout))
        else:
            sys.stdout.writelines(lines(known))
        return 0

    return source.ask(options, work)


def document(known: Iterable[Cover | Gap]) -> Coverage:
    """What the journal knows, as JSON has it."""
    intervals, gaps = [], []
    for span in _ordered(known):
        begin, end = rfc3339(span.begin_us), rfc3339(span.end_us)
        if isinstance(span, Gap):
            gaps.append(
                Hole(
                    source=span.source,
                    begin=begin,
                    end=end,
                    reason=span.reason,
                    lines_lost=span.lost or None,
                )
            )
        else:
            gapless = None if span.source == IMPORT else True
            intervals.append(Interval(source=span.source, begin=begin, end=end, gapless=gapless))
    return Coverage(intervals=intervals, gaps=gaps)


def lines(known: Coverage) -> Iterator[str]:
    """The same for eyes, in local time."""
    spans: list[Interval | Hole] = [*known.intervals, *known.gaps]
    if not spans:
        yield "nothing was recorded yet\n"
        return
    spans.sort(key=lambda span: (span.begin, span.end, span.source))
    yield from text_table.aligned([("source", "from", "to", ""), *map(_line, spans)])
    yield f"times in {text_table.zone_name()}\n"


def _line(span: Interval | Hole) -> tuple[str, ...]:
    if isinstance(span, Hole):
        said = f"gap: {span.reason.replace('_', ' ')}"
        if span.lines_lost:
            said += f", {span.lines_lost:,} lines lost"
    else:
        said = "recorded" if span.gapless else "imported, completeness unknown"
    begin, end = text_table.local(span.begin), text_table.local(span.end)
    return safe(span.source), begin, end, safe(said)


def _ordered(known: Iterable[Cover | Gap]) -> list[Cover | Gap]:
    return sorted(known, key=lambda span: (span.begin_us, span.end_us, span.source))
