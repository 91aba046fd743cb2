"""query.anything: what is pasted into the one box is taken for what it is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posttrail.errors import UsageError
from query import anything
from query.anything import readings
from query.filters import parse

LIKELIEST = [
    ("", {}),
    ("  ", {}),
    ("bob@example.com", {"address": "bob@example.com"}),
    (" <bob@example.com>, ", {"address": "bob@example.com"}),
    ("Bob Smith <bob@example.com>", {"address": "bob@example.com"}),
    ("mailto:bob@example.com?subject=x", {"address": "bob@example.com"}),
    ('"bob smith"@example.com', {"address": '"bob smith"@example.com'}),
    ("jörg@bücher.example", {"address": "jörg@bücher.example"}),
    ("bob+news@example.com", {"address": "bob+news@example.com"}),
    ("bob@[192.0.2.1]", {"address": "bob@[192.0.2.1]"}),
    ("root@localhost", {"address": "root@localhost"}),
    ("@example.com", {"address": "@example.com"}),
    ("*@example.com", {"address": "@example.com"}),
    ("example.com", {"address": "@example.com"}),
    ("bücher.example", {"address": "@bücher.example"}),
    ("xn--bcher-kva.example.", {"address": "@xn--bcher-kva.example."}),
    ("192.0.2.7", {"client_ip": "192.0.2.7"}),
    ("[192.0.2.7]", {"client_ip": "192.0.2.7"}),
    ("2001:DB8::0:1", {"client_ip": "2001:db8::1"}),
    ("[IPv6:2001:db8::1]", {"client_ip": "2001:db8::1"}),
    ("client=mail.example.net[192.0.2.7]", {"client_ip": "192.0.2.7"}),
    ("4F2C81A0B3", {"queue_id": "4F2C81A0B3"}),
    ("3Pt2mN2VXxznjll", {"queue_id": "3Pt2mN2VXxznjll"}),
    ("5BPG2x3N012345", {"queue_id": "5BPG2x3N012345"}),
    ("1sXyZa-0001Bc-De", {"queue_id": "1sXyZa-0001Bc-De"}),
    ("1sXyZa-00000001234-2b3c", {"queue_id": "1sXyZa-00000001234-2b3c"}),
    ("queue_id: anything", {"queue_id": "anything"}),
    ("from=<bob@example.com>,", {"sender": "bob@example.com"}),
    ("from=<>", {"sender": "<>"}),
    ("to=<bob@example.com>", {"recipient": "bob@example.com"}),
    ("To: Bob", {"text": "To: Bob"}),
    ("Message-ID: <a.b@example.net>", {"message_id": "a.b@example.net"}),
    ("message-id=<a.b@example.net>", {"message_id": "a.b@example.net"}),
    ("<20261123101112.1234@example.net>", {"message_id": "20261123101112.1234@example.net"}),
    ("20261123101112.abcdef.1234@host", {"message_id": "20261123101112.abcdef.1234@host"}),
    ("<no-at-sign>", {"message_id": "no-at-sign"}),
    ("sasl_username=bob", {"login": "bob"}),
    ("quarterly figures", {"text": "quarterly figures"}),
    ("550 5.1.1", {"text": "550 5.1.1"}),
    ("1.2.3", {"text": "1.2.3"}),
    ("bob@", {"text": "bob@"}),
    ("a b@example.com", {"text": "a b@example.com"}),
    ("NOQUEUE", {"text": "NOQUEUE"}),
]


@pytest.mark.parametrize(("text", "filters"), LIKELIEST)
def test_a_text_is_taken_for_what_it_is(text: str, filters: dict[str, str]) -> None:
    assert anything.filters(text) == filters


def test_an_id_of_ours_is_shown_and_may_be_a_queue_id() -> None:
    first, second = readings("A4M000JH0000A")
    assert (first.what, first.id, dict(first.filters)) == ("id", "a4m000jh0000a", {})
    assert second.filters == {"queue_id": "A4M000JH0000A"}


@pytest.mark.parametrize(
    ("text", "whats"),
    [
        ("bob@example.com", ["address", "message_id"]),
        ("<20261123.1@example.com>", ["message_id", "address"]),
        ("DEADBEEF", ["queue_id", "text"]),
        ("example.com", ["domain", "text"]),
    ],
)
def test_what_may_be_two_things_has_two_readings(text: str, whats: list[str]) -> None:
    assert [each.what for each in readings(text)] == whats


@given(st.text(max_size=40) | st.text('<>@"\\[]:=.a1 ', max_size=20))
@example("to=<@>")
@example("from:<<>>")
@example('""@a')
@example("@.")
def test_every_reading_of_any_text_is_a_question_a_report_understands(text: str) -> None:
    found = readings(text)
    assert found
    for each in found:
        try:
            parse(each.filters, now_us=0)
        except UsageError as error:
            pytest.fail(f"{text!r} as {each}: {error}")


@given(st.text('a<>=:@.1 \t"\\', min_size=2000, max_size=4000))
def test_a_long_text_is_cut(text: str) -> None:
    for each in readings(text):
        assert all(len(value or "") <= 1001 for value in each.filters.values())
