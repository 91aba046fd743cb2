"""posttrail-queryd as a process of its own, on sockets of the test's own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
READY_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running service."""

    process: subprocess.Popen[bytes]
    config: Path
    socket: Path
    log: Path

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by lower-case name, and body."""
        connection = Unix(self.socket)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", path, headers=named)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()


class Unix(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self.path))


def configuration(directory: Path, journal: Path, extra: str = "") -> Path:
    """posttrail.toml of a service below ``directory``."""
    file = directory / "posttrail.toml"
    file.write_text(
        f'[journal]\ndirectory = "{journal}"\n[run]\ndirectory = "{directory}"\n'
        f'[query]\nsocket = "{directory}/queryd.sock"\nstate = "{directory}/state/state.sqlite"\n'
        + extra
    )
    return file


@contextmanager
def served(
    directory: Path,
    journal: Path,
    extra: str = "",
    *,
    program: tuple[str, ...] = ("-m", "query.httpd.main"),
) -> Iterator[Served]:
    """The service, ready; stopped by SIGTERM at the end."""
    config = configuration(directory, journal, extra)
    log = directory / "queryd.log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices, log.open("wb") as said:
        notices.bind(str(directory / "notify"))
        notices.settimeout(READY_S)
        process = subprocess.Popen(
            [sys.executable, *program, "--config", str(config)],
            cwd=ROOT,
            env=os.environ | {"NOTIFY_SOCKET": str(directory / "notify"), "TZ": "UTC"},
            stdout=said,
            stderr=said,
        )
        try:
            while b"READY=1" not in notices.recv(1000):
                assert process.poll() is None, log.read_text()
            yield Served(process=process, config=config, socket=directory / "queryd.sock", log=log)
        finally:
            process.terminate()
            process.wait(30)
            (directory / "notify").unlink()
