"""Split one line of a syslog file into stamp, host, tag, pid and text.

Formats: RFC 3164 as syslogd and Postfix's own postlogd write it (no year, local
time) and RFC 3339 stamps. The tag is Postfix's: ``syslog_name[/service]/daemon[pid]:``;
only the daemon, its last part, tells what a line means. Tags and hosts repeat, so
what was once split is looked up.

A stamp without a year gets the latest year that does not put it more than a day behind
the reference (now, or the file's own time). Where the first line's year is given, the
order of the file is the truth: each line is put where it is nearest to the line before
it. The order also tells apart the two passes through the hour that the end of daylight
saving time repeats. A line that has no such header is ``None``: data, not an error.

A container's log may be wrapped: a whole line is the text of another one's, or stands behind
what the container's runtime writes (milterd.lines.wrapped). Then the inner header counts. A
log in which Postfix speaks without a wrapping is not unwrapped: others' text may imitate it.
Raises nothing.
"""

from calendar import timegm
from datetime import datetime, timedelta, tzinfo
from typing import Final, Protocol

from milterd.lines import wrapped
from milterd.lines.stamps import (
    DAY_US,
    HOUR_US,
    LEAP_SEARCH,
    MINUTE_US,
    SECOND_US,
    calendar_date,
    date_of,
    digits_end,
    fraction_us,
    offset_us,
    utc_us,
    year_of,
    year_of_first,
    zone,
)

__all__ = ["MAX_LINE", "Line", "LineParser", "Splitter", "year_of_first", "zone"]

MAX_LINE: Final = 65_536
"""Longer lines are cut; whoever reads the file counts them."""

_SLACK_US: Final = MINUTE_US  # lines may overtake each other by this much
_MAX_HEADS: Final = 8192
_MAX_WRAPS: Final = 3
_DIRECT: Final = frozenset({b"smtpd", b"cleanup", b"qmgr", b"smtp"})  # that Postfix is here

_SYSLOGD: Final = b"syslogd"
_SECONDS: Final = {b"%02d" % second: second * SECOND_US for second in range(61)}  # 60: leap


class Line:
    """One line of a log, split. (A class: compiled, its parts are read without a look-up.)"""

    __slots__ = ("at_us", "daemon", "host", "instance", "pid", "service", "text")

    def __init__(
        self,
        at_us: int,
        host: bytes,
        instance: bytes,
        service: bytes,
        daemon: bytes,
        pid: int,
        text: bytes,
    ) -> None:
        self.at_us = at_us
        self.host = host
        self.instance = instance  # the first part of the tag
        self.service = service  # what is between the first and the last part, b"" where nothing is
        self.daemon = daemon  # the last part of the tag
        self.pid = pid  # 0 where the tag has none
        self.text = text

    def _replace(self, *, text: bytes) -> "Line":
        """The same line with another text."""
        return Line(self.at_us, self.host, self.instance, self.service, self.daemon, self.pid, text)

    def _parts(self) -> tuple[int, bytes, bytes, bytes, bytes, int, bytes]:
        return (
            self.at_us, self.host, self.instance, self.service, self.daemon, self.pid, self.text
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Line) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def __repr__(self) -> str:
        return f"Line{self._parts()!r}"


class Splitter(Protocol):
    """What splits the lines of one file or stream, in its order: ``LineParser`` is one."""

    reference_us: int

    @property
    def year(self) -> int | None: ...
    @property
    def last_us(self) -> int | None: ...
    def parse(self, line: bytes, /) -> Line | None: ...


class LineParser:
    """Splits the lines of one file, in the file's order."""

    __slots__ = (
        "_day",
        "_day_plain",
        "_day_us",
        "_depth",
        "_direct",
        "_heads",
        "_last_us",
        "_minute",
        "_minute_us",
        "_offset",
        "_second",
        "_second_us",
        "_year",
        "_zone",
        "reference_us",
        "year",
    )

    def __init__(
        self,
        *,
        timezone: tzinfo | None,
        reference_us: int,
        year: int | None = None,
        after_us: int | None = None,
    ) -> None:
        """Begin a file.

        ``reference_us`` is the newest time a year-less stamp may have, give or take a
        day (live: now, and kept moving by the caller; import: the file's time).
        ``year`` is the first line's and then the reference is not asked. ``after_us``
        is ``last_us`` of the parser that read what is before in the same file.
        """
        self.reference_us = reference_us
        self.year = year  # of the latest year-less stamp
        self._year = year
        self._zone = timezone
        self._last_us = after_us
        self._day = b""
        self._day_us = 0
        self._day_plain = False
        self._minute = b""
        self._minute_us = 0
        self._second = self._offset = b""
        self._second_us = 0
        self._depth = 0  # how many headers were taken off a line
        self._direct = False  # whether Postfix spoke in lines of its own
        self._heads: dict[bytes, Line] = {}  # lines without time and text

    @property
    def last_us(self) -> int | None:
        """About when the latest line was written; hand it to the next parser of the file."""
        return self._last_us

    def parse(self, line: bytes) -> Line | None:
        """Split one line, given without its newline; None where it has no syslog header."""
        if len(line) > MAX_LINE:
            line = line.lstrip(b"\0")[:MAX_LINE]
        if line[:16] == self._second:  # "Nov 23 18:30:01 "
            at_us, begin = self._second_us, 16
        elif (
            line[:17] == self._minute  # "2026-11-23T18:30:01.250000+01:00 "
            and line[26:33] == self._offset
            and line[19:20] == b"."
            and (second := _SECONDS.get(line[17:19])) is not None
            and line[20:26].isdigit()
        ):
            at_us, begin = self._minute_us + second + int(line[20:26]), 33
        else:
            stamp = self._stamp(line)
            if stamp is None:
                return self._bare(line) if line[:1] != b"\0" else self.parse(line.lstrip(b"\0"))
            at_us, begin = stamp
        before, mark, text = line.partition(b"]: ")
        head = self._heads.get(before[begin:])
        if head is None or not mark:
            return self._parse_head(line, at_us, begin)
        if not text or text[-1] in b"\r 25" or text[0] in b" [":
            text = _trim(text)
        found = Line(
            at_us, head.host, head.instance, head.service, head.daemon, head.pid, text
        )  # fmt: skip
        if head.instance is head.daemon and _begins_line(text):  # a plain tag: both are one object
            return self._unwrap(found)
        return found

    def _parse_head(self, line: bytes, at_us: int, begin: int) -> Line | None:
        """Split a head (host, tag and pid) that was not seen before."""
        start = begin
        if line[begin : begin + 1] == b" ":
            begin = len(line) - len(line[begin:].lstrip(b" "))
        blank = line.find(b" ", begin)
        if blank > 0 and line[begin : begin + 1] == b"<" and line[blank - 1 : blank] == b">":
            begin = blank + 1  # FreeBSD's syslogd -v: <facility.level> before the host
            blank = line.find(b" ", begin)
        if blank < 0:
            return self._bare(line)
        tag_at = blank
        if line[tag_at + 1 : tag_at + 2] == b" ":
            tag_at = len(line) - len(line[tag_at:].lstrip(b" "))
        else:
            tag_at += 1
        colon = _tag_end(line, tag_at)
        if colon < 0:
            if line.startswith(b"last message repeated ", tag_at):  # of which program is not told
                return Line(at_us, line[begin:blank], _SYSLOGD, b"", _SYSLOGD, 0, line[tag_at:])
            return self._bare(line)
        tag, _, number = line[tag_at:colon].removesuffix(b"]").partition(b"[")
        if not tag:
            return None
        pid = int(number) if number.isdigit() and len(number) <= 10 else 0
        instance, service, daemon = _split_tag(tag)
        head = Line(0, line[begin:blank], instance, service, daemon, pid, b"")
        if not self._depth and daemon in _DIRECT and instance is not daemon:
            self._direct = True
        if number.isdigit() and line[colon - 1 : colon + 2] == b"]: ":
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            self._heads[line[start : colon - 1]] = head
        text = _trim(line[colon + 1 :])
        found = Line(at_us, head.host, instance, service, daemon, pid, text)
        return self._unwrap(found) if instance is daemon and _begins_line(text) else found

    def _unwrap(self, line: Line) -> Line:
        """The line that is another one's text; the other one where it is none after all."""
        if self._direct or self._depth >= _MAX_WRAPS:
            return line
        reference = self.reference_us
        self.reference_us = line.at_us  # the inner stamp has the outer one's year
        self._depth += 1
        inner = self.parse(line.text)
        self._depth -= 1
        self.reference_us = reference
        return line if inner is None else inner

    def _bare(self, line: bytes) -> Line | None:
        """A line without a header: is there one behind what a container's runtime writes?"""
        if self._direct or self._depth >= _MAX_WRAPS:
            return None
        inner = wrapped.unwrap(line)
        if not inner:
            return None
        self._depth += 1
        found = self.parse(inner)
        self._depth -= 1
        return found

    # Stamps

    def _stamp(self, line: bytes) -> tuple[int, int] | None:
        """The time of a line and where its host begins; fills the caches."""
        if line[:13] == self._minute and line[15:16] == b" " and line[13:15] in _SECONDS:
            self._second, self._second_us = line[:16], self._minute_us + _SECONDS[line[13:15]]
            return self._second_us, 16
        if line[:1].isdigit():
            return self._rfc3339(line)
        if line[5:6] == b" " and line[4:5].isdigit() and line[6:7].isdigit():
            found = self._rfc3164(line[:4] + b" " + line[4:])  # "Jan 6 08:39:06", not padded
            return (found[0], found[1] - 1) if found else None
        return self._rfc3164(line)

    def _rfc3164(self, line: bytes) -> tuple[int, int] | None:
        """RFC 3164 4.1.2: ``Mmm dd hh:mm:ss``; a fraction may follow."""
        parts = date_of(line)
        if parts is None or line[9:10] != b":" or line[12:13] != b":":
            return None
        hour, minute, second = line[7:9], line[10:12], _SECONDS.get(line[13:15])
        if second is None or not (hour + minute).isdigit() or hour > b"23" or minute > b"59":
            return None
        end = 15
        if line[15:16] == b".":
            end = digits_end(line, 16)
            second += fraction_us(line[16:end])
        if line[end : end + 1] != b" ":
            return None
        base = self._local_minute(line[:6], parts, int(hour) * 60 + int(minute))
        if base is None:
            return None
        self._minute, self._minute_us, self._last_us = line[:13], base, base
        return base + second, end + 1

    def _local_minute(self, day: bytes, parts: tuple[int, int], minutes: int) -> int | None:
        """A minute of a year-less day as UTC; None where no year has the day."""
        if day != self._day:
            midnight = self._choose_year(parts, minutes)
            if midnight is None:
                return None
            self._day = day
            self._day_us = utc_us(midnight, self._zone)
            self._day_plain = (
                utc_us(midnight + timedelta(days=1), self._zone) - self._day_us == DAY_US
            )
            self.year = midnight.year
        elif self.year is None:
            return None
        if self._day_plain:
            return self._day_us + minutes * MINUTE_US
        year = self.year
        assert year is not None
        wall = datetime(year, *parts) + timedelta(minutes=minutes)
        return self._choose_fold(wall)

    def _choose_year(self, parts: tuple[int, int], minutes: int) -> datetime | None:
        """Midnight of the day, in the year that the rule of this file asks for."""
        target, centre = self.reference_us, self._year
        if self._year is not None and self._last_us is not None:
            target, centre = self._last_us, None
        first = centre is not None  # the given year, unless the day is 29 February
        if centre is None:
            centre = year_of(target, self._zone)
        best: tuple[bool, int, datetime] | None = None
        for year in range(centre - LEAP_SEARCH, centre + LEAP_SEARCH + 1):
            if calendar_date(year, *parts) is None:
                continue
            midnight = datetime(year, *parts)
            at_us = utc_us(midnight, self._zone) + minutes * MINUTE_US
            late = self._year is None and at_us > target + DAY_US
            distance = abs(year - centre) if first else abs(at_us - target)
            if best is None or (late, distance) < best[:2]:
                best = late, distance, midnight
        return None if best is None else best[2]

    def _choose_fold(self, wall: datetime) -> int:
        """Which pass through a repeated hour: the one that the file's order allows."""
        first = utc_us(wall, self._zone)
        second = utc_us(wall.replace(fold=1), self._zone)
        last = self._last_us
        if second <= first:  # not repeated; in the hour left out, fold=1 is the earlier
            return first
        if last is None:
            early_enough = self._year is None and self.reference_us >= second - _SLACK_US
            near = self.reference_us < second + HOUR_US
            return second if early_enough and near else first
        return first if first >= last - _SLACK_US else second

    def _rfc3339(self, line: bytes) -> tuple[int, int] | None:
        """RFC 3339 5.6, with a blank for T, without colon or without offset as well."""
        fixed = line[:19]
        if len(fixed) < 19 or fixed[4:5] + fixed[7:8] != b"--" or fixed[10:11] not in b"Tt ":
            return None
        second = _SECONDS.get(fixed[17:19])
        if second is None or fixed[13:14] + fixed[16:17] != b"::":
            return None
        end = 19
        if line[19:20] in (b".", b","):
            end = digits_end(line, 20)
            second += fraction_us(line[20:end])
        blank = line.find(b" ", end)
        if blank < 0 or blank - end > 6:
            return None
        base = self._absolute_minute(fixed, line[end:blank])
        if base is None:
            return None
        self._minute, self._minute_us, self._last_us = line[:17], base, base
        self._offset = line[26 : blank + 1] if blank == 32 and end == 26 else b"\n"
        return base + second, blank + 1

    def _absolute_minute(self, fixed: bytes, zone: bytes) -> int | None:
        """A full date's minute as UTC; None where a number is out of its range."""
        try:
            wall = datetime.fromisoformat(fixed[:16].decode("ascii").replace("t", "T"))
        except ValueError:
            return None
        if not zone:
            return self._choose_fold(wall)
        offset = 0 if zone in b"Zz" else offset_us(zone)
        return None if offset is None else timegm(wall.timetuple()) * SECOND_US - offset


def _tag_end(line: bytes, begin: int) -> int:
    """The colon that ends the tag; -1 where a blank or the end of the line comes first."""
    end = line.find(b" ", begin)
    token = line[begin:] if end < 0 else line[begin:end]
    close = token.find(b"]:")
    if close >= 0 and token.find(b"[", 0, close) >= 0:
        return begin + close + 1
    colon = token.find(b":")
    return begin + colon if colon > 0 else -1


def _split_tag(tag: bytes) -> tuple[bytes, bytes, bytes]:
    """Instance, service and daemon of a tag; the one part of a plain tag is both ends."""
    parts = tag.split(b"/")
    if parts[0] == b"docker":  # docker/{{.Name}}: its line is another program's
        return parts[-1], b"", parts[-1]
    return parts[0], b"/".join(parts[1:-1]), parts[-1]


def _begins_line(text: bytes) -> bool:
    """Whether a text looks like a stamp's begin: RFC 3164's or RFC 3339's."""
    if text[3:4] == b" ":
        return text[9:10] == text[12:13] == b":" or text[8:9] == text[11:12] == b":"
    return text[4:5] == b"-" and text[7:8] == b"-" and text[13:14] == b":"


def _trim(text: bytes) -> bytes:
    """Text without padding, line ends that were escaped, and Solaris's message id."""
    text = text.strip(b" \r\0")
    end = len(text)
    while text.endswith((b"#012", b"#015"), 0, end):  # rsyslog for LF and CR
        end -= 4
    text = text[:end].rstrip(b" ")
    if text.startswith(b"[ID ") and (close := text.find(b"] ", 0, 64)) >= 0:
        text = text[close + 2 :]
    return text
