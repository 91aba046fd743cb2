"""Rows by day and status, for a picture of a report: counters where they answer, else its rows.

Days are those of a time zone. Raises what the reader raises.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import islice
from typing import Final

from journal.reader import Reader
from journal.records import Status
from query.match import Query
from query.scope import Scope
from query.search import search
from query.when import Window

MOST_ROWS: Final = 5000
"""Rows that are read for it; of more the newest count."""
USUAL_DAYS: Final = 30
"""A longer window begins with the first day that has a row."""
MOST_DAYS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day's rows by status token; none is 0."""

    date: str  # ISO 8601
    statuses: dict[str, int]

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(self.statuses.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Every day of the window, oldest first, also those without a row."""

    days: list[Day]
    whole: bool  # False: only the newest MOST_ROWS rows were counted

    @property
    def most(self) -> int:
        """Rows of the fullest day."""
        return max((day.rows for day in self.days), default=0)


def count(reader: Reader, query: Query, scope: Scope, *, zone: tzinfo | None) -> Days:
    """The days of a report's window."""
    if scope.operator and query == Query(
        window=query.window, now_us=query.now_us, delimiters=query.delimiters
    ):
        hourly = reader.hourly(query.window.since_us, query.window.until_us)
        pairs = (((_day(at_us, zone), token), n) for (at_us, token), n in hourly.items())
        return _made(pairs, query.window, query.now_us, zone=zone, whole=True)
    found = search(reader, query, scope)
    rows = [
        ((_day(each.message.time_us, zone), Status(each.row.status).token), 1)
        for each in islice(found, MOST_ROWS)
    ]
    whole = len(rows) < MOST_ROWS or next(found, None) is None
    return _made(rows, query.window, query.now_us, zone=zone, whole=whole)


def _made(
    pairs: Iterable[tuple[tuple[date, str], int]],
    window: Window,
    now_us: int,
    *,
    zone: tzinfo | None,
    whole: bool,
) -> Days:
    counted: Counter[tuple[date, str]] = Counter()
    for key, number in pairs:
        counted[key] += number
    last = max([_day(min(window.until_us - 1, now_us), zone), *(day for day, _ in counted)])
    first = min((day for day, _ in counted), default=last)
    if window.since_us:
        first = min(first, max(_day(window.since_us, zone), last - timedelta(days=USUAL_DAYS)))
    days = [
        Day(
            date=day.isoformat(),
            statuses={status.token: counted[day, status.token] for status in Status},
        )
        for day in _between(first, last)
    ]
    return Days(days=days, whole=whole)


def _between(first: date, last: date) -> Iterator[date]:
    length = min((last - first).days, MOST_DAYS - 1)
    for back in range(length, -1, -1):
        yield last - timedelta(days=back)


def _day(at_us: int, zone: tzinfo | None) -> date:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).astimezone(zone).date()
