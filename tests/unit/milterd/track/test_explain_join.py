"""explain-line with a journal: which record each line joined and why, or why none did.

The logs are those of the golden cases, moved to yesterday, so that the time of the line is certain.
"""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from journal.events import Event, Kind
from journal.reader import Reader
from journal.records import Gap
from journal.writer import Writer
from milterd.lines import formats, programs
from milterd.lines.syslog import zone
from milterd.track.explain_line import explain
from milterd.track.whereabouts import Journal
from posttrail import cli
from tests.unit.milterd.track.journal_files import record

GOLDEN = Path(__file__).parents[3] / "golden"
CASES = (
    "abandoned", "access-discard", "access-hold-and-release", "alias-fan-out",
    "amavis-banned-bounced", "amavis-clean", "amavis-proxy-accept", "amavis-proxy-reject",
    "amavis-spam-quarantined", "bounce-with-notice", "content-filter-hop", "deferred-then-sent",
    "delay-notice", "deleted", "discard-transport", "dovecot-discard", "dovecot-down",
    "dovecot-forged-message-id", "dovecot-forward", "dovecot-forward-copy", "dovecot-inbox",
    "dovecot-junk", "dovecot-junk-below-inbox", "dovecot-keep", "dovecot-lda",
    "dovecot-lda-junk", "dovecot-no-message-id", "dovecot-quota", "dovecot-quota-tempfail",
    "dovecot-reject", "dovecot-reject-null-sender", "dovecot-script-failed",
    "dovecot-several-recipients", "dovecot-utf8-folder", "dovecot-vacation", "error-transport",
    "exim-alias", "exim-blackhole", "exim-bounce-of-a-bounce", "exim-deferred-then-delivered",
    "exim-discarded-recipient", "exim-failed-with-notice", "exim-forged-in-quoted-local-part",
    "exim-frozen", "exim-frozen-and-removed", "exim-frozen-then-thawed", "exim-greylisted",
    "exim-lmtp", "exim-local", "exim-local-deferred-then-delivered", "exim-local-submission",
    "exim-login-and-tls", "exim-null-sender-frozen", "exim-pipe-and-file",
    "exim-refused-after-data", "exim-refused-at-the-door", "exim-refused-recipient",
    "exim-remote", "exim-retry-timeout", "exim-several-in-one-delivery", "exim-unreachable",
    "exim-unseen-copy", "exim-unseen-copy-waits", "expired",
    "forged-status-in-quoted-local-part", "forwarded-by-local-alias",
    "greylisted-then-accepted", "header-discard", "header-hold", "header-redirect",
    "header-reject", "local-command", "local-discarded", "local-submission", "login-refused",
    "mailscanner-requeue", "milter-discard", "milter-quarantine", "mime-error", "null-sender",
    "pipe", "plain-delivery", "postscreen-deny", "proxmox-filter", "refused-at-data-milter",
    "refused-at-end-by-milter", "refused-error-transport", "refused-nobody-left",
    "refused-rcpt-by-milter", "refused-relay", "refused-retry-transport",
    "refused-sender-delay-reject-no", "refused-unknown-user", "requeued", "retry-transport",
    "rfc3339", "sasl-tls-submission", "sendmail-abandoned", "sendmail-access-denied",
    "sendmail-alias-expansion", "sendmail-bounce-with-dsn", "sendmail-deferred-then-sent",
    "sendmail-delay-notice", "sendmail-double-bounce", "sendmail-expired", "sendmail-files",
    "sendmail-forged-status", "sendmail-forward-and-keep", "sendmail-forward-to-program",
    "sendmail-list-with-owner", "sendmail-milter-discard", "sendmail-milter-quarantine",
    "sendmail-milter-quarantine-and-release", "sendmail-milter-reject",
    "sendmail-milter-tempfail", "sendmail-null-sender", "sendmail-oversize",
    "sendmail-plain-delivery", "sendmail-queue-only", "sendmail-refused-at-data",
    "sendmail-relaying-denied", "sendmail-ruleset-discard", "sendmail-ruleset-quarantine",
    "sendmail-several-recipients-one-line", "sendmail-submission", "sendmail-success-dsn",
    "sendmail-unknown-user", "short-queue-ids", "size-limit-at-mail", "size-limit-in-data",
    "smtputf8", "soft-bounce", "spamc-pickup", "spamc-pickup-junk", "success-notice",
    "two-fates", "verified",
)  # fmt: skip
DAY = timedelta(days=1)


def moved(raw: bytes, day: datetime) -> bytes:
    """A line with an RFC 3164 stamp, as it would have been written on another day."""
    return day.strftime("%Y-%m-%dT").encode() + raw[7:15] + b".000000+00:00" + raw[15:]


def log_of(case: str, *, age: timedelta = DAY) -> list[bytes]:
    """The lines of a golden case."""
    lines = (GOLDEN / case / "mail.log").read_bytes().splitlines()
    day = datetime.now(UTC) - age
    return [line if line[:4].isdigit() else moved(line, day) for line in lines]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def fill(directory: Path, lines: list[bytes]) -> None:
    log = directory.parent / "mail.log"
    log.write_bytes(b"\n".join(lines) + b"\n")
    arguments = ["import", "--timezone", "UTC", "--format", "json", str(log)]
    assert cli.main(["--journal", str(directory), *arguments]) in (0, 65)


def events_of(line: bytes) -> list[Event]:
    now_us = time.time_ns() // 1000
    form = formats.sniff([line])
    parser = formats.splitter(form, timezone=zone("UTC"), reference_us=now_us)
    parsed = parser.parse(line)
    told = None if parsed is None else programs.parse(parsed)
    if isinstance(told, Event):
        return [told]
    return told if isinstance(told, list) else []


@pytest.mark.parametrize("case", CASES)
def test_every_line_that_tells_of_a_message_finds_its_record(
    directory: Path, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    lines = log_of(case)
    fill(directory, lines)
    capfd.readouterr()
    with Reader.open(directory) as reader:
        journal = Journal(reader)
        wrong = []
        for line in lines:
            told = explain(line, journal, timezone=zone("UTC"))
            about = [event for event in events_of(line) if event.kind < Kind.CONNECT]
            found = [words for words in told if words.startswith("record: ")]
            if len(found) != len(about):
                wrong.append((line, told))
        assert not wrong, wrong[0]


def one(directory: Path, line: bytes) -> list[str]:
    with Reader.open(directory) as reader:
        return explain(line, Journal(reader), timezone=zone("UTC"))


def joined(words: list[str]) -> str:
    return next(word for word in words if word.startswith("joined: "))


def test_the_rule_that_joined_a_line_is_named(
    directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hop = log_of("content-filter-hop")
    fill(directory, [*hop, *log_of("refused-relay")])
    capfd.readouterr()
    rules = {joined(one(directory, line)) for line in hop if events_of(line)}
    assert "joined: by its queue id, within one life of it" in rules
    assert any("went on (queued as)" in rule for rule in rules)
    refused = next(line for line in log_of("refused-relay") if b"NOQUEUE: reject" in line)
    told = one(directory, refused)
    assert joined(told) == "joined: by a refusal without queue id, by its client and port"
    assert "status: rejected, relay_denied" in told


def test_a_line_of_a_session_joins_nothing_itself(directory: Path) -> None:
    lines = log_of("refused-relay")
    fill(directory, lines)
    assert joined(one(directory, lines[0])).startswith("joined: nothing itself")


def test_why_a_line_is_not_in_the_journal(directory: Path) -> None:
    lines = log_of("plain-delivery")
    delivery = next(line for line in lines if b"status=sent" in line)
    fill(directory, [line for line in lines if b"4jYH" not in line] + log_of("refused-relay"))
    old = log_of("plain-delivery", age=timedelta(days=9))
    old_delivery = next(line for line in old if b"status=sent" in line)
    assert "before its retention" in joined(one(directory, old_delivery))
    later = delivery[:11] + b"23:59:59" + delivery[19:]
    assert "no source was recorded or imported" in joined(one(directory, later))


def test_a_gap_is_a_reason(directory: Path) -> None:
    lines = log_of("plain-delivery")
    delivery = next(line for line in lines if b"status=sent" in line)
    fill(directory, log_of("refused-relay"))
    at_us = events_of(delivery)[0].at_us
    with Writer.open(directory) as writer:
        writer.gap(Gap("log", at_us - 1, at_us + 1, "rate_limited", 3))
        writer.commit()
    assert "log was not recording then: rate limited" in joined(one(directory, delivery))


def test_a_try_that_was_let_go_is_told_as_such(directory: Path) -> None:
    day = datetime.now(UTC) - DAY
    start = log_of("plain-delivery")
    name = b"4jYHFL3pGpzJjbr"
    lines = [
        moved(b"Nov 23 %02d:00:00 mx postfix/smtp[7]: %b: to=<b@example.net>, relay=none, delay=1,"
              b" delays=0/0/0/1, dsn=4.4.1, status=deferred (try %d)" % (hour, name, hour), day)
        for hour in range(1, 20)
    ]  # fmt: skip
    fill(directory, [*start, *lines])
    assert any("of many tries" in word for word in one(directory, lines[8]))
    assert not any(word.startswith("evidence: ") for word in one(directory, lines[1]))


def test_journald_and_the_log_meet_in_one_record(directory: Path) -> None:
    lines = log_of("plain-delivery")
    delivery = next(line for line in lines if b"status=sent" in line)
    fill(directory, lines)
    (event,) = events_of(delivery)
    text = delivery.split(b"]: ", 1)[1].decode()
    tag = delivery.split(b" ")[2].decode().removesuffix(":")
    told = one(directory, json.dumps(record(event.at_us + 400_000, tag, text)).encode())
    assert told[0] == "form: journald"
    assert any(word.startswith("record: ") for word in told)
    assert not any(word.startswith("evidence: ") for word in told)
    forged = json.dumps(record(event.at_us, tag, text, unit="session-3.scope")).encode()
    why = one(directory, forged)
    assert any(word.startswith("ignored: it comes from session-3.scope, user 110") for word in why)


def test_the_verb_looks_into_the_journal_that_is_named(directory: Path) -> None:
    lines = log_of("plain-delivery")
    fill(directory, lines)
    command = [sys.executable, "-m", "posttrail.cli", "--journal", str(directory), "explain-line"]
    done = subprocess.run(command, input=b"\n".join(lines), capture_output=True, check=True)
    assert b"joined: by its queue id, within one life of it" in done.stdout
    assert b"(posttrail show " in done.stdout
    command[4] = str(directory / "none")
    done = subprocess.run(command, input=lines[0], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (69, b"")
