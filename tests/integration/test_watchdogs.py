"""A daemon that hangs does not feed its watchdog, whatever still runs in it; one that works does.

Each daemon is started by a program that makes one function wait for ever once a file is there, and
shortens the patience that the unit's WatchdogSec= is made for. What the manager does then is
systemd's part; tests/deb/boot sees it.
"""

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal.writer import Writer
from tests.integration.manager import Manager
from tests.integration.milterd_process import PROGRAM, ROOT, Start, start
from tests.waiting import wait_until

__all__ = ["start"]

FED_EVERY_S = {"WATCHDOG_USEC": "30000000"}
QUIET_S = 1.5  # with a turn of the loops every 0.2 s
HANGING = """
import os, sys, threading
FLAG = os.environ["HANG"]
def hanging(function):
    def call(*arguments, **options):
        if os.path.exists(FLAG):
            threading.Event().wait()
        return function(*arguments, **options)
    return call
"""

# -- milterd ------------------------------------------------------------------------------

MILTERD = HANGING + """
from milterd import callbacks, main, recorder
main.TURN_S, main.PROBE_S, main.ANSWER_S, main.STALLED_S = 0.2, 0.2, 0.3, 0.8
recorder.BEAT_S = 0.2
"""  # fmt: skip
DISK = MILTERD + "os.fdatasync = hanging(os.fdatasync)\n" + PROGRAM
CALLBACK = MILTERD + """
callbacks.Connection.negotiate = hanging(callbacks.Connection.negotiate)
""" + PROGRAM  # fmt: skip


@pytest.mark.parametrize(
    ("program", "said"),
    [(DISK, "recorder does not come round"), (CALLBACK, "own socket does not answer")],
    ids=["disk", "callback"],
)
def test_a_milter_that_hangs_is_not_taken_for_alive(
    start: Start, tmp_path: Path, program: str, said: str
) -> None:
    pytest.importorskip("milter")
    flag = tmp_path / "hang"
    milterd = start(program=program, HANG=str(flag), **FED_EVERY_S)
    for _ in range(2):
        milterd.await_notice(b"WATCHDOG=1")
    flag.touch()
    assert milterd.manager.falls_silent(QUIET_S)
    assert milterd.process.poll() is None
    assert said in milterd.errors.read_text()


@pytest.mark.soak
def test_a_milter_whose_socket_was_taken_away_is_not_taken_for_alive(
    start: Start, tmp_path: Path
) -> None:
    pytest.importorskip("milter")
    milterd = start(program=MILTERD + PROGRAM, HANG="/nowhere", **FED_EVERY_S)
    milterd.await_notice(b"WATCHDOG=1")
    milterd.socket.unlink()
    assert milterd.manager.falls_silent(QUIET_S)


@pytest.mark.soak
def test_a_milter_with_a_full_disk_is_alive(start: Start) -> None:
    pytest.importorskip("milter")
    milterd = start(program=MILTERD + PROGRAM, HANG="/nowhere", **FED_EVERY_S)
    resource.prlimit(milterd.process.pid, resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
    with (milterd.spool / "current").open("ab") as current:
        current.write(b"x" * 4000)
    wait_until(lambda: "spool cannot be written" in milterd.errors.read_text())
    for _ in range(8):
        milterd.await_notice(b"WATCHDOG=1")


# -- the others ---------------------------------------------------------------------------

COMMIT = HANGING + """
from journal.writer import Writer
from milterd.track import main
main.GAUGES_S = 0.2
Writer.commit = hanging(Writer.commit)
main.main()
"""  # fmt: skip
NO_COMMIT = HANGING + """
from milterd.track import main
from milterd.track.tracker import Tracker
main.GAUGES_S, main.STALLED_S = 0.2, 0.8
commit = Tracker.commit
Tracker.commit = lambda *given, **more: None if os.path.exists(FLAG) else commit(*given, **more)
main.main()
"""  # fmt: skip
QUERYD = HANGING + """
from journal.reader import Reader
from query.httpd import main, pulse
pulse.TURN_S, pulse.ANSWER_S = 0.2, 0.5
Reader.last_change = hanging(Reader.last_change)
main.main()
"""  # fmt: skip
TRACED = HANGING + """
from query.trace import choose, serve
serve.TURN_S, serve.STUCK_S = 0.2, 0.8
class Hanging:
    def trace(self, question):
        threading.Event().wait()
choose.maker = lambda settings: Hanging
serve.main()
"""  # fmt: skip
CONFIGURATION = """
[journal]
directory = "{top}/journal"
[milter]
spool = "{top}/spool"
[log]
files = ["{top}/mail.log"]
[run]
directory = "{top}"
[query]
socket = "{top}/queryd.sock"
state = "{top}/state.sqlite"
[trace]
socket = "{top}/traced.sock"
"""


class Watched:
    """A daemon with a manager that listens."""

    def __init__(self, top: Path, program: str) -> None:
        self.flag = top / "hang"
        config = top / "posttrail.toml"
        config.write_text(CONFIGURATION.format(top=top))
        self.manager = Manager(top / "notify")
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, "--config", str(config)],
            cwd=ROOT,
            env={**os.environ, **self.manager.environment, **FED_EVERY_S, "HANG": str(self.flag)},
        )
        self.manager.await_notice(b"READY=1")

    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.manager.close()


@pytest.fixture
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    (tmp_path / "spool").mkdir()
    (tmp_path / "mail.log").touch()
    Writer.open(tmp_path / "journal").close()
    running = Watched(tmp_path, request.param)
    yield running
    running.kill()


@pytest.mark.parametrize(
    "watched",
    [
        pytest.param(COMMIT, id="commit"),
        pytest.param(NO_COMMIT, id="no commit", marks=pytest.mark.soak),
        pytest.param(QUERYD, id="queryd", marks=pytest.mark.soak),
    ],
    indirect=True,
)
def test_a_daemon_that_gets_nowhere_is_not_taken_for_alive(watched: Watched) -> None:
    for _ in range(2):
        watched.manager.await_notice(b"WATCHDOG=1")
    watched.flag.touch()
    assert watched.manager.falls_silent(QUIET_S)
    assert watched.is_running()


@pytest.mark.soak
@pytest.mark.parametrize("watched", [TRACED], ids=["traced"], indirect=True)
def test_a_trace_that_never_ends_is_not_taken_for_life(watched: Watched, tmp_path: Path) -> None:
    watched.manager.await_notice(b"WATCHDOG=1")
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(tmp_path / "traced.sock"))
        caller.sendall(b'{"address": "someone@example.org"}\n')
        assert watched.manager.falls_silent(QUIET_S)
    assert watched.is_running()
