"""From what was spoken to the spool's record; the protocol test tells the same of the process."""

import sys
import threading

import pytest

from milterd.spool import Body, encode_body, to_events
from milterd.transaction import (
    FIELDS,
    OWN_BYTES,
    SHARE_BYTES,
    VALUE_BYTES,
    Room,
    Session,
    Transaction,
    bare,
    hashed,
    off,
    record,
    stored,
)


def said(*arguments: bytes, stage: str = "eom") -> Transaction:
    transaction = Transaction(5, arguments, "", "")
    transaction.stage = stage
    return transaction


def made(transaction: Transaction, *, aborted: bool = False, port: int = 25) -> Body | None:
    session = Session(port=port)
    return record(session, transaction, end_us=9, aborted=aborted, subject=stored)


def whole(transaction: Transaction) -> Body:
    body = made(transaction)
    assert body is not None
    return body


@pytest.mark.parametrize(
    ("spoken", "address"),
    [("<>", ""), ("", ""), ("<a@b>", "a@b"), ("a@b", "a@b"), ("<a@b", "<a@b"), ("<", "<"),
     ('<"x>"@b>', '"x>"@b'), ("<<a@b>>", "<a@b>")],
)  # fmt: skip
def test_one_pair_of_brackets_is_taken_off(spoken: str, address: str) -> None:
    assert bare(spoken) == address


@pytest.mark.parametrize(
    ("parameter", "size"),
    [(b"SIZE=10", 10), (b"size=0", 0), (b"SIZE=", None), (b"SIZE=-1", None), (b"XSIZE=1", None),
     ("SIZE=\u0661".encode(), None), (b"SIZE=" + b"9" * 5000, 10**18 - 1)],
)  # fmt: skip
def test_the_declared_size(parameter: bytes, size: int | None) -> None:
    assert whole(said(b"<a@b>", b"BODY=7BIT", parameter))["size"] == size


@pytest.mark.parametrize("stage", ["mail", "rcpt"])
def test_a_phantom_is_dropped_and_only_a_phantom(stage: str) -> None:
    assert made(said(b"a@b", stage=stage), aborted=True, port=0) is None
    assert made(said(b"a@b", stage=stage), aborted=True, port=25) is not None
    assert made(said(b"a@b", stage="data"), aborted=True, port=0) is not None
    assert made(said(b"a@b", stage="eom"), aborted=False, port=0) is not None


def test_a_sender_that_was_not_named_is_absent() -> None:
    assert "sender" not in whole(said())
    assert whole(said(b"<>"))["sender"] == ""


def test_every_record_can_be_spooled_and_told() -> None:
    transaction = said(b"<\xff@b>", b"\xfe")
    transaction.add_recipient((b"<\xfd>", b"\xfc"), "error", "5.1.1", "no")
    transaction.add_field("subject", b"\xfb")
    transaction.add_field("x-spam-flag", b"YES\xfa")
    body = whole(transaction)
    encode_body(body)
    assert len(to_events(body)) == 3


@pytest.mark.parametrize(
    ("value", "message_id"),
    [(b"<1@b>", "1@b"), (b" <1@b> (x)", "1@b"), (b"1@b", "1@b"), (b"<1@b", "<1@b"), (b"", "")],
)
def test_the_message_id_has_no_brackets(value: bytes, message_id: str) -> None:
    transaction = said(b"<a@b>")
    transaction.add_field("message-id", value)
    assert whole(transaction)["message_id"] == message_id


def test_the_first_field_of_a_name_counts() -> None:
    transaction = said(b"<a@b>")
    for value in (b"", b"one", b"two"):
        transaction.add_field("subject", value)
    assert whole(transaction)["subject"] == "one"


def test_a_sender_cannot_fill_our_memory() -> None:
    transaction = said(b"<a@b>")
    for _ in range(FIELDS + 100):
        transaction.add_field("subject", b"x" * 100_000)
    assert len(transaction.fields) == FIELDS
    assert transaction.size_bytes() > FIELDS * VALUE_BYTES
    assert len(whole(transaction)["subject"]) == VALUE_BYTES


def test_a_hashed_subject_tells_equals_and_needs_the_key() -> None:
    rule = hashed(b"key")
    assert rule("a") == rule("a") != rule("b")
    assert rule("a") != hashed(b"other")("a")
    assert rule("\udcff").startswith("#")
    assert rule("") == off("a") == ""


def test_a_notice_keeps_what_it_says_of_another_message_and_other_mail_does_not() -> None:
    fields = [
        ("content-type", b"multipart/report; report-type=delivery-status"),
        ("x-failed-recipients", b"bob@example.net"),
        ("references", b"<1@example.com>\r\n <2@example.com>"),
    ]
    notice, mail = Transaction(1, (b"<>",), "", ""), Transaction(1, (b"<a@example.com>",), "", "")
    for said in (notice, mail):
        for name, value in fields:
            said.add_field(name, value)
    told = [
        record(Session(), said, end_us=2, aborted=False, subject=stored) for said in (notice, mail)
    ]
    assert told[0] is not None
    assert told[1] is not None
    assert told[0]["report"] == [
        "multipart/report; report-type=delivery-status",
        "bob@example.net",
        "",
        "<1@example.com> <2@example.com>",
        "",
    ]
    assert "report" not in told[1]
    assert told[1]["verdicts"] == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [("[192.0.2.1]", "unknown"), ("[IPv6:2001:db8::1]", "unknown"), ("mx.example", "mx.example")],
)
def test_a_client_that_sendmail_has_no_name_for_is_unknown(name: str, kept: str) -> None:
    body = record(Session(name=name), said(b"<a@b>"), end_us=9, aborted=False, subject=stored)
    assert body is not None
    assert body["name"] == kept


def test_names_of_sendmail_are_rooted_and_ours_are_not() -> None:
    transaction = said(b"<a@b>")
    transaction.add_recipient((b"<c@d.example>",), "esmtp", "d.example.", "")
    assert whole(transaction)["rcpts"][0][2] == "d.example"


def long_header(transaction: Transaction, fields: int = FIELDS) -> None:
    for _ in range(fields):
        transaction.add_field("subject", b"x" * VALUE_BYTES)


def test_all_open_transactions_together_hold_no_more_than_the_room() -> None:
    room = Room(4 * SHARE_BYTES)
    several = [Transaction(5, (b"<a@b>",), "", "", room) for _ in range(20)]
    for transaction in several:
        long_header(transaction)
    held = sum(len(value) for one in several for _, value in one.fields)
    assert 4 * SHARE_BYTES * 0.9 < held <= 4 * SHARE_BYTES + 20 * OWN_BYTES
    assert room.taken_bytes == 4 * SHARE_BYTES
    kept = sum(len(one.fields) for one in several)
    assert room.dropped == 20 * FIELDS - kept


def test_without_room_the_envelope_and_an_ordinary_header_are_kept() -> None:
    room = Room(0)
    long_header(Transaction(5, (b"<a@b>",), "", "", room))
    transaction = Transaction(5, (b"<a@b>",), "", "", room)
    transaction.add_field("message-id", b"<m@b>")
    for number in range(1000):
        transaction.add_recipient((b"<%d@c>" % number,), "smtp", "c", "")
    long_header(transaction)
    body = whole(transaction)
    assert (body["message_id"], body["sender"], len(body["rcpts"])) == ("m@b", "a@b", 1000)


def test_the_end_gives_the_room_back_once() -> None:
    room = Room(SHARE_BYTES)
    first = Transaction(5, (b"<a@b>",), "", "", room)
    long_header(first, 10)
    assert room.taken_bytes == SHARE_BYTES
    first.end()
    first.end()
    assert room.taken_bytes == 0
    second = Transaction(5, (b"<a@b>",), "", "", room)
    long_header(second, 10)
    assert len(second.fields) == 10


def test_room_is_counted_exactly_by_several_threads() -> None:
    room = Room(1 << 40)

    def talk() -> None:
        for _ in range(300):
            transaction = Transaction(5, (b"<a@b>",), "", "", room)
            long_header(transaction, 40)
            transaction.end()

    threads = [threading.Thread(target=talk) for _ in range(8)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert (room.taken_bytes, room.dropped) == (0, 0)


def test_the_queue_is_told_of_many_small_fields_and_long_recipients() -> None:
    """What Python takes for them is memory, too."""
    transaction = Transaction(5, (b"<a@b>",), "", "", Room())
    for _ in range(FIELDS):
        transaction.add_field("subject", b"")
    transaction.add_recipient((b"x" * 2000,), "smtp", "c", "")
    assert transaction.size_bytes() >= 50 * FIELDS + 2000
