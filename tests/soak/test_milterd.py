"""A million messages through posttrail-milterd: its memory and its descriptors stay as they are.

The long form takes another number from POSTTRAIL_SOAK_MESSAGES. The figures are printed. What the
spool has is counted and taken away as it grows: the daemon keeps it for days.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bench.milter_client import drive
from tests.integration.milterd_process import Milterd, Start, start
from tests.soak.sizes import descriptors, memory_mib, sessions
from tests.waiting import wait_until

pytest.importorskip("milter")
__all__ = ["start"]

MESSAGES = int(os.environ.get("POSTTRAIL_SOAK_MESSAGES", "1000000"))
STEP = 10_000
SHORT, SHORT_STEP = 5_000, 500
WARM = 0.1  # the part of the messages after which memory is held to be settled
SLOPE_MIB = 10.0


class Sample(NamedTuple):
    """The process between two steps, at rest."""

    messages: int
    resident_mib: float
    anonymous_mib: float
    descriptors: int
    threads: int


class Spool:
    """What was recorded, counted once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._gone = 0

    def records(self) -> int:
        """All so far; finished segments are counted and removed."""
        for path in self._directory.glob("*.seg"):
            self._gone += path.read_bytes().count(b'"t":"txn"')
            path.unlink()
        return self._gone + (self._directory / "current").read_bytes().count(b'"t":"txn"')


def soaked(milterd: Milterd, messages: int, step: int) -> list[Sample]:
    """Drive it step by step; a sample after each, once all of the step was recorded."""
    spool, pid = Spool(milterd.spool), milterd.process.pid
    samples = []
    for first in range(0, messages, step):
        drive(milterd.socket, step, first=first)
        wait_until(_all_recorded(spool, first + step))
        wait_until(lambda: sessions(milterd.socket) == 0)
        threads = len(os.listdir(f"/proc/{pid}/task"))
        samples.append(Sample(first + step, *memory_mib(pid), descriptors(pid), threads))
    return samples


def _all_recorded(spool: Spool, expected: int) -> Callable[[], bool]:
    return lambda: spool.records() == expected


def judge(samples: list[Sample], capsys: pytest.CaptureFixture[str], seconds: float) -> None:
    """Print the figures, and hold them to what is promised."""
    warm = samples[max(int(len(samples) * WARM) - 1, 0) :]
    grown = max(sample.resident_mib for sample in warm) - warm[0].resident_mib
    with capsys.disabled():
        print(
            f"\nmilterd: {samples[-1].messages:,} messages, {samples[-1].messages / seconds:,.0f}/s:"
            f" resident {warm[0].resident_mib:.1f} MiB after {warm[0].messages:,}, then {grown:+.2f}"
            f" at most, {samples[-1].resident_mib - warm[0].resident_mib:+.2f} at the end"
            f" (anonymous {warm[0].anonymous_mib:.1f}, {samples[-1].anonymous_mib:.1f});"
            f" descriptors {sorted({sample.descriptors for sample in warm})},"
            f" threads {sorted({sample.threads for sample in warm})}",
            flush=True,
        )
    assert grown < SLOPE_MIB
    assert len({sample.descriptors for sample in warm}) == 1


@pytest.mark.soak
def test_a_million_messages_leave_the_milter_as_it_was(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    judge(soaked(start(), MESSAGES, STEP), capsys, time.monotonic() - begun)


def test_messages_leave_the_milter_as_it_was(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    judge(soaked(start(), SHORT, SHORT_STEP), capsys, time.monotonic() - begun)
