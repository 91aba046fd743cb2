"""Server-sent events are framed as WHATWG HTML 9.2 says, and read however they are cut."""

import pytest

from query import sse
from query.sse import Event, Parser


def test_an_event_is_its_fields_and_a_blank_line() -> None:
    assert sse.encode(Event("row", '{"a":1}', "7")) == b'id: 7\nevent: row\ndata: {"a":1}\n\n'


def test_an_event_without_a_name_only_tells_how_far_the_stream_has_come() -> None:
    parser = Parser()
    assert list(parser.feed(sse.encode(Event("", "", "9")))) == []
    assert parser.last_id == "9"


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_read_however_the_bytes_are_cut(size: int, end: bytes) -> None:
    lines = [
        b"\xef\xbb\xbfretry: 3000", b": ping", b"", b"id: 1", b"event: row", b"data: {}", b"",
        b"data: a", b"data:b", b"id: 2", b"", b"",
    ]  # fmt: skip
    raw = b"".join(line + end for line in lines)
    parser = Parser()
    found: list[Event] = []
    for at in range(0, len(raw), size):
        found += parser.feed(raw[at : at + size])
    found += parser.feed(b"\n")  # behind a last CR
    assert found == [Event("row", "{}", "1"), Event("message", "a\nb", "2")]
    assert parser.retry_ms == 3000


def test_the_id_of_an_event_that_was_cut_off_is_not_kept() -> None:
    parser = Parser()
    assert list(parser.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")) == [Event("message", "a", "1")]
    assert parser.last_id == "1"


def test_data_of_any_text_is_one_line_and_comes_back() -> None:
    parser = Parser()
    text = "ä€\u2028 ok"
    assert [each.data for each in parser.feed(sse.encode(Event("row", text, "1")))] == [text]
