"""The tracker on a real journal: long lines, silence, restarts, and faults of the disk."""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from journal.reader import Reader
from journal.records import Cover, Gap
from journal.store import DiskFullError
from journal.writer import Writer
from milterd.spool import Body, SpoolWriter, encode_body
from milterd.track.main import make
from milterd.track.tracker import Tracker
from milterd.track.witness import Witness
from posttrail import cli, config
from tests.conftest import ExpectedLog

SECOND = 1_000_000
WAIT_S = 20.0


def now_us() -> int:
    return time.time_ns() // 1000


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    (tmp_path / "spool").mkdir()
    (tmp_path / "mail.log").touch()
    return config.Config(
        journal=config.Journal(directory=tmp_path / "journal"),
        milter=config.Milter(spool=tmp_path / "spool"),
        log=config.Log(files=(tmp_path / "mail.log",), timezone="UTC"),
        mta=config.Mta(host="mx.example.com"),
        run=config.Run(directory=tmp_path),
    )


def drain(tracker: Tracker) -> None:
    """Go on until there is nothing more to read (a fault makes a turn idle, too)."""
    idle = 0
    while idle < 3:
        idle = 0 if tracker.turn() else idle + 1


def log_line(text: str, at_us: int | None = None) -> bytes:
    stamp = time.strftime("%b %e %H:%M:%S", time.gmtime((at_us or now_us()) // SECOND))
    return f"{stamp} mx.example.com postfix/{text}\n".encode()


def message(queue_id: str) -> list[bytes]:
    """The lines of a message that was relayed."""
    return [
        log_line(f"smtpd[9]: {queue_id}: client=mail.example.org[192.0.2.9]"),
        log_line(
            f"smtp[8]: {queue_id}: to=<{queue_id.lower()}@example.net>, relay=mx.example.net[192.0.2.25]:25,"
            " delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok)"
        ),
    ]


def append(settings: config.Config, lines: list[bytes]) -> None:
    with settings.log.files[0].open("ab") as file:
        file.write(b"".join(lines))


def recipients(settings: config.Config) -> list[str]:
    with Reader.open(settings.journal.directory) as reader:
        found = [reader.message(id) for id, _ in reader.scan()]
        rows = [row.recipient for message in found if message for row in message.rows]
    return sorted(row.decode() for row in rows if row)


def transaction(count: int) -> Body:
    at_us = now_us()
    names = [f"recipient-number-{number:05d}@example.com" for number in range(count)]
    return {
        "v": 1, "t": "txn", "at": at_us, "end": at_us + SECOND, "id": "4LONGzzzz1z", "stage": "eom",
        "aborted": False, "ip": "192.0.2.1", "port": 2525, "name": "mail.example.org",
        "helo": "mail.example.org", "tls": "", "login": "", "auth": "", "sender": "a@example.org",
        "params": [], "rcpts": [[name, "smtp", "example.com", 0, "", "", []] for name in names],
        "message_id": "long@example.org", "subject": "", "from": "", "date": "", "size": 1200,
        "daemon": "smtpd", "verdicts": [],
    }  # fmt: skip


def test_a_transaction_to_3000_recipients_comes_through_the_spool(settings: config.Config) -> None:
    writer = SpoolWriter(settings.milter.spool)
    writer.append([encode_body(transaction(3000))], now_us=now_us())
    assert (settings.milter.spool / "current").stat().st_size > 2 * 65_536
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        drain(tracker)
        assert tracker.damaged == 0
        tracker.stop()
    expected = [f"recipient-number-{number:05d}@example.com" for number in range(3000)]
    assert recipients(settings) == expected


def known(settings: config.Config) -> list[Cover | Gap]:
    with Reader.open(settings.journal.directory) as reader:
        return [span for span in reader.coverage() if span.source == "milter"]


def test_a_milter_that_falls_silent_is_a_gap_while_it_is_silent(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = now_us()
    spool = SpoolWriter(settings.milter.spool)
    own: list[dict[str, Any]] = [{"t": "start", "at": began}, {"t": "beat", "at": began + 1000}]
    spool.append([encode_body({"v": 1, **one}) for one in own], now_us=began)
    told: list[Gap] = []
    with Writer.open(settings.journal.directory) as journal:
        buffer = journal.gap

        def gap(found: Gap) -> None:
            told.append(found)
            buffer(found)

        monkeypatch.setattr(journal, "gap", gap)
        tracker = make(settings, journal, beat_us=SECOND // 5)
        deadline = time.monotonic() + WAIT_S
        while not told:
            assert time.monotonic() < deadline, "no gap while the milter is silent"
            tracker.turn()
        back = now_us()
        spool.append([encode_body({"v": 1, "t": "start", "at": back})], now_us=back)
        drain(tracker)
        tracker.stop()
    assert known(settings)[0] == Cover("milter", began, began + 1000)
    assert Gap("milter", began + 1000, back, "not_running") in known(settings)


def test_records_that_found_no_room_are_a_gap_since_the_last_one_that_did() -> None:
    witness = Witness("milter")
    witness.spooled({"t": "beat", "at": 10 * SECOND})
    witness.spooled({"t": "lost", "at": 40 * SECOND, "n": 7})
    assert witness.gaps() == [Gap("milter", 10 * SECOND, 41 * SECOND, "overflow")]


def test_lines_rotated_away_before_the_first_commit_outlast_a_kill(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = settings.log.files[0]
    with Writer.open(settings.journal.directory) as journal:
        make(settings, journal)  # killed before its first turn
    append(settings, message("4AAAA"))
    os.rename(log, f"{log}.1")
    log.touch()
    append(settings, message("4BBBB"))
    later_ns = time.time_ns() + 60 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        drain(tracker)
        tracker.stop()
    assert recipients(settings) == ["4aaaa@example.net", "4bbbb@example.net"]


def test_the_parser_goes_on_where_the_one_before_it_was(settings: config.Config) -> None:
    append(settings, message("4AAAA"))
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        drain(tracker)
        before = [source.intake.last_us for source in tracker._sources if source.intake]
        tracker.stop()
        journal.commit()
        again = make(settings, journal)
        after = [source.intake.last_us for source in again._sources if source.intake]
    assert before == after
    assert before != [None]


def test_a_main_log_of_exim_is_followed_and_is_of_this_host(settings: config.Config) -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()).encode()
    began = b" 1vNQWa-0000000AbCd-1234 <= a@example.org H=mx.example.org [192.0.2.9] P=esmtp S=700"
    ended = (
        b" 1vNQWa-0000000AbCd-1234 => c@example.net R=dnslookup T=remote_smtp"
        b' H=mx.example.net [192.0.2.25] C="250 OK"'
    )
    for lines in ([b" Start queue run: pid=7", began], [ended]):  # a restart between
        append(settings, [stamp + line + b"\n" for line in lines])
        writer = Writer.open(settings.journal.directory)
        tracker = make(settings, writer)
        drain(tracker)
        tracker.stop()
        writer.close()
    with Reader.open(settings.journal.directory) as reader:
        (message,) = [reader.message(id) for id, _ in reader.scan()]
    assert message is not None
    assert (message.host, message.sender) == (b"mx.example.com", b"a@example.org")
    assert [row.final_recipient for row in message.rows] == [b"c@example.net"]


def test_a_line_read_after_days_of_sleep_is_of_this_year(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        drain(tracker)
        later_us = now_us() + 3 * 86_400 * SECOND
        monkeypatch.setattr(time, "time_ns", lambda: later_us * 1000)
        append(settings, message("4AAAA"))
        tracker.turn()
        tracker.stop()
    with Reader.open(settings.journal.directory) as reader:
        (found,) = [reader.message(id) for id, _ in reader.scan()]
    assert found is not None
    assert abs(found.time_us - later_us) < 2 * SECOND


def test_a_log_that_cannot_be_read_is_said_once_and_read_when_it_can(
    settings: config.Config, expected_log: ExpectedLog, caplog: pytest.LogCaptureFixture
) -> None:
    expected_log("cannot be read")
    log = settings.log.files[0]
    log.unlink()
    log.mkdir()
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        for _ in range(3):
            tracker.turn()
        log.rmdir()
        append(settings, message("4AAAA"))
        drain(tracker)
        tracker.stop()
    assert recipients(settings) == ["4aaaa@example.net"]
    assert sum("cannot be read" in record.getMessage() for record in caplog.records) == 1


def test_a_line_that_a_full_disk_kept_from_being_folded_is_folded_later(
    settings: config.Config, expected_log: ExpectedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_log("disk full")
    monkeypatch.setattr("milterd.track.tracker.FULL_S", 0.0)
    append(settings, message("4AAAA") + message("4BBBB"))
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        find, calls = journal.find, 0

        def full_at_the_second(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise DiskFullError(settings.journal.directory, "no space left")
            return find(*arguments, **options)

        monkeypatch.setattr(journal, "find", full_at_the_second)
        drain(tracker)
        tracker.stop()
    assert calls > 2
    assert recipients(settings) == ["4aaaa@example.net", "4bbbb@example.net"]
    assert json.loads(position(settings))["files"][0][2] == settings.log.files[0].stat().st_size


def position(settings: config.Config) -> bytes:
    with Writer.open(settings.journal.directory) as journal:
        return journal.position(f"log {settings.log.files[0]}") or b""


def test_a_loss_is_a_gap_at_once_and_grows_to_the_next_line() -> None:
    witness = Witness("log")
    witness.seen(100 * SECOND)
    witness.lost("truncated", 100 * SECOND + 20_000)
    assert witness.gaps() == [Gap("log", 99 * SECOND, 101 * SECOND, "truncated")]
    witness.seen(107 * SECOND)
    assert witness.gaps() == [Gap("log", 99 * SECOND, 107 * SECOND, "truncated")]
    assert witness.covered() == []


def test_a_clock_that_was_ahead_hides_no_loss() -> None:
    witness = Witness("log")
    witness.seen(100 * SECOND)
    witness.tick(3700 * SECOND, caught_up=True)  # an hour ahead
    witness.lost("truncated", 110 * SECOND)  # and back
    witness.tick(111 * SECOND, caught_up=True)
    assert witness.gaps()[-1] == Gap("log", 109 * SECOND, 111 * SECOND, "truncated")
    witness.tick(3701 * SECOND, caught_up=True)
    witness.tick(200 * SECOND, caught_up=True)
    assert witness.last_us == 200 * SECOND


def test_a_stamp_in_the_future_covers_nothing_that_has_not_been(settings: config.Config) -> None:
    began = now_us()
    append(settings, [log_line("qmgr[1]: 4AAAA: removed", began + 3600 * SECOND)])
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        drain(tracker)
        tracker.stop()
    with Reader.open(settings.journal.directory) as reader:
        ends = [span.end_us for span in reader.coverage() if span.source == "log"]
    assert all(end <= now_us() for end in ends)


def test_copytruncate_is_a_gap_in_the_coverage_of_the_log(settings: config.Config) -> None:
    log = settings.log.files[0]
    append(settings, message("4AAAA"))
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        drain(tracker)
        append(settings, message("4BBBB"))
        log.with_name("mail.log.1").write_bytes(log.read_bytes())
        append(settings, message("4CCCC"))
        os.truncate(log, 0)  # 4CCCC is in no file
        append(settings, message("4DDDD"))
        drain(tracker)
        tracker.stop()
    assert recipients(settings) == [f"4{name * 4}@example.net" for name in "abd"]
    with Reader.open(settings.journal.directory) as reader:
        gaps = [span for span in reader.coverage() if isinstance(span, Gap)]
    assert [(gap.source, gap.reason) for gap in gaps] == [("log", "truncated")]


def test_a_log_that_is_rotated_while_the_disk_is_full_loses_nothing(
    settings: config.Config, expected_log: ExpectedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_log("disk full")
    monkeypatch.setattr("milterd.track.tracker.FULL_S", 0.0)
    log = settings.log.files[0]
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        commit = journal.commit

        def full(_positions: object = None) -> int:
            raise DiskFullError(settings.journal.directory, "no space left")

        monkeypatch.setattr(journal, "commit", full)
        for number in range(4):
            append(settings, message(f"4{number}AAA"))
            tracker.turn()
            os.rename(log, log.with_name(f"mail.log.{9 - number}"))
            tracker.turn()
            log.touch()
        monkeypatch.setattr(journal, "commit", commit)
        drain(tracker)
        tracker.stop()
    assert recipients(settings) == [f"4{number}aaa@example.net" for number in range(4)]


class Syslog(logging.Handler):
    """Puts what the program logs into the file that it follows, as syslog would."""

    def __init__(self, settings: config.Config) -> None:
        super().__init__()
        self._settings = settings

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        append(
            self._settings,
            [
                log_line("x").replace(b"postfix/x", b"posttrail-trackd[5]: " + text.encode()),
                log_line("x").replace(b"postfix/x", b"posttrail-milterd[5]: " + text.encode()),
            ],
        )


def test_our_own_log_is_not_followed_by_ourselves(
    settings: config.Config, expected_log: ExpectedLog
) -> None:
    expected_log("damaged spool line")
    forged = b"AB12: to=<b@example.com>, relay=x, delay=1, dsn=2.0.0, status=sent (ok)\n"
    (settings.milter.spool / "current").write_bytes(forged * 3)
    handler = Syslog(settings)
    logging.getLogger("milterd").addHandler(handler)
    try:
        with Writer.open(settings.journal.directory) as writer:
            tracker = make(settings, writer)
            turns = 0
            while tracker.turn() or turns < 10:
                turns += 1
                assert turns < 50
            assert tracker.damaged == 3
            assert tracker.gauges()["posttrail_trackd_unknown_lines_total"] == 0
            tracker.stop()
    finally:
        logging.getLogger("milterd").removeHandler(handler)
    assert settings.log.files[0].read_bytes().count(b"damaged spool line") == 6
    assert recipients(settings) == []


def test_mail_of_which_nothing_is_heard_is_counted_and_reported(
    settings: config.Config, capfd: pytest.CaptureFixture[str]
) -> None:
    hours_ago = now_us() - 3 * 3600 * SECOND

    def accepted(queue_id: str, at_us: int) -> list[bytes]:
        return [
            log_line(f"smtpd[9]: {queue_id}: client=mail.example.org[192.0.2.9]", at_us),
            log_line(
                f"qmgr[7]: {queue_id}: from=<a@example.org>, size=9, nrcpt=1 (queue active)", at_us
            ),
        ]

    deferred = (
        "smtp[8]: 4PbC4x469Jz3tB: to=<b@example.net>, relay=none, delay=1, delays=0/0/0/1, dsn=4.4.1,"
        " status=deferred (connect to mx.example.net[192.0.2.25]:25: Connection timed out)"
    )
    append(
        settings,
        [
            *accepted("4PbC4x469Jz1tL", hours_ago),  # lost: not a word since
            *accepted("4PbC4x469Jz2tN", now_us()),  # young
            *accepted("4PbC4x469Jz3tB", hours_ago),  # deferred is an outcome
            log_line(deferred, hours_ago),
            *message("4PbC4x469Jz4tD"),
        ],
    )
    with Writer.open(settings.journal.directory) as writer:
        tracker = make(settings, writer)
        drain(tracker)
        tracker._counted = 0.0  # it is time to count
        while tracker.turn():
            pass
        assert tracker.gauges()["posttrail_trackd_silent_messages"] == 1
        assert writer.committed.silent(now_us(), most=0) == 2  # unread, they count as silent
        tracker.stop()
    arguments = ["report", "--status", "in_progress", "--silent-for", "2h", "--format", "json"]
    assert cli.main(["--journal", str(settings.journal.directory), *arguments]) == 0
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["queue_ids"] for row in told] == [["4PbC4x469Jz1tL"]]
