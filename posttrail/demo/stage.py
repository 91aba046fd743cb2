"""Everything the demonstration runs: sinks, a private Postfix, and posttrail beside it.

All of it lives in one folder and for the length of a ``with`` block; what was started is stopped
in reverse order, each by its own process id. Raises UnavailableError when a part does not come up.
"""

import grp
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from posttrail.demo.lab import Lab, free_base
from posttrail.demo.postfix_files import HOST, INSIDE_CLIENT, LOCAL_DOMAINS
from posttrail.demo.sinks import Sinks
from posttrail.errors import UnavailableError, UsageError
from posttrail.run import program

LINK_S = 5.0
READY_S = 20
STOP_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A private Postfix with posttrail watching it."""

    lab: Lab
    journal: Path
    config: Path
    socket: Path  # of posttrail-queryd
    metrics: str = ""  # address and port of its /metrics

    def link(self, address: str) -> str | None:
        """A link that opens the page as this mailbox, once; None where nobody answers."""
        connection = HTTPConnection("posttrail", timeout=LINK_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(LINK_S)
            connection.sock.connect(str(self.socket))
            body = json.dumps({"address": address})
            connection.request("POST", "/v1/links", body, {"Content-Type": "application/json"})
            return str(json.load(connection.getresponse())["url"])
        except (OSError, HTTPException, ValueError, KeyError):
            return None
        finally:
            connection.close()

    def report(self, *options: str) -> subprocess.CompletedProcess[str]:
        """``posttrail report`` with its output captured."""
        command = (*self.posttrail(), "report", "--limit", "all", *options)
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the report as it stands; none while there is no journal yet."""
        lines = self.report("--format", "json").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def posttrail(self) -> tuple[str, ...]:
        """The command line that looks into this journal."""
        return (program("posttrail"), "--journal", str(self.journal))


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """The whole of it, below an existing directory."""
    with ExitStack() as stack:
        sinks = stack.enter_context(Sinks())
        lab = Lab(directory / "postfix", sinks=sinks.ports)
        lab.prepare()
        config = directory / "posttrail.toml"
        port, metrics = free_port(), free_port()
        config.write_text(configuration(directory, lab, port, metrics))
        stack.enter_context(programs(config, directory / "programs.log"))
        _wait_for(lab.milter_socket, directory / "programs.log")
        stack.callback(lab.stop)
        lab.start()
        yield Stage(
            lab=lab,
            journal=directory / "journal",
            config=config,
            socket=directory / "run" / "queryd.sock",
            metrics=f"127.0.0.1:{metrics}",
        )


def free_port() -> int:
    """A loopback port that nobody listens on now, and that the kernel gives to no client."""
    return free_base(1)


def configuration(directory: Path, lab: Lab, port: int, metrics: int = 0) -> str:
    """posttrail.toml for this Postfix. JSON strings are TOML strings."""
    tables: dict[str, dict[str, Any]] = {
        "journal": {
            "directory": str(directory / "journal"),
            "group": grp.getgrgid(os.getgid()).gr_name,
        },
        "milter": {"socket": f"unix:{lab.milter_socket}", "spool": str(directory / "spool")},
        "log": {"files": [str(lab.log)]},
        "mta": {
            "host": HOST,
            "local_domains": list(LOCAL_DOMAINS),
            "inside_networks": [f"{INSIDE_CLIENT}/32"],
        },
        "run": {"directory": str(directory / "run")},
        "trace": {
            "mta": "postfix",
            "config": str(lab.etc),
            "socket": str(directory / "run" / "traced.sock"),
        },
        "query": {
            "socket": str(directory / "run" / "queryd.sock"),
            "state": str(directory / "state" / "state.sqlite"),
            "tcp": f"127.0.0.1:{port}",
            "metrics": f"127.0.0.1:{metrics}" if metrics else "",
            "base_url": f"http://127.0.0.1:{port}",
        },
    }
    return "\n".join(
        f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for table, keys in tables.items()
    )


@contextmanager
def programs(config: Path, log: Path) -> Iterator[None]:
    """``posttrail run`` with this configuration; what it says goes to a file."""
    command = (program("posttrail"), "--config", str(config), "run")
    with log.open("ab") as output:
        # A group of its own: Ctrl-C must not reach it besides our SIGTERM.
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(STOP_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def folder(wanted: Path | None, *, keep: bool) -> Iterator[Path]:
    """A folder for the stage that Postfix's user may enter; gone afterwards unless kept."""
    if wanted is None:
        directory = Path(tempfile.mkdtemp(prefix="posttrail-demo-"))
    elif wanted.exists() and any(wanted.iterdir()):
        raise UsageError(f"{wanted} is not empty: the demonstration wants a folder of its own")
    else:
        directory = wanted.absolute()
        directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def _wait_for(milter_socket: Path, log: Path) -> None:
    """Returns once the milter takes connections."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(milter_socket))
                return
            except OSError:
                time.sleep(0.05)
    words = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    raise UnavailableError(f"posttrail-milterd does not come up: {words[-1]}")
