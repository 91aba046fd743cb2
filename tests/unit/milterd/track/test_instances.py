"""Two instances of Postfix on one host, whose short queue ids are equal at one time."""

from datetime import UTC
from pathlib import Path

import pytest

from journal.locality import Locality
from journal.reader import Reader
from journal.records import Message, Status
from journal.writer import Writer
from milterd.lines.syslog import LineParser
from milterd.track.correlate import Correlator
from milterd.track.intake import Intake

BASE_US = 1_790_000_000_000_000
END = "delay=1, delays=1/0/0/0, dsn="
LOG = [
    "10:00:00 postfix/smtpd[1]: AB12: client=a.example.net[192.0.2.1]",
    "10:00:00 postfix-out/smtpd[2]: AB12: client=b.example.net[192.0.2.2]",
    "10:00:00 postfix/cleanup[3]: AB12: message-id=<a@example.net>",
    "10:00:00 postfix-out/cleanup[4]: AB12: message-id=<b@example.net>",
    "10:00:00 postfix/qmgr[5]: AB12: from=<a@example.net>, size=1, nrcpt=1 (queue active)",
    "10:00:00 postfix-out/qmgr[6]: AB12: from=<b@example.net>, size=2, nrcpt=1 (queue active)",
    "10:00:41 postfix/virtual[7]: AB12: to=<x@example.com>, relay=virtual,"
    f" {END}2.0.0, status=sent (delivered to maildir)",
    "10:00:41 postfix-out/smtp[8]: AB12: to=<y@example.org>, relay=mx.example.org[203.0.113.9]:25,"
    f" {END}5.1.1, status=bounced (host said: 550)",
    "10:00:42 postfix/qmgr[5]: AB12: removed",
    "10:00:42 postfix-out/qmgr[6]: AB12: removed",
]
A = (b"postfix", b"a@example.net", b"192.0.2.1", b"a@example.net", b"x@example.com", "delivered")
B = (b"postfix-out", b"b@example.net", b"192.0.2.2", b"b@example.net", b"y@example.org", "error")
Told = tuple[bytes, bytes | None, bytes | None, bytes | None, bytes | None, str]


def told(message: Message) -> Told:
    (row,) = message.rows
    status = Status(row.status).token
    envelope = message.sender, message.client_ip, message.message_id
    return (message.instance, *envelope, row.recipient, status)


def imported(directory: Path, parts: list[list[str]]) -> list[Told]:
    with Writer.open(directory) as writer:
        for part in parts:
            correlator = Correlator(writer, locality=Locality())
            parser = LineParser(timezone=UTC, reference_us=BASE_US)
            intake = Intake(parser, correlator, writer)
            for text in part:
                stamp, _, rest = text.partition(" ")
                intake.take(f"Sep 21 {stamp} mx {rest}".encode())
            correlator.adopt_orphans()
            correlator.flush()
            writer.commit()
    with Reader.open(directory) as reader:
        messages = [reader.message(key) for key, _ in reader.scan()]
    return sorted(told(message) for message in messages if message is not None)


# Between 1 and 3 the journal would have to know which instance a client= line was of.
@pytest.mark.parametrize("cut", [0, 1, *range(3, len(LOG))])
def test_each_keeps_its_own(tmp_path: Path, cut: int) -> None:
    assert imported(tmp_path, [LOG[:cut], LOG[cut:]]) == [A, B]


def test_a_service_with_a_name_of_its_own_is_of_the_message_all_the_same(tmp_path: Path) -> None:
    log = [text for text in LOG if " postfix/" in text]
    log = [text.replace("postfix/virtual", "mail_in/virtual") for text in log]
    log[0] = log[0].replace("postfix/smtpd", "submission/smtpd")
    assert imported(tmp_path, [log]) == [A]
