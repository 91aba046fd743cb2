"""From the callbacks to the spool: a bounded queue and the one thread that empties it.

``put`` never waits and never fails: what finds the queue full is counted, and a ``lost`` record
tells the spool as soon as it can be written. The thread makes and appends the records that have
gathered, at most every 50 ms, makes them durable at most every 100 ms, and writes a heartbeat
every 5 s, without which trackd takes the interval for a gap. While the disk is full it tries
again every second.

Records are made in this thread, in one go: callbacks of several sessions that each hold the
interpreter a little longer fight for it, at up to twice the CPU (measured).

Logs "record failed" (error), "spool cannot be written" (error), "spool can be written again"
(warning when records were lost meanwhile, else info), "records lost at stop" (error), "old spool
segments stay", "spool segment cannot be ended" (warning), "spool segment removed" (info). Raises
nothing.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from milterd.metrics import Counters
from milterd.spool import Body, SpoolWriter, encode_body

log = logging.getLogger(__name__)

Make = Callable[[], bytes | None]

GATHER_S: Final = 0.05
SYNC_S: Final = 0.1
RETRY_S: Final = 1.0
BEAT_S: Final = 5.0  # trackd expects one every 10 s
PRUNE_S: Final = 3600.0


def now_us() -> int:
    """UTC microseconds since 1970."""
    return time.time_ns() // 1000


class Recorder:
    """The queue and its writer thread."""

    def __init__(
        self, spool: SpoolWriter, counters: Counters, *, records: int, size_bytes: int, keep_us: int
    ) -> None:
        self._spool = spool
        self._counters = counters
        self._most_records, self._most_bytes = records, size_bytes
        self._keep_us = keep_us
        self._queue: list[Make] = []
        self._lost = 0  # since the last lost record
        self._lock = threading.Lock()  # of the queue, its bytes and _lost
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._sync_due = self._beat_due = self._prune_due = self.turned_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, make: Make, size_bytes: int) -> None:
        """Queue what will make a record's body (None: there is none), or count it as lost."""
        counters = self._counters
        with self._lock:
            queued_bytes = counters.queue_bytes + size_bytes
            if len(self._queue) >= self._most_records or queued_bytes > self._most_bytes:
                self._lost += 1
                counters.lost += 1
                return
            self._queue.append(make)
            counters.queue_bytes = queued_bytes
            counters.queue_records += 1
        if not self._wake.is_set():
            self._wake.set()

    def stalled_s(self) -> float:
        """Since when the thread has not come round: its proof of progress."""
        return time.monotonic() - self.turned_at

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def finish(self, timeout_s: float) -> bool:
        """Write all that is queued and end; whether that was done in time."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._write([_own("start")])
        self._turn()
        while not self._stopping.is_set():
            self._wait()
            self._turn()
        while self._queue and not self._counters.failing:
            self._turn()
        self._sync_due = 0.0
        self._write([*self._take_lost(), _own("stop")])
        if self._counters.failing:
            records = len(self._queue)
            log.error(
                "records lost at stop count=%d bytes=%d", records, self._spool.unwritten_bytes
            )

    def _wait(self) -> None:
        """Until there is something to do."""
        if self._counters.failing:
            self._stopping.wait(RETRY_S)
            return
        self._stopping.wait(GATHER_S)
        due = min(self._beat_due, self._sync_due) if self._spool.unsynced else self._beat_due
        self._wake.wait(max(0.0, due - time.monotonic()))
        self._wake.clear()  # before the queue is looked at: a later put sets it again

    def _turn(self) -> None:
        """Write one group, and what is due."""
        self.turned_at = time.monotonic()
        if self._counters.failing:
            self._write([])
        if self._counters.failing:
            return
        if self._asked():
            self._beat_due = self.turned_at  # a segment with a beginning: readers leave the other
        group = self._take()
        if self.turned_at >= self._beat_due and not self._queue:
            self._beat_due = self.turned_at + BEAT_S
            group.append(_own("beat"))
        self._write(group)
        if self.turned_at >= self._prune_due:
            self._prune_due = self.turned_at + PRUNE_S
            self._prune()

    def _asked(self) -> bool:
        """Begin a new segment where that is asked for (``posttrail erase``)."""
        try:
            return self._spool.turn_if_asked(now_us())
        except OSError as error:
            log.warning("spool segment cannot be ended error=%s", error)
            return False

    def _take(self) -> list[bytes]:
        counters = self._counters
        with self._lock:
            group, self._queue = self._queue, []
            counters.queue_records = counters.queue_bytes = 0
        made = [body for make in group if (body := self._made(make))]
        counters.records += len(made)
        return made + self._take_lost()

    def _made(self, make: Make) -> bytes | None:
        try:
            return make()
        except Exception:  # the callback's work, done later: our bug must cost one record, not all
            self._counters.failures += 1
            log.exception("record failed failures=%d", self._counters.failures)
            return None

    def _take_lost(self) -> list[bytes]:
        with self._lock:
            lost, self._lost = self._lost, 0
        return [_own("lost", n=lost)] if lost else []

    def _write(self, group: list[bytes]) -> None:
        """Append and, when it is time, sync. What a full disk refuses, the spool keeps."""
        counters = self._counters
        try:
            at_us = now_us()
            self._spool.append(group, now_us=at_us)
            if time.monotonic() >= self._sync_due:
                self._spool.sync()
                self._sync_due = time.monotonic() + SYNC_S
        except OSError as error:
            if not counters.failing:
                log.error("spool cannot be written error=%s", error)
            counters.failing = 1
        else:
            if counters.failing:
                level = logging.WARNING if self._lost else logging.INFO
                log.log(level, "spool can be written again lost=%d", self._lost)
            counters.failing = 0
            counters.written_at_us = at_us
        counters.unwritten_bytes = self._spool.unwritten_bytes

    def _prune(self) -> None:
        try:
            for name in self._spool.prune(now_us() - self._keep_us):
                log.info("spool segment removed name=%s", name)
        except OSError as error:
            log.warning("old spool segments stay error=%s", error)


def _own(kind: str, **facts: int) -> bytes:
    """A record about the milter itself."""
    body: Body = {"v": 1, "t": kind, "at": now_us(), **facts}
    return encode_body(body)
