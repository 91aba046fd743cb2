"""explain-line tells about any line, and nothing of it reaches the terminal raw."""

import subprocess
import sys
from pathlib import Path

import pytest

from milterd.track.explain_line import explain

HEADER = b"Nov 23 18:30:01 mx postfix/"


def test_an_event_is_told_field_by_field() -> None:
    words = explain(
        HEADER + b"submission/smtp[7]: AB12: to=<b@example.com>, relay=none, delay=1,"
        b" delays=1/0/0/0, dsn=4.4.1, status=deferred (connect to x: \x1b[31m)\r\n"
    )
    assert "daemon: smtp" in words
    assert "service: submission" in words
    assert "event: delivery" in words
    assert "queue_id: AB12" in words
    assert "final_recipient: b@example.com" in words
    assert "outcome: deferred" in words
    assert words[-1].startswith("text: connect to x: ")
    assert all(line.isprintable() for line in words)


def test_senders_have_two_kinds_of_nothing() -> None:
    null = explain(HEADER + b"qmgr[7]: AB12: from=<>, size=1, nrcpt=1 (queue active)")
    assert "sender: <> (the null sender)" in null
    none = explain(HEADER + b"smtpd[7]: warning: AB12: queue file size limit exceeded")
    assert "sender: (not named)" in none


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "unknown: the line is empty"),
        (b'{"MESSAGE":"x"}', "unknown: a JSON document"),
        (b"Hello \x1b[2J", "unknown: no syslog header"),
        (HEADER + b"qmgr[7]: AB12: something new", "unknown: a line of qmgr"),
        (b"Nov 23 18:30:01 mx sshd[7]: x", "ignored: not a line of a program of the mail system"),
        (HEADER + b"anvil[7]: statistics: x", "ignored: anvil never tells"),
        (HEADER + b"postscreen[7]: PASS NEW [192.0.2.1]:5", "ignored: understood"),
    ],
)
def test_why_a_line_gives_nothing(line: bytes, why: str) -> None:
    words = explain(line)
    assert any(word.startswith(why) for word in words), words
    assert all(word.isprintable() for word in words)


def test_the_verb_reads_standard_input(tmp_path: Path) -> None:
    """Without a journal, too: the configured one need not exist."""
    settings = tmp_path / "posttrail.toml"
    settings.write_text(f'[journal]\ndirectory = "{tmp_path}/journal"\n')
    done = subprocess.run(
        [sys.executable, "-m", "posttrail.cli", "--config", str(settings), "explain-line"],
        input=HEADER + b"qmgr[7]: AB12: removed\nx\n",
        capture_output=True,
        check=True,
    )
    assert b"event: removed" in done.stdout
    assert b"no syslog header" in done.stdout
    assert b"joined" not in done.stdout


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            b"<22>1 2026-11-23T18:30:01Z mx postfix/qmgr 7 - - AB12: removed",
            ["form: wire", "event: removed"],
        ),
        (b"2026-11-23 18:30:01 1vN3xY-000000001Kp-0abc Completed", ["form: exim"]),
    ],
)
def test_the_form_of_each_line_is_told_by_itself(line: bytes, words: list[str]) -> None:
    told = explain(line)
    assert [word for word in words if word not in told] == []
