"""What every daemon of ours needs: its start, systemd's notices, signals, one instance, gauges.

Follows sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3) and the Prometheus text
format 0.0.4. Raises
``TryAgainError`` where another instance holds the lock,
``UnavailableError`` or ``NotPermittedError`` where it cannot be made.
"""

import fcntl
import grp
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, TextIO

from posttrail import config, logs, metrics
from posttrail.errors import (
    EX_USAGE,
    NotPermittedError,
    PosttrailError,
    TryAgainError,
    UnavailableError,
)
from posttrail.text import safe

NOTIFY_S: Final = 1.0  # a manager's full queue must not hold a daemon
LISTEN_FIRST: Final = 3  # SD_LISTEN_FDS_START


def program(name: str, does: str, run: Callable[[config.Config], None]) -> None:
    """A daemon's whole ``main``: its options, its log, its configuration, and how it ends."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            self.exit(EX_USAGE, f"{self.prog}: {safe(message)}\n")

    parser = Parser(prog=name, description=does)
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file")
    parser.add_argument("--log-level", default="info", choices=logs.LEVELS)
    arguments = parser.parse_args()
    logs.setup(arguments.log_level)
    try:
        run(config.load(arguments.config))
    except PosttrailError as error:
        print(f"{name}: {safe(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)


def notify(text: str) -> None:
    """Tell the service manager (``READY=1``, ``WATCHDOG=1``, ``STATUS=...``), if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(NOTIFY_S)
        try:
            channel.sendto(text.encode(), address)
        except OSError:
            pass  # a manager that does not listen, or is too slow, is no reason to stop


def watchdog_s() -> float | None:
    """Seconds within which the manager wants ``WATCHDOG=1``; None when it does not."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(limit) / 1e6 if limit.isdigit() else None


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Work that cannot tell of its progress: the manager waits so long for it, then as before."""
    usual = watchdog_s()
    if usual is None or usual >= seconds:
        yield
        return
    notify(f"WATCHDOG_USEC={seconds * 1e6:.0f}")
    try:
        yield
    finally:
        notify(f"WATCHDOG_USEC={usual * 1e6:.0f}")


class Stop:
    """SIGTERM or SIGINT as a state to ask for; a second one ends the process at once.

    Made in the main thread. The handler takes no lock: it sets a flag and writes a byte to a
    pipe, on which ``wait`` sleeps (an Event's own lock could be held by the interrupted code).
    """

    def __init__(self) -> None:
        self._set = False
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def is_set(self) -> bool:
        """Whether it is time to stop."""
        return self._set

    def set(self) -> None:
        """Stop for a reason of our own."""
        self._set = True
        os.write(self._writing, b"\0")

    def wait(self, seconds: float) -> bool:
        """Sleep until it is time to stop, at most so long; whether it is."""
        select.select([self._reading], [], [], max(0.0, seconds))
        return self._set

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._set:
            os._exit(128 + number)
        self.set()


def lock_file(path: Path) -> TextIO:
    """The lock, held until the file is closed or the process ends, however it ends."""
    try:
        file = path.open("a+")
    except PermissionError:
        raise NotPermittedError(str(path), _group(path.parent)) from None
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read(20).strip() or "unknown"
        file.close()
        raise TryAgainError(f"already running: process {holder} holds {path}") from None
    try:
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), b"%d\n" % os.getpid())
    except OSError:
        pass  # a full disk: whoever finds the lock taken is told of an unknown process
    return file


def _group(directory: Path) -> str:
    """The group that a directory belongs to, by name where it has one."""
    try:
        gid = directory.stat().st_gid
    except OSError:
        return "of its directory"
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def write_prom(path: Path, gauges: Mapping[str, float]) -> None:
    """Replace the figures other programs read; a reader sees the old file or the new one.

    Each is of a family of posttrail/metrics.py: a name that is none is a KeyError.
    """
    lines, told = [], set()
    for name, value in gauges.items():
        family = metrics.family_of(name.partition("{")[0])
        if family is None:
            raise KeyError(name)
        if family.name not in told:
            told.add(family.name)
            lines.append(f"# TYPE {family.name} {family.kind.value}\n")
        lines.append(f"{name} {value!r}\n")
    new = path.with_name(f".{path.name}.new")
    new.unlink(
        missing_ok=True
    )  # of a dead process; others may write here, too: no link is followed
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as file:
        file.write("".join(lines))
    new.chmod(0o644)
    new.replace(path)


def activated(environment: Mapping[str, str] = os.environ) -> list[tuple[str, socket.socket]]:
    """The listening sockets that the service manager opened for us, with the names it gave them.

    sd_listen_fds_with_names(3); the name is ``""`` where it gave none.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    taken = []
    for place in range(int(environment.get("LISTEN_FDS") or "0")):
        made = socket.socket(fileno=LISTEN_FIRST + place)
        made.set_inheritable(False)
        taken.append((names[place] if place < len(names) else "", made))
    return taken
