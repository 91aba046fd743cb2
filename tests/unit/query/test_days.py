"""query.days: a report's rows by day and status."""

from datetime import UTC, date, timedelta
from zoneinfo import ZoneInfo

from query.days import USUAL_DAYS, _made
from query.when import DAY_US, Window

EPOCH = date(1970, 1, 1)


def test_every_day_of_a_short_window_is_there() -> None:
    window = Window(since_us=100 * DAY_US, spelled=("2d", ""))
    pairs = [((EPOCH + timedelta(days=101), "error"), 2)]
    found = _made(pairs, window, 102 * DAY_US, zone=UTC, whole=True)
    assert [day.rows for day in found.days] == [0, 2, 0]
    assert [day.date for day in found.days] == ["1970-04-11", "1970-04-12", "1970-04-13"]
    assert found.days[1].statuses["error"] == found.most == 2


def test_a_long_window_begins_where_rows_begin() -> None:
    pairs = [((EPOCH + timedelta(days=50), "delivered"), 1)]
    found = _made(pairs, Window(), 100 * DAY_US, zone=UTC, whole=True)
    assert len(found.days) == 51
    found = _made([], Window(since_us=DAY_US), 100 * DAY_US, zone=UTC, whole=True)
    assert len(found.days) == USUAL_DAYS + 1


def test_days_are_those_of_the_zone() -> None:
    window = Window(since_us=100 * DAY_US - 1, until_us=100 * DAY_US)
    found = _made([], window, 200 * DAY_US, zone=ZoneInfo("Asia/Tokyo"), whole=True)
    assert [day.date for day in found.days] == ["1970-04-11"]
