"""pixelpark: an own reading of a server's day, for the source states no results.

The last word on each recipient of each queue file, followed through the content filter where
the log itself has the filter's second queue file, and the number of each client's refusals.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.score import agents, oracle
from tests.score.check import Check


def checks(folder: Path) -> Iterator[Check]:
    """Every half that is there."""
    for path in sorted(folder.glob("*.log.gz")):
        yield from oracle.checks(path)
        yield from oracle.halves(path)
        yield from agents.checks(path)
