"""What posttrail promises when its parts are stopped, killed and started again under load."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from tests.integration.parts import Load, Parts, Sent, settled
from tests.waiting import wait_until

SHORT = 300  # messages while something is away: 6 s of load
LONG = 3000  # 60 s


def is_told(gaps: list[dict[str, str]], begin: float, end: float) -> bool:
    """Whether gaps cover a span of the wall clock, none missing a second of it."""
    reached = begin
    for gap in sorted(gaps, key=lambda gap: gap["begin"]):
        if seconds(gap["begin"]) <= reached + 1.0:
            reached = max(reached, seconds(gap["end"]))
    return reached >= end


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def sources_of(rows: list[dict[str, object]], names: set[str]) -> set[tuple[object, ...]]:
    """Which sources spoke of the rows of these messages."""
    found = [row["sources"] for row in rows if row["message_id"] in names]
    return {tuple(told) for told in found if isinstance(told, list)}


# -- the tracker is away ------------------------------------------------------------------


def stopped(parts: Parts) -> Callable[[], None]:
    assert parts.trackd.stop() == 0
    return parts.start_trackd


def killed(parts: Parts) -> Callable[[], None]:
    parts.trackd.kill()
    return parts.start_trackd


def frozen(parts: Parts) -> Callable[[], None]:
    parts.trackd.signal(signal.SIGSTOP)
    return lambda: parts.trackd.signal(signal.SIGCONT)


def away(parts: Parts, how: Callable[[Parts], Callable[[], None]], count: int) -> None:
    """Nothing is missing and nothing doubled after trackd was away under load."""
    with Load(parts.lab, "away") as load:
        load.more(50)
        back = how(parts)
        load.more(count)
        back()
        load.more(50)
    assert load.refused == []
    rows = settled(parts, load.sent, seen=load.sent)
    assert sources_of(rows, set(load.sent)) == {("milter", "log")}
    covered = parts.coverage()
    assert covered["gaps"] == []
    first = min(one.accepted_at for one in load.sent.values())
    last = max(one.accepted_at for one in load.sent.values())
    for source in ("log", "milter"):
        spans = [span for span in covered["intervals"] if span["source"] == source]
        assert len(spans) == 1, f"{source} was covered in pieces"
        assert seconds(spans[0]["begin"]) <= first + 1.0
        assert seconds(spans[0]["end"]) >= last - 1.0


@pytest.mark.parametrize("how", [stopped, frozen, killed])
def test_a_tracker_that_was_away_misses_and_doubles_nothing(
    parts: Parts, how: Callable[[Parts], Callable[[], None]]
) -> None:
    away(parts, how, SHORT)


@pytest.mark.soak
@pytest.mark.parametrize("how", [stopped, frozen, killed])
def test_a_tracker_that_was_away_for_a_minute_misses_nothing(
    parts: Parts, how: Callable[[Parts], Callable[[], None]]
) -> None:
    away(parts, how, LONG)


# -- the milter is killed -----------------------------------------------------------------


def between(sent: dict[str, Sent], begin: float, end: float) -> set[str]:
    """The messages whose whole session so far was in a span of time."""
    return {name for name, one in sent.items() if one.opened_at > begin and one.accepted_at < end}


def test_a_milter_that_is_killed_costs_no_mail_and_the_gap_has_its_name(parts: Parts) -> None:
    with Load(parts.lab, "killed") as load:
        load.more(100)
        parts.milterd.kill()
        down = time.time()
        load.more(100)
        wait_until(lambda: parts.gaps("milter") != [])  # told while it is down
        reasons = {gap["reason"] for gap in parts.gaps("milter")}
        assert reasons <= {"milter_unreachable", "not_running"}
        load.more(10)
        up = time.time()
        parts.start_milterd()
        ready = time.time()
        load.more(50)
    assert load.refused == []
    before = {name for name, one in load.sent.items() if one.accepted_at < down - 1.0}
    meanwhile, after = between(load.sent, down, up), between(load.sent, ready, time.time())
    rows = settled(parts, load.sent, seen=before | after)
    assert before
    assert len(meanwhile) > 50
    assert after
    assert sources_of(rows, before | after) == {("milter", "log")}
    assert sources_of(rows, meanwhile) == {("log",)}
    wait_until(lambda: is_told(parts.gaps("milter"), down, up))
    assert [gap for gap in parts.coverage()["gaps"] if gap["source"] != "milter"] == []


# -- the log is rotated -------------------------------------------------------------------


def test_rotation_under_load_loses_nothing(parts: Parts) -> None:
    etc = parts.lab.directory / "etc"
    log = parts.lab.log
    with Load(parts.lab, "rotated") as load:
        for number in range(1, 4):
            load.more(50)
            os.rename(log, f"{log}.{number}")  # as logrotate does, postlogd still writes to it
            load.more(10)
            parts.lab.reload()
        # renames, reloads and, a second later, compresses
        subprocess.run(["postfix", "-c", etc, "logrotate"], check=True, capture_output=True)
        load.more(50)
    assert list(log.parent.glob("mail.log.*.gz"))
    assert load.refused == []
    rows = settled(parts, load.sent, seen=load.sent)
    assert sources_of(rows, set(load.sent)) == {("milter", "log")}
    assert parts.coverage()["gaps"] == []


def test_rotation_while_the_tracker_is_away_loses_nothing(parts: Parts) -> None:
    log = parts.lab.log
    with Load(parts.lab, "unseen") as load:
        load.more(50)
        assert parts.trackd.stop() == 0
        load.more(20)
        os.rename(log, f"{log}.1")
        parts.lab.reload()
        wait_until(log.exists)  # postlogd has let go of the old one
        load.more(20)
        subprocess.run(["gzip", f"{log}.1"], check=True)
        os.rename(f"{log}.1.gz", f"{log}.2.gz")
        os.rename(log, f"{log}.1")
        parts.lab.reload()
        load.more(20)
        parts.start_trackd()
        load.more(20)
    rows = settled(parts, load.sent, seen=load.sent)
    assert sources_of(rows, set(load.sent)) == {("milter", "log")}
    assert parts.coverage()["gaps"] == []
