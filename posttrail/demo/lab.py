"""A private Postfix in one folder: its configuration, start, stop and queue.

It runs beside any Postfix of the machine, with its own queue, data, log and mailboxes, listens on
loopback only and is started and stopped by postfix(1). Needs root and the Debian packages that
tools/setup names. Raises UnavailableError where Postfix is missing or does not start.
"""

import grp
import json
import os
import pwd
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from posttrail.demo.postfix_files import HOST, LOGIN, Places, Ports, files
from posttrail.errors import UnavailableError

START_S = 20


class Lab:
    """The private Postfix below ``directory``, running while the ``with`` block does."""

    def __init__(
        self,
        directory: Path,
        *,
        sinks: Mapping[str, int],
        milter: bool = True,
        settings: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.ports = Ports.from_base(free_base(len(Ports.__dataclass_fields__)))
        self.log = directory / "log" / "mail.log"
        self.queue = directory / "queue"
        self.certificate = directory / "tls" / "cert.pem"
        self.milter_socket = self.queue / "posttrail" / "milter.sock"
        self.etc = directory / "etc"
        self._sinks = sinks
        self._milter = milter
        self._settings = settings

    def prepare(self) -> None:
        """Writes every file, so that a milter can open its socket before the start."""
        if not (shutil.which("postfix") and shutil.which("saslpasswd2")):
            raise UnavailableError("no Postfix here: tools/setup run installs what is missing")
        self._make_directories()
        places = Places(
            directory=self.directory,
            daemons=_default("daemon_directory"),
            commands=_default("command_directory"),
            ports=self.ports,
            sinks=self._sinks,
            milter=self._milter,
            settings=self._settings,
        )
        for name, text in files(places).items():
            (self.etc / name).write_text(text)
        self._make_secrets()

    def start(self) -> None:
        """Starts Postfix and returns once it answers."""
        self._postfix("start")
        deadline = time.monotonic() + START_S
        while not _answers(self.ports.mx):
            if time.monotonic() > deadline:
                raise UnavailableError(f"the private Postfix does not answer, see {self.log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops Postfix; postfix(1) returns once the last process is gone."""
        if self.running():
            self._postfix("stop")

    def running(self) -> bool:
        """Is our master process alive?"""
        return self._run("postfix", "-c", self.etc, "status").returncode == 0

    def reload(self) -> None:
        """Postfix reads its configuration again."""
        self._postfix("reload")

    def pending(self) -> list[dict[str, Any]]:
        """The queue as postqueue(1) -j tells it: queue_id, queue_name, recipients..."""
        listed = self._run("postqueue", "-c", self.etc, "-j")
        return [json.loads(line) for line in listed.stdout.splitlines()]

    def deferred(self, recipient: str) -> str | None:
        """The queue id of a deferred message to this recipient."""
        for entry in self.pending():
            names = {item["address"] for item in entry["recipients"]}
            if entry["queue_name"] == "deferred" and recipient in names:
                return str(entry["queue_id"])
        return None

    def flush(self, queue_id: str) -> None:
        """Tries one deferred message again, now."""
        self._run("postqueue", "-c", self.etc, "-i", queue_id, check=True)

    def sendmail(self, message: bytes, *, sender: str, recipients: Sequence[str]) -> None:
        """A submission by a local user, through the sendmail(1) command."""
        command = ("sendmail", "-C", str(self.etc), "-i", "-f", sender, "--", *recipients)
        subprocess.run(command, input=message, check=True, timeout=START_S)

    def __enter__(self) -> Self:
        self.prepare()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _make_directories(self) -> None:
        postfix, nobody = pwd.getpwnam("postfix"), pwd.getpwnam("nobody")
        for name in ("etc/sasl", "log", "queue", "data", "mailboxes", "tls"):
            (self.directory / name).mkdir(parents=True, exist_ok=True, mode=0o755)
        self.directory.chmod(0o755)
        os.chown(self.directory / "data", postfix.pw_uid, postfix.pw_gid)
        (self.directory / "data").chmod(0o700)
        os.chown(self.directory / "mailboxes", nobody.pw_uid, nobody.pw_gid)
        self.milter_socket.parent.mkdir(exist_ok=True)
        os.chown(self.milter_socket.parent, -1, grp.getgrnam("postfix").gr_gid)
        self.milter_socket.parent.chmod(0o2750)

    def _make_secrets(self) -> None:
        """A certificate for STARTTLS and a password for the one login."""
        tls, sasldb = self.directory / "tls", self.etc / "sasl" / "sasldb2"
        if not (tls / "cert.pem").exists():
            self._run(
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ),
                *("-nodes", "-days", "30", "-subj", f"/CN={HOST}"),
                *("-addext", f"subjectAltName=DNS:{HOST}"),
                *("-keyout", tls / "key.pem", "-out", tls / "cert.pem"),
                check=True,
            )
        user, _, realm = LOGIN[0].partition("@")
        command = ("saslpasswd2", "-p", "-c", "-f", str(sasldb), "-u", realm, user)
        subprocess.run(command, input=LOGIN[1].encode(), check=True, timeout=START_S)
        os.chown(sasldb, -1, grp.getgrnam("postfix").gr_gid)
        sasldb.chmod(0o640)

    def _postfix(self, verb: str) -> None:
        done = self._run("postfix", "-c", self.etc, verb)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            raise UnavailableError(f"postfix {verb} failed, see {self.log}: {words[-1]}")

    @staticmethod
    def _run(*command: str | Path, check: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )


def _default(setting: str) -> str:
    """A setting as this Postfix was built."""
    command = ("postconf", "-d", "-h", setting)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            return client.recv(4) == b"220 "
    except OSError:
        return False


def free_base(count: int) -> int:
    """The first of ``count`` free ports in a row, below those the kernel gives to clients."""
    for base in random.sample(range(20000, 32000, 16), 100):
        if all(_free(base + offset) for offset in range(count)):
            return base
    raise UnavailableError("no free ports on 127.0.0.1 between 20000 and 32000")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
