"""lightmeter-server: an own reading of a small server's week, for the source states no results.

The last word on each recipient of each queue file, through the content filter to the second
queue file, and the number of each client's refusals. mail.err and mail.warn repeat lines of
mail.log and hold older ones: what is in them alone is read, too.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.score import agents, oracle
from tests.score.check import Check


def checks(folder: Path) -> Iterator[Check]:
    """The logs that hold deliveries."""
    for path in sorted(folder.glob("mail.*")):
        yield from oracle.checks(path, year=2021)
        yield from agents.checks(path, year=2021)
    yield from oracle.halves(folder / "mail.log.1", year=2021)
