"""pflogsumm-go: an own reading of two made-up logs, for the source states no results.

The last word on each recipient and the number of each client's refusals. Queue ids are
neither hexadecimal nor long ones.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.score import oracle
from tests.score.check import Check


def checks(folder: Path) -> Iterator[Check]:
    """Both logs."""
    for path in sorted(folder.glob("*.log")):
        yield from oracle.checks(path)
