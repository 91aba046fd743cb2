"""posttrail-milterd: records what the MTA is told and never stands in its way.

    posttrail-milterd [--config FILE] [--socket SPEC] [--spool DIR] [--log-level LEVEL]

libmilter runs in a thread of its own, because in the main thread it would own the signals. The
main thread waits for them, writes the gauges and feeds the watchdog, as long as the recorder comes
round and our own socket answers us. At SIGTERM the socket's
name goes first, so that new sessions pass without us; then open transactions have 5 s to end,
and the queue 10 s to be written.

Exit codes: 0 stopped by a signal; 64 usage; 66, 78 configuration; 69 no socket, no spool, or a
thread of ours ended; 75 already running; 77 no permission. Logs "ready", "stopping" (info),
"inet socket costs latency", "gauges cannot be written", "not all was written", "own socket does
not answer", "recorder does not come round" (warning).
"""

import argparse
import faulthandler
import logging
import os
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import Final, NoReturn

from milterd import callbacks, transaction
from milterd.callbacks import Sink
from milterd.metrics import Counters
from milterd.recorder import Recorder
from milterd.spool import SpoolWriter, size_bytes
from posttrail import config, daemon, logs, milter_socket
from posttrail.durable import make_directory
from posttrail.errors import EX_USAGE, PosttrailError, UnavailableError

log = logging.getLogger(__name__)

TURN_S: Final = 1.0
GAUGES_S: Final = 5.0
STALLED_S: Final = 15.0  # the recorder comes round every 5 s
PROBE_S: Final = 5.0  # between two looks whether our socket answers
ANSWER_S: Final = 3.0
END_TRANSACTIONS_S: Final = 5.0
END_QUEUE_S: Final = 10.0
DAY_US: Final = 86_400_000_000
# How long a callback waits for the recorder to yield the interpreter. At Python's 5 ms all
# sessions queue up behind one group of records, and go on in each other's way (measured).
SWITCH_S: Final = 0.0005


def main() -> NoReturn:
    """The console script."""
    faulthandler.enable()
    sys.setswitchinterval(SWITCH_S)
    options = _options()
    logs.setup(options.log_level)
    try:
        settings = config.load(options.config)
        name = options.socket or settings.milter.socket
        spool = options.spool or settings.milter.spool
        _run(settings, name, spool)
    except PosttrailError as error:
        print(f"posttrail-milterd: {error}", file=sys.stderr)
        _exit(error.exit_code)
    _exit(0)


def _run(settings: config.Config, name: str, directory: Path) -> None:
    """From the locks to the last record."""
    os.umask(0o007)  # the socket is for the MTA's group, the spool for ours
    stop = daemon.Stop()
    path = milter_socket.socket_path(name)
    locks = [daemon.lock_file(file) for file in _lock_files(directory, path)]
    if path is None:
        log.warning("inet socket costs latency: each callback must reply socket=%s", name)
    counters = Counters()
    recorder = _recorder(settings.milter, directory, counters)
    subject = _subject(settings.milter.subject, directory)
    sink = Sink(put=recorder.put, counters=counters, subject=subject, silent=path is not None)
    callbacks.open_socket(name, sink)
    recorder.start()
    server = threading.Thread(target=_serve, args=(stop,), name="libmilter", daemon=True)
    server.start()
    daemon.notify("READY=1")
    log.info("ready socket=%s spool=%s", name, directory)
    proof = Proof(recorder, name) if daemon.watchdog_s() is not None else None
    gauges = _Gauges(settings.run.directory / "milterd.prom", directory)
    ended = _watch(stop, sink, recorder, server, proof, gauges)
    log.info("stopping open=%d queued=%d", len(sink.open), counters.queue_records)
    daemon.notify("STOPPING=1")
    _finish(sink, recorder, path)
    for lock in locks:
        lock.close()
    if ended:
        raise UnavailableError(f"the {ended} thread has ended")


def _serve(stop: daemon.Stop) -> None:
    """libmilter's thread. It waits for signals too, and takes one that comes as it begins."""
    callbacks.serve()
    stop.set()  # no error: such a signal


def _watch(
    stop: daemon.Stop,
    sink: Sink,
    recorder: Recorder,
    server: threading.Thread,
    proof: "Proof | None",
    gauges: "_Gauges",
) -> str:
    """Until a signal: "", or until a thread ends: its name."""
    while True:
        if not recorder.is_alive():
            return "recorder"
        if not server.is_alive() and not stop.is_set():
            return "libmilter"
        if proof and proof.holds():
            daemon.notify("WATCHDOG=1")
        sink.counters.open_transactions = len(sink.open)
        sink.counters.open_bytes = sink.room.taken_bytes
        sink.counters.dropped_fields = sink.room.dropped
        gauges.write(sink.counters)
        if stop.wait(TURN_S):
            return ""


def _finish(sink: Sink, recorder: Recorder, path: Path | None) -> None:
    """No new sessions, then the open transactions, then the queue."""
    if path:
        path.unlink(missing_ok=True)
    end = time.monotonic() + END_TRANSACTIONS_S
    while sink.open and time.monotonic() < end:
        time.sleep(0.02)
    if not recorder.finish(END_QUEUE_S):
        log.warning("not all was written queued=%d", sink.counters.queue_records)


class Proof:
    """What the watchdog is told of: records are taken to the disk, and the MTA would be answered.

    A full disk is no standstill: the recorder tries on, and another process would fare no better.
    """

    def __init__(self, recorder: Recorder, name: str) -> None:
        self._recorder = recorder
        self._name = name
        self._due = 0.0
        self._answered = True
        self._stalled = False

    def holds(self) -> bool:
        """Whether there is progress; asks our socket when it is time."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + PROBE_S
            before, self._answered = self._answered, _answers(self._name)
            if before and not self._answered:
                log.warning("own socket does not answer socket=%s seconds=%g", self._name, ANSWER_S)
        stalled_s = self._recorder.stalled_s()
        before, self._stalled = self._stalled, stalled_s >= STALLED_S
        if self._stalled and not before:
            log.warning("recorder does not come round seconds=%.0f", stalled_s)
        return self._answered and not self._stalled


def _answers(name: str) -> bool:
    """Whether our socket answers as a milter: through libmilter, its pool and our callback."""
    try:
        milter_socket.negotiate(name, ANSWER_S)
    except (OSError, ValueError):
        return False
    return True


class _Gauges:
    """The file of our gauges; a folder that is missing is said once."""

    def __init__(self, path: Path, spool: Path) -> None:
        self._path = path
        self._spool = spool
        self._due = 0.0
        self._failing = False

    def write(self, counters: Counters) -> None:
        """Write when it is time."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + GAUGES_S
        try:
            counters.spool_bytes = size_bytes(self._spool)
            daemon.write_prom(self._path, counters.gauges())
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.warning("gauges cannot be written path=%s error=%s", self._path, error)
            self._failing = True


def _recorder(settings: config.Milter, directory: Path, counters: Counters) -> Recorder:
    try:
        spool = SpoolWriter(directory)
    except OSError as error:
        raise UnavailableError(f"{directory}: {error.strerror}") from None
    return Recorder(
        spool,
        counters,
        records=settings.queue_records,
        size_bytes=settings.queue_bytes,
        keep_us=settings.spool_days * DAY_US,
    )


def _subject(rule: str, directory: Path) -> transaction.SubjectRule:
    if rule == "hashed":
        return transaction.hashed(_key(directory / "KEY"))
    return transaction.off if rule == "off" else transaction.stored


def _key(path: Path) -> bytes:
    """The secret of hashed subjects, made when there is none."""
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    except FileExistsError:
        pass
    return path.read_bytes()


def _lock_files(directory: Path, path: Path | None) -> list[Path]:
    """One instance a spool, and one a socket: libmilter would take it away from the first."""
    try:
        make_directory(directory, 0o750)
    except OSError as error:
        raise UnavailableError(f"{directory}: {error.strerror}") from None
    files = [directory / "LOCK"]
    return [*files, path.with_name(f"{path.name}.lock")] if path else files


def _options() -> argparse.Namespace:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            self.exit(EX_USAGE, f"{self.prog}: {message}\n")

    parser = Parser(prog="posttrail-milterd", description="Record what the MTA is told.")
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--socket", metavar="SPEC", help="unix:PATH or inet:PORT@HOST")
    parser.add_argument("--spool", type=Path, metavar="DIR")
    parser.add_argument("--log-level", choices=logs.LEVELS, default="info")
    return parser.parse_args()


def _exit(code: int) -> NoReturn:
    """End now: libmilter's threads may be inside a callback, and would need the interpreter."""
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
