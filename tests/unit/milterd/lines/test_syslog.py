"""Headers and stamps: what a line says of when, where and by whom."""

from datetime import UTC, datetime, tzinfo

import pytest

from milterd.lines.syslog import MAX_LINE, Line, LineParser, year_of_first, zone
from posttrail.errors import UsageError


def us(text: str) -> int:
    """UTC microseconds of an ISO time with offset."""
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return round(moment.timestamp() * 1_000_000)


NOW = us("2026-11-23T18:30:00+00:00")


def parser(
    *, now: int = NOW, tz: tzinfo | None = UTC, year: int | None = None, after: int | None = None
) -> LineParser:
    return LineParser(timezone=tz, reference_us=now, year=year, after_us=after)


def times(stamps: list[str], reader: LineParser) -> list[str]:
    """The UTC times of lines with these stamps."""
    found = []
    for stamp in stamps:
        line = reader.parse(stamp.encode() + b" mx postfix/qmgr[1]: AB12: removed")
        assert line is not None, stamp
        found.append(datetime.fromtimestamp(line.at_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    return found


@pytest.mark.parametrize(
    ("tag", "parts"),
    [
        (b"postfix/smtpd[12]", (b"postfix", b"", b"smtpd", 12)),
        (b"postfix/submission/smtpd[12]", (b"postfix", b"submission", b"smtpd", 12)),
        (b"postfix-192.0.2.1/smtp[12]", (b"postfix-192.0.2.1", b"", b"smtp", 12)),
        (b"mail_in/pipe[12]", (b"mail_in", b"", b"pipe", 12)),
        (b"a/b/c/d[12]", (b"a", b"b/c", b"d", 12)),
        (b"dovecot", (b"dovecot", b"", b"dovecot", 0)),
        (b"sshd[x]", (b"sshd", b"", b"sshd", 0)),
    ],
)
def test_the_last_part_of_the_tag_is_the_daemon(
    tag: bytes, parts: tuple[bytes, bytes, bytes, int]
) -> None:
    reader = parser()
    instance, service, daemon, pid = parts
    for _ in range(2):  # split, then looked up
        assert reader.parse(b"Nov 23 18:30:01 mx " + tag + b": text [1]: x") == Line(
            us("2026-11-23T18:30:01+00:00"), b"mx", instance, service, daemon, pid, b"text [1]: x"
        )


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-11-23T19:30:01.250000+01:00",
        "2026-11-23T18:30:01.25Z",
        "2026-11-23T18:30:01.250+00:00",
        "2026-11-23T13:30:01.250000-0500",
        "2026-11-23 18:30:01.250",
        "Nov 23 18:30:01.250",
    ],
)
def test_stamps_with_fractions(stamp: str) -> None:
    reader = parser()
    for _ in range(2):
        line = reader.parse(stamp.encode() + b" mx postfix/qmgr[1]: x")
        assert line is not None
        assert line.at_us == us("2026-11-23T18:30:01.250000+00:00")


def test_days_of_one_digit_may_be_padded_or_not() -> None:
    assert times(["Nov  6 08:39:06", "Nov 6 08:39:07"], parser()) == [
        "2026-11-06T08:39:06",
        "2026-11-06T08:39:07",
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\0\0\0",
        b"no header at all",
        b"Nov 23 18:30:01",
        b"Nov 23 18:30:01 mx",
        b"Nov 23 18:30:01 mx no colon",
        b"Nov 23 18:61:01 mx postfix/qmgr[1]: x",
        b"Nov 31 18:30:01 mx postfix/qmgr[1]: x",
        b"Feb 30 18:30:01 mx postfix/qmgr[1]: x",
        b"2026-13-23T18:30:01Z mx postfix/qmgr[1]: x",
        b"2026-11-23T18:30:01+99:99 mx postfix/qmgr[1]: x",
        b'{"log":"Nov 23 18:30:01 mx postfix/qmgr[1]: x"}',
    ],
)
def test_a_line_without_a_header_is_none(line: bytes) -> None:
    reader = parser()
    assert reader.parse(b"Nov 23 18:30:00 mx postfix/qmgr[1]: x") is not None
    assert reader.parse(line) is None


INNER = b"Nov 23 18:30:01 mx postfix/qmgr[1]: AB12: removed"


@pytest.mark.parametrize(
    "wrapping",
    [
        b"2026-11-23T18:30:05+00:00 host smtp-out[985]: %s",
        b"Nov 23 18:30:05 host docker/mail[985]: %s",
        b"Nov 23 18:30:05 host a1b2c3d4e5f6[985]: Nov 23 18:30:04 inner relay[7]: %s",
        b"2026-11-23T18:30:05.123456789Z %s",
        b"2026-11-23T18:30:05.123456789Z stdout F %s",
        b"2026-11-23T18:30:05.123456789+01:00 stderr P %s",
        b"postfix-1  | %s",
        b'{"log":"%s\\n","stream":"stdout","time":"2026-11-23T18:30:05.1Z"}',
    ],
)
def test_the_header_inside_a_container_s_wrapping_counts(wrapping: bytes) -> None:
    reader = parser()
    for _ in range(2):  # the second time heads are known
        line = reader.parse(wrapping % INNER)
        assert line == parser().parse(INNER)
    assert reader.parse(wrapping % b"Starting Postfix") in (
        None,
        parser().parse(wrapping % b"Starting Postfix"),
    )


def test_a_wrapped_stamp_without_a_year_has_that_of_its_wrapping() -> None:
    line = parser().parse(
        b"2019-01-01T00:00:01Z host out[9]: Dec 31 23:59:59 mx postfix/qmgr[1]: x"
    )
    assert line is not None
    assert line.at_us == us("2018-12-31T23:59:59+00:00")


def test_where_postfix_speaks_itself_nothing_is_unwrapped() -> None:
    forged = b"Nov 23 18:30:02 mx webapp[7]: " + INNER.replace(b"18:30:01", b"18:30:02")
    reader = parser()
    assert reader.parse(INNER) is not None
    line = reader.parse(forged)
    assert line is not None
    assert (line.daemon, line.pid) == (b"webapp", 7)
    assert reader.parse(b"web | " + INNER) is None


def test_wrappings_have_an_end() -> None:
    raw = b"Nov 23 18:30:01 host out[9]: " * 2_000 + INNER
    line = parser().parse(raw)
    assert line is not None
    assert line.daemon == b"out"
    assert parser().parse(b"a | " * 2_000 + INNER) is None
    assert parser().parse(b'{"log":' * 9_000) is None
    assert parser().parse(b'{"log":"' + b"[" * 9_000) is None
    assert parser().parse(b'{"log":"x", "log":7}') is None


def test_what_syslogd_repeats_is_nobody_s() -> None:
    line = parser().parse(b"Nov 23 18:30:01 mx last message repeated 3 times")
    assert line is not None
    assert (line.host, line.daemon) == (b"mx", b"syslogd")


def test_padding_line_ends_and_nul_runs_are_no_part_of_the_text() -> None:
    reader = parser()
    for raw in (
        b"Nov 23 18:30:01 mx postfix/qmgr[1]:   AB12: removed \r",
        b"\0\0\0Nov 23 18:30:01 mx postfix/qmgr[1]: AB12: removed#015#012#012",
        b"Nov 23 18:30:01 mx postfix/qmgr[1]: [ID 197553 mail.info] AB12: removed",
        b"\0" * MAX_LINE + b"Nov 23 18:30:01 mx postfix/qmgr[1]: AB12: removed",
    ):
        line = reader.parse(raw)
        assert line is not None
        assert line.text == b"AB12: removed"


def test_a_line_is_cut_at_the_cap() -> None:
    line = parser().parse(b"Nov 23 18:30:01 mx postfix/qmgr[1]: " + b"x" * 2 * MAX_LINE)
    assert line is not None
    assert len(line.text) < MAX_LINE


def test_the_year_is_the_one_nearest_below_the_reference() -> None:
    assert times(["Nov 24 18:00:00"], parser()) == ["2026-11-24T18:00:00"]  # a clock ahead
    assert times(["Nov 25 18:00:00"], parser()) == ["2025-11-25T18:00:00"]
    new_year = us("2026-12-31T23:59:30+00:00")
    assert times(["Jan  1 00:00:05"], parser(now=new_year)) == ["2027-01-01T00:00:05"]


def test_the_order_of_the_file_turns_the_year() -> None:
    reader = parser(now=us("2027-01-01T00:10:00+00:00"))
    assert times(["Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:58"], reader) == [
        "2026-12-31T23:59:59",
        "2027-01-01T00:00:00",
        "2026-12-31T23:59:58",  # overtaken
    ]


def test_a_year_that_is_given_is_the_first_lines() -> None:
    reader = parser(year=2019)
    assert times(["Nov 23 18:00:00", "Feb 29 12:00:00", "Jan  2 00:00:00"], reader) == [
        "2019-11-23T18:00:00",
        "2020-02-29T12:00:00",
        "2020-01-02T00:00:00",
    ]
    assert reader.year == 2020


def test_the_29th_of_february_is_in_a_leap_year() -> None:
    assert times(["Feb 29 12:00:00"], parser()) == ["2024-02-29T12:00:00"]


def test_a_clock_that_was_wrong_at_boot_does_not_drag_the_year_along() -> None:
    reader = parser()
    assert times(["Nov 23 18:00:00", "Jan  1 00:00:07", "Nov 23 18:00:20"], reader) == [
        "2026-11-23T18:00:00",
        "2026-01-01T00:00:07",
        "2026-11-23T18:00:20",
    ]


BERLIN = zone("Europe/Berlin")
AUTUMN = us("2026-10-25T12:00:00+00:00")


def test_the_hour_that_comes_twice_is_told_by_the_order() -> None:
    stamps = ["Oct 25 02:10:00", "Oct 25 02:59:59", "Oct 25 02:58:00", "Oct 25 02:00:01"]
    stamps += ["Oct 25 02:40:00", "Oct 25 03:00:00"]
    assert times(stamps, parser(now=AUTUMN, tz=BERLIN)) == [
        "2026-10-25T00:10:00",
        "2026-10-25T00:59:59",
        "2026-10-25T00:58:00",
        "2026-10-25T01:00:01",
        "2026-10-25T01:40:00",
        "2026-10-25T02:00:00",
    ]


def test_a_new_parser_goes_on_in_the_second_pass() -> None:
    first = parser(now=AUTUMN, tz=BERLIN)
    times(["Oct 25 02:50:00", "Oct 25 02:05:00"], first)
    second = parser(now=AUTUMN, tz=BERLIN, after=first.last_us)
    assert times(["Oct 25 02:06:00"], second) == ["2026-10-25T01:06:00"]


def test_the_hour_that_is_left_out_and_the_days_around_it() -> None:
    spring = us("2026-03-29T12:00:00+00:00")
    stamps = ["Mar 28 12:00:00", "Mar 29 01:59:59", "Mar 29 03:00:00", "Mar 30 12:00:00"]
    assert times(stamps, parser(now=spring, tz=BERLIN)) == [
        "2026-03-28T11:00:00",
        "2026-03-29T00:59:59",
        "2026-03-29T01:00:00",
        "2026-03-30T10:00:00",
    ]


def test_several_offsets_in_one_file() -> None:
    stamps = ["2026-11-23T18:30:01+00:00", "2026-11-23T18:30:01+01:00", "Nov 23 18:30:01"]
    assert times(stamps, parser()) == [
        "2026-11-23T18:30:01",
        "2026-11-23T17:30:01",
        "2026-11-23T18:30:01",
    ]


def test_the_year_of_a_file_longer_than_a_year() -> None:
    days = [b"Mar  1", b"Jul  2", b"Dec 31", b"Jan  1", b"Jun  9", b"Nov  9", b"Jan  2"]
    days += [b"Mary h", b"Jun  3"]
    lines = [day + b" 00:00:00 mx postfix/qmgr[1]: x" for day in days]
    newest = us("2026-06-03T00:00:10+00:00")
    assert year_of_first(lines, newest_us=newest, timezone=UTC) == 2024
    assert year_of_first([b"2026-06-03T00:00:00Z x"], newest_us=newest, timezone=UTC) == 2026
    assert year_of_first([b"Jun  5 00:00:00 mx x: y"], newest_us=newest, timezone=UTC) == 2025


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "+02:00", "-0530"])
def test_zones(name: str) -> None:
    assert zone(name) is not None
    assert zone("") is None


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../etc/passwd", "x\0y"])
def test_a_zone_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(UsageError, match="no such time zone"):
        zone(name)


def test_a_line_that_ends_in_its_stamp_is_none_also_behind_one_of_the_same_minute() -> None:
    reader = parser()
    whole = b"Nov 23 18:30:01 mx postfix/qmgr[1]: 4AAAA: removed"
    assert reader.parse(whole) is not None
    assert [reader.parse(whole[:size]) for size in range(20)] == [None] * 20


def test_half_a_surrogate_pair_in_a_containers_json_is_text() -> None:
    reader = parser()
    log = rb'{"log":"Nov 23 18:30:01 mx postfix/qmgr[1]: 4AAAA: x\ud800\n","stream":"stdout"}'
    found = reader.parse(log)
    assert found is not None
    assert found.text == rb"4AAAA: x\ud800"
