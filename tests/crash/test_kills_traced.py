"""kill -9 of posttrail-traced in the midst of traces: a clear error, and the next trace works.

Its socket is held as systemd holds it, so that who comes meanwhile waits for the next one.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from posttrail.demo.lab import Lab
from posttrail.demo.sinks import all_at
from posttrail.run import program
from query.trace.ask import NobodyError, ask
from query.trace.tree import Question
from tests.crash.figures import Clock, tell
from tests.waiting import wait_until

LONGEST_S = 0.4  # of its work, or of its start


def start(config: Path, listening: socket.socket, log: Path) -> subprocess.Popen[bytes]:
    """traced, with the socket as sd_listen_fds(3) has it."""
    number = listening.fileno()
    script = f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" --config "$1" 3<&{number}'
    command = ("bash", "-c", script, program("posttrail-traced"), str(config))
    with log.open("ab") as said:
        return subprocess.Popen(command, pass_fds=(number,), stderr=said)


def ready(log: Path) -> int:
    """How many times it has said so."""
    return log.read_bytes().count(b": ready") if log.exists() else 0


def is_ready(log: Path, before: int) -> bool:
    """Whether it has said so once more."""
    return ready(log) > before


class Asking:
    """Traces, one after the other."""

    def __init__(self, path: Path) -> None:
        self.answered = 0
        self.errors: list[str] = []
        self._path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        question = Question(address="alice@example.com", sender="", entry="smtp")
        while not self._stop.is_set():
            try:
                ask(self._path, question, timeout_s=30)
                self.answered += 1
            except NobodyError as error:  # any other one ends the thread, and fails the test
                self.errors.append(str(error))


@pytest.mark.integration
@pytest.mark.parametrize("count", [4, pytest.param(500, marks=pytest.mark.soak)])
def test_a_trace_after_a_kill_works(tmp_path: Path, count: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("a private Postfix needs root")
    clock, chance = Clock(), random.Random(count)
    lab = Lab(tmp_path / "postfix", sinks=all_at(9))
    lab.prepare()
    path, config, log = tmp_path / "traced.sock", tmp_path / "posttrail.toml", tmp_path / "log"
    config.write_text(
        f'[run]\ndirectory = "{tmp_path}"\n[trace]\nmta = "postfix"\nconfig = "{lab.etc}"\n'
        f'socket = "{path}"\nper_minute = 100000\n'
    )
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(64)
        with Asking(path) as asking:
            for _ in range(count):
                before = ready(log)
                running = start(config, listening, log)
                try:
                    if chance.random() < 0.8:  # the others at their start
                        wait_until(partial(is_ready, log, before))
                    running.wait(chance.random() * LONGEST_S)
                    raise AssertionError(log.read_text())
                except subprocess.TimeoutExpired:
                    running.kill()
                    running.wait()
            running = start(config, listening, log)
            ask(path, Question(address="alice@example.com", sender="", entry="smtp"), timeout_s=30)
        running.terminate()
        assert running.wait(30) == 0, log.read_text()
    assert all("cannot be asked" in text for text in asking.errors)
    assert len(asking.errors) <= count
    tell(
        f"traced: {count} kills, {asking.answered} traces answered, {len(asking.errors)} ended by a "
        f"clear error, the next one worked, {clock}"
    )
