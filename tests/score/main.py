"""Scores posttrail against the mail logs of others (``make score``).

Each folder of the corpora (POSTTRAIL_CORPORA, default ``../shared/corpora``) that has a module
here is compared, statement by statement. Prints a table a folder; ``--write FILE`` keeps it as
Markdown, ``--wrong`` prints each comparison that is not right. Exit codes: 0; 1 a comparison is
wrong and not argued; 66 no corpora.
"""

import argparse
import importlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.score.check import Check

HERE = Path(__file__).parent
CORPORA = Path(os.environ.get("POSTTRAIL_CORPORA", HERE.parents[1].parent / "shared" / "corpora"))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.score", description=__doc__)
    parser.add_argument("folders", nargs="*", help="only these folders")
    parser.add_argument("--wrong", action="store_true", help="print what is not right")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the table there")
    options = parser.parse_args()
    if not CORPORA.is_dir():
        print("no corpora: name their folder in POSTTRAIL_CORPORA", file=sys.stderr)
        sys.exit(66)
    wanted = options.folders or sorted(path.name for path in CORPORA.iterdir() if path.is_dir())
    table: list[tuple[str, str, int, int, int]] = []
    failed = False
    for folder in wanted:
        right: Counter[str] = Counter()
        argued: Counter[str] = Counter()
        total: Counter[str] = Counter()
        for check in checks_of(folder):
            total[check.what] += 1
            right[check.what] += check.right
            argued[check.what] += not check.right and bool(check.argued)
            failed = failed or not (check.right or check.argued)
            if options.wrong and not check.right:
                print(
                    f"{folder} {check.case} {check.what}: expected {check.expected!r},"
                    f" got {check.got!r}{' -- ' + check.argued if check.argued else ''}"
                )
        table += [(folder, what, right[what], argued[what], total[what]) for what in sorted(total)]
    lines = list(markdown(table))
    print("\n".join(lines))
    if options.write:
        options.write.write_text("\n".join(lines) + "\n", "utf-8")
    sys.exit(1 if failed else 0)


def checks_of(folder: str) -> Iterator[Check]:
    """The comparisons of a folder; none where no module speaks for it."""
    module = folder.replace("-", "_")
    if (HERE / f"{module}.py").exists():
        yield from importlib.import_module(f"tests.score.{module}").checks(CORPORA / folder)


def markdown(table: list[tuple[str, str, int, int, int]]) -> Iterator[str]:
    """The table; "argued" are differences where the module says why ours is right."""
    yield "| folder | what | right | argued | of |"
    yield "|---|---|---:|---:|---:|"
    for folder, what, right, argued, total in table:
        yield f"| {folder} | {what} | {right} | {argued or ''} | {total} |"
