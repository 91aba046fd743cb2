"""``posttrail run``: the programs in the foreground, started again when they end.

For a container or a terminal; on a machine with systemd its units do this. Each program is in a
process group of its own, so that Ctrl-C reaches it once, through us. Exit codes: 0 when told to
stop; that of a program which says that starting it again cannot help (64, 66, 77, 78).

Log messages: "started", "ended, starting it again", "ended for good", "did not stop, killed".
"""

import logging
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from posttrail import logs
from posttrail.cli import Globals
from posttrail.daemon import Stop, notify
from posttrail.errors import (
    EX_CONFIG,
    EX_NOINPUT,
    EX_NOPERM,
    EX_USAGE,
    UnavailableError,
)

PROGRAMS: Final = ("posttrail-milterd", "posttrail-trackd")
QUERYD: Final = "posttrail-queryd"  # mail is recorded without it, too
TRACED: Final = "posttrail-traced"  # mail is recorded without it, too
HOOKD: Final = "posttrail-hookd"  # runs where there are hooks
_MTAS: Final = ("postconf", "sendmail", "exim", "exim4")
_SBIN: Final = "/usr/sbin:/usr/local/sbin:/sbin:/usr/lib"
FINAL: Final = frozenset({EX_USAGE, EX_NOINPUT, EX_NOPERM, EX_CONFIG})
LONGEST_WAIT_S: Final = 30.0
STEADY_S: Final = 60.0  # a program that ran this long starts with the shortest wait again
STOP_S: Final = 20.0
POLL_S: Final = 0.2

log = logging.getLogger(__name__)


class Child:
    """One program: running, or waiting to be started again."""

    def __init__(self, name: str, command: Sequence[str], *, vital: bool = True) -> None:
        self.name = name
        self._command = command
        self._vital = vital  # whether the others end when it ends for good
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._due = 0.0
        self._wait = 0.0

    def step(self, now: float) -> int | None:
        """Starts it when it is due; its exit code when it ended for good."""
        if self._process is None:
            if now >= self._due:
                self._start(now)
            return None
        code = self._process.poll()
        if code is None:
            return None
        self._process = None
        if code in FINAL:
            log.error("ended for good program=%s code=%d", self.name, code)
            self._due = math.inf
            return code if self._vital else None
        steady = now - self._started > STEADY_S
        self._wait = 1.0 if steady or not self._wait else min(self._wait * 2, LONGEST_WAIT_S)
        self._due = now + self._wait
        log.warning(
            "ended, starting it again program=%s code=%d wait_s=%.0f", self.name, code, self._wait
        )
        return None

    def _start(self, now: float) -> None:
        self._process = subprocess.Popen(self._command, process_group=0)
        self._started = now
        log.info("started program=%s pid=%d", self.name, self._process.pid)

    def ask_to_stop(self) -> None:
        """SIGTERM, once."""
        if self._process is not None:
            self._process.terminate()

    def wait(self, deadline: float) -> None:
        """Returns when it is gone, by force after the deadline."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("did not stop, killed program=%s", self.name)
            self._process.kill()
            self._process.wait()


def supervise(children: Sequence[Child], stop: Stop) -> int:
    """Keeps all of them running until told to stop, or until one cannot run."""
    code = None
    try:
        notify("READY=1")
        while code is None and not stop.wait(POLL_S):
            now = time.monotonic()
            codes = [child.step(now) for child in children]
            code = next((found for found in codes if found is not None), None)
    finally:
        notify("STOPPING=1")
        for child in children:
            child.ask_to_stop()
        deadline = time.monotonic() + STOP_S
        for child in children:
            child.wait(deadline)
    return code or 0


def program(name: str) -> str:
    """The path of one of our programs: beside this Python, else on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise UnavailableError(f"no program {name} beside {sys.executable} nor on PATH")
    return found


def has_mta() -> bool:
    """Whether a mail server is installed whose paths could be traced."""
    path = os.pathsep.join((os.environ.get("PATH", ""), _SBIN))
    return any(shutil.which(name, path=path) for name in _MTAS)


def make_run_directory(directory: Path) -> None:
    """What systemd's RuntimeDirectory= does for the units."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"cannot make {directory}: {error.strerror}") from None


@click.command()
@click.pass_obj
def run(given: Globals) -> int:
    """Run the programs in the foreground until Ctrl-C or SIGTERM."""
    logs.setup("info")
    make_run_directory(given.config.run.directory)
    options = ["--config", str(given.config_file)] if given.config_file else []
    children = [Child(name, [program(name), *options]) for name in PROGRAMS]
    children.append(Child(QUERYD, [program(QUERYD), *options], vital=False))
    if has_mta():
        children.append(Child(TRACED, [program(TRACED), *options], vital=False))
    if given.config.hooks:
        children.append(Child(HOOKD, [program(HOOKD), *options], vital=False))
    return supervise(children, Stop())
