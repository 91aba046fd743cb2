"""awstats: sample lines of several programs; an own reading tells what became of whom."""

from collections.abc import Iterator
from pathlib import Path

from tests.score import oracle, sendmail_lines
from tests.score.check import Check, read_jsonl


def checks(folder: Path) -> Iterator[Check]:
    """The lines of the programs that are read."""
    for number, case in enumerate(read_jsonl(folder / "lines.jsonl"), start=1):
        if case["kind"].startswith("postfix"):
            yield from oracle.checks_of_lines(f"line {number}", [case["line"]])
        elif case["kind"].startswith("sendmail"):
            yield from sendmail_lines.of_awstats(case["line"], f"line {number}")
