"""Times as people write them: how long ago, a date, a clock time, RFC 3339.

A time without a zone is this machine's. Raises UsageError, naming the text.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from posttrail.errors import UsageError

DAY_US: Final = 86_400_000_000
END_US: Final = 65_536 * DAY_US
"""The journal's days are numbered in 16 bits; no message is later."""

_UNITS: Final = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": DAY_US, "w": 7 * DAY_US}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
FORMS: Final = "2h, 7d, 2026-11-23, 18:30, 2026-11-23T18:30:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From ``since_us`` up to, but not including, ``until_us``."""

    since_us: int = 0
    until_us: int = END_US
    spelled: tuple[str, str] = ("", "")  # as the user said it


def window(since: str, until: str, *, now_us: int) -> Window:
    """The window of two texts, each of which may be empty."""
    made = Window(
        since_us=moment(since, now_us=now_us) if since else 0,
        until_us=moment(until, now_us=now_us) if until else END_US,
        spelled=(since, until),
    )
    if made.since_us >= made.until_us:
        raise UsageError(f"nothing lies between {since!r} and {until or 'the end'!r}")
    return made


def moment(text: str, *, now_us: int) -> int:
    """The time that a text means."""
    if _DURATION.fullmatch(text):
        found = now_us - duration(text)
    elif clock := _CLOCK.fullmatch(text):
        found = _today(*(int(part or 0) for part in clock.groups()), now_us=now_us, text=text)
    else:
        found = _date(text)
    return min(max(found, 0), END_US)


def absolute(text: str, *, now_us: int) -> str:
    """The same for a program with another clock or zone: how long ago stays, the rest is UTC."""
    if not text or _DURATION.fullmatch(text):
        return text
    at = datetime.fromtimestamp(moment(text, now_us=now_us) // 1_000_000, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + f".{moment(text, now_us=now_us) % 1_000_000:06d}Z"


def duration(text: str) -> int:
    """Microseconds of a text such as ``2h``."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise UsageError(f"{text!r} is no duration; write 90s, 30m, 2h, 7d or 4w")
    return int(found[1]) * _UNITS[found[2]]


def _today(hour: int, minute: int, second: int, *, now_us: int, text: str) -> int:
    day = datetime.fromtimestamp(now_us // 1_000_000)
    try:
        return _us(day.replace(hour=hour, minute=minute, second=second))
    except ValueError:
        raise UsageError(f"{text!r} is no time; write {FORMS}") from None


def _date(text: str) -> int:
    try:
        return _us(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no time; write {FORMS}") from None


def _us(at: datetime) -> int:
    """Microseconds since 1970; without a zone it is local time."""
    return int(at.replace(microsecond=0).timestamp()) * 1_000_000 + at.microsecond
