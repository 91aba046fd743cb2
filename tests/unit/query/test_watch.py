"""``posttrail watch`` on a journal and beside posttrail-queryd, as users run it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import pytest

from journal import keys
from journal.records import Message, Record, Status
from tests.unit.query.conftest import ROOT, Run, Shelf, row
from tests.unit.query.serving import served

WAIT_S = 30


class Watching:
    """The verb in a process of its own, its lines as they come."""

    def __init__(self, *arguments: str | Path) -> None:
        clean = {name: value for name, value in os.environ.items() if "POSTTRAIL" not in name}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "posttrail.cli", *arguments],
            cwd=ROOT,
            env=clean | {"TZ": "UTC", "PYTHONUTF8": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def end(self) -> None:
        self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()

    def line(self) -> str:
        return self._lines.get(timeout=WAIT_S)

    def within(self, seconds: float) -> list[str]:
        """The next line, if it comes in time."""
        try:
            return [self._lines.get(timeout=seconds)]
        except Empty:
            return []

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line())
        return found

    def rest(self) -> list[str]:
        """What is left when it has ended."""
        return [self._lines.get() for _ in range(self._lines.qsize())]


@pytest.fixture(params=["journal", "service"])
def place(
    request: pytest.FixtureRequest, shelf: Shelf, tmp_path: Path
) -> Iterator[tuple[str, Path]]:
    """The global options: of a journal, or of a posttrail-queryd that reads it."""
    if request.param == "journal":
        yield "--journal", shelf.directory
        return
    with served(tmp_path, shelf.directory) as running:
        yield "--socket", running.socket


@pytest.fixture
def started() -> Iterator[list[Watching]]:
    made: list[Watching] = []
    yield made
    for each in made:
        each.process.terminate()
        each.end()


def change(shelf: Shelf, message: Message, **changes: object) -> None:
    rows = tuple(each._replace(**changes) for each in message.rows)  # type: ignore[arg-type]
    shelf.writer.put(Record(message._replace(rows=rows), (), ()), None)
    shelf.writer.commit()


def test_one_message_is_watched_until_it_settles(
    shelf: Shelf, place: tuple[str, Path], started: list[Watching]
) -> None:
    message = shelf.put(row(status=Status.DEFERRED, reason="greylisted"), queue_ids=(b"ABC",))
    watching = Watching(*place, "watch", "ABC", "--format", "json")
    started.append(watching)
    assert watching.json()["status"] == "deferred"
    change(shelf, message, status=Status.DELIVERED, reason="relayed")
    assert watching.json()["status"] == "delivered"
    assert watching.process.wait(WAIT_S) == 0
    assert watching.rest() == []


@pytest.mark.parametrize(
    ("status", "code"),
    [(Status.FILTERED, 0), (Status.ERROR, 2), (Status.REJECTED, 2), (Status.IN_PROGRESS, 1)],
)
def test_the_exit_code_tells_what_became_of_the_message(
    shelf: Shelf, run: Run, status: Status, code: int
) -> None:
    message = shelf.put(row(), row(status=status))
    done = run("watch", keys.id_text(message.id), "--for", "1s")
    assert done.code == code
    assert len(done.out.splitlines()) == 3  # the heading and both rows


def test_an_unknown_message_is_nothing_found(run: Run, shelf: Shelf) -> None:
    done = run("watch", "NONE")
    assert (done.code, done.out) == (1, "")
    assert "nothing found" in done.err


def test_nothing_in_the_time_given_is_exit_code_1(shelf: Shelf, run: Run) -> None:
    assert run("watch", "a@example.com", "--for", "1s").code == 1


def test_an_address_is_watched_with_the_filters_of_a_report(
    shelf: Shelf, place: tuple[str, Path], started: list[Watching]
) -> None:
    watching = Watching(
        *place, "watch", "a@example.com", "--status", "deferred,error", "--format", "json"
    )
    started.append(watching)
    told: list[str] = []
    while not told:  # until it listens
        shelf.put(row(b"other@example.com"))
        shelf.put(row(b"none@example.net", status=Status.ERROR))
        message = shelf.put(row(b"a@example.com", status=Status.DEFERRED))
        told += watching.within(1)
    assert json.loads(told[0])["recipient"] == "a@example.com"
    change(shelf, message, status=Status.DELIVERED)
    assert watching.json() == {"id": keys.id_text(message.id), "row": 1, "gone": True}


def test_ctrl_c_ends_it_without_a_word(
    shelf: Shelf, place: tuple[str, Path], started: list[Watching]
) -> None:
    message = shelf.put(row(status=Status.DEFERRED))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job's is ignored
    try:
        watching = Watching(*place, "watch", keys.id_text(message.id))
    finally:
        signal.signal(signal.SIGINT, before)
    started.append(watching)
    assert watching.line().startswith("time ")
    assert "deferred" in watching.line()
    watching.process.send_signal(signal.SIGINT)
    assert watching.process.wait(WAIT_S) == 130
    assert watching.process.stderr is not None
    assert watching.process.stderr.read() == ""


def test_a_service_that_starts_again_costs_no_row_and_doubles_none(
    shelf: Shelf, tmp_path: Path, started: list[Watching]
) -> None:
    message = shelf.put(row(status=Status.DEFERRED))
    with served(tmp_path, shelf.directory) as service:
        watching = Watching(
            "--socket", service.socket, "watch", keys.id_text(message.id), "--format", "json"
        )
        started.append(watching)
        assert watching.json()["attempts"] == 1
        change(shelf, message, status=Status.DEFERRED, attempts=2)
        assert watching.json()["attempts"] == 2
    change(shelf, message, status=Status.DEFERRED, attempts=3)
    with served(tmp_path, shelf.directory):
        assert watching.json()["attempts"] == 3
        change(shelf, message, status=Status.DELIVERED, attempts=4)
        assert watching.json()["attempts"] == 4
        assert watching.process.wait(WAIT_S) == 0
    assert watching.rest() == []
