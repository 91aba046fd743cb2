"""The queue never waits and never grows past its bounds; the thread writes all that it took."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from milterd.metrics import Counters
from milterd.recorder import Recorder
from milterd.spool import Body, SpoolWriter, encode_body, parse_line

ExpectedLog = Callable[[str], None]


class Disk:
    """The disk below a spool: full until there is ``room``; says when it was ``tried`` in vain."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = threading.Event()
        self.room.set()
        self.tried = threading.Event()
        self.spool = SpoolWriter(directory)
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, file: int, data: bytes) -> int:
        if file == self.spool._file and not self.room.is_set():
            self.tried.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(file, data)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path, monkeypatch)


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def recorder(disk: Disk, counters: Counters) -> Iterator[Recorder]:
    made = Recorder(disk.spool, counters, records=100, size_bytes=10_000, keep_us=1)
    yield made
    disk.room.set()
    if made.is_alive():
        made.finish(10)


def told(directory: Path, kind: str) -> list[Body]:
    lines = (directory / "current").read_bytes().splitlines()
    return [record for record in map(parse_line, lines) if record and record["t"] == kind]


def body(number: int, padding: int = 0) -> bytes:
    return encode_body({"t": "txn", "n": number, "x": "x" * padding})


def put(recorder: Recorder, made: bytes) -> None:
    recorder.put(lambda: made, len(made))


def test_everything_is_written_between_start_and_stop(recorder: Recorder, tmp_path: Path) -> None:
    for number in range(50):
        put(recorder, body(number))
    recorder.start()
    for number in range(50, 100):
        put(recorder, body(number))
    assert recorder.finish(10)
    assert [record["n"] for record in told(tmp_path, "txn")] == list(range(100))
    kinds = [parse_line(line) for line in (tmp_path / "current").read_bytes().splitlines()]
    assert [record["t"] for record in kinds if record][:: len(kinds) - 1] == ["start", "stop"]
    assert told(tmp_path, "lost") == []


def test_a_full_queue_counts_and_tells(
    recorder: Recorder, counters: Counters, tmp_path: Path
) -> None:
    for number in range(130):
        put(recorder, body(number))
    assert (counters.queue_records, counters.lost) == (100, 30)
    recorder.start()
    assert recorder.finish(10)
    assert len(told(tmp_path, "txn")) == 100
    assert [record["n"] for record in told(tmp_path, "lost")] == [30]
    assert (counters.queue_records, counters.queue_bytes) == (0, 0)


def test_the_queue_is_bounded_in_bytes_too(recorder: Recorder, counters: Counters) -> None:
    for number in range(20):
        put(recorder, body(number, padding=1000))
    assert counters.queue_bytes <= 10_000
    assert counters.queue_records + counters.lost == 20
    assert counters.lost > 0


def test_a_full_disk_is_tried_again_and_nothing_taken_is_lost(
    recorder: Recorder,
    disk: Disk,
    counters: Counters,
    tmp_path: Path,
    expected_log: ExpectedLog,
) -> None:
    expected_log("spool cannot be written")
    disk.room.clear()
    recorder.start()
    assert disk.tried.wait(10)
    for number in range(100):
        put(recorder, body(number))
    disk.tried.clear()
    assert disk.tried.wait(10)
    assert counters.failing == 1
    disk.room.set()
    assert recorder.finish(10)
    assert len(told(tmp_path, "txn")) == 100
    assert len(told(tmp_path, "start")) == 1


def test_a_disk_full_to_the_end_is_said(
    recorder: Recorder, disk: Disk, tmp_path: Path, expected_log: ExpectedLog
) -> None:
    expected_log("spool cannot be written")
    expected_log("records lost at stop count=7")
    disk.room.clear()
    recorder.start()
    assert disk.tried.wait(10)
    for number in range(7):
        put(recorder, body(number))
    assert recorder.finish(10)
    assert told(tmp_path, "txn") == []


def test_old_segments_are_removed(recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / f"{5:020d}.seg").write_bytes(b"")
    recorder.start()
    assert recorder.finish(10)
    assert list(tmp_path.glob("*.seg")) == []


def test_a_record_that_cannot_be_made_costs_only_itself(
    recorder: Recorder, counters: Counters, tmp_path: Path, expected_log: ExpectedLog
) -> None:
    def fail() -> bytes:
        raise ValueError("on purpose")

    expected_log("record failed failures=1")
    put(recorder, body(1))
    recorder.put(fail, 1)
    recorder.put(lambda: None, 1)
    put(recorder, body(2))
    recorder.start()
    assert recorder.finish(10)
    assert [record["n"] for record in told(tmp_path, "txn")] == [1, 2]
    assert (counters.records, counters.failures) == (2, 1)
