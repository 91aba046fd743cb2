"""What the log says it lost is a gap: since the line before, with the number that is missing."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from journal.locality import Locality
from journal.records import Gap
from journal.writer import Writer
from milterd.lines.syslog import LineParser, zone
from milterd.track.correlate import Correlator
from milterd.track.intake import Intake

BASE_S = 1_790_000_000
SECOND = 1_000_000


def line(at_s: int, tag: str, text: str) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(BASE_S + at_s))
    return f"{stamp} mx {tag}: {text}".encode()


def gaps(tmp_path: Path, lines: Sequence[bytes]) -> list[Gap]:
    with Writer.open(tmp_path / "journal") as writer:
        correlator = Correlator(writer, locality=Locality(local_domains=(), inside_networks=()))
        parser = LineParser(timezone=zone("UTC"), reference_us=(BASE_S + 9999) * SECOND)
        intake = Intake(parser, correlator, writer)
        for one in lines:
            intake.take(one)
        assert intake.tally.unknown == 0
        return intake.tally.gaps


def gap(begin_s: int, end_s: int, reason: str, lost: int = 0) -> Gap:
    return Gap("log", (BASE_S + begin_s) * SECOND, (BASE_S + end_s) * SECOND, reason, lost)


MAIL = line(0, "postfix/anvil[7]", "statistics: max cache size 1 at Nov 23 18:30:00")


@pytest.mark.parametrize(
    ("tag", "text", "reason", "lost"),
    [
        ("rsyslogd-2177", "imuxsock lost 516 messages from pid 159386 due to rate-limiting",
         "rate_limited", 516),
        ("rsyslogd", "imjournal: 236 messages lost due to rate-limiting", "rate_limited", 236),
        ("rsyslogd[11]", "imjournal: 84667 messages lost due to rate-limiting (20000 allowed within"
         " 600 seconds)", "rate_limited", 84667),
        ("rsyslogd", "imuxsock[pid: 51, name: /usr/lib/postfix/sbin/smtpd]: 48 messages lost due to"
         " rate-limiting (20000 allowed within 300 seconds)", "rate_limited", 48),
        ("systemd-journald[1]", "Suppressed 312 messages from postfix@-.service", "rate_limited", 312),
        ("systemd-journal[1]", "Suppressed 917 messages from /", "rate_limited", 917),
        ("journal", "Suppressed 5 messages from /system.slice/postfix.service", "rate_limited", 5),
        ("systemd-journald[1]", "Forwarding to syslog missed 43 messages.", "overflow", 43),
        ("posttrail-syslog[1]", "12 messages lost: socket buffer overflow", "overflow", 12),
    ],
)  # fmt: skip
def test_a_notice_is_a_gap_since_the_line_before(
    tmp_path: Path, tag: str, text: str, reason: str, lost: int
) -> None:
    assert gaps(tmp_path, [MAIL, line(30, tag, text)]) == [gap(0, 30, reason, lost)]


@pytest.mark.parametrize(
    "begins",
    [
        "imuxsock begins to drop messages from pid 159386 due to rate-limiting",
        "imjournal: begin to drop messages due to rate-limiting",
        "imjournal from <mx:postfix/smtpd>: begin to drop messages due to rate-limiting",
        "imuxsock[pid 22830]: begin to drop messages due to rate-limiting",
    ],
)
def test_a_gap_begins_when_lines_began_to_be_dropped(tmp_path: Path, begins: str) -> None:
    lines = [
        MAIL,
        line(10, "rsyslogd", begins),
        line(40, "postfix/anvil[7]", "statistics: max cache size 1 at Nov 23 18:30:00"),
        line(50, "rsyslogd", "imjournal: 7 messages lost due to rate-limiting"),
    ]
    assert gaps(tmp_path, lines) == [gap(10, 11, "rate_limited"), gap(10, 50, "rate_limited", 7)]


def test_a_loss_of_another_unit_is_none_of_ours(tmp_path: Path) -> None:
    text = "Suppressed 5 messages from apache2.service"
    assert gaps(tmp_path, [MAIL, line(30, "systemd-journald[1]", text)]) == []


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("rsyslogd", 'origin software="rsyslogd" swVersion="8" due to rate-limiting'),
        ("rsyslogd", "imuxsock: messages lost due to rate-limitingx"),
        ("systemd-journald", "Suppressed 5"),
        ("systemd-journald", "Missed 1427 kernel messages"),
        ("posttrail-syslog", "listening"),
        ("app", "imjournal: 236 messages lost due to rate-limiting"),
    ],
)
def test_other_words_are_no_loss(tmp_path: Path, tag: str, text: str) -> None:
    assert gaps(tmp_path, [MAIL, line(30, tag, text)]) == []


def test_a_notice_read_twice_counts_once(tmp_path: Path) -> None:
    from journal.coverage import Coverage

    coverage = Coverage()
    for found in [gap(10, 11, "rate_limited"), gap(10, 50, "rate_limited", 7)] * 2:
        coverage.gap(found)
    coverage.gap(gap(50, 60, "rate_limited", 3))
    again = Coverage(coverage.pairs().items())
    assert again.intervals() == [gap(10, 60, "rate_limited", 10)]
