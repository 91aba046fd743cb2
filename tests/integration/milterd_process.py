"""posttrail-milterd in a process of its own, with a manager that hears its notices.

``start`` starts one and ends it after the test; ``milterd`` is one that is ready. A program of the
test's own may patch a module before it calls the daemon's ``main``: the product has no switch for it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from milterd.spool import parse_line, segments
from tests.integration.manager import Manager

ROOT = Path(__file__).parents[2]
PROGRAM = "from milterd.main import main; main()"


class Milterd:
    """The daemon in a process of its own, ready to be spoken to."""

    def __init__(
        self,
        directory: Path,
        program: str,
        arguments: list[str],
        *,
        settings: str,
        environment: dict[str, str],
    ) -> None:
        self.socket = directory / "milter.sock"
        self.spool = directory / "spool"
        self.gauges = directory / "milterd.prom"
        self.errors = directory / "errors"
        (directory / "posttrail.toml").write_text(
            f'[milter]\nsocket = "unix:{self.socket}"\nspool = "{self.spool}"\n{settings}\n'
            f'[run]\ndirectory = "{directory}"\n'
        )
        options = ["--config", str(directory / "posttrail.toml")]
        self.manager = Manager(directory / "notify")
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments, *options],
                cwd=ROOT,
                stderr=errors,
                env={**os.environ, **self.manager.environment, **environment},
            )

    def await_notice(self, wanted: bytes) -> None:
        """Until the daemon has told its manager so."""
        self.manager.await_notice(wanted)

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        self.process.terminate()
        return self.process.wait(20)

    def kill(self) -> None:
        """Whatever state it is in."""
        self.process.kill()
        self.process.wait(20)
        self.manager.close()

    def lines(self) -> list[bytes]:
        """All lines of the spool, the last one perhaps torn."""
        files = [*segments(self.spool), self.spool / "current"]
        return [line for file in files for line in file.read_bytes().splitlines(keepends=True)]

    def records(self, kind: str = "txn") -> list[dict[str, Any]]:
        """The whole records of a kind."""
        found = [parse_line(line) for line in self.lines() if line.endswith(b"\n")]
        assert None not in found
        return [record for record in found if record and record["t"] == kind]

    def recorded(self) -> list[dict[str, Any]]:
        """The transactions, after a stop that must be clean."""
        assert self.stop() == 0
        assert [record["t"] for record in map(parse_line, self.lines()[-1:]) if record] == ["stop"]
        return self.records()

    def gauge(self, name: str) -> float:
        """One of the exported numbers."""
        for line in self.gauges.read_text().splitlines():
            if line.startswith(f"posttrail_milter_{name} "):
                return float(line.split()[1])
        raise KeyError(name)


Start = Callable[..., Milterd]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Milterd] = []

    def make(
        *arguments: str, program: str = PROGRAM, settings: str = "", **environment: str
    ) -> Milterd:
        milterd = Milterd(
            tmp_path, program, list(arguments), settings=settings, environment=environment
        )
        started.append(milterd)
        milterd.await_notice(b"READY=1")
        return milterd

    yield make
    for milterd in started:
        milterd.kill()


@pytest.fixture
def milterd(start: Start) -> Milterd:
    return start()
