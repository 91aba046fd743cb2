"""Scores posttrail against the mail logs of others (``make score``).

Each folder of the corpora (POSTTRAIL_CORPORA, default ``../shared/corpora``) that has a module
here is compared, statement by statement. Prints a table and a summary; ``--write FILE`` keeps
them as Markdown, of a whole run only; ``--wrong`` prints each comparison that is not right.
Exit codes: 0; 1 a comparison is wrong and not argued; 66 no corpora.
"""

import argparse
import importlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.score import understood
from tests.score.check import Check

HERE = Path(__file__).parent
CORPORA = Path(os.environ.get("POSTTRAIL_CORPORA", HERE.parents[1].parent / "shared" / "corpora"))


class Score(NamedTuple):
    """What came of the comparisons of one kind in one folder."""

    folder: str
    what: str
    right: int
    argued: int
    total: int


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.score", description=__doc__)
    parser.add_argument("folders", nargs="*", help="only these folders")
    parser.add_argument("--wrong", action="store_true", help="print what is not right")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the score there")
    options = parser.parse_args()
    if not CORPORA.is_dir():
        print("no corpora: name their folder in POSTTRAIL_CORPORA", file=sys.stderr)
        sys.exit(66)
    done = {folder: list(checks_of(folder)) for folder in options.folders or folders()}
    failed = [(folder, check) for folder, found in done.items() for check in wrong(found)]
    if options.wrong:
        for folder, found in done.items():
            for check in found:
                if not check.right:
                    print(told(folder, check))
    scores = [score for folder, found in done.items() for score in scored(folder, found)]
    print("\n".join(table(scores)))
    print("\n".join(summary(scores)))
    if options.write and not options.folders:
        options.write.write_text("\n".join(page(scores, done)) + "\n", "utf-8")
    sys.exit(1 if failed else 0)


def folders() -> list[str]:
    """The folders that are scored: those a module speaks for."""
    there = sorted(path.name for path in CORPORA.iterdir() if path.is_dir())
    return [folder for folder in there if _file(folder).exists()]


def checks_of(folder: str) -> Iterator[Check]:
    """The comparisons of a folder; none where no module speaks for it."""
    if _file(folder).exists():
        yield from _module(folder).checks(CORPORA / folder)
        yield from understood.checks(CORPORA / folder)


def wrong(found: list[Check]) -> list[Check]:
    """Those that are neither right nor argued."""
    return [check for check in found if not check.right and not check.argued]


def scored(folder: str, found: list[Check]) -> Iterator[Score]:
    """What came of a folder's comparisons, by kind."""
    right = Counter(check.what for check in found if check.right)
    argued = Counter(check.what for check in found if not check.right and check.argued)
    for what, total in sorted(Counter(check.what for check in found).items()):
        yield Score(folder, what, right[what], argued[what], total)


def told(folder: str, check: Check) -> str:
    """One difference in a line."""
    why = f" -- {check.argued}" if check.argued else ""
    return (
        f"{folder} {check.case} {check.what}: expected {check.expected!r}, got {check.got!r}{why}"
    )


# -- Markdown ---------------------------------------------------------------------------------


def table(scores: list[Score]) -> Iterator[str]:
    """A line for every folder and kind of comparison."""
    yield "| folder | what | right | argued | of |"
    yield "|---|---|---:|---:|---:|"
    for score in scores:
        yield (
            f"| {score.folder} | {score.what} | {score.right} | {score.argued or ''}"
            f" | {score.total} |"
        )


def summary(scores: list[Score]) -> Iterator[str]:
    """The same by kind alone, those that the rows of a report are judged by first."""
    right: Counter[str] = Counter()
    argued: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for score in scores:
        right[score.what] += score.right
        argued[score.what] += score.argued
        total[score.what] += score.total
    first = [what for what in ("status", "reason", "recipient") if what in total]
    parts = []
    for what in [*first, *sorted(set(total) - set(first))]:
        more = f" and {argued[what]} argued" if argued[what] else ""
        parts.append(f"{what} {right[what]}/{total[what]}{more}")
    yield ""
    yield "All folders: " + "; ".join(parts) + "."


def page(scores: list[Score], done: dict[str, list[Check]]) -> Iterator[str]:
    """docs/score.md."""
    yield "# Score: the logs of others"
    yield ""
    yield (
        "What posttrail makes of the mail logs that other projects publish with their tests, held"
        " against what those projects say of them, statement by statement. `make score` writes"
        ' this page. "Argued" are differences in which we believe to be right; below the table'
        ' stands why, case by case. "lines understood": every line that carries delivery'
        ' information, by patterns of the scorer\'s own. "rows from halves": a log cut in two and'
        " read in either order comes to the rows of the whole."
    )
    yield ""
    yield from table(scores)
    yield from summary(scores)
    yield ""
    yield "## What was compared"
    yield ""
    for folder in done:
        yield f"- **{folder}**: {_about(folder)}"
    yield ""
    yield "## Argued"
    yield ""
    for folder, found in done.items():
        argued = [check for check in found if check.argued and not check.right]
        yield from (f"- {folder}, {_shown(check)}: {check.argued}" for check in argued)
    failed = [(folder, check) for folder, found in done.items() for check in wrong(found)]
    if failed:
        yield from ("", "## Wrong", "")
        yield from (f"- {folder}, {_shown(check)}" for folder, check in failed)


_OURS = re.compile(r"[\w' ,(){}\[\]:-]*")  # no word of anybody's mail: no addresses, no hosts


def _shown(check: Check) -> str:
    """A difference without the source's mail in it."""
    case = check.case if _OURS.fullmatch(check.case) else check.case.partition(" ")[0]
    expected, got = str(check.expected), str(check.got)
    if _OURS.fullmatch(expected) and _OURS.fullmatch(got):
        return f"{case}, {check.what}: the source has `{expected}`, we have `{got}`"
    return f"{case}, {check.what}"


def _about(folder: str) -> str:
    """The module's docstring without the folder's name, in one line."""
    words = " ".join((_module(folder).__doc__ or "").split())
    return words.partition(": ")[2] or words


def _file(folder: str) -> Path:
    return HERE / f"{folder.replace('-', '_')}.py"


def _module(folder: str) -> Any:
    return importlib.import_module(f"tests.score.{folder.replace('-', '_')}")
