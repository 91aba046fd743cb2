"""Traces a minute: a minute's worth at once, then evenly, each caller by himself."""

import pytest

from query.trace.limits import MOST_CALLERS, Limits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_at_once_and_then_evenly() -> None:
    clock = Clock()
    limits = Limits(6, clock)
    assert [limits.wait_s("a") for _ in range(6)] == [0.0] * 6
    assert limits.wait_s("a") == pytest.approx(10.0)  # six a minute: one each ten seconds
    clock.now += 4.0
    assert limits.wait_s("a") == pytest.approx(6.0)
    clock.now += 6.5
    assert limits.wait_s("a") == 0.0
    assert limits.wait_s("a") > 0.0


def test_never_more_than_a_minutes_worth() -> None:
    clock = Clock()
    limits = Limits(2, clock)
    assert limits.wait_s("a") == 0.0
    clock.now += 3600.0
    assert [limits.wait_s("a") > 0 for _ in range(3)] == [False, False, True]


def test_callers_do_not_share() -> None:
    limits = Limits(1, Clock())
    assert limits.wait_s("a") == 0.0
    assert limits.wait_s("b") == 0.0
    assert limits.wait_s("a") > 0.0


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    clock = Clock()
    limits = Limits(1, clock)
    limits.wait_s("a")
    clock.now -= 500.0
    assert limits.wait_s("a") > 0.0


def test_none_at_all() -> None:
    assert Limits(0, Clock()).wait_s("a") > 0.0


def test_the_longest_silent_caller_is_forgotten_first() -> None:
    limits = Limits(1, Clock())
    for number in range(MOST_CALLERS + 1):
        assert limits.wait_s(number) == 0.0
    assert limits.wait_s(MOST_CALLERS) > 0.0
    assert limits.wait_s(0) == 0.0
