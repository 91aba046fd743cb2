"""Short queue ids that come again: what ends a life where no ``removed`` says so."""

from collections.abc import Iterator
from datetime import UTC
from itertools import permutations
from pathlib import Path

import pytest

from journal.locality import Locality
from journal.reader import Reader
from journal.records import Message, Status
from journal.writer import Writer
from milterd.track.correlate import Correlator
from milterd.track.intake import Intake
from milterd.track.syslog import LineParser

BASE_US = 1_790_000_000_000_000
CLIENT = "mail.example.net[192.0.2.5]"
FIELDS = "from=<s@example.net> to=<r@example.com> proto=ESMTP helo=<mail.example.net>"
ENDS = {
    "refused at the end": (
        "cleanup[2]: AB12: message-id=<one@example.net>",
        f"cleanup[2]: AB12: milter-reject: END-OF-MESSAGE from {CLIENT}: 5.7.1 Spam; {FIELDS}",
    ),
    "discarded by its header": (
        "cleanup[2]: AB12: message-id=<one@example.net>",
        f"cleanup[2]: AB12: discard: header Subject: x from {CLIENT}; {FIELDS}: bulk",
    ),
    "too large": (
        "cleanup[2]: AB12: message-id=<one@example.net>",
        "smtpd[1]: warning: AB12: queue file size limit exceeded",
    ),
    "abandoned": (f"smtpd[1]: lost connection after RCPT from {CLIENT}",),
}


def first(end: str) -> list[tuple[int, str]]:
    """A queue file that ends without qmgr."""
    return [(0, f"smtpd[1]: AB12: client={CLIENT}"), *((1, each) for each in ENDS[end])]


def plain(at: int, name: str) -> list[tuple[int, str]]:
    """A message that comes by SMTP and is stored."""
    to = "delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)"
    return [
        (at, f"smtpd[1]: AB12: client={CLIENT}"),
        (at, f"cleanup[2]: AB12: message-id=<{name}@example.net>"),
        (at + 1, f"qmgr[3]: AB12: from=<{name}@example.net>, size=9, nrcpt=1 (queue active)"),
        (at + 2, f"virtual[4]: AB12: to=<{name}@example.com>, relay=virtual, {to}"),
        (at + 3, "qmgr[3]: AB12: removed"),
    ]


def notice(at: int) -> list[tuple[int, str]]:
    """A bounce notice: nobody says that its queue file is opened."""
    to = "delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)"
    return [
        (at, "cleanup[2]: AB12: message-id=<notice@mx.example.com>"),
        (at, "bounce[5]: CD34: sender non-delivery notification: AB12"),
        (at + 1, "qmgr[3]: AB12: from=<>, size=9, nrcpt=1 (queue active)"),
        (at + 2, f"virtual[4]: AB12: to=<back@example.com>, relay=virtual, {to}"),
        (at + 3, "qmgr[3]: AB12: removed"),
    ]


def messages(directory: Path, parts: list[list[tuple[int, str]]]) -> Iterator[Message]:
    """What a journal has under AB12 after these parts of a log, each in its order."""
    with Writer.open(directory) as writer:
        for part in parts:
            correlator = Correlator(writer, locality=Locality())
            parser = LineParser(timezone=UTC, reference_us=BASE_US)
            intake = Intake(parser, correlator, writer, host=b"mx")
            for at, text in part:
                minute, second = divmod(at, 60)
                hour, minute = divmod(minute, 60)
                stamp = f"2026-09-21T{10 + hour:02d}:{minute:02d}:{second:02d}.000000+00:00"
                intake.take(f"{stamp} mx postfix/{text}".encode())
            correlator.flush()
            writer.commit()
    with Reader.open(directory) as reader:
        for message_id, _ in reader.scan():
            message = reader.message(message_id)
            assert message is not None
            if message.queue_ids == (b"AB12",):
                yield message


def fates(found: list[Message]) -> list[tuple[bytes | None, bytes | None, str]]:
    return [
        (message.sender, row.recipient, Status(row.status).token)
        for message in found
        for row in message.rows
    ]


@pytest.mark.parametrize("end", sorted(ENDS))
def test_a_notice_is_no_part_of_the_file_that_had_its_id_before(tmp_path: Path, end: str) -> None:
    for number, order in enumerate(permutations((first(end), notice(7000)))):
        found = list(messages(tmp_path / str(number), list(order)))
        assert len(found) == 2, end
        assert (b"", b"back@example.com", "delivered") in fates(found)
        assert sum(len(message.rows) for message in found) == (1 if end == "abandoned" else 2)


@pytest.mark.parametrize("end", sorted(ENDS))
def test_a_life_is_over_when_the_next_one_began(tmp_path: Path, end: str) -> None:
    """The middle file is removed long before the notice: the first one is not open again."""
    parts = [first(end), plain(100, "middle"), notice(600)]
    for number, order in enumerate(permutations(parts)):
        found = list(messages(tmp_path / str(number), list(order)))
        assert len(found) == 3, (end, number)
        known = fates(found)
        assert (b"middle@example.net", b"middle@example.com", "delivered") in known
        assert (b"", b"back@example.com", "delivered") in known
