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
from milterd.lines.syslog import LineParser
from milterd.track.correlate import Correlator
from milterd.track.intake import Intake

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


def requeued(at: int) -> list[tuple[int, str]]:
    """Deferred, requeued by an operator after a night, then sent."""
    gave = "delay=1, delays=1/0/0/0, dsn"
    return [
        *plain(at, "stuck")[:3],
        (at + 2, f"smtp[4]: AB12: to=<r@example.org>, relay=none, {gave}=4.4.1, status=deferred (x)"),
        (at + 30_000, "postsuper[6]: AB12: requeued"),
        (at + 30_001, "pickup[7]: EF56: uid=0 from=<stuck@example.net> orig_id=AB12"),
        (at + 30_001, "cleanup[2]: EF56: message-id=<stuck@example.net>"),
        (at + 30_001, "qmgr[3]: EF56: from=<stuck@example.net>, size=9, nrcpt=1 (queue active)"),
        (at + 30_002, f"smtp[4]: EF56: to=<r@example.org>, relay=a[192.0.2.9]:25, {gave}=2.0.0,"
         " status=sent (250 Ok)"),
        (at + 30_003, "qmgr[3]: EF56: removed"),
    ]  # fmt: skip


def discarded(at: int) -> list[tuple[int, str]]:
    """An access map's DISCARD: no queue id."""
    return [(at, f"smtpd[1]: NOQUEUE: discard: RCPT from {CLIENT}: <r@example.com>: x; {FIELDS}")]


def messages(directory: Path, parts: list[list[tuple[int, str]]]) -> Iterator[Message]:
    """What a journal has after these parts of a log, each read by a new process."""
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
        found = [
            message
            for message in messages(tmp_path / str(number), list(order))
            if message.queue_ids == (b"AB12",)
        ]
        assert len(found) == 2, end
        assert (b"", b"back@example.com", "delivered") in fates(found)
        assert sum(len(message.rows) for message in found) == (1 if end == "abandoned" else 2)


@pytest.mark.parametrize("end", sorted(ENDS))
def test_a_life_is_over_when_the_next_one_began(tmp_path: Path, end: str) -> None:
    """The middle file is removed long before the notice: the first one is not open again."""
    parts = [first(end), plain(100, "middle"), notice(600)]
    for number, order in enumerate(permutations(parts)):
        found = [
            message
            for message in messages(tmp_path / str(number), list(order))
            if message.queue_ids == (b"AB12",)
        ]
        assert len(found) == 3, (end, number)
        known = fates(found)
        assert (b"middle@example.net", b"middle@example.com", "delivered") in known
        assert (b"", b"back@example.com", "delivered") in known


def test_what_was_requeued_after_a_night_is_one_message(tmp_path: Path) -> None:
    (found,) = messages(tmp_path / "journal", [requeued(0)])
    assert found.queue_ids == (b"AB12", b"EF56")
    assert [(row.recipient, row.attempts) for row in found.rows] == [(b"r@example.org", 2)]


def test_a_discard_without_a_queue_id_that_is_read_twice_is_one_message(tmp_path: Path) -> None:
    (found,) = messages(tmp_path / "journal", [discarded(5), discarded(5)])
    assert [Status(row.status).token for row in found.rows] == ["filtered"]


def test_a_begin_that_a_later_file_took_for_its_own_is_given_back(tmp_path: Path) -> None:
    """The later half first: a forwarded file says nothing of its begin, the earlier one does."""
    later = [
        (1000, "cleanup[2]: AB12: message-id=<later@example.net>"),
        (1001, "qmgr[3]: AB12: from=<later@example.net>, size=9, nrcpt=1 (queue active)"),
        (1003, "qmgr[3]: AB12: removed"),
    ]
    found = list(messages(tmp_path / "journal", [later, plain(0, "early")]))
    known = {message.message_id: message for message in found}
    assert set(known) == {b"later@example.net", b"early@example.net"}
    assert known[b"later@example.net"].client_ip is None
    assert known[b"early@example.net"].client_ip == b"192.0.2.5"
    assert len(known[b"early@example.net"].rows) == 1
