"""Receive syslog datagrams, and keep them in a small spool that the follower follows.

Formats: RFC 3164 and RFC 5424 over a Unix datagram socket or UDP on a loopback address (RFC
5426), made into lines of a log file (``milterd.lines.wire``). A thread of its own takes them, so
that a slow commit costs none; it appends them to ``current`` at once and syncs every second. A
spool, not a queue in memory: what was taken outlasts a crash of trackd, and one and the same
follower, with its positions, reads it. The spool is bounded: a segment of 8 MiB is set aside,
and only the newest sixteen are kept.

What the kernel dropped (SO_RXQ_OVFL) or the disk had no room for is a line of ours in the spool,
which becomes a gap. A Unix socket drops nothing: its senders wait.

Log messages: ``listening for syslog ...`` (info), ``received lines cannot be kept ...`` (error).
Raises UnavailableError or NotPermittedError where a socket or the spool cannot be made.
"""

import contextlib
import logging
import os
import select
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from journal.store import group_of
from milterd.lines import losses
from milterd.lines.syslog import MAX_LINE
from milterd.lines.wire import line_of
from milterd.spool import ROTATE
from milterd.track.generations import older_generations
from posttrail.config import loopback
from posttrail.errors import NotPermittedError, PosttrailError, UnavailableError

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 8 << 20
SEGMENTS_MOST: Final = 16
BATCH: Final = 1_000
"""Datagrams between two writes, at most."""
SYNC_S: Final = 1.0
BUFFER_BYTES: Final = 8 << 20
"""What the kernel is asked to hold while we write."""

_SO_RXQ_OVFL: Final = 40  # socket(7); Python has no name for it
_LOST: Final = b"%b %b %b[%d]: %d messages lost: %b"


class Receiver:
    """Sockets, a thread that empties them, and the spool; from ``start`` to ``stop``."""

    def __init__(
        self,
        directory: Path,
        *,
        host: bytes,
        path: Path | None = None,
        udp: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Listen; ``udp`` is ADDRESS:PORT, as the configuration has checked it."""
        self._host = host
        self._path = path
        self._now = now
        self.received = 0
        self.dropped = 0
        self._untold = 0  # dropped, and not yet said in the spool
        self._kernel: dict[int, int] = {}  # dropped by the kernel, by socket
        self._failing = False
        self._synced = 0.0
        self._sockets: list[socket.socket] = []
        self._spool = Spool(directory)
        try:
            if path is not None:
                self._sockets.append(_unix(path))
            if udp:
                self._sockets.append(_udp(udp))
        except BaseException:
            self._close()
            raise
        self._waking, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="syslog", daemon=True)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def stop(self) -> None:
        """Take what has come, keep it, and close."""
        os.write(self._wake, b"\0")
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._wake)
        os.close(self._waking)
        self._close()

    def alive(self) -> bool:
        """Whether the thread runs; without it nothing is heard any more."""
        return self._thread.is_alive()

    @property
    def addresses(self) -> list[object]:
        """Where it listens."""
        return [one.getsockname() for one in self._sockets]

    def _close(self) -> None:
        for one in self._sockets:
            one.close()
        if self._path is not None and self._sockets:
            self._path.unlink(missing_ok=True)
        self._spool.close()

    # The thread

    def _run(self) -> None:
        going = True
        while going:
            inputs: list[socket.socket | int] = [*self._sockets, self._waking]
            ready, _, _ = select.select(inputs, [], [], SYNC_S)
            going = self._waking not in ready
            while self._turn():
                pass
        with contextlib.suppress(OSError):
            self._spool.sync()

    def _turn(self) -> bool:
        """Move the next datagrams to the spool; False when none is left."""
        stamp = self._now().isoformat(timespec="microseconds").encode()
        lines: list[bytes] = []
        for one in self._sockets:
            self._take(one, stamp, lines)
        self.received += len(lines)
        if self._untold:
            told = (stamp, self._host, losses.RECEIVER, os.getpid(), self._untold)
            lines.append(_LOST % (*told, b"no room in the socket's buffer or on the disk"))
        if lines:
            self._keep(lines)
        self._sync()
        return len(lines) >= BATCH

    def _take(self, one: socket.socket, stamp: bytes, lines: list[bytes]) -> None:
        for _ in range(BATCH):
            try:
                data, ancillary, _, _ = one.recvmsg(MAX_LINE, socket.CMSG_SPACE(4))
            except (BlockingIOError, InterruptedError):
                return
            for level, kind, value in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                    self._kernel_lost(one.fileno(), struct.unpack("I", value[:4])[0])
            if data.strip(b"\r\n\0 "):
                lines.append(line_of(data, host=self._host, stamp=stamp))

    def _kernel_lost(self, number: int, total: int) -> None:
        """The kernel counts what it dropped from a socket; the count may wrap."""
        self._lost((total - self._kernel.get(number, 0)) & 0xFFFFFFFF)
        self._kernel[number] = total

    def _lost(self, count: int) -> None:
        self.dropped += count
        self._untold += count

    def _keep(self, lines: list[bytes]) -> None:
        """Append lines; where that fails they are lost, and counted."""
        told = self._untold
        try:
            self._spool.append(lines)
        except OSError as error:
            if not self._failing:
                log.error("received lines cannot be kept, they are counted: %s", error)
            self._failing = True
            self._lost(len(lines) - (told > 0))
            return
        self._failing = False
        self._untold -= told

    def _sync(self) -> None:
        now = time.monotonic()
        if now - self._synced >= SYNC_S:
            self._synced = now
            with contextlib.suppress(OSError):  # the next append tells
                self._spool.sync()


class Spool:
    """The segments: ``current`` is appended to, ``current-NANOSECONDS`` are full."""

    def __init__(self, directory: Path) -> None:
        self._current = directory / "current"
        try:
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._open()
        except PermissionError:
            raise NotPermittedError(str(directory), group_of(directory.parent)) from None
        except OSError as error:
            raise UnavailableError(f"{directory}: {error.strerror or error}") from None

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._current, flags, 0o640)
        self._size = os.fstat(self._file).st_size
        self._torn = self._size > 0  # perhaps: an empty line is harmless
        self._unsynced = False

    def append(self, lines: list[bytes]) -> None:
        """Add lines to the current segment; a new one when it is full. Raises OSError."""
        if self._size >= SEGMENT_BYTES:
            self._rotate()
        data = b"\n" * self._torn + b"".join([line + b"\n" for line in lines])
        written = os.write(self._file, data)
        self._size += written
        self._unsynced = True
        self._torn = written < len(data)
        if self._torn:
            raise OSError(f"only {written} of {len(data)} bytes were written")

    def _rotate(self) -> None:
        self._flush()
        os.rename(self._current, self._current.with_name(f"current-{time.time_ns():020d}"))
        os.close(self._file)
        self._open()
        for old in older_generations(self._current)[SEGMENTS_MOST:]:
            old.unlink(missing_ok=True)

    def sync(self) -> None:
        """What was appended outlasts a power cut; a new segment where one is asked for. OSError."""
        asked = self._current.with_name(ROTATE)
        if asked.exists():
            if self._size:
                self._rotate()
            asked.unlink(missing_ok=True)
        self._flush()

    def _flush(self) -> None:
        if self._unsynced:
            os.fdatasync(self._file)
            self._unsynced = False

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def _unix(path: Path) -> socket.socket:
    """A datagram socket, writable for its owner and group."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o117)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()  # of an earlier trackd: the journal's lock says that it is gone
        one.bind(os.fspath(path))
    except OSError as error:
        one.close()
        raise _refused(f"syslog socket {path}", path.parent, error) from None
    finally:
        os.umask(before)
    return _ready(one, os.fspath(path))


def _udp(address: str) -> socket.socket:
    host, port = loopback(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        one.bind((host, port))
    except OSError as error:
        one.close()
        raise _refused(f"UDP {address}", Path("/"), error) from None
    one.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    return _ready(one, address)


def _ready(one: socket.socket, name: str) -> socket.socket:
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    log.info("listening for syslog on %s", name)
    return one


def _refused(what: str, place: Path, error: OSError) -> PosttrailError:
    if isinstance(error, PermissionError):
        return NotPermittedError(what, group_of(place))
    return UnavailableError(f"cannot listen on {what}: {error.strerror or error}")
