"""A clock that is set forward or back expires and reorders nothing.

A message with a long queue id is never divided. With a short one an hour back cannot be told from
the id of an earlier message that comes again: what is not sure is not joined (docs/operating.md).
"""

import os
import time
from pathlib import Path

import pytest

from journal.reader import Reader
from journal.records import Status
from journal.writer import Writer
from milterd.track.main import make
from milterd.track.tracker import Tracker
from posttrail import config
from tests.fuzz.road import Road

HOUR = 3600
LITTLE = 4
"""Seconds by which ntpd and its like step a clock back."""
SECOND = 1_000_000
SHORT, LONG = b"AB12CD34EF", b"4Q1zzz0aaaz1b"
TEXTS = [
    b"smtpd[1]: %b: client=mail.example.org[192.0.2.9]",
    b"cleanup[2]: %b: message-id=<%b@example.org>",
    b"qmgr[3]: %b: from=<a@example.org>, size=9, nrcpt=1 (queue active)",
    b"smtp[4]: %b: to=<r@example.net>, relay=mx.example.net[192.0.2.25]:25, delay=1, delays=0/0/0/0, dsn=4.2.0, status=deferred (450 later)",
    b"qmgr[3]: %b: from=<a@example.org>, size=9, nrcpt=1 (queue active)",
    b"smtp[4]: %b: to=<r@example.net>, relay=mx.example.net[192.0.2.25]:25, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (250 ok)",
    b"qmgr[3]: %b: removed",
]  # fmt: skip


def lines(queue_id: bytes, step_at: int, step_s: int) -> list[bytes]:
    """A message's lines, a second apart; before line ``step_at`` the clock is set."""
    found = []
    for number, text in enumerate(TEXTS):
        second = 18 * HOUR + 1800 + number + (step_s if number >= step_at else 0)
        stamp = b"Nov 23 %02d:%02d:%02d" % (second // HOUR, second // 60 % 60, second % 60)
        said = text.replace(b"%b", queue_id)
        found.append(stamp + b" mx postfix/" + said)
    return found


@pytest.mark.parametrize(
    ("queue_id", "step_s"),
    [(SHORT, HOUR // 2), (SHORT, -LITTLE), (LONG, HOUR), (LONG, -HOUR), (LONG, -LITTLE)],
)
@pytest.mark.parametrize("step_at", range(1, len(TEXTS)))
def test_a_message_through_a_step_is_one_message(
    queue_id: bytes, step_s: int, step_at: int
) -> None:
    road = Road()
    for _ in range(2):  # read twice, as after a crash
        for raw in lines(queue_id, step_at, step_s):
            road.fold(road.events("syslog", raw))
        assert len(road.messages()) == 1
        assert road.rows() == {"r@example.net": {"delivered"}}


@pytest.mark.parametrize("step_at", range(1, len(TEXTS)))
def test_the_same_when_what_was_read_is_in_the_journal(step_at: int) -> None:
    road = Road()
    for _ in range(2):
        for raw in lines(LONG, step_at, -HOUR):
            road.fold(road.events("syslog", raw))
            road.correlator.flush()
            road.correlator.evict(0)
    assert road.rows() == {"r@example.net": {"delivered"}}
    assert len(road.messages()) == 1


def test_a_queue_id_that_came_again_within_the_hour_is_two_messages() -> None:
    road = Road()
    for raw in lines(b"AB12CD34EF", len(TEXTS), 0):
        road.fold(road.events("syslog", raw))
        later = raw.replace(b" 18:30:0", b" 19:10:0").replace(b"<r@", b"<s@")
        road.fold(road.events("syslog", later))
    assert road.rows() == {"r@example.net": {"delivered"}, "s@example.net": {"delivered"}}


class Clock:
    """The machine's wall clock, which somebody sets; the monotonic one goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.us = 1_795_458_600 * SECOND
        monkeypatch.setattr(time, "time_ns", lambda: self.us * 1000)

    def stamp(self) -> bytes:
        return time.strftime("%b %e %H:%M:%S", time.gmtime(self.us // SECOND)).encode()


def told(settings: config.Config) -> dict[str, str]:
    found = {}
    with Reader.open(settings.journal.directory) as reader:
        for id, _ in reader.scan(0, 1 << 62):
            message = reader.message(id)
            for row in message.rows if message else ():
                assert row.recipient is not None
                found[row.recipient.decode()] = Status(row.status).token
    return found


def drain(tracker: Tracker) -> None:
    while tracker.turn():
        pass


@pytest.mark.parametrize("step_s", [-HOUR, HOUR])
def test_a_followed_log_goes_through_a_step_and_back(
    step_s: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotated at each step; files made then look older than those of before, or newer."""
    clock = Clock(monkeypatch)
    (tmp_path / "spool").mkdir()
    log = tmp_path / "mail.log"
    log.touch()
    settings = config.Config(
        journal=config.Journal(directory=tmp_path / "journal"),
        milter=config.Milter(spool=tmp_path / "spool"),
        log=config.Log(files=(log,), timezone="UTC"),
        mta=config.Mta(host="mx.example.com"),
        run=config.Run(directory=tmp_path),
    )
    count = 0
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        for step, moves in enumerate((0, step_s, -step_s, 0)):
            clock.us += moves * SECOND
            for _ in range(3):
                clock.us += SECOND
                queue_id = b"%010X" % (0xAB00000000 + count)
                with log.open("ab") as file:
                    for text in TEXTS:
                        said = text.replace(b"%b", queue_id).replace(b"<r@", b"<r%d@" % count)
                        file.write(clock.stamp() + b" mx postfix/" + said + b"\n")
                os.utime(log, ns=(clock.us * 1000, clock.us * 1000))
                count += 1
                drain(tracker)
            os.rename(log, log.with_name(f"mail.log.{9 - step}"))
            log.touch()
            os.utime(log, ns=(clock.us * 1000, clock.us * 1000))
            if step == 1:  # a restart while the clock is wrong
                tracker.stop()
                tracker = make(settings, journal)
            drain(tracker)
        tracker.stop()
    assert told(settings) == {f"r{number}@example.net": "delivered" for number in range(count)}


def test_the_last_line_of_a_year_and_the_first_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    clock.us = 1_798_761_590 * SECOND  # 2026-12-31T23:59:50Z
    (tmp_path / "spool").mkdir()
    log = tmp_path / "mail.log"
    log.touch()
    settings = config.Config(
        journal=config.Journal(directory=tmp_path / "journal"),
        milter=config.Milter(spool=tmp_path / "spool"),
        log=config.Log(files=(log,), timezone="UTC"),
        mta=config.Mta(host="mx.example.com"),
        run=config.Run(directory=tmp_path),
    )
    with Writer.open(settings.journal.directory) as journal:
        tracker = make(settings, journal)
        for text in TEXTS:  # two lines of these are of the old year, and it is rotated at midnight
            with log.open("ab") as file:
                file.write(clock.stamp() + b" mx postfix/" + text.replace(b"%b", b"AB12") + b"\n")
            clock.us += 6 * SECOND
            if clock.stamp().endswith(b"00:00:02"):
                os.rename(log, log.with_name("mail.log.1"))
                log.touch()
            drain(tracker)
        tracker.stop()
    with Reader.open(settings.journal.directory) as reader:
        times = [
            message.time_us for id, _ in reader.scan(0, 1 << 62) if (message := reader.message(id))
        ]
    assert times == [1_798_761_590 * SECOND]
    assert told(settings) == {"r@example.net": "delivered"}
