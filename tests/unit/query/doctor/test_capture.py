"""What was captured: positions against files, gauges, gaps, days put aside."""

from dataclasses import replace
from pathlib import Path

import pytest

from journal.records import Gap
from journal.writer import Writer
from milterd.track.follow import Follower
from posttrail.config import Config, Log, Milter, Run
from posttrail.daemon import write_prom
from query.doctor import capture
from query.doctor.finding import State
from query.doctor.place import Place
from query.doctor.seen import JournalSeen, files_of, gather

NOW_US = 1_795_435_200_000_000
HOUR_US = 3_600_000_000


@pytest.fixture
def place(tmp_path: Path) -> Place:
    settings = Config(
        log=Log(files=(tmp_path / "mail.log",)),
        milter=Milter(spool=tmp_path / "spool"),
        run=Run(directory=tmp_path),
    )
    return Place(config=settings, journal=tmp_path / "journal", now_us=NOW_US)


def test_a_followers_position_is_understood(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(b"one line\nand another\nhalf a li")
    follower = Follower(log, history=True)
    lines, position = follower.read()
    assert len(lines) == 2
    assert files_of(position) == ((log.stat().st_ino, 21),)
    assert capture.lag(files_of(position), log.stat().st_ino, log.stat().st_size) == 9
    assert capture.lag(files_of(position), log.stat().st_ino + 1, 500) == 500
    follower.close()


@pytest.mark.parametrize(
    "position", [b"", b"{}", b'{"files": [[1]]}', b'{"v": 1, "cursor": "s=1"}']
)
def test_other_positions_have_no_files(position: bytes) -> None:
    assert files_of(position) == ()


def test_a_journal_shows_its_positions_and_gaps(tmp_path: Path) -> None:
    writer = Writer.open(tmp_path / "journal")
    writer.gap(Gap("log", NOW_US - HOUR_US, NOW_US, "rate_limited", 7))
    writer.commit({"spool": b'{"files": [[9, "aa", 120, false, 5, 77, false]]}'})
    writer.close()
    seen = gather(tmp_path / "journal")
    assert seen.why_not == ""
    assert seen.positions == {"spool": ((77, 120),)}
    assert seen.gaps == (Gap("log", NOW_US - HOUR_US, NOW_US, "rate_limited", 7),)
    assert (seen.newest_us, seen.counted) == (None, 0)


@pytest.mark.parametrize(
    ("bytes_behind", "state"), [(0, State.OK), (1 << 20, State.OK), ((1 << 20) + 1, State.WARNING)]
)
def test_a_follower_that_is_far_behind(place: Place, bytes_behind: int, state: State) -> None:
    place = Place(
        config=place.config, journal=place.journal, now_us=0, seen=JournalSeen(why_not="")
    )
    facts = capture.Facts(runs=True, behind={"log x": bytes_behind})
    assert capture.behind(facts, place).state is state
    stopped = capture.Facts(runs=False, behind={"log x": bytes_behind})
    assert capture.behind(stopped, place).state is State.UNCHECKED


@pytest.mark.parametrize(
    ("unknown", "messages", "state"),
    [(0, 0, State.OK), (100, 0, State.OK), (101, 0, State.WARNING), (800, 10_000, State.OK),
     (801, 10_000, State.WARNING)],
)  # fmt: skip
def test_a_hundredth_of_the_lines_may_be_unknown(unknown: int, messages: int, state: State) -> None:
    facts = capture.Facts(runs=True, gauges={"posttrail_trackd_unknown_lines_total": unknown})
    assert capture.unknown(facts, JournalSeen(why_not="", counted=messages)).state is state
    assert capture.unknown(capture.Facts(runs=True), JournalSeen()).state is State.UNCHECKED


def test_the_lines_that_were_read_are_the_measure_where_they_are_known(
    place: Place, tmp_path: Path
) -> None:
    gauges = {
        "posttrail_trackd_unknown_lines_total": 200,
        'posttrail_trackd_lines_total{source="spool"}': 1_000_000,
        'posttrail_trackd_lines_total{source="log"}': 15_000,
        'posttrail_trackd_lines_total{source="journald"}': 4_999,
    }
    write_prom(tmp_path / "trackd.prom", gauges)
    many = JournalSeen(why_not="", counted=1_000_000)
    assert capture.unknown(capture.gather(place), many).state is State.WARNING
    write_prom(tmp_path / "trackd.prom", gauges | {"posttrail_trackd_unknown_lines_total": 199})
    assert capture.unknown(capture.gather(place), many).state is State.OK


def test_a_follower_that_reads_old_lines_is_behind_whatever_its_bytes(place: Place) -> None:
    here = replace(place, seen=JournalSeen(why_not=""))

    def state(**gauges: float) -> State:
        named = {
            name.replace("__", "{") + "}" * ("__" in name): age for name, age in gauges.items()
        }
        return capture.behind(
            capture.Facts(runs=True, behind={"log x": 0}, gauges=named), here
        ).state

    assert state(posttrail_trackd_lag_seconds__log=60.0) is State.OK
    assert state(posttrail_trackd_lag_seconds__log=61.0) is State.WARNING
    assert state(posttrail_trackd_disk_full=1.0) is State.PROBLEM


def test_losses_are_read_from_the_gauges(place: Place, tmp_path: Path) -> None:
    assert capture.lost(capture.gather(place), place).state is State.UNCHECKED
    write_prom(tmp_path / "milterd.prom", {"posttrail_milter_lost_records_total": 0,
                                           "posttrail_milter_spool_failing": 0})  # fmt: skip
    assert capture.lost(capture.gather(place), place).state is State.OK
    write_prom(tmp_path / "milterd.prom", {"posttrail_milter_lost_records_total": 3,
                                           "posttrail_milter_spool_failing": 0})  # fmt: skip
    found = capture.lost(capture.gather(place), place)
    assert found.state is State.WARNING
    assert found.seen == (("posttrail_milter_lost_records_total", "3"),)
    write_prom(tmp_path / "milterd.prom", {"posttrail_milter_spool_failing": 1})
    assert capture.lost(capture.gather(place), place).state is State.PROBLEM


@pytest.mark.parametrize(
    ("reason", "ago_h", "state"),
    [("not_running", 1, State.WARNING), ("rate_limited", 1, State.PROBLEM),
     ("rotated_away", 23, State.PROBLEM), ("truncated", 25, State.OK)],
)  # fmt: skip
def test_gaps_of_the_last_day(place: Place, reason: str, ago_h: int, state: State) -> None:
    end_us = NOW_US - ago_h * HOUR_US
    seen = JournalSeen(why_not="", gaps=(Gap("log", end_us - HOUR_US, end_us, reason, 12),))
    found = capture.gaps(seen, place)
    assert found.state is state
    if state is not State.OK:
        assert "for 3,600 s" in found.seen[0].what
        assert found.mend[0] == f"posttrail import --again {place.config.log.files[0]}*"
    assert capture.gaps(JournalSeen(), place).state is State.UNCHECKED


def test_days_put_aside_are_named(tmp_path: Path) -> None:
    assert capture.aside(tmp_path / "none").state is State.UNCHECKED
    assert capture.aside(tmp_path).state is State.OK
    (tmp_path / "bad-2026-11-20").mkdir()
    found = capture.aside(tmp_path)
    assert found.state is State.PROBLEM
    assert found.seen[0].what == "bad-2026-11-20"


def test_what_was_rebuilt_may_be_removed_and_no_other_name_gets_into_a_command(
    tmp_path: Path,
) -> None:
    for name in ("bad-2026-11-20", "bad-`reboot`"):
        (tmp_path / name).mkdir()
        assert capture.aside(tmp_path).mend == ("posttrail rebuild --bad",)
        (tmp_path / name / "REBUILT").touch()
    found = capture.aside(tmp_path)
    assert found.state is State.WARNING
    assert found.mend == ("posttrail rebuild 2026-11-20 --remove",)
