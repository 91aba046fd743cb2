"""Mutated lines go the whole way and nothing raises; the worst line takes milliseconds.

POSTTRAIL_FUZZ_SEED takes another seed, POSTTRAIL_FUZZ_LINES another number of lines. What fails
is printed with its seed, as a Python literal.
"""

import gc
import os
import time

import pytest

from journal import codec
from tests.fuzz import mutations, seeds
from tests.fuzz.road import Road, well_made

SEED = int(os.environ.get("POSTTRAIL_FUZZ_SEED", "1"))
LINES = int(os.environ.get("POSTTRAIL_FUZZ_LINES", "1000000"))
WORST_S = 0.005
HANG_S = 2.0  # of one line; a machine that is busy makes no line take this long
FOLDED_EVERY = 4
COMMIT_EVERY = 2_000
RENEW_EVERY = 100


def through(count: int, seed: int) -> tuple[Road, list[tuple[float, seeds.Seed]]]:
    """Send lines all the way; the slowest ones with their seconds of CPU."""
    known = seeds.own()
    if count > 100_000:
        known = [*known, *seeds.corpora(), *known * 3]  # both about as often
    road = Road()
    slowest: list[tuple[float, seeds.Seed]] = []
    clock, floor = time.thread_time, 0.0
    gc.disable()  # its pauses are not the line's
    try:
        for number, (form, raw) in enumerate(mutations.lines(known, count, seed)):
            if number % RENEW_EVERY < RENEW_EVERY // 4:  # what a log began with decides some things
                road.renew()
            began = clock()
            try:
                events = road.events(form, raw)
                took = clock() - began
                assert all(well_made(event) for _, event in events)
                if number % FOLDED_EVERY == 0:
                    road.fold(events)
                if number % COMMIT_EVERY == 0:
                    road.commit()
            except Exception as error:
                error.add_note(f"seed {seed}, line {number}, form {form}: {raw[:2000]!r}")
                raise
            if took > floor:
                slowest.append((took, (form, raw)))
                if len(slowest) > 200:
                    slowest = sorted(slowest, reverse=True)[:50]
                    floor = slowest[-1][0]
            if number % COMMIT_EVERY == 0:
                gc.collect(0)
    finally:
        gc.enable()
    return road, sorted(slowest, reverse=True)[:50]


def again(form: str, raw: bytes) -> float:
    """The least seconds of CPU that a line takes in three tries."""
    best = 1e9
    for _ in range(3):
        road = Road()
        began = time.thread_time()
        road.events(form, raw)
        best = min(best, time.thread_time() - began)
    return best


def test_50_000_mutated_lines_raise_nothing() -> None:
    road, slowest = through(50_000, SEED)
    assert [(took, raw[:200]) for took, (_, raw) in slowest if took > HANG_S] == []
    assert len(list(road.store)) > 100
    for record in road.store:
        assert codec.decode(record.id, codec.encode(record, 1)) == record


@pytest.mark.soak
def test_a_million_mutated_lines_raise_nothing_and_none_takes_5_ms(
    capsys: pytest.CaptureFixture[str],
) -> None:
    began = time.thread_time()
    _, slowest = through(LINES, SEED)
    worst = sorted(((again(*line), line) for _, line in slowest), reverse=True)[:5]
    with capsys.disabled():
        print(f"\n{LINES:,} mutated lines, seed {SEED}: {time.thread_time() - began:.0f} s CPU")
        for took, (form, raw) in worst:
            print(f"  {took * 1000:.2f} ms: {form}, {len(raw):,} bytes, {raw[:100]!r}")
    assert [(took, raw[:200]) for took, (_, raw) in worst if took >= WORST_S] == []
