"""modoboa: an own reading of the log, for the source states no results.

The last word on each recipient of each queue file and the number of each client's refusals;
probes (status=deliverable) are no mail.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.score import agents, oracle
from tests.score.check import Check


def checks(folder: Path) -> Iterator[Check]:
    """Every half that is there."""
    for path in sorted(folder.glob("*.log")):
        yield from oracle.checks(path)
        yield from oracle.halves(path)
        yield from agents.checks(path)
