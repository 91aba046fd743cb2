"""Calls are made until they are taken or given up, at a pace, and what was taken is not made again."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posttrail.hook import Hook
from query.hooks import calls, postman, state
from query.hooks.events import Names
from query.hooks.outcome import FIRST_S, LONGEST_S, SPREAD, Outcome, wait_s
from query.hooks.postman import Pace, Postman
from query.hooks.state import Call
from query.httpd.state import State
from tests.unit.query.hooks.conftest import hook
from tests.waiting import wait_until

ExpectedLog = Callable[[str], None]
WAIT_S = 30.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[State]:
    made = state.open_state(tmp_path / "state.sqlite")
    made.write(lambda db: state.begin(db, "all", "x", cursor=0, now_us=0))
    yield made
    made.close()


def now_us() -> int:
    return time.time_ns() // 1000


def put(store: State, *ids: str, made_us: int | None = None) -> None:
    at = now_us() if made_us is None else made_us

    def work(db: sqlite3.Connection) -> None:
        for id in ids:
            state.put(db, 1, Call(id, "error", b"m", Names(b"r", b"f"), b"{}", at, at))

    store.write(work)


class Office:
    """A postman whose calls end as the test says."""

    def __init__(self, store: State, end: Callable[[Call], Outcome], **asked: Any) -> None:
        self.store = store
        self.made: list[str] = []
        self._end = end
        self._told = threading.Condition()
        self.postman = Postman(hook(**asked), 1, store, make=self._make)

    def _make(self, _hook: Hook, call: Call) -> Outcome:
        with self._told:
            self.made.append(call.id)
            self._told.notify_all()
        return self._end(call)

    def wait(self, count: int) -> None:
        with self._told:
            assert self._told.wait_for(lambda: len(self.made) >= count, WAIT_S), self.made

    def settle(self, done: Callable[[sqlite3.Connection], bool]) -> None:
        wait_until(lambda: self.store.read(done), WAIT_S)

    def __enter__(self) -> "Office":
        self.postman.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.postman.stop()
        self.postman.join(time.monotonic() + WAIT_S)


def is_empty(db: sqlite3.Connection) -> bool:
    return state.waiting(db, 1) == 0


def test_what_is_taken_is_made_once_and_in_order(store: State) -> None:
    for number in range(20):
        put(store, f"{number:02}")
    with Office(store, lambda _: Outcome(ok=True), per_minute=60_000) as office:
        office.settle(is_empty)
    assert office.made == [f"{number:02}" for number in range(20)]
    assert office.postman.taken == 20


def test_no_call_is_made_by_two_threads_at_once(store: State) -> None:
    put(store, *(f"{number}" for number in range(40)))
    under_way: set[str] = set()
    lock = threading.Lock()
    doubled: list[str] = []

    def end(call: Call) -> Outcome:
        with lock:
            doubled.extend([call.id] if call.id in under_way else [])
            under_way.add(call.id)
        return Outcome(ok=True)

    with Office(store, end, parallel=8, per_minute=60_000) as office:
        office.settle(is_empty)
    assert doubled == []
    assert len(office.made) == 40


def test_what_fails_is_due_later_and_says_why(store: State) -> None:
    put(store, "a")
    before = now_us()
    with Office(store, lambda _: Outcome(said="HTTP 500")) as office:
        office.settle(lambda db: calls.calls(db, 1, dead=False)[0].attempts == 1)
    (call,) = store.read(lambda db: calls.calls(db, 1, dead=False))
    assert call.error == "HTTP 500"
    assert (
        before + FIRST_S * (1 - SPREAD) * 1e6
        <= call.due_us
        <= now_us() + FIRST_S * (1 + SPREAD) * 1e6
    )


def test_what_fails_for_too_long_is_given_up(store: State, expected_log: ExpectedLog) -> None:
    expected_log("call is given up name=all id=a error=HTTP 500")
    put(store, "a", made_us=now_us() - 2 * 3_600_000_000)
    with Office(store, lambda _: Outcome(said="HTTP 500"), retry_hours=2) as office:
        office.settle(is_empty)
    (call,) = store.read(lambda db: calls.calls(db, 1, dead=True))
    assert (call.id, call.error, call.attempts) == ("a", "HTTP 500", 1)
    assert office.made == ["a"]


def test_gone_turns_the_hook_off_and_gives_up_what_waits(
    store: State, expected_log: ExpectedLog
) -> None:
    expected_log("receiver wants nothing any more, hook is off name=all")
    put(store, "a", "b")
    with Office(store, lambda _: Outcome(gone=True, said="HTTP 410")) as office:
        office.settle(is_empty)
    assert store.read(state.places)[0].off
    assert [call.error for call in store.read(lambda db: calls.calls(db, 1, dead=True))] == [
        "HTTP 410"
    ] * 2


def test_what_was_taken_is_not_made_again_while_it_cannot_be_written_down(
    store: State, expected_log: ExpectedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_log("state cannot be used, calls wait")
    put(store, "a")
    asked = threading.Event()
    real = calls.taken

    def full(db: sqlite3.Connection, number: int, id: str) -> None:
        if not asked.is_set():
            asked.set()
            raise sqlite3.OperationalError("database or disk is full")
        real(db, number, id)

    monkeypatch.setattr(calls, "taken", full)
    with Office(store, lambda _: Outcome(ok=True)) as office:
        office.settle(is_empty)
    assert asked.is_set()
    assert office.made == ["a"]


def test_who_waits_to_write_down_what_was_taken_is_not_stuck(
    store: State, expected_log: ExpectedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog would end the process, and the call would be made again."""
    expected_log("state cannot be used, calls wait")
    put(store, "a")
    tried = threading.Semaphore(0)

    def full(_db: sqlite3.Connection, _number: int, _id: str) -> None:
        tried.release()
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(calls, "taken", full)
    monkeypatch.setattr(postman, "FAILED_S", 0.01)
    with Office(store, lambda _: Outcome(ok=True)) as office:
        assert tried.acquire(timeout=WAIT_S)
        office.postman._beats = [time.monotonic() - 100]
        for _ in range(2):
            assert tried.acquire(timeout=WAIT_S)
        assert office.postman.stuck_s() < 50


def test_a_call_under_way_is_finished_at_the_end(store: State) -> None:
    put(store, "a", "b")
    begun, go_on = threading.Event(), threading.Event()

    def end(_: Call) -> Outcome:
        begun.set()
        go_on.wait(WAIT_S)
        return Outcome(ok=True)

    office = Office(store, end)
    office.postman.start()
    assert begun.wait(WAIT_S)
    office.postman.stop()
    go_on.set()
    office.postman.join(time.monotonic() + WAIT_S)
    assert [call.id for call in store.read(lambda db: calls.calls(db, 1, dead=False))] == ["b"]


def test_a_thread_that_does_not_move_is_known() -> None:
    made = Postman(hook(timeout_s=3), 1, None)  # type: ignore[arg-type]  # it is not used
    made._beats = [time.monotonic() - 100, time.monotonic()]
    assert 96 < made.stuck_s() < 98


def test_waits_grow_to_a_limit_and_are_not_all_the_same() -> None:
    mean = [wait_s(n, Outcome(), lambda: 0.5) for n in range(1, 10)]
    assert mean == [5, 15, 45, 135, 405, 1215, 3645, LONGEST_S, LONGEST_S]
    assert wait_s(1, Outcome(), lambda: 0.0) == FIRST_S * (1 - SPREAD)
    assert wait_s(1000, Outcome(), lambda: 1.0) == LONGEST_S * (1 + SPREAD)


def test_a_receiver_may_ask_for_more_time_but_not_for_ever() -> None:
    assert wait_s(1, Outcome(after_s=120), lambda: 0.5) == 120
    assert wait_s(3, Outcome(after_s=1), lambda: 0.5) == 45
    assert wait_s(1, Outcome(after_s=1e6), lambda: 0.5) == LONGEST_S


def test_a_pace_is_kept_over_a_minute() -> None:
    pace, made = Pace(120), 0
    for tick in range(6000):  # a minute in hundredths
        if pace.allows(tick / 100):
            pace.count()
            made += 1
    assert 120 <= made <= 130  # and the burst of ten
