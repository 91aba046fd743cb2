"""Rotation storms: what a follower loses and doubles when its log is rotated under it.

Nine columns: rename, a writer that keeps the old file 10 ms, copytruncate; each plain, and
with the followers ended and started again by TERM and by KILL. The long form (``make soak``) has
200 rotations (copytruncate 20) in 10 s at 5,000 lines/s beside rsyslog and tail -F, and
prints the table; POSTTRAIL_STORM_RUNS says how often.
"""

import os
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.storm.followers import Follower, Ours, peers
from tests.storm.weather import Log, Storm, blow

RUNS = int(os.environ.get("POSTTRAIL_STORM_RUNS", "1"))
RESTARTS = 5
DOWN_S = 0.1
WAYS = ("rename", "late", "copytruncate")
ENDS = (None, signal.SIGTERM, signal.SIGKILL)
CALM = Storm("late", rotations=5, seconds=12, rate=5_000)


class Outcome(NamedTuple):
    """What a follower made of the lines."""

    lost: int
    doubled: int

    def __str__(self) -> str:
        return f"{self.lost:,}/{self.doubled:,}"


def outcome(found: Counter[int], written: int) -> Outcome:
    """Lines never seen, and lines seen more than once."""
    assert all(number < written for number in found)
    return Outcome(written - len(found), found.total() - len(found))


def through(
    directory: Path, storm: Storm, *, end: signal.Signals | None, restarts: int, beside: bool
) -> Iterator[tuple[str, Outcome]]:
    """Run one storm; what each follower made of it."""
    with ExitStack() as stack:
        log = stack.enter_context(Log(directory / "mail.log"))
        followers: list[Follower] = [Ours(directory / "ours", log.path)]
        followers += peers(directory, log.path) if beside else []
        for follower in followers:
            stack.callback(follower.close)
            follower.start()
        if beside:
            time.sleep(1)  # rsyslogd does not say when it is ready
        arguments = (followers, end, restarts if end else 0, storm.seconds)
        chaos = threading.Thread(target=upset, args=arguments)
        chaos.start()
        blow(log, storm)
        chaos.join()
        for follower in followers:
            follower.settle(log.written)
            follower.stop(signal.SIGTERM)
            yield follower.name, outcome(follower.found(), log.written)


def upset(
    followers: list[Follower], end: signal.Signals | None, times: int, seconds: float
) -> None:
    """End all followers and start them again, evenly over the storm."""
    began = time.monotonic()
    for number in range(times):
        time.sleep(max(0.0, began + (number + 0.5) * seconds / times - time.monotonic()))
        assert end is not None
        for follower in followers:
            follower.stop(end)
        time.sleep(DOWN_S)
        for follower in reversed(followers):  # ours is waited for: the others are not
            follower.start()


@pytest.mark.integration
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("how", WAYS)
def test_a_short_storm_loses_and_doubles_nothing(
    tmp_path: Path, how: str, end: signal.Signals | None
) -> None:
    storm = Storm(how, rotations=10, seconds=1.5, rate=1_000)
    (told,) = through(tmp_path, storm, end=end, restarts=2, beside=False)
    assert told[1] == (0, 0)


@pytest.mark.soak
def test_nine_columns_and_the_calm_case_beside_the_peers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {
        f"{how} {end.name[3:] if end else ''}".strip(): (
            Storm(how, rotations=20 if how == "copytruncate" else 200, seconds=10, rate=5_000),
            end,
        )
        for how in WAYS
        for end in ENDS
    } | {"calm": (CALM, None), "calm TERM": (CALM, signal.SIGTERM)}
    told: dict[str, dict[str, list[Outcome]]] = {}
    for run in range(RUNS):
        for column, (storm, end) in columns.items():
            directory = tmp_path / f"{run} {column}".replace(" ", "-")
            directory.mkdir()
            for name, one in through(directory, storm, end=end, restarts=RESTARTS, beside=True):
                told.setdefault(name, {}).setdefault(column, []).append(one)
                with capsys.disabled():
                    print(f"\n  {column:18} {name:18} lost/doubled {one}", end="", flush=True)
    with capsys.disabled():
        print(table(told))
    ours = told[Ours.name]
    assert [column for column, found in ours.items() if set(found) != {Outcome(0, 0)}] == []


def table(told: dict[str, dict[str, list[Outcome]]]) -> str:
    """Medians, one row a column of the storm."""
    names = list(told)
    rows = [f"\n\n{'lost/doubled':18}" + "".join(f"{name:>20}" for name in names)]
    for column in told[names[0]]:
        cells = []
        for name in names:
            found = told[name][column]
            middle = Outcome(
                int(statistics.median(one.lost for one in found)),
                int(statistics.median(one.doubled for one in found)),
            )
            cells.append(f"{middle!s:>20}")
        rows.append(f"{column:18}" + "".join(cells))
    return "\n".join(rows)


@pytest.mark.integration
def test_what_copytruncate_loses_is_a_gap_that_holds_every_lost_line(tmp_path: Path) -> None:
    with ExitStack() as stack:
        log = stack.enter_context(Log(tmp_path / "mail.log"))
        ours = Ours(tmp_path / "ours", log.path)
        stack.callback(ours.close)
        ours.start()
        stamps: list[int] = []
        for number in range(8):
            for step in (log.copy, log.truncate, None):  # the writer waits for neither
                stamps += [time.time_ns() // 1000] * 30
                log.write(30)
                if step is not None:
                    step()
            if number == 4:  # the next rotation is while nobody follows
                ours.stop(signal.SIGKILL)
            elif number == 5:
                ours.start()
            if number != 4:
                ours.settle(log.written, quiet_s=1)
        ours.stop(signal.SIGTERM)
    found = ours.found()
    gaps = [gap for gap in ours.gaps() if gap.reason == "truncated"]
    lost = [stamps[number] for number in range(log.written) if number not in found]
    assert lost
    assert [at for at in lost if not any(gap.begin_us <= at <= gap.end_us for gap in gaps)] == []
    assert found.total() == len(found)
