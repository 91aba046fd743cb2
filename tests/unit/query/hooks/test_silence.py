"""Who is silent for too long: learned or configured, once a silence, and never by our own gap."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from journal import days, keys
from journal.records import Cover, Gap
from posttrail import config
from posttrail.errors import UsageError
from query.hooks import calls, silence, state, wanted
from query.hooks.quiet import Quiet
from query.hooks.silence import Usual
from tests.unit.query.conftest import NOON_US, Shelf, row
from tests.unit.query.hooks.conftest import Desk, hook

HOUR_US = keys.HOUR_US
DAY_US = keys.DAY_US


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Backup@Example.COM", keys.SENDER, b"backup@example.com"),
        ("@Example.com", keys.SENDER_DOMAIN, b"example.com"),
        ("login:App", keys.LOGIN, b"app"),
        ("client:192.0.2.7", keys.CLIENT_IP, b"192.0.2.7"),
        ("client:2001:DB8::1", keys.CLIENT_IP, b"2001:db8::1"),
    ],
)
def test_a_sender_is_named_as_it_is_known(text: str, kind: bytes, value: bytes) -> None:
    found = Usual.of(text)
    assert found.kind == kind
    assert found.value.lower() == value


@pytest.mark.parametrize("text", ["", "@", "client:example.com", "login:"])
def test_what_names_nobody_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Usual.of(text)


def test_a_daily_sender_may_be_silent_for_a_day_and_a_half() -> None:
    assert silence.learned_us(NOON_US - each * DAY_US for each in range(10)) == 36 * HOUR_US


def test_a_weekend_is_a_pause_that_is_known_and_one_holiday_is_not() -> None:
    workdays = [NOON_US - each * DAY_US for each in range(20) if each % 7 not in (0, 6)]
    assert silence.learned_us(workdays) == 3 * DAY_US * 3 // 2
    holiday = [each for each in workdays if not 8 * DAY_US <= NOON_US - each <= 11 * DAY_US]
    assert silence.learned_us(holiday) == 3 * DAY_US * 3 // 2


def test_a_busy_sender_has_an_hour() -> None:
    every_minute = [NOON_US - each * 60_000_000 for each in range(5 * 24 * 60)]
    assert silence.learned_us(every_minute) == HOUR_US


@pytest.mark.parametrize(
    "times",
    [
        [],
        [NOON_US],
        [NOON_US - each * HOUR_US for each in range(24)],
        [NOON_US - each * DAY_US for each in range(5)],
    ],
)
def test_nothing_is_learned_of_too_little(times: list[int]) -> None:
    assert silence.learned_us(times) is None


def test_time_in_which_nothing_was_recorded_does_not_count() -> None:
    known: list[Cover | Gap] = [
        Cover("log", 0, 10),
        Cover("milter", 5, 20),
        Cover("log", 30, 40),
        Cover("import", 0, 100),  # nobody knows whether it was whole
        Gap("log", 10, 30, "not_running"),
    ]
    assert silence.recorded_us(known, 0, 100) == 30
    assert silence.recorded_us(known, 8, 35) == 17
    assert silence.recorded_us([], 0, 100) == 0


class Clock:
    """Senders that are watched, and the time as the test has it."""

    def __init__(self, desk: Desk, shelf: Shelf) -> None:
        self.desk = desk
        self.shelf = shelf
        self._quiet: Quiet | None = None

    def start(self, **asked: Any) -> None:
        made = hook(on=("silence",), **asked)
        self.desk.start(made)
        self._quiet = Quiet(wanted.of_config(config.Config(hooks=(made,))), self.desk.store)

    def heard(self, at_us: int, **changes: Any) -> None:
        self.shelf.put(row(), at_us=at_us, **changes)

    def at(self, now_us: int, recorded_from_us: int = 0) -> list[dict[str, Any]]:
        """What was told by then."""
        assert self._quiet is not None
        self.shelf.writer.extend("log", recorded_from_us, now_us)
        self.shelf.writer.commit()
        places = self.desk.store.read(state.places)
        reader, key = self.shelf.source.reader, days.read_key(self.shelf.directory)
        self._quiet.tick(reader, places, key=key, now_us=now_us)
        found = self.desk.store.read(lambda db: calls.calls(db, 1, dead=False))
        return [json.loads(each.body) for each in found]


@pytest.fixture
def clock(desk: Desk, shelf: Shelf) -> Clock:
    return Clock(desk, shelf)


Heard = Callable[..., None]


def test_a_silence_is_told_once_and_the_next_after_the_sender_spoke(clock: Clock) -> None:
    clock.start(usual=("from@example.com",), usual_hours=26)
    clock.heard(NOON_US)
    assert clock.at(NOON_US + 26 * HOUR_US) == []
    (told,) = clock.at(NOON_US + 27 * HOUR_US)
    assert told["event"] == "silence"
    assert told["data"] == {
        "usual": "from@example.com", "last_at": "2026-11-23T12:00:00.000Z",
        "silent_s": 27 * 3600, "expected_s": 26 * 3600, "learned": False,
    }  # fmt: skip
    assert len(clock.at(NOON_US + 99 * HOUR_US)) == 1
    clock.heard(NOON_US + 100 * HOUR_US)
    assert len(clock.at(NOON_US + 101 * HOUR_US)) == 1
    first, second = clock.at(NOON_US + 127 * HOUR_US)
    assert first["id"] != second["id"]


def test_a_sender_that_was_never_heard_counts_from_when_it_is_watched(clock: Clock) -> None:
    clock.start(usual=("@never.example",), usual_hours=2)
    begun_us = NOON_US - 1_000_000
    assert clock.at(begun_us + 2 * HOUR_US) == []
    (told,) = clock.at(begun_us + 2 * HOUR_US + 1_000_000)
    assert told["data"]["last_at"] is None


def test_a_gap_of_ours_is_no_silence_of_theirs(clock: Clock) -> None:
    clock.start(usual=("from@example.com",), usual_hours=26)
    clock.heard(NOON_US)
    later = NOON_US + 40 * HOUR_US
    assert clock.at(later, recorded_from_us=NOON_US + 20 * HOUR_US) == []
    assert len(clock.at(later + 7 * HOUR_US, recorded_from_us=later)) == 1


def test_what_is_learned_is_told_as_learned(clock: Clock) -> None:
    clock.start(usual=("client:192.0.2.1",))
    for number in range(8):
        clock.heard(NOON_US - number * DAY_US)
    assert clock.at(NOON_US + 36 * HOUR_US) == []
    (told,) = clock.at(NOON_US + 37 * HOUR_US)
    assert (told["data"]["learned"], told["data"]["expected_s"]) == (True, 36 * 3600)


def test_others_mail_ends_no_silence(clock: Clock) -> None:
    clock.start(usual=("login:app",), usual_hours=1)
    clock.heard(NOON_US, login=b"app")
    clock.heard(NOON_US + HOUR_US, login=b"other")
    assert len(clock.at(NOON_US + 2 * HOUR_US)) == 1
