"""posttrail-traced: draws the path of addresses for those who may ask its socket.

    posttrail-traced [--config FILE] [--log-level LEVEL]

It reads the MTA's tables and asks DNS; it has no journal and connects to no mail host. A request
is one JSON line (``ask``), the answer one line, and the connection ends. Callers are told apart by
their user id (SO_PEERCRED, unix(7)). A few workers answer; whoever comes then waits in the queue
of the socket.

Exit codes: 0 stopped by a signal; 64 usage; 66 no such configuration; 69 no mail server, no
socket, or a thread of ours ended; 75 already running; 77 no permission; 78 configuration.

Log messages: "ready", "stopping" (info), "gauges cannot be written", "socket cannot be given to
its group" (warning), "a trace failed" (error).
"""

import logging
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from posttrail import config, daemon
from posttrail.errors import PosttrailError, UnavailableError
from posttrail.process import EX_SOFTWARE
from posttrail.text import json_dump
from query.trace import asked, choose, document
from query.trace.door import door
from query.trace.limits import Limits
from query.trace.request import Request, TooManyError, request
from query.trace.tree import Trace

log = logging.getLogger(__name__)

WORKERS: Final = 4
REQUEST_BYTES: Final = 16 << 10
REQUEST_S: Final = 3.0  # a caller that has not said by then what it wants is sent away
ANSWER_S: Final = 10.0  # and one that does not read the answer
STUCK_S: Final = 120.0  # longer than all time limits of a trace together
TURN_S: Final = 1.0
GAUGES_S: Final = 5.0
STOP_S: Final = 15.0


def main() -> None:
    """The console script."""
    daemon.program("posttrail-traced", "Draw the path of addresses.", run)


def run(settings: config.Config) -> None:
    """Answer until a signal says stop."""
    stop = daemon.Stop()
    walkers = Walkers(choose.maker(settings.trace))
    with door(settings) as listening:
        server = Server(listening, walkers, Limits(settings.trace.per_minute, time.monotonic))
        server.start()
        daemon.notify("READY=1")
        log.info("ready socket=%s", settings.trace.socket)
        ended = _watch(stop, server, settings.run.directory / "traced.prom")
        log.info("stopping busy=%d", server.busy())
        daemon.notify("STOPPING=1")
        server.stop()
    if ended:
        raise UnavailableError("a worker thread has ended")


def _watch(stop: daemon.Stop, server: "Server", path: Path) -> bool:
    """Until a signal: False; True when a worker has ended."""
    told, failing = 0.0, False
    while not stop.wait(TURN_S):
        if not server.alive():
            return True
        now = time.monotonic()
        if server.longest_s(now) < STUCK_S:
            daemon.notify("WATCHDOG=1")
        if now - told < GAUGES_S and told:
            continue
        told = now
        try:
            daemon.write_prom(path, server.gauges())
            failing = False
        except OSError as error:
            if not failing:
                log.warning("gauges cannot be written path=%s error=%s", path, error)
            failing = True
    return False


class Walkers:
    """Walkers that are used by one thread at a time; the one used last, whose tables are warm,
    is taken first."""

    def __init__(self, make: Callable[[], choose.Walker]) -> None:
        self._make = make
        self._free = [make()]  # at once: no mail server is said at the start
        self._lock = threading.Lock()

    def trace(self, wanted: Request) -> Trace:
        """The answer to a request."""
        with self._lock:
            walker = self._free.pop() if self._free else None
        walker = walker or self._make()
        try:
            return walker.trace(wanted.question)
        finally:
            with self._lock:
                self._free.append(walker)


@dataclass(slots=True)
class _Counted:
    answered: int = 0
    refused: int = 0  # too many of one caller
    failed: int = 0


class Server:
    """The workers behind the socket."""

    def __init__(
        self, listening: socket.socket, walkers: Walkers, limits: Limits, workers: int = WORKERS
    ) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._walkers = walkers
        self._limits = limits
        self._counted = _Counted()
        self._lock = threading.Lock()
        self._since: dict[int, float] = {}  # by thread: when its request began
        self._ending, self._end = os.pipe2(os.O_CLOEXEC)
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(workers)
        ]

    def start(self) -> None:
        """Begin to answer."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take nobody in any more; those who are inside get their answers."""
        os.close(self._end)  # wakes all who sleep in select
        until = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if not any(thread.is_alive() for thread in self._threads):
            os.close(self._ending)

    def alive(self) -> bool:
        """Whether all workers are there."""
        return all(thread.is_alive() for thread in self._threads)

    def busy(self) -> int:
        """How many are at a request."""
        with self._lock:
            return len(self._since)

    def longest_s(self, now: float) -> float:
        """For how long the slowest request has been worked at; ``now`` is time.monotonic's."""
        with self._lock:
            return max((now - since for since in self._since.values()), default=0.0)

    def gauges(self) -> dict[str, float]:
        """What Prometheus is told."""
        with self._lock:
            return {
                "posttrail_traced_answered_requests_total": self._counted.answered,
                "posttrail_traced_refused_requests_total": self._counted.refused,
                "posttrail_traced_failed_requests_total": self._counted.failed,
                "posttrail_traced_busy_workers": len(self._since),
            }

    def _work(self) -> None:
        while True:
            waiting: list[socket.socket | int] = [self._listening, self._ending]
            ready, _, _ = select.select(waiting, [], [])
            if self._ending in ready:
                return
            try:
                connection, _ = self._listening.accept()
            except OSError:  # another worker was faster, or the caller has gone
                continue
            with connection, self._timed():
                try:
                    self._answer(connection)
                except OSError:
                    pass  # whoever has gone wants no answer

    @contextmanager
    def _timed(self) -> Iterator[None]:
        name = threading.get_ident()
        with self._lock:
            self._since[name] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._since[name]

    def _answer(self, connection: socket.socket) -> None:
        heard = _hear(connection)
        if heard is None:
            return
        said = self._said(heard, caller(connection))
        connection.settimeout(ANSWER_S)
        connection.sendall(said.encode())

    def _said(self, heard: bytes, uid: int) -> str:
        """The line that answers a line."""
        try:
            wanted = request(heard)
            asked.question(wanted.question.address, wanted.question.sender, wanted.question.entry)
            self._grant(uid, wanted.whom)
            said = document.line(self._walkers.trace(wanted))
        except PosttrailError as error:
            self._count("refused" if isinstance(error, TooManyError) else "failed")
            return _trouble(str(error), error.exit_code)
        except Exception:  # a fault of ours at one address must not take the others' answers away
            log.exception("a trace failed")
            self._count("failed")
            return _trouble("posttrail-traced: a fault of its own, see its log", EX_SOFTWARE)
        self._count("answered")
        return said

    def _grant(self, uid: int, whom: str) -> None:
        with self._lock:
            wait_s = self._limits.wait_s((uid, whom))
        if wait_s:
            raise TooManyError(wait_s)

    def _count(self, what: str) -> None:
        with self._lock:
            setattr(self._counted, what, getattr(self._counted, what) + 1)


def caller(connection: socket.socket) -> int:
    """The user id of the other end."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", credentials)[1])


def _hear(connection: socket.socket) -> bytes | None:
    """The caller's line; None where it is too long, or does not come in time."""
    heard = b""
    until = time.monotonic() + REQUEST_S
    while not heard.endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0 or len(heard) > REQUEST_BYTES:
            return None
        connection.settimeout(left)
        piece = connection.recv(REQUEST_BYTES)
        if not piece:
            return None
        heard += piece
    return heard


def _trouble(sentence: str, code: int) -> str:
    return f"{json_dump({'error': sentence, 'exit': code})}\n"


if __name__ == "__main__":
    main()
