"""query.redact: each field of a message has somebody it is for, and nobody else gets it."""

from dataclasses import fields as fields_of
from typing import Any

import pytest

from journal.events import FIELDS, Event, Kind, Source
from journal.records import Direction, Message, Recipient, Record, Status
from query import details, redact, rows
from query.details import Details
from query.redact import For
from query.rows import Row
from query.scope import Scope
from tests.unit.query.conftest import NOON_US, row

ANNA, BERT, CARL = b"anna@example.com", b"bert@example.com", b"carl@example.net"
AWAY = b"away@example.org"
MINE = Scope.of(mailboxes=[ANNA])
FROM_MESSAGE = {field.name for field in fields_of(Row)} & set(Message._fields)
ROW_ORIGIN = {
    **{name: name for name in FROM_MESSAGE | (set(Recipient._fields) & set(rows.FIELDS))},
    "row": "rows", "time": "time_us", "done_at": "done_at_us", "delay_s": "delay_ms",
}  # fmt: skip
"""From which field of a record each field of a row is made."""
DETAILS_OF_THEIR_OWN = {
    "time": "time_us", "status": "rows", "ambiguous": "flags", "attempts_dropped": "rows",
    "rows": "rows", "evidence": "rows", "verdicts": "rows", "timeline": "rows", "links": "rows",
}  # fmt: skip


def message(*rows: Recipient, login: bytes | None = None, **changes: Any) -> Message:
    plain = Message(
        b"\0\1\2\3\4\5\6\7", NOON_US, b"mx.example.com", b"postfix-out", (b"QID",), CARL, 2048,
        b"m@example.net", b"a subject", b"192.0.2.1", b"client.example.net", 40000,
        b"helo.example.net", login, b"TLSv1.3", 1.5, 0b11, 1, (b"NEXT",), rows,
    )  # fmt: skip
    return plain._replace(**changes)


def inbound(recipient: bytes = ANNA, **changes: Any) -> Recipient:
    return row(
        recipient,
        reply=b"250 2.0.0 <anna@example.com> Saved",
        relay=b"store.example.com[10.0.0.9]:24",
        folder=b"INBOX",
        direction=Direction.INBOUND,
        **changes,
    )


def test_each_field_of_a_record_has_its_class() -> None:
    assert redact.MESSAGE.keys() == set(Message._fields)
    assert redact.RECIPIENT.keys() == set(Recipient._fields)
    for kind in Kind:
        assert (kind in redact.EVENT) == (kind < Kind.CONNECT)
        assert kind >= Kind.CONNECT or len(redact.EVENT[kind]) == len(FIELDS[kind])


def test_each_field_that_is_shown_comes_from_one_that_has_a_class() -> None:
    known = redact.MESSAGE.keys() | redact.RECIPIENT.keys()
    assert set(ROW_ORIGIN) == {field.name for field in fields_of(Row)}
    assert set(ROW_ORIGIN.values()) <= known
    for field in fields_of(Details):
        assert field.name in known or DETAILS_OF_THEIR_OWN[field.name] in known


def test_an_operator_gets_the_record_itself() -> None:
    whole = message(inbound(), row(BERT, final_recipient=AWAY))
    assert redact.seen(whole, Scope.all()) is whole
    event = Event(0, Kind.QUEUED, Source.LOG, 1, b"Q", (CARL, b"1", b"9", b"postfix"))
    assert redact.fields(event, whole, Scope.all())["nrcpt"] == b"9"


def test_a_stranger_gets_nothing() -> None:
    assert redact.seen(message(row(BERT)), MINE).rows == ()


SECRET: dict[str, Any] = {
    "instance": b"",
    "login": None,
    "next_queue_ids": (),
}
CLIENT: dict[str, Any] = {
    "client_ip": None, "client_name": None, "client_port": None, "helo": None, "tls": None,
}  # fmt: skip


def test_a_recipient_sees_the_server_that_brought_it() -> None:
    whole = message(inbound(), row(BERT))
    assert redact.seen(whole, MINE) == whole._replace(
        rows=(inbound()._replace(relay=None),), **SECRET
    )


@pytest.mark.parametrize(
    ("login", "way"), [(b"bert", Direction.INBOUND), (None, Direction.INTERNAL), (None, None)]
)
def test_a_recipient_does_not_see_anothers_client(login: bytes | None, way: int | None) -> None:
    whole = message(inbound()._replace(direction=way), login=login)
    seen = redact.seen(whole, MINE)
    assert seen == whole._replace(rows=seen.rows, **SECRET, **CLIENT)


def test_a_sender_sees_their_own_submission_and_all_recipients() -> None:
    rows_ = (row(CARL), row(BERT, folder=b"Junk", status=Status.FILTERED, reason="junk"))
    whole = message(*rows_, login=ANNA)
    seen = redact.seen(whole, MINE)
    assert seen == whole._replace(rows=seen.rows, instance=b"")
    assert seen.rows[0] == rows_[0]  # outbound: the other side's words and host
    assert (seen.rows[1].folder, seen.rows[1].reason) == (None, "junk")


@pytest.mark.parametrize("login", [None, ANNA])
def test_where_an_address_leads_outside_the_scope_is_not_shown(login: bytes | None) -> None:
    spoken = ANNA if login is None else BERT
    whole = message(
        row(spoken, final_recipient=AWAY, reply=b"550 5.1.1 no such user", attempts=1), login=login
    )
    seen = redact.seen(whole, MINE)
    (shown,) = seen.rows
    hidden = shown.final_recipient, shown.relay, shown.reply, shown.folder
    assert hidden == (None, None, None, None)
    assert (shown.reply_code, shown.enhanced_status) == (250, b"2.0.0")
    made = rows.make(seen, 1, shown)
    assert redact.is_forwarded(made)
    assert not redact.is_forwarded(rows.make(whole, 1, whole.rows[0]))


def test_a_forward_within_the_scope_is_shown() -> None:
    whole = message(inbound(BERT, final_recipient=b"anna+x@example.com"))
    assert redact.seen(whole, MINE).rows[0].final_recipient == b"anna+x@example.com"
    assert redact.seen(whole, MINE).rows[0].recipient == BERT


OUT = Direction.OUTBOUND
REPLIES: list[tuple[bytes, bytes | None, int, int, bytes | None, bytes | None]] = [
    # text, relay, status, direction, what the sender sees, what the recipient sees
    (b"host mx.example.net[192.0.2.25] said: 452 4.2.2 <bert@example.com> full",
     b"mx.example.net[192.0.2.25]:25", Status.DEFERRED, OUT, b"=", b"452 4.2.2 <bert@example.com> full"),
    (b"connect to mx.example.net[192.0.2.25]:25: Connection timed out", None, Status.DEFERRED, OUT,
     b"=", None),
    (b"connect to relay.corp.example[10.1.2.3]:25: Connection refused", None, Status.DEFERRED, OUT,
     None, None),
    (b"host relay.corp.example[10.1.2.3] said: 550 5.7.1 no", b"relay.corp.example[10.1.2.3]:25",
     Status.ERROR, OUT, b"550 5.7.1 no", b"550 5.7.1 no"),
    (b"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 Ok", b"127.0.0.1[127.0.0.1]:10024",
     Status.DELIVERED, Direction.INBOUND, None, None),
    (b"delivered to command: /usr/bin/procmail", b"local", Status.DELIVERED, Direction.INBOUND,
     None, None),
    (b"550 5.1.1 <other@example.net>: no", b"mx.example.net[192.0.2.25]:25", Status.ERROR, OUT,
     None, None),
    (b"550 5.1.1 <xbert@example.com>: no", b"mx.example.net[192.0.2.25]:25", Status.ERROR, OUT,
     None, None),
    (b"550 see https://help.example.net/a?b for <bert@example.com>",
     b"mx.example.net[192.0.2.25]:25", Status.ERROR, OUT, b"=",
     b"="),
    (b"554 5.7.1 Service unavailable; client [192.0.2.1] blocked, see http://l.example.net/1",
     None, Status.REJECTED, Direction.INBOUND, b"=", b"="),
    (b"550 5.1.1 undeliverable: host 10.0.0.5[10.0.0.5] said: no", None, Status.REJECTED,
     Direction.INBOUND, None, None),
    (b"table /etc/postfix/virtual is broken", None, Status.DEFERRED, OUT, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "relay", "status", "way", "sender", "recipient"), REPLIES)
def test_a_reply_is_shown_where_it_names_nothing_of_others(
    text: bytes,
    relay: bytes | None,
    status: int,
    way: int,
    sender: bytes | None,
    recipient: bytes | None,
) -> None:
    one = row(BERT, reply=text, relay=relay, status=status, direction=way)
    sent = redact.seen(message(one, login=ANNA), MINE).rows[0].reply
    assert sent == (text if sender == b"=" else sender)
    got = redact.seen(message(one), Scope.of(mailboxes=[BERT])).rows[0].reply
    assert got == (text if recipient == b"=" else recipient)


def _event(kind: Kind, **known: bytes) -> Event:
    values = tuple(known.get(name, b"SECRET-" + name.encode()) for name in FIELDS[kind])
    return Event(NOON_US, kind, Source.LOG, 4711, b"QID", values)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind < Kind.CONNECT])
def test_of_an_event_a_recipient_of_internal_mail_sees_what_is_for_all(kind: Kind) -> None:
    mail = message(inbound()._replace(direction=Direction.INTERNAL), login=b"bert")
    said = redact.fields(_event(kind), mail, MINE)
    classes = dict(zip(FIELDS[kind], redact.EVENT[kind], strict=True))
    assert said.keys() <= {name for name, who in classes.items() if who is For.ALL}
    assert {name for name, who in classes.items() if who is For.ALL} <= said.keys()


def test_of_a_delivery_elsewhere_nothing_tells_where() -> None:
    mail = message(row(ANNA, final_recipient=AWAY))
    first = _event(Kind.DELIVERY, recipient=ANNA, final_recipient=AWAY, text=b"250 ok")
    later = _event(Kind.DELIVERY, recipient=b"", final_recipient=AWAY, text=b"250 ok")
    for event in (first, later):
        said = redact.fields(event, mail, MINE)
        assert said.keys() <= {"recipient", "delay", "delays", "enhanced_status", "outcome"}
    found = details.details(Record(mail, (first, later), ()), MINE, find=lambda _: None)
    assert found is not None
    assert "away" not in repr(found)
    assert "SECRET-relay" not in repr(found)
    assert found.timeline[0].pid is None


def test_no_filter_finds_what_no_row_shows() -> None:
    from query.match import Query, message_test, row_test
    from query.when import Window

    mail = redact.seen(message(row(ANNA, final_recipient=AWAY), row(BERT), login=b"bert"), MINE)
    for asked in (
        {"recipient": AWAY},
        {"recipient": BERT},
        {"address": b"@example.org"},
        {"login": b"bert"},
        {"client_ip": b"192.0.2.1"},
        {"queue_id": b"NEXT"},
        {"text": "mx.example.org"},
        {"text": "helo.example"},
    ):
        query = Query(window=Window(), **asked)
        fits, fit = message_test(query, None), row_test(query)  # type: ignore[arg-type]
        assert not any(fits(mail) and fit(mail, each) for each in mail.rows), asked
