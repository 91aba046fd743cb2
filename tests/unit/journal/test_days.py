"""The directory is as private as it must be, and a day that kills is put aside, alone."""

import grp
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from journal import days
from journal.check import check_journal
from journal.keys import DAY_US
from journal.reader import Reader
from journal.records import Record
from journal.writer import Writer
from posttrail.errors import UnavailableError

BEGIN_US = 20_780 * DAY_US
MakeRecord = Callable[..., Record]
PAGE = 4096


@pytest.fixture
def two_days(directory: Path, record: MakeRecord) -> list[Record]:
    """A closed journal of two days with 400 messages each."""
    made = [
        record(number, time_us=BEGIN_US + number % 2 * DAY_US + number * 1_000_000)
        for number in range(800)
    ]
    with Writer.open(directory) as writer:
        for each in made:
            writer.put(each, None)
        writer.commit({"log": b"here"})
    return made


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(directory: Path, record: MakeRecord, umask: int) -> None:
    before = os.umask(umask)
    try:
        with Writer.open(directory) as writer:
            writer.put(record(1), None)
            writer.commit()
    finally:
        os.umask(before)
    modes = {
        str(path.relative_to(directory)): path.stat().st_mode & 0o7777
        for path in [directory, *directory.rglob("*")]
    }
    assert modes == {
        ".": 0o750, "FORMAT": 0o640, "KEY": 0o640, "LOCK": 0o640, "TOUCHING": 0o640,
        "state": 0o750, "state/data.mdb": 0o640, "state/lock.mdb": 0o660,
        "2026-11-23": 0o750, "2026-11-23/data.mdb": 0o640, "2026-11-23/lock.mdb": 0o660,
    }  # fmt: skip


def test_everything_is_given_to_the_group_of_the_readers(
    directory: Path, record: MakeRecord
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to any group")
    name = "nogroup"
    with Writer.open(directory, group=name) as writer:
        writer.put(record(1), None)
        writer.commit()
    gid = grp.getgrnam(name).gr_gid
    assert {path.stat().st_gid for path in [directory, *directory.rglob("*")]} == {gid}


def test_a_group_that_is_not_there_is_told(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    Writer.open(directory, group="no-such-group").close()
    assert "journal group does not exist group=no-such-group" in caplog.messages


def test_a_day_that_kills_is_put_aside_and_the_others_serve(
    directory: Path, record: MakeRecord, two_days: list[Record], expected_log: Callable[[str], None]
) -> None:
    expected_log("part=2026-11-23 as=bad-2026-11-23")
    data = directory / "2026-11-23" / "data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    child = os.fork()
    if child == 0:
        days.expect_death()
        writer = Writer.open(directory)
        for each in two_days:
            writer.get(each.id)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), "the damage is of the kind that kills"
    with Writer.open(directory) as writer:
        assert writer.bad_days == ["2026-11-23"]
        assert writer.position("log") == b"here"
        assert writer.get(two_days[0].id) is None
        assert writer.get(two_days[1].id) == two_days[1]
        writer.put(two_days[0], None)  # as a rebuild does
        writer.commit()
    assert (directory / "bad-2026-11-23").is_dir()
    with Writer.open(directory) as writer:
        assert writer.bad_days == []
        assert writer.get(two_days[0].id) == two_days[0]
        assert writer.prune(BEGIN_US + 40 * DAY_US, 30)[-1] == "bad-2026-11-23"


def test_a_killed_writer_costs_no_day(directory: Path, two_days: list[Record]) -> None:
    child = os.fork()
    if child == 0:
        writer = Writer.open(directory)
        for each in two_days:
            writer.get(each.id)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (directory / "TOUCHING").read_text() == "2026-11-23\n2026-11-24\nstate\n"
    with Writer.open(directory) as writer:
        assert writer.bad_days == []
        assert writer.get(two_days[0].id) == two_days[0]
    assert (directory / "TOUCHING").read_text() == ""


def test_a_day_that_lmdb_refuses_is_put_aside_at_once(
    directory: Path, two_days: list[Record], expected_log: Callable[[str], None]
) -> None:
    expected_log("journal day cannot be read day=2026-11-24")
    expected_log("part=2026-11-24 as=bad-2026-11-24")
    (directory / "2026-11-24" / "data.mdb").write_bytes(b"not LMDB" * 4096)
    with Writer.open(directory) as writer:
        assert writer.bad_days == ["2026-11-24"]
        assert writer.get(two_days[0].id) == two_days[0]


def test_the_same_day_can_go_bad_twice(
    directory: Path, two_days: list[Record], expected_log: Callable[[str], None]
) -> None:
    expected_log("journal day cannot be read")
    expected_log("as=bad-2026-11-24.2")
    expected_log("as=bad-2026-11-24")
    for _ in range(2):
        (directory / "2026-11-24" / "data.mdb").write_bytes(b"not LMDB" * 4096)
        with Writer.open(directory) as writer:
            writer.put(two_days[1], None)
            writer.commit()
    with Reader.open(directory) as reader:
        assert reader.days() == ["2026-11-23", "2026-11-24"]


def test_a_creation_cut_short_is_begun_anew(directory: Path, record: MakeRecord) -> None:
    (directory / ".new-2026-11-23").mkdir(parents=True)
    (directory / ".new-2026-11-23" / "data.mdb").write_bytes(b"half")
    (directory / ".new-KEY").write_text("half")
    with Writer.open(directory) as writer:
        writer.put(record(1), None)
        writer.commit()
    assert not list(directory.glob(".new-*"))


def test_a_day_whose_making_failed_is_made_by_the_same_writer(
    directory: Path, record: MakeRecord
) -> None:
    with Writer.open(directory) as writer:
        (directory / ".new-2026-11-23").mkdir()
        (directory / ".new-2026-11-23" / "data.mdb").write_bytes(b"half")
        writer.put(record(1), None)
        assert writer.commit() == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [("FORMAT", ""), ("FORMAT", "posttrail-journal x\n"), ("KEY", "abcd\n"), ("KEY", "zz\n")],
)
def test_a_spoiled_file_is_damage(directory: Path, name: str, text: str) -> None:
    Writer.open(directory).close()
    (directory / name).write_text(text)
    with pytest.raises(UnavailableError, match=name):
        Reader.open(directory)


def test_check_names_the_part_that_kills_and_lives(directory: Path, two_days: list[Record]) -> None:
    _zero_pages(directory / "2026-11-23" / "data.mdb")
    parts = {part.name: part for part in check_journal(directory)}
    assert parts["2026-11-23"].problems
    assert parts["2026-11-24"].problems == 0
    assert parts["2026-11-24"].messages == 400


def test_children_that_die_or_fail_do_not_survive() -> None:
    def find_damage() -> None:
        raise UnavailableError("damaged")

    assert days.survives(lambda: None)
    assert not days.survives(find_damage)
    assert not days.survives(lambda: os.kill(os.getpid(), signal.SIGKILL))


def _zero_pages(path: Path) -> None:
    """Every page but the two meta pages."""
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(2 * PAGE)
        file.write(bytes(size - 2 * PAGE))
