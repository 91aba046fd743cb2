"""A day that killed the reader twice is left out, and comes back when its file is another one."""

from pathlib import Path

import pytest

from posttrail.errors import UnavailableError
from query.httpd.marker import Marker
from tests.conftest import ExpectedLog
from tests.unit.query.conftest import Shelf, row

DAY = "2026-11-23"


def died(path: Path, journal: Path, *names: str) -> None:
    """A process that opened these parts and was killed."""
    marker = Marker(path, journal)
    for name in names:
        marker.touch(name)


def damage(journal: Path) -> None:
    """Cut a day's file: its pages are SIGBUS for whoever touches them."""
    file = journal / DAY / "data.mdb"
    with file.open("r+b") as opened:
        opened.truncate(8192)


def test_a_day_that_killed_twice_is_left_out_until_it_is_another(
    shelf: Shelf, tmp_path: Path, expected_log: ExpectedLog
) -> None:
    shelf.put(row())
    shelf.close()
    path, journal = tmp_path / "touching", shelf.directory
    damage(journal)
    died(path, journal, "state", DAY)
    assert Marker(path, journal).bad == frozenset()  # once may be chance
    died(path, journal, "state", DAY)
    expected_log("is left out")
    marker = Marker(path, journal)
    assert marker.bad == {DAY}  # state was open as well, and is sound
    with pytest.raises(UnavailableError, match=DAY):
        marker.touch(DAY)
    assert marker.forgive() == []
    file = journal / DAY / "data.mdb"
    file.rename(file.with_name("old"))
    file.write_bytes(b"another")
    assert marker.forgive() == [DAY]
    assert marker.bad == frozenset()


def test_a_sound_day_is_not_blamed_for_kills(shelf: Shelf, tmp_path: Path) -> None:
    shelf.put(row())
    shelf.close()
    path = tmp_path / "touching"
    for _ in range(5):
        died(path, shelf.directory, "state", DAY)
    assert Marker(path, shelf.directory).bad == frozenset()


def test_an_orderly_end_suspects_nobody(shelf: Shelf, tmp_path: Path) -> None:
    shelf.close()
    path = tmp_path / "touching"
    marker = Marker(path, shelf.directory)
    marker.touch(DAY)
    assert path.read_text() == f"open {DAY}\n"
    marker.close()
    assert path.read_text() == ""


def test_a_day_condemned_at_once_stays_so_over_a_restart(shelf: Shelf, tmp_path: Path) -> None:
    shelf.put(row())
    shelf.close()
    path = tmp_path / "touching"
    marker = Marker(path, shelf.directory)
    marker.condemn(DAY)
    marker.close()
    assert Marker(path, shelf.directory).bad == {DAY}


def test_a_line_that_is_none_is_passed_over(shelf: Shelf, tmp_path: Path) -> None:
    shelf.close()
    path = tmp_path / "touching"
    path.write_text("open ../../etc\nbad x y\n\xff\ndied state many\n", "utf-8")
    assert Marker(path, shelf.directory).bad == frozenset()
