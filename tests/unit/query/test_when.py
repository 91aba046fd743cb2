"""query.when: times as people write them, and no others."""

import time
from collections.abc import Iterator

import pytest

from posttrail.errors import UsageError
from query import when

NOW_US = 1_795_458_601_250_000  # 2026-11-23T18:30:01.250Z
HOUR_US = 3_600_000_000


@pytest.fixture(autouse=True)
def _athens(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Athens")  # UTC+2 in November, +3 in July
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "meant_us"),
    [
        ("30d", NOW_US - 30 * 24 * HOUR_US),
        ("2h", NOW_US - 2 * HOUR_US),
        ("90s", NOW_US - 90_000_000),
        ("15m", NOW_US - HOUR_US // 4),
        ("4w", NOW_US - 28 * 24 * HOUR_US),
        ("2026-11-23", 1_795_384_800_000_000),  # 2026-11-22T22:00:00Z
        ("2026-07-01", 1_782_853_200_000_000),  # 2026-06-30T21:00:00Z
        ("18:30", 1_795_451_400_000_000),  # 16:30Z of the same day
        ("18:30:05", 1_795_451_405_000_000),
        ("2026-11-23 18:30", 1_795_451_400_000_000),
        ("2026-11-23T18:30:01.250Z", NOW_US),
        ("2026-11-23T18:30:01.250+02:00", NOW_US - 2 * HOUR_US),
        ("1969-01-01", 0),
        ("999999999w", 0),
    ],
)
def test_a_time_is_understood(text: str, meant_us: int) -> None:
    assert when.moment(text, now_us=NOW_US) == meant_us


@pytest.mark.parametrize(
    "text", ["soon", "2h ago", "-2h", "25:00", "12:61", "2026-13-01", "٣d", "1.5h"]
)
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="no time") as caught:
        when.moment(text, now_us=NOW_US)
    assert repr(text) in str(caught.value)


def test_a_window_is_open_where_nothing_is_said() -> None:
    assert when.window("", "", now_us=NOW_US) == when.Window()


def test_a_window_that_ends_before_it_begins_is_an_error() -> None:
    with pytest.raises(UsageError, match="nothing lies between"):
        when.window("1h", "2h", now_us=NOW_US)


def test_only_a_length_of_time_is_a_duration() -> None:
    assert when.duration("2h") == 2 * HOUR_US
    with pytest.raises(UsageError, match="'2026-11-23' is no duration"):
        when.duration("2026-11-23")
