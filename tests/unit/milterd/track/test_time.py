"""When a line was written: years that stamps lack, zones, repeated and missing hours, clocks that step.

Each table is one file in its order: the stamp as printed, and the UTC time that it means, reasoned
from RFC 3164, RFC 3339 and the zone's rules. New York springs forward on 2026-03-08 and falls
back on 2026-11-01 at 02:00; Berlin on 2026-03-29 and 2026-10-25; Lord Howe moves by half an hour
on 2026-04-05 and 2026-10-04. No clock is asked: now is given.
"""

from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from milterd.lines.syslog import LineParser, zone


class File(NamedTuple):
    """A log: its zone, what its reader knows, and its stamps with their meaning."""

    name: str
    now: str  # of a followed log, or when an imported one was last written
    table: str
    tz: str = "UTC"
    year: int | None = None  # of the first line


FILES = [
    # -- the year that is not printed, live --------------------------------------------------
    File("new year, a minute after", "2027-01-01T00:01:00Z", """
        Dec 31 23:59:58   2026-12-31T23:59:58Z
        Dec 31 23:59:59   2026-12-31T23:59:59Z
        Jan  1 00:00:00   2027-01-01T00:00:00Z
        Jan  1 00:00:59   2027-01-01T00:00:59Z
        Dec 31 23:59:59   2026-12-31T23:59:59Z
        Jan  1 00:01:00   2027-01-01T00:01:00Z
    """),
    File("new year, a minute before: the writer's clock is ahead", "2026-12-31T23:59:00Z", """
        Dec 31 23:59:00   2026-12-31T23:59:00Z
        Jan  1 00:00:30   2027-01-01T00:00:30Z
        Jan  1 23:58:59   2027-01-01T23:58:59Z
        Dec 31 00:00:00   2026-12-31T00:00:00Z
        Jan  2 00:00:00   2026-01-02T00:00:00Z
        Jan  3 00:00:00   2026-01-03T00:00:00Z
    """),
    File("a zone that is in the new year already", "2026-12-31T12:00:00Z", """
        Dec 31 23:00:00   2026-12-31T10:00:00Z
        Jan  1 00:30:00   2026-12-31T11:30:00Z
        Jan  1 01:00:00   2026-12-31T12:00:00Z
        Dec 31 23:59:59   2026-12-31T10:59:59Z
    """, tz="Pacific/Auckland"),
    File("a zone that is in the old year still", "2027-01-01T05:00:00Z", """
        Dec 31 19:00:00   2027-01-01T03:00:00Z
        Dec 31 20:59:59   2027-01-01T04:59:59Z
        Dec 31 00:00:00   2026-12-31T08:00:00Z
        Jan  1 00:00:00   2027-01-01T08:00:00Z
    """, tz="America/Los_Angeles"),
    File("months of the past year", "2026-03-15T12:00:00Z", """
        Mar 15 11:59:59   2026-03-15T11:59:59Z
        Mar 16 11:59:59   2026-03-16T11:59:59Z
        Mar 16 12:00:01   2026-03-16T12:00:01Z
        Mar 17 00:00:00   2025-03-17T00:00:00Z
        Apr  1 00:00:00   2025-04-01T00:00:00Z
        Dec 31 23:59:59   2025-12-31T23:59:59Z
        Jan  1 00:00:00   2026-01-01T00:00:00Z
        Feb 28 12:00:00   2026-02-28T12:00:00Z
        Jun 30 12:00:00   2025-06-30T12:00:00Z
        Mar 14 12:00:00   2026-03-14T12:00:00Z
    """),
    File("29 February, in its year", "2028-02-29T12:00:00Z", """
        Feb 28 23:59:59   2028-02-28T23:59:59Z
        Feb 29 00:00:00   2028-02-29T00:00:00Z
        Feb 29 11:59:59   2028-02-29T11:59:59Z
        Mar  1 00:00:00   2028-03-01T00:00:00Z
        Mar  2 00:00:00   2027-03-02T00:00:00Z
    """),
    File("29 February, read in a year that has none", "2027-03-01T12:00:00Z", """
        Feb 28 12:00:00   2027-02-28T12:00:00Z
        Feb 29 12:00:00   2024-02-29T12:00:00Z
        Mar  1 12:00:00   2027-03-01T12:00:00Z
    """),
    File("29 February, the day after", "2028-03-01T00:00:10Z", """
        Feb 29 23:59:59   2028-02-29T23:59:59Z
        Mar  1 00:00:05   2028-03-01T00:00:05Z
        Feb 29 23:59:58   2028-02-29T23:59:58Z
    """),
    File("29 February, the longest wait: 2100 has none", "2103-06-01T00:00:00Z", """
        Feb 29 12:00:00   2096-02-29T12:00:00Z
        Feb 28 12:00:00   2103-02-28T12:00:00Z
    """),
    # -- the year of the first line is given -------------------------------------------------
    File("a file over two turns of the year", "2026-11-23T00:00:00Z", """
        Nov 30 10:00:00   2023-11-30T10:00:00Z
        Dec 31 23:59:59   2023-12-31T23:59:59Z
        Jan  1 00:00:01   2024-01-01T00:00:01Z
        Dec 31 23:59:58   2023-12-31T23:59:58Z
        Jan  1 00:00:02   2024-01-01T00:00:02Z
        Feb 29 12:00:00   2024-02-29T12:00:00Z
        Jun 15 12:00:00   2024-06-15T12:00:00Z
        Nov  1 12:00:00   2024-11-01T12:00:00Z
        Dec 31 12:00:00   2024-12-31T12:00:00Z
        Jan  2 12:00:00   2025-01-02T12:00:00Z
        Mar  1 12:00:00   2025-03-01T12:00:00Z
    """, year=2023),
    File("a clock that stepped back over new year", "2026-11-23T00:00:00Z", """
        Jan  1 00:30:00   2026-01-01T00:30:00Z
        Dec 31 23:31:00   2025-12-31T23:31:00Z
        Jan  1 00:00:00   2026-01-01T00:00:00Z
        Jan  1 01:30:00   2026-01-01T01:30:00Z
    """, year=2026),
    File("29 February in a file of its year", "2026-11-23T00:00:00Z", """
        Feb 29 00:00:00   2024-02-29T00:00:00Z
        Feb 29 23:59:59   2024-02-29T23:59:59Z
        Mar  1 00:00:00   2024-03-01T00:00:00Z
        Feb 29 23:59:58   2024-02-29T23:59:58Z
    """, year=2024),
    # -- a repeated and a missing hour -------------------------------------------------------
    File("fall back, in the file's order", "2026-11-01T12:00:00Z", """
        Nov  1 00:59:59   2026-11-01T04:59:59Z
        Nov  1 01:00:00   2026-11-01T05:00:00Z
        Nov  1 01:30:00   2026-11-01T05:30:00Z
        Nov  1 01:59:59   2026-11-01T05:59:59Z
        Nov  1 01:00:00   2026-11-01T06:00:00Z
        Nov  1 01:30:00   2026-11-01T06:30:00Z
        Nov  1 01:59:59   2026-11-01T06:59:59Z
        Nov  1 02:00:00   2026-11-01T07:00:00Z
        Nov  1 03:00:00   2026-11-01T08:00:00Z
    """, tz="America/New_York"),
    File("fall back, followed from the first pass on", "2026-10-25T00:30:00Z", """
        Oct 25 02:29:59   2026-10-25T00:29:59Z
        Oct 25 02:30:00   2026-10-25T00:30:00Z
    """, tz="Europe/Berlin"),
    File("fall back, followed from the second pass on", "2026-10-25T01:30:00Z", """
        Oct 25 02:29:59   2026-10-25T01:29:59Z
        Oct 25 02:30:00   2026-10-25T01:30:00Z
        Oct 25 03:00:00   2026-10-25T02:00:00Z
    """, tz="Europe/Berlin"),
    File("fall back, lines that overtake each other are of one pass", "2026-10-25T12:00:00Z", """
        Oct 25 02:10:05   2026-10-25T00:10:05Z
        Oct 25 02:10:03   2026-10-25T00:10:03Z
        Oct 25 02:10:07   2026-10-25T00:10:07Z
        Oct 25 02:09:58   2026-10-25T00:09:58Z
        Oct 25 02:55:00   2026-10-25T00:55:00Z
        Oct 25 02:05:00   2026-10-25T01:05:00Z
        Oct 25 02:04:59   2026-10-25T01:04:59Z
        Oct 25 02:56:00   2026-10-25T01:56:00Z
        Oct 25 03:05:00   2026-10-25T02:05:00Z
    """, tz="Europe/Berlin"),
    File("fall back by half an hour", "2026-04-05T12:00:00Z", """
        Apr  5 01:29:00   2026-04-04T14:29:00Z
        Apr  5 01:40:00   2026-04-04T14:40:00Z
        Apr  5 01:59:00   2026-04-04T14:59:00Z
        Apr  5 01:31:00   2026-04-04T15:01:00Z
        Apr  5 01:59:00   2026-04-04T15:29:00Z
        Apr  5 02:00:00   2026-04-04T15:30:00Z
    """, tz="Australia/Lord_Howe"),
    File("spring forward", "2026-03-08T12:00:00Z", """
        Mar  8 01:59:59   2026-03-08T06:59:59Z
        Mar  8 03:00:00   2026-03-08T07:00:00Z
        Mar  8 03:30:00   2026-03-08T07:30:00Z
    """, tz="America/New_York"),
    File("spring forward, a writer that knew it late", "2026-03-08T12:00:00Z", """
        Mar  8 01:59:59   2026-03-08T06:59:59Z
        Mar  8 02:00:10   2026-03-08T07:00:10Z
        Mar  8 02:30:00   2026-03-08T07:30:00Z
        Mar  8 03:30:05   2026-03-08T07:30:05Z
    """, tz="America/New_York"),
    File("spring forward at midnight: the day begins at one", "2026-04-24T12:00:00Z", """
        Apr 23 23:59:59   2026-04-23T21:59:59Z
        Apr 24 01:00:00   2026-04-23T22:00:00Z
        Apr 24 12:00:00   2026-04-24T09:00:00Z
    """, tz="Africa/Cairo"),
    File("a zone that has no such hours", "2026-11-01T12:00:00Z", """
        Nov  1 01:30:00   2026-11-01T01:30:00Z
        Nov  1 01:10:00   2026-11-01T01:10:00Z
        Nov  1 02:30:00   2026-11-01T02:30:00Z
    """),
    File("a full date without offset falls back, too", "2026-10-25T12:00:00Z", """
        2026-10-25T02:30:00   2026-10-25T00:30:00Z
        2026-10-25T02:59:59   2026-10-25T00:59:59Z
        2026-10-25T02:00:00   2026-10-25T01:00:00Z
        2026-10-25T03:00:00   2026-10-25T02:00:00Z
    """, tz="Europe/Berlin"),
    # -- zones and offsets -------------------------------------------------------------------
    File("Z and offsets of every form", "2026-11-23T18:30:00Z", """
        2026-11-23T18:30:00Z             2026-11-23T18:30:00Z
        2026-11-23T18:30:00z             2026-11-23T18:30:00Z
        2026-11-23t18:30:00Z             2026-11-23T18:30:00Z
        2026-11-23T18:30:00+00:00        2026-11-23T18:30:00Z
        2026-11-23T18:30:00-00:00        2026-11-23T18:30:00Z
        2026-11-23T19:30:00+01:00        2026-11-23T18:30:00Z
        2026-11-23T19:30:00+0100         2026-11-23T18:30:00Z
        2026-11-23T19:30:00+01           2026-11-23T18:30:00Z
        2026-11-24T00:00:00+05:30        2026-11-23T18:30:00Z
        2026-11-24T00:15:00+05:45        2026-11-23T18:30:00Z
        2026-11-24T08:30:00+14:00        2026-11-23T18:30:00Z
        2026-11-23T06:30:00-12:00        2026-11-23T18:30:00Z
        2026-11-23T15:00:00-03:30        2026-11-23T18:30:00Z
        2026-11-23T13:30:00-05:00        2026-11-23T18:30:00Z
        2026-11-23T18:30:00.5Z           2026-11-23T18:30:00.500000Z
        2026-11-23T18:30:00.000001Z      2026-11-23T18:30:00.000001Z
        2026-11-23T18:30:00.123456789Z   2026-11-23T18:30:00.123456Z
        2026-11-23T19:30:00.25+01:00     2026-11-23T18:30:00.250000Z
        2026-11-23T18:30:60Z             2026-11-23T18:31:00Z
    """),
    File("several offsets in one file", "2026-11-23T18:30:00Z", """
        2026-11-23T19:30:01.250000+01:00   2026-11-23T18:30:01.250000Z
        2026-11-23T13:30:01.500000-05:00   2026-11-23T18:30:01.500000Z
        2026-11-23T19:30:02.000000+01:00   2026-11-23T18:30:02Z
        2026-11-23T19:30:02.000000+02:00   2026-11-23T17:30:02Z
        2026-11-23T19:30:02.000000+01:00   2026-11-23T18:30:02Z
        2026-11-23T19:30:02.000000Z        2026-11-23T19:30:02Z
        2026-11-23T19:30:03.000000+01:00   2026-11-23T18:30:03Z
        2026-11-23T19:30:03.000000-01:00   2026-11-23T20:30:03Z
    """),
    File("offsets that change with daylight saving time", "2026-10-25T12:00:00Z", """
        2026-10-25T02:59:59.999999+02:00   2026-10-25T00:59:59.999999Z
        2026-10-25T02:00:00.000000+01:00   2026-10-25T01:00:00Z
        2026-10-25T02:59:59.000000+01:00   2026-10-25T01:59:59Z
        2026-10-25T02:59:59.000000+02:00   2026-10-25T00:59:59Z
        2026-10-25T03:00:00.000000+01:00   2026-10-25T02:00:00Z
    """, tz="Europe/Berlin"),
    File("a zone by its offset", "2026-11-23T18:30:00Z", """
        Nov 23 19:30:00            2026-11-23T18:30:00Z
        Nov 24 00:30:00            2026-11-23T23:30:00Z
        2026-11-23T19:30:00        2026-11-23T18:30:00Z
        2026-11-23T18:30:00Z       2026-11-23T18:30:00Z
    """, tz="+01:00"),
    File("both forms in one file: rsyslog's format was changed", "2026-11-23T18:30:00Z", """
        Nov 23 19:29:58                    2026-11-23T18:29:58Z
        2026-11-23T19:29:59.123456+01:00   2026-11-23T18:29:59.123456Z
        Nov 23 19:29:59                    2026-11-23T18:29:59Z
        2026-11-23T19:30:00.000001+01:00   2026-11-23T18:30:00.000001Z
        2026-11-23T18:30:00.500000Z        2026-11-23T18:30:00.500000Z
        Nov 23 19:30:01                    2026-11-23T18:30:01Z
        Nov  3 19:30:01                    2026-11-03T18:30:01Z
        2026-11-23 19:30:02                2026-11-23T18:30:02Z
        2026-11-23 19:30:02,5              2026-11-23T18:30:02.500000Z
        2026-11-23T19:30:03                2026-11-23T18:30:03Z
        Nov 23 19:30:04                    2026-11-23T18:30:04Z
    """, tz="Europe/Berlin"),
    File("both forms over new year", "2027-01-01T00:00:10Z", """
        2026-12-31T23:59:59.900000+00:00   2026-12-31T23:59:59.900000Z
        Dec 31 23:59:59                    2026-12-31T23:59:59Z
        Jan  1 00:00:00                    2027-01-01T00:00:00Z
        2027-01-01T00:00:00.100000+00:00   2027-01-01T00:00:00.100000Z
        2026-12-31T23:59:59.999999+00:00   2026-12-31T23:59:59.999999Z
    """),
    File("forms of other writers", "2026-01-06T18:30:00Z", """
        Jan 6 08:39:06            2026-01-06T08:39:06Z
        Jan  6 08:39:06           2026-01-06T08:39:06Z
        Jan 06 08:39:06           2026-01-06T08:39:06Z
        Jan  6 08:39:06.123       2026-01-06T08:39:06.123000Z
        Jan  6 23:59:60           2026-01-07T00:00:00Z
    """),
    # -- clocks that step: each stamp is what it says, alone -----------------------------------
    File("an hour forward and back", "2026-11-23T18:30:00Z", """
        Nov 23 18:29:59   2026-11-23T18:29:59Z
        Nov 23 19:30:00   2026-11-23T19:30:00Z
        Nov 23 19:30:01   2026-11-23T19:30:01Z
        Nov 23 18:30:02   2026-11-23T18:30:02Z
    """),
    File("an hour back and forward", "2026-11-23T18:30:00Z", """
        Nov 23 18:29:59   2026-11-23T18:29:59Z
        Nov 23 17:30:00   2026-11-23T17:30:00Z
        Nov 23 18:30:01   2026-11-23T18:30:01Z
    """),
    File("an hour back over midnight and new year", "2027-01-01T00:30:00Z", """
        Jan  1 00:29:59   2027-01-01T00:29:59Z
        Dec 31 23:30:00   2026-12-31T23:30:00Z
        Jan  1 00:30:01   2027-01-01T00:30:01Z
    """),
    File("a stamp in the future changes none behind it", "2026-11-23T18:30:00Z", """
        Nov 23 18:29:59                    2026-11-23T18:29:59Z
        2031-01-01T00:00:00.000000+00:00   2031-01-01T00:00:00Z
        Nov 23 18:30:00                    2026-11-23T18:30:00Z
        2026-11-23T18:30:01.000000+00:00   2026-11-23T18:30:01Z
        1970-01-01T00:00:00.000000+00:00   1970-01-01T00:00:00Z
        Nov 23 18:30:02                    2026-11-23T18:30:02Z
        Dec  1 00:00:00                    2025-12-01T00:00:00Z
    """),
]  # fmt: skip


def rows(file: File) -> list[tuple[str, str]]:
    lines = [line.strip() for line in file.table.strip().splitlines()]
    found = [line.rpartition("  ") for line in lines]
    return [(stamp.strip(), meant.strip()) for stamp, _, meant in found]


def reader(file: File, now: str) -> LineParser:
    tz = zone(file.tz)
    return LineParser(timezone=tz, reference_us=_us(now), year=file.year)


def _us(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return round(moment.timestamp()) * 1_000_000 + moment.microsecond


def told(parser: LineParser, stamp: str) -> str:
    line = parser.parse(f"{stamp} mx postfix/qmgr[1]: 4AAAA: removed".encode())
    assert line is not None, stamp
    assert (line.host, line.daemon, line.text) == (b"mx", b"qmgr", b"4AAAA: removed")
    text = datetime.fromtimestamp(line.at_us // 1_000_000, UTC)
    return text.replace(microsecond=line.at_us % 1_000_000).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_stamps_mean_what_the_table_says(file: File) -> None:
    parser = reader(file, file.now)
    assert [(stamp, told(parser, stamp)) for stamp, _ in rows(file)] == rows(file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_restart_behind_any_line_changes_no_time(file: File) -> None:
    """What the parser knew goes with the position: ``year`` and ``last_us``."""
    if file.year is not None:
        return  # an import is not resumed in the middle of a file
    found = []
    after: int | None = None
    for stamp, _ in rows(file):
        parser = LineParser(timezone=zone(file.tz), reference_us=_us(file.now), after_us=after)
        found.append((stamp, told(parser, stamp)))
        after = parser.last_us
    assert found == rows(file)


NO_TIMES = [
        "Feb 30 12:00:00", "Nov 31 12:00:00", "Nov  0 12:00:00", "Nov 23 24:00:00", "Nov 23 12:60:00",
        "Nov 23 12:00:61", "Nop 23 12:00:00", "nov 23 12:00:00", "Nov 23 1:00:00", "Nov 23 12:00",
        "2026-13-01T12:00:00Z", "2026-02-29T12:00:00Z", "2026-11-31T12:00:00Z", "2026-11-23T24:00:00Z",
        "2026-11-23T12:60:00Z", "2026-11-23T12:00:61Z", "2026-11-23T12:00:00+24:00", "2026-11-23T12:00:00+1",
        "2026-11-23T12:00:00+01:000", "2026-11-23T12:00:00UTC", "0000-01-01T00:00:00Z", "2026-1-23T12:00:00Z",
        "26-11-23T12:00:00Z", "2026-11-23T12:00:00.Z+", "2026-11-23T1a:00:00Z", "\uff12026-11-23T12:00:00Z",
]  # fmt: skip


@pytest.mark.parametrize("stamp", NO_TIMES)
def test_what_is_no_time_is_no_header(stamp: str) -> None:
    parser = LineParser(timezone=UTC, reference_us=_us("2026-11-23T18:30:00Z"))
    assert parser.parse(f"{stamp} mx postfix/qmgr[1]: 4AAAA: removed".encode()) is None


def test_there_are_two_hundred_cases() -> None:
    assert sum(len(rows(file)) for file in FILES) + len(NO_TIMES) >= 200
