"""``posttrail check``: read the journal through and name what does not hold.

Exit codes: 0, 69 where anything is damaged, and those of ``errors``.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import click

from journal.check import DamagedJournalError, Part, check_journal
from journal.days import is_part
from posttrail.cli import Globals
from posttrail.errors import UsageError
from posttrail.text import safe
from query import export
from query.options import text_or_json


@click.command("check")
@click.option("--day", "names", multiple=True, metavar="DAY", help="This day only, or state.")
@text_or_json
@click.pass_obj
def check(options: Globals, /, names: tuple[str, ...], form: str) -> int:
    """Read the whole journal: checksums, indexes both ways, counters; name what is damaged."""
    if options.socket is not None:
        raise UsageError("check reads a journal itself: use --journal DIR")
    for name in names:
        if not (is_part(name) and (options.journal / name).is_dir()):
            raise UsageError(f"--day: the journal has no {name}; days are named as 2026-11-23")
    parts = check_journal(options.journal, names)
    problems = _write_json(parts, options.journal) if form == "json" else _write_text(parts)
    if problems:
        raise DamagedJournalError(options.journal, problems)
    return 0


def document(parts: Iterable[Part], directory: Path) -> dict[str, object]:
    """The document of ``check`` (docs/schema/check.json)."""
    checked = list(parts)
    return {
        "journal": str(directory),
        "problems": sum(part.problems for part in checked),
        "parts": [asdict(part) for part in checked],
    }


def _write_json(parts: Iterable[Part], directory: Path) -> int:
    told = document(parts, directory)
    sys.stdout.write(export.json_line(told, sys.stdout))
    sys.stdout.flush()
    return int(str(told["problems"]))


def _write_text(parts: Iterable[Part]) -> int:
    """Each part is told as soon as it was read; how many problems."""
    problems = 0
    for part in parts:
        sys.stdout.writelines(lines(part))
        sys.stdout.flush()
        problems += part.problems
    return problems


def lines(part: Part) -> Iterator[str]:
    """A part for eyes, its problems below."""
    verdict = f"{part.problems:,} problems" if part.problems else "sound"
    yield f"{part.name:<10}  {part.messages:>9,} messages  {part.entries:>10,} entries  {verdict}\n"
    for sentence in part.first_problems:
        yield f"  {safe(sentence)}\n"
    if part.problems > len(part.first_problems):
        yield f"  and {part.problems - len(part.first_problems):,} more\n"
