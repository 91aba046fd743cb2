"""A small file system that fills up: nothing is lost, mail goes on, and room is all it takes.

tmpfs or ext4 of a few MiB, mounted for the test (root). The log lies elsewhere, as what cannot be
written is read again from it.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from journal.writer import Writer
from milterd.spool import parse_line
from milterd.track.main import make
from posttrail import config
from posttrail.run import program
from tests.conftest import ExpectedLog
from tests.crash.figures import Clock, tell
from tests.crash.replay import Replay, Told, differences, pieces
from tests.crash.test_kills_milterd import spooled
from tests.integration.milter_client import Mta
from tests.integration.parts import Program, answers
from tests.unit.query.serving import served
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

SMALL = 2 << 20
EXT4 = 8 << 20


class Mounted:
    """A small file system, and what fills it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    def fill(self, *, leave: int = 0) -> None:
        """Take all room but for some bytes."""
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        free = os.statvfs(self.place)
        missing = leave - free.f_bavail * free.f_frsize
        if missing > 0:
            os.truncate(self._ballast, max(0, self._ballast.stat().st_size - missing))

    def make_room(self) -> None:
        """What an operator does."""
        self._ballast.unlink()


@contextmanager
def mounted(directory: Path, kind: str, *, size: int, inodes: int = 0) -> Iterator[Mounted]:
    """A file system of its own; skips where none may be mounted."""
    place = directory / f"small-{kind}"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes},mode=0755", "tmpfs"]
    if kind == "ext4":
        image = directory / "image"
        with image.open("wb") as file:
            file.truncate(size)
        subprocess.run(("mkfs.ext4", "-q", "-m", "0", str(image)), check=True)
        command = ["mount", "-o", "loop", str(image)]
    done = subprocess.run((*command, str(place)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield Mounted(place)
    finally:
        subprocess.run(("umount", "--lazy", str(place)), check=True)


def says(replay: Replay, text: str) -> Callable[[], bool]:
    return lambda: text in replay.words()


def on(replay: Replay, disk: Mounted) -> None:
    """The journal of a replay goes to the small file system."""
    text = replay.config.read_text()
    replay.journal = disk.place / "journal"
    replay.config.write_text(text.replace(f'"{replay.directory}/journal"', f'"{replay.journal}"'))


@pytest.fixture
def part_truth(part: Path, tmp_path: Path) -> Told:
    replay = Replay(part, tmp_path / "truth")
    replay.append(pieces(part))
    return replay.whole()


@pytest.mark.parametrize("kind", ["tmpfs", pytest.param("ext4", marks=pytest.mark.soak)])
def test_trackd_waits_for_room_and_loses_nothing(
    part: Path, part_truth: Told, tmp_path: Path, kind: str
) -> None:
    clock, todo = Clock(), pieces(part)
    with mounted(tmp_path, kind, size=EXT4 if kind == "ext4" else SMALL * 3) as disk:
        replay = Replay(part, tmp_path / "replay")
        on(replay, disk)
        replay.append(todo[:200])
        running = replay.start()
        wait_until(lambda: bool(replay.told()[0]))
        disk.fill(leave=64 << 10)
        replay.append(todo[200:])
        wait_until(says(replay, "disk full"))
        rows, _ = replay.told()  # reading works
        assert rows
        assert rows != part_truth[0]
        disk.make_room()
        wait_until(lambda: replay.told() == part_truth)
        assert "disk has room again" in replay.words()
        replay.stop(running)
        assert differences(replay.told(), part_truth) == []
    tell(f"disk full ({kind}): trackd went on without a restart, 0 lost, 0 doubled, {clock}")


@pytest.mark.parametrize("lacks", ["room", "inodes"])
def test_trackd_that_finds_no_room_says_so_and_starts_when_there_is(
    part: Path, part_truth: Told, tmp_path: Path, lacks: str
) -> None:
    inodes = 4 if lacks == "inodes" else 0
    with mounted(tmp_path, "tmpfs", size=SMALL * 3, inodes=inodes) as disk:
        replay = Replay(part, tmp_path / "replay")
        on(replay, disk)
        replay.append(pieces(part))
        disk.fill(leave=8192 if lacks == "room" else 4 << 20)
        running = replay.start()
        assert running.wait(60) == 75, replay.words()
        assert "No space left" in replay.words() or "no space left" in replay.words()
        disk.make_room()
        if inodes:
            subprocess.run(("mount", "-o", "remount,nr_inodes=0", str(disk.place)), check=True)
        assert differences(replay.settled(part_truth), part_truth) == []


def test_milterd_answers_while_its_spool_has_no_room(tmp_path: Path) -> None:
    with mounted(tmp_path, "tmpfs", size=SMALL) as disk:
        socket, spool = tmp_path / "milter.sock", disk.place / "spool"
        file = tmp_path / "posttrail.toml"
        file.write_text(
            f'[milter]\nsocket = "unix:{socket}"\nspool = "{spool}"\n[run]\ndirectory = "{tmp_path}"\n'
        )
        milterd = Program(tmp_path / "log", program("posttrail-milterd"), "--config", str(file))
        milterd.start()
        wait_until(lambda: answers(socket))
        disk.fill()
        with Mta(socket) as mta:
            mta.connect()
            mta.helo()
            for number in range(500):
                mta.message(b"4R%06d" % number)
            wait_until(lambda: "spool cannot be written" in milterd.words())
            gauges = tmp_path / "milterd.prom"
            wait_until(lambda: "posttrail_milter_spool_failing 1" in gauges.read_text())
            mta.message(b"4Rlast")
        disk.make_room()
        wait_until(lambda: b"4Rlast" in spooled(spool))
        assert milterd.stop() == 0
        found = [record["id"] for raw in spooled(spool).splitlines()
                 if (record := parse_line(raw)) and record.get("t") == "txn"]  # fmt: skip
        assert found == [f"4R{number:06d}" for number in range(500)] + ["4Rlast"]
    tell("disk full: milterd answered 501 transactions, wrote all of them when there was room")


def test_queryd_refuses_what_it_cannot_record_and_goes_on(part: Path, tmp_path: Path) -> None:
    replay = Replay(part, tmp_path / "replay")
    replay.append(pieces(part)[:300])
    replay.whole()
    with mounted(tmp_path, "tmpfs", size=SMALL) as disk:
        directory = disk.place
        with served(directory, replay.journal) as running:
            assert running.get("/v1/messages")[0] == 200
            disk.fill()
            statuses = [running.get(f"/v1/messages?until=2100-01-{n:02d}")[0] for n in range(1, 29)]
            assert set(statuses) <= {200, 503}
            assert running.get("/readyz")[0] == 200
            disk.make_room()
            deadline = time.monotonic() + 30
            while running.get("/v1/messages")[0] != 200:
                assert time.monotonic() < deadline
    tell(f"disk full: queryd refused {statuses.count(503)} look-ups it could not record, went on")


# -- the map -----------------------------------------------------------------------------


def test_a_full_map_grows_while_it_is_written(
    part: Path, part_truth: Told, tmp_path: Path, expected_log: ExpectedLog
) -> None:
    expected_log("journal map grows")
    replay = Replay(part, tmp_path / "replay")
    replay.append(pieces(part))
    settings = config.load(replay.config)
    with Writer.open(settings.journal.directory, map_size=256 << 10) as writer:
        tracker = make(settings, writer)
        while tracker.turn():
            tracker.commit()
        tracker.stop()
    assert differences(replay.told(), part_truth) == []
    tell("map full: grows by itself, 0 lost, 0 doubled")
