"""Syslog as it is on the wire, RFC 5424 and RFC 3164, in files and datagrams."""

import pytest

from milterd.lines import formats
from milterd.lines.syslog import Line, zone
from milterd.lines.wire import WireParser, is_framed, line_of, without_pri

REFERENCE_US = 1_795_458_600_000_000  # 2026-11-23T18:30:00Z
AT_US = 1_795_600_800_003_000  # 2026-11-25T10:00:00.003Z


def parse(raw: bytes) -> Line | None:
    return WireParser(timezone=zone("UTC"), reference_us=REFERENCE_US).parse(raw)


FIVE = b"1 2026-11-25T10:00:00.003Z mx postfix/smtp 1234 - %b"


@pytest.mark.parametrize(
    "data",
    [b"-", b'[a b="c"]', rb'[a@1 b="\]] \"x" c="\\"][d]', b'[exampleSDID@32473 iut="3"]'],
)
@pytest.mark.parametrize("pri", [b"", b"<34>", b"<191>"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_rfc_5424_is_split(data: bytes, pri: bytes, bom: bytes) -> None:
    assert parse(pri + FIVE % data + b" " + bom + b"AB12: removed") == Line(
        AT_US, b"mx", b"postfix", b"", b"smtp", 1234, b"AB12: removed"
    )


def test_nils_are_nothing() -> None:
    line = parse(b"<34>1 2026-11-25T10:00:00Z - postfix/smtp - - - text")
    assert line is not None
    assert (line.host, line.pid, line.text) == (b"-", 0, b"text")
    assert parse(b"<34>1 - mx postfix/smtp 1 - - text") is None


def test_a_line_that_kept_its_pri_is_a_line() -> None:
    line = parse(b"<22>Nov 23 10:00:00 mx postfix/smtp[7]: AB12: removed")
    assert line is not None
    assert (line.daemon, line.pid, line.text) == (b"smtp", 7, b"AB12: removed")


@pytest.mark.parametrize(
    "raw",
    [b"<>x", b"<192>x", b"<1234>x", b"<a>x", b"x<34>", b"<34", b"", b"<-1>x"],
)
def test_what_is_no_pri_stays(raw: bytes) -> None:
    assert without_pri(raw) == raw
    assert not is_framed(raw)


@pytest.mark.parametrize("end", range(len(FIVE % b'[a b="c"]') + 6))
def test_a_message_cut_anywhere_raises_nothing(end: int) -> None:
    whole = b"<34>" + FIVE % b'[a b="c"]' + b" x"
    parse(whole[:end])
    line_of(whole[:end], host=b"mx", stamp=b"2026-11-25T10:00:00Z")


def test_the_form_of_a_file_is_told_by_its_first_lines() -> None:
    assert formats.sniff([FIVE % b"- x"]) == "wire"
    assert formats.sniff([b"<22>Nov 23 10:00:00 mx postfix/smtp[7]: x"]) == "wire"
    assert formats.sniff([b'{"MESSAGE":"x","__REALTIME_TIMESTAMP":"1"}']) == "journald"
    assert formats.sniff([b'{"log":"x","stream":"stdout"}']) == "syslog"
    assert formats.sniff([b"Nov 23 10:00:00 mx postfix/smtp[7]: x"]) == "syslog"


NOW = b"2026-11-25T10:00:00.000001+00:00"


@pytest.mark.parametrize(
    ("datagram", "line"),
    [
        (b"<22>Nov 25 09:59:59 postfix/smtp[7]: AB12: removed",
         b"Nov 25 09:59:59 here postfix/smtp[7]: AB12: removed"),
        (b"<22>Nov  5 09:59:59 mx2 postfix/smtp[7]: AB12: removed\n",
         b"Nov  5 09:59:59 mx2 postfix/smtp[7]: AB12: removed"),
        (b"<22>postfix/smtp[7]: AB12: removed", NOW + b" here postfix/smtp[7]: AB12: removed"),
        (b"<22>2026-11-25T09:59:59.5Z mx2 postfix/smtp: x", b"2026-11-25T09:59:59.5Z mx2 postfix/smtp: x"),
        (b"<22>1 2026-11-25T09:59:59Z mx2 postfix/smtp 7 - - AB12: removed",
         b"2026-11-25T09:59:59Z mx2 postfix/smtp[7]: AB12: removed"),
        (b"<22>1 - - postfix/smtp - - - x", NOW + b" here postfix/smtp: x"),
        (b"<22>Nov 25 09:59:59 a: x\nNov 25 09:59:59 mx postfix/smtp[1]: AB12: removed\0",
         b"Nov 25 09:59:59 here a: x#012Nov 25 09:59:59 mx postfix/smtp[1]: AB12: removed"),
        (b"no tag at all", NOW + b" here -: no tag at all"),
    ],
)  # fmt: skip
def test_a_datagram_becomes_one_line(datagram: bytes, line: bytes) -> None:
    assert line_of(datagram, host=b"here", stamp=NOW) == line


def test_a_tag_that_lost_its_daemon_is_not_understood() -> None:
    from milterd.lines import programs

    cut = parse(b"<22>1 2026-11-25T10:00:00Z mx postfix 7 - -  AB12: removed")
    other = parse(b"<22>1 2026-11-25T10:00:00Z mx postfix 7 - -  Postfix is running")
    assert cut is not None
    assert other is not None
    assert programs.parse(cut) is programs.UNKNOWN
    assert programs.parse(other) is None
