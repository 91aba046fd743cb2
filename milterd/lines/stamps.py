"""Dates and time zones of log stamps: the arithmetic below milterd.lines.syslog.

Formats: the ``Mmm dd`` of RFC 3164, offsets of RFC 3339. Raises UsageError for the name of
a time zone that does not exist.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from posttrail.errors import UsageError

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
LEAP_SEARCH: Final = 8  # 1896..1904 had the longest run without a 29 February

_MONTH_NAMES: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}


def zone(name: str) -> tzinfo | None:
    """The time zone of that name; "" is this machine's (None, as datetime has it)."""
    if not name:
        return None
    if name.upper() in {"UTC", "Z", "GMT"}:
        return UTC
    if name[0] in "+-" and (offset := offset_us(name.encode("ascii", "replace"))) is not None:
        return timezone(timedelta(microseconds=offset))
    try:
        return ZoneInfo(name)
    except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise UsageError(f"no such time zone: {name}") from error
    except KeyError as error:
        raise UsageError(f"no such time zone: {name}") from error


def year_of_first(lines: Iterable[bytes], *, newest_us: int, timezone: tzinfo | None) -> int:
    """The year of the first year-less stamp of a file whose last line is near ``newest_us``.

    Counts the turns of the year from the first line to the last, so that a log longer
    than a year is dated right. The calendar is all it looks at: cheap enough to read
    a file for it beforehand.
    """
    turns = last_month = 0
    last_day = b""
    for line in lines:
        day = line[:6]
        if day == last_day:
            continue
        parts = date_of(line)
        if parts is None:
            continue
        if last_month:  # nearest in the circle of twelve, as is LineParser's rule
            turns += (parts[0] < last_month - 6) - (parts[0] > last_month + 6)
        last_month, last_day = parts[0], day
    newest = datetime.fromtimestamp(newest_us / SECOND_US, timezone)
    if not last_month:
        return newest.year
    parts = date_of(last_day + b" ")
    month, day_number = parts if parts else (last_month, 1)
    limit = (newest + timedelta(days=1)).date()
    year = limit.year
    while year > limit.year - LEAP_SEARCH:
        last = calendar_date(year, month, day_number)
        if last is not None and last <= limit:
            break
        year -= 1
    return year - turns


def utc_us(wall: datetime, zone: tzinfo | None) -> int:
    """Local time as UTC; without a zone, this machine's."""
    return round(wall.replace(tzinfo=zone).timestamp()) * SECOND_US


def year_of(at_us: int, zone: tzinfo | None) -> int:
    """The calendar year of a time."""
    return datetime.fromtimestamp(at_us / SECOND_US, zone).year


def calendar_date(year: int, month: int, day: int) -> date | None:
    """The date, None where that year has no such day."""
    try:
        return date(year, month, day)
    except ValueError:
        return None


def date_of(line: bytes) -> tuple[int, int] | None:
    """Month and day of ``Mmm dd `` or ``Mmm  d ``."""
    month = _MONTHS.get(line[:3])
    day = line[4:6].lstrip(b" ")
    if month is None or line[3:4] != b" " or line[6:7] != b" " or not day.isdigit():
        return None
    return (month, int(day)) if 1 <= int(day) <= 31 else None


def offset_us(zone: bytes) -> int | None:
    """Microseconds east of UTC of ``+hh:mm``, ``+hhmm`` or ``+hh``."""
    digits = zone[1:].replace(b":", b"")
    if zone[:1] not in (b"+", b"-") or not digits.isdigit() or len(digits) not in (2, 4):
        return None
    size = (int(digits[:2]) * 60 + int(digits[2:] or b"0")) * MINUTE_US
    if size >= DAY_US:
        return None
    return size if zone[:1] == b"+" else -size


def digits_end(line: bytes, begin: int) -> int:
    """Where the digits at ``begin`` end; more than nine are nobody's fraction."""
    end = begin
    while end < begin + 9 and line[end : end + 1].isdigit():
        end += 1
    return end


def fraction_us(digits: bytes) -> int:
    """Microseconds of the digits behind a decimal point."""
    return int(digits[:6].ljust(6, b"0"))
