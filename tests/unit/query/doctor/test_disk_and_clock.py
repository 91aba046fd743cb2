"""Room for what is kept, and a clock that spool and journal agree with."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from journal import store
from posttrail.config import Config, Milter, Run
from posttrail.daemon import write_prom
from query.doctor import clock, disk
from query.doctor.disk import Facts, Room
from query.doctor.finding import Finding, State
from query.doctor.place import Place
from query.doctor.seen import JournalSeen

GIB = 1 << 30
NOW_US = 1_795_435_200_000_000
DAYS = {f"2026-11-{day}": GIB for day in range(14, 24)}  # ten days, the last is today


def place(tmp_path: Path, **more: Any) -> Place:
    settings = Config(run=Run(directory=tmp_path), milter=Milter(spool=tmp_path / "spool"))
    return Place(config=settings, journal=Path("/j"), now_us=NOW_US, **more)


def facts(free: int, *, days: dict[str, int] | None = None, **more: Any) -> Facts:
    room = Room(path="/j", free=free, total=100 * GIB, inodes_free=10_000, inodes=20_000)
    return Facts(rooms=(room,), days=DAYS if days is None else days, today="2026-11-23", **more)


def free(tmp_path: Path, known: Facts) -> Finding:
    (found,) = disk.free(known, place(tmp_path))
    return found


@pytest.mark.parametrize(
    ("gib", "state"),
    [(25, State.OK), (20, State.OK), (19, State.WARNING), (3, State.WARNING), (2, State.PROBLEM)],
)
def test_thirty_days_of_a_gibibyte_need_twenty_more(tmp_path: Path, gib: int, state: State) -> None:
    found = free(tmp_path, facts(gib * GIB))
    assert found.state is state
    assert "1.0 GiB a day, 20 days" in found.seen[1].what


def test_a_full_month_needs_no_more_room(tmp_path: Path) -> None:
    month = {f"2026-{day:04}": GIB for day in range(30)}
    assert free(tmp_path, facts(GIB, days=month)).state is State.OK


def test_an_empty_journal_needs_a_little(tmp_path: Path) -> None:
    assert free(tmp_path, facts(300 << 20, days={})).state is State.OK
    assert free(tmp_path, facts(200 << 20, days={})).state is State.PROBLEM


def test_no_inodes_left(tmp_path: Path) -> None:
    def found(inodes_free: int, inodes: int) -> State:
        room = Room(path="/", free=GIB, total=GIB, inodes_free=inodes_free, inodes=inodes)
        return disk.inodes(Facts(rooms=(room,)), place(tmp_path))[0].state

    assert found(999, 20_000) is State.PROBLEM
    assert found(1000, 20_000) is State.OK
    assert found(0, 0) is State.OK  # btrfs counts none


def test_the_map_of_the_largest_day() -> None:
    assert disk.headroom(facts(GIB)).state is State.OK
    assert disk.headroom(facts(GIB, map_limit=2 * GIB)).state is State.OK
    assert disk.headroom(facts(GIB, map_limit=2 * GIB - 1)).state is State.WARNING
    assert disk.headroom(facts(GIB, days={})).state is State.UNCHECKED


def test_the_limit_of_address_space_is_read() -> None:
    head = "Limit                     Soft Limit           Hard Limit           Units     \n"
    line = "Max address space         {:<20} {:<20} bytes     \n"
    assert disk.address_space(head + line.format("1073741824", "unlimited")) == GIB
    assert disk.address_space(head + line.format("unlimited", "unlimited")) is None
    assert disk.address_space(Path("/proc/self/limits").read_text()) in (None, store.MAP_SIZE)


def test_a_spool_that_nobody_tidies(tmp_path: Path) -> None:
    def found(*segments: tuple[str, int, int]) -> State:
        return disk.depth(Facts(rooms=(), spool=segments), place(tmp_path)).state

    day_s = 86_400
    assert found(("1.seg", 8 << 20, 8 * day_s), ("current", 9, 10)) is State.OK
    assert found(("1.seg", 8 << 20, 10 * day_s), ("current", 9, 10)) is State.WARNING
    assert found(("current", 9, 100 * day_s)) is State.OK  # no mail for long
    assert disk.depth(Facts(rooms=(), spool=None), place(tmp_path)).needs_root


def test_real_disks_are_looked_at(tmp_path: Path) -> None:
    assert disk.gather(place(tmp_path)).spool == ()
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "current").write_bytes(b"x" * 100)
    known = disk.gather(place(tmp_path))
    assert known.rooms[0].total > 0
    assert known.spool is not None
    assert [(name, size) for name, size, _ in known.spool] == [("current", 100)]


# -- the clock ------------------------------------------------------------------------------


def test_the_kernel_is_asked_and_says_the_same_as_timedatectls_source() -> None:
    status, error_us = clock.kernel()
    assert status is not None
    assert status & ~0xFFFF == 0  # sixteen bits of <sys/timex.h>
    assert 0 <= error_us <= 1 << 31


@pytest.mark.parametrize(
    ("status", "state"),
    [(0x2001, State.OK), (0x40, State.WARNING), (0x2041, State.WARNING), (None, State.UNCHECKED)],
)
def test_a_clock_that_nobody_keeps(status: int | None, state: State) -> None:
    assert clock.synchronised(clock.Facts(status=status)).state is state


@pytest.mark.parametrize(
    ("beat_s", "gauges_s", "state"),
    [(5, 3, State.OK), (40, 3, State.PROBLEM), (-10, 3, State.OK), (-3600, 3, State.PROBLEM),
     (3600, 3600, State.UNCHECKED)],
)  # fmt: skip
def test_the_milters_heartbeat_is_of_now(
    tmp_path: Path, beat_s: int, gauges_s: int, state: State
) -> None:
    known = clock.Facts(
        status=0, beat_us=NOW_US - beat_s * 1_000_000, gauges_us=NOW_US - gauges_s * 1_000_000
    )
    assert clock.beat(known, place(tmp_path)).state is state


def test_the_heartbeat_is_read_from_the_gauges(tmp_path: Path) -> None:
    assert clock.gather(place(tmp_path)).beat_us is None
    write_prom(tmp_path / "milterd.prom", {"posttrail_milter_heartbeat_seconds": 1_795_435_190.5})
    assert clock.gather(place(tmp_path)).beat_us == 1_795_435_190_500_000


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (JournalSeen(why_not="", newest_us=NOW_US - 1), State.OK),
        (JournalSeen(why_not="", newest_us=NOW_US + 59_000_000), State.OK),
        (JournalSeen(why_not="", newest_us=NOW_US + 3_600_000_000), State.WARNING),
        (JournalSeen(why_not=""), State.OK),
        (JournalSeen(), State.UNCHECKED),
    ],
)
def test_mail_of_the_future(tmp_path: Path, seen: JournalSeen, state: State) -> None:
    assert clock.ahead(place(tmp_path, seen=seen)).state is state


def test_a_setting_is_changed_in_the_file_as_it_is_shipped(tmp_path: Path) -> None:
    shipped = Path(__file__).resolve().parents[4] / "deploy" / "posttrail.toml"
    file = tmp_path / "posttrail.toml"
    file.write_text(shipped.read_text())
    here = place(tmp_path, config_file=file)
    subprocess.run(here.setting("journal.retention_days", "15"), shell=True, check=True)
    subprocess.run(here.setting("log.timezone", '"Europe/Berlin"'), shell=True, check=True)
    from posttrail import config

    assert config.load(file).journal.retention_days == 15
    assert config.load(file).log.timezone == "Europe/Berlin"
    changed = set(file.read_text().splitlines()) - set(shipped.read_text().splitlines())
    assert changed == {"retention_days = 15", 'timezone = "Europe/Berlin"'}
