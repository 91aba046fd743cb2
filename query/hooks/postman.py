"""Makes the calls of one hook: threads that take what is due, make it, and keep what became of it.

A call that was taken is not made again: where that cannot be written down (a full disk) the thread
keeps it in mind and tries to write until it can. A crash between the two makes the same call once
more, with the same id. Raises nothing.

Log messages: "call failed" (info), "call is given up" (warning), "receiver wants nothing any more,
hook is off" (error), "state cannot be used, calls wait" (warning), "calls go on" (info).
"""

import logging
import random
import sqlite3
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Final

from journal import keys
from posttrail.hook import Hook
from query.hooks import calls, deliver, run
from query.hooks.outcome import Outcome, wait_s
from query.hooks.state import Call
from query.httpd.state import State, StateError

log = logging.getLogger(__name__)

IDLE_S: Final = 0.5
FAILED_S: Final = 1.0
PATIENCE_S: Final = 5.0

Make = Callable[[Hook, Call], Outcome]


class Postman:
    """One hook's."""

    def __init__(self, hook: Hook, number: int, store: State, *, make: Make | None = None) -> None:
        self._hook = hook
        self._number = number
        self._state = store
        self._make = make or (deliver.post if hook.url else run.execute)
        self._lock = Lock()
        self._claimed: set[str] = set()
        self._pace = Pace(hook.per_minute)
        self._stopped = Event()
        self._failing = False
        self.wake = Event()
        self.taken = 0
        self.failed = 0
        self.dead = 0
        self._beats: list[float] = []
        self._threads = [
            Thread(target=self._run, args=(place,), name=f"hook-{hook.name}", daemon=True)
            for place in range(hook.parallel)
        ]

    def start(self) -> None:
        """Begin."""
        self._beats = [time.monotonic()] * len(self._threads)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No new call; does not wait."""
        self._stopped.set()
        self.wake.set()

    def join(self, until: float) -> None:
        """Wait for the calls that are being made, until a time of the monotonic clock."""
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def stuck_s(self) -> float:
        """For how long the thread that moved least has not moved, beyond its time limit."""
        return time.monotonic() - min(self._beats) - self._hook.timeout_s

    def _run(self, place: int) -> None:
        while not self._stopped.is_set():
            self._beats[place] = time.monotonic()
            try:
                call = self._claim()
            except StateError as error:
                self._report(error)
                self._stopped.wait(FAILED_S)
                continue
            self._report(None)
            if call is None:
                self.wake.wait(IDLE_S)
                self.wake.clear()
                continue
            try:
                self._serve(call, place)
            finally:
                with self._lock:
                    self._claimed.discard(call.id)

    def _claim(self) -> Call | None:
        """A call that is due and that no other thread makes."""
        with self._lock:
            if not self._pace.allows(time.monotonic()):
                return None
            now_us, most = _now_us(), len(self._claimed) + 1
            found = self._state.read(lambda db: calls.due(db, self._number, now_us, most))
            for call in found:
                if call.id not in self._claimed:
                    self._claimed.add(call.id)
                    self._pace.count()
                    return call
            return None

    def _serve(self, call: Call, place: int) -> None:
        outcome = self._make(self._hook, call)
        change = self._change(call, outcome, _now_us())
        while True:
            self._beats[place] = time.monotonic()  # what is in mind would go with the process
            try:
                self._state.write(change, patience_s=PATIENCE_S)
                return
            except StateError as error:
                self._report(error)
                if self._stopped.wait(FAILED_S):
                    return

    def _change(
        self, call: Call, outcome: Outcome, now_us: int
    ) -> Callable[[sqlite3.Connection], None]:
        """What is written of an outcome."""
        number, id = self._number, call.id
        if outcome.ok:
            self.taken += 1
            return lambda db: calls.taken(db, number, id)
        self.failed += 1
        wait = wait_s(call.attempts + 1, outcome, random.random)
        due_us = now_us + int(wait * 1_000_000)
        if outcome.gone:
            log.error("receiver wants nothing any more, hook is off name=%s", self._hook.name)
            return lambda db: calls.turn_off(db, number, error=outcome.said, now_us=now_us)
        if due_us > call.made_us + self._hook.retry_hours * keys.HOUR_US:
            self.dead += 1
            log.warning(
                "call is given up name=%s id=%s error=%s", self._hook.name, id, outcome.said
            )
            return lambda db: calls.given_up(db, number, id, error=outcome.said, now_us=now_us)
        log.info(
            "call failed name=%s id=%s attempts=%d next_s=%.0f error=%s",
            self._hook.name, id, call.attempts + 1, wait, outcome.said,
        )  # fmt: skip
        return lambda db: calls.failed(db, number, id, error=outcome.said, due_us=due_us)

    def _report(self, error: StateError | None) -> None:
        if error is not None and not self._failing:
            log.warning("state cannot be used, calls wait name=%s error=%s", self._hook.name, error)
        elif error is None and self._failing:
            log.info("calls go on name=%s", self._hook.name)
        self._failing = error is not None


class Pace:
    """So many a minute, evenly but for a burst: what a second allows, ten at least."""

    def __init__(self, per_minute: int) -> None:
        self._per_s = per_minute / 60
        self._burst = max(10.0, self._per_s)
        self._left = self._burst
        self._at: float | None = None

    def allows(self, now: float) -> bool:
        """Whether one may go now."""
        if self._at is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        return self._left >= 1.0

    def count(self) -> None:
        """One goes."""
        self._left -= 1.0


def _now_us() -> int:
    return time.time_ns() // 1000
