"""What one seed stands for: sizes, forms, lags and faults, all drawn from it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from tests.bench.world import DAY, SECOND

BEGIN_US: Final = 1_793_404_800 * SECOND  # 2026-10-31T00:00:00Z: a month ends in most histories
HOUR: Final = 3600 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The circumstances of one history."""

    seed: int
    messages: int
    span_us: int
    strangers: int
    mailboxes: int
    short_ids: bool
    port_logging: bool
    rfc3339: bool
    jitter_us: int  # lines of different processes overtake each other by up to this
    steps: tuple[tuple[int, int], ...]  # (when, by how much) the clock is set
    lag_us: tuple[int, int]  # of the log, of the spool: one of them is 0
    lag_from_us: int
    lag_until_us: int
    deaf: tuple[int, int]  # the milter is down meanwhile
    mute: tuple[int, int]  # messages begun meanwhile leave nothing in the log
    archived_until_us: int  # what began before is only in files that are imported
    open_most: int
    read_bytes: int
    segment_bytes: int
    rotation: str
    rotations: int
    kills: int
    stops: int
    imports: int
    half_lines: float
    torn_records: float
    turns: float  # turns of the tracker a line


ROTATIONS: Final = ("create", "late", "delaycompress", "compress", "dateext", "copytruncate")


def plan(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(seed * 7919 + 1)
    messages = random.choice((3, 8, 15, 30, 60))
    span_us = random.choice((600 * SECOND, HOUR, 6 * HOUR, DAY, 3 * DAY, 8 * DAY))
    lag = random.choice((0, 0, SECOND, 30 * SECOND, 600 * SECOND, HOUR, 8 * HOUR))
    late_log = random.random() < 0.5
    return Plan(
        seed=seed,
        messages=messages,
        span_us=span_us,
        strangers=random.choice((2, 10, 100)),
        mailboxes=random.choice((2, 10, 100)),
        short_ids=random.random() < 0.5,
        port_logging=random.random() < 0.5,
        rfc3339=random.random() < 0.5,
        jitter_us=random.choice((0, 20_000, 300_000, SECOND)),
        steps=tuple(_steps(random, span_us)),
        lag_us=(lag, 0) if late_log else (0, lag),
        lag_from_us=BEGIN_US + int(random.random() * span_us),
        lag_until_us=BEGIN_US + int((0.3 + random.random()) * span_us),
        deaf=_window(random, span_us, 0.5),
        mute=_window(random, span_us, 0.2),
        archived_until_us=BEGIN_US + int(random.choice((0, 0, 0.1, 0.4)) * span_us),
        open_most=random.choice((0, 1, 3, 10, 20_000)),
        read_bytes=random.choice((200, 2_000, 1 << 18)),
        segment_bytes=random.choice((600, 5_000, 8 << 20)),
        rotation=random.choice(ROTATIONS),
        rotations=random.choice((0, 1, 3, 10)),
        kills=random.choice((0, 1, 3, 8)),
        stops=random.choice((0, 0, 1, 2)),
        imports=random.choice((0, 0, 1, 2)),
        half_lines=random.choice((0.0, 0.02, 0.2)),
        torn_records=random.choice((0.0, 0.0, 0.1)),
        turns=random.choice((0.02, 0.1, 0.5)),
    )


def _window(random: Random, span_us: int, chance: float) -> tuple[int, int]:
    """An interval of the history, often none."""
    if random.random() > chance:
        return 0, 0
    begin_us = BEGIN_US + int(random.random() * span_us)
    return begin_us, begin_us + int(random.random() * span_us / 3)


def _steps(random: Random, span_us: int) -> list[tuple[int, int]]:
    """NTP sets the clock by a second or two either way; after a long sleep forward by much.

    No step is an hour: that is how far apart two lines of one hop may be (memory.HOP_US).
    """
    by = (-2 * SECOND, -SECOND, SECOND, 2 * SECOND, 60 * SECOND, HOUR // 2)
    count = random.choice((0, 0, 1, 2))
    found = [(BEGIN_US + int(random.random() * span_us), random.choice(by)) for _ in range(count)]
    return sorted(found)
