"""What a made-up line has too much of is not read: no such line comes from a mail system."""

import pytest

from journal.events import Event, Kind
from milterd.lines.dovecot import parse as dovecot
from milterd.lines.scan import UNKNOWN, after_colon, client, quoted_end
from milterd.lines.sendmail_parts import addresses, seconds, unescape
from milterd.lines.syslog import Line
from milterd.lines.wire import structured
from milterd.track.kin import sending_us

MUCH = 60_000


def test_backslashes_before_a_quote_are_counted() -> None:
    for count in (0, 1, 2, 3, MUCH, MUCH + 1):
        text = b'"' + b"\\" * count + b'"x"'
        assert quoted_end(text, 0) == len(text) - (2 if count % 2 == 0 else 0)


def test_blanks_behind_a_queue_id_are_passed_over() -> None:
    for count in (0, 1, 2, MUCH):
        assert after_colon(b"AB12:" + b" " * count + b"to=", 4) == 5 + count


def test_a_port_has_five_digits() -> None:
    assert client(b"x[192.0.2.1]:65535", 0) == (b"x", b"192.0.2.1", b"65535", 18)
    found = client(b"x[192.0.2.1]:" + b"1" * MUCH, 0)
    assert found is not None
    assert len(found[2]) == 5


@pytest.mark.parametrize("delay", [b"00:" + b"0" * MUCH + b":01", b"9" * MUCH + b"+00:00:01"])
def test_a_delay_of_sendmails_is_short(delay: bytes) -> None:
    assert seconds(delay) == b""
    assert seconds(b"1+00:00:01") == b"86401"


def test_a_list_of_thousands_is_nobodys() -> None:
    assert addresses(b"a@b," * 20 + b"c@d, delay=1", 0)[1] == 83
    assert addresses(b"a@b," * MUCH + b"c@d, delay=1", 0)[1] == -1


def test_escapes_are_undone_from_left_to_right() -> None:
    assert unescape(rb"a\\n\n\\\n\134n\x\0\\\\") == b"a\\n\n\\\n\\n\\x\\0\\\\"
    assert unescape(b"\\" * MUCH) == b"\\" * (MUCH // 2)
    assert unescape(rb"\000\\") == b"\0\\"


def test_a_prefix_of_dovecots_is_short() -> None:
    said = b"lmtp(a" + b")<1><" * MUCH + b">: sieve: msgid=<m@x>: stored mail into mailbox 'INBOX'"
    assert dovecot(Line(0, b"mx", b"dovecot", b"", b"dovecot", 0, said)) is UNKNOWN


def test_structured_data_ends_where_its_quotes_allow() -> None:
    for data in (
        b'[a b="]"]',
        b'[a b="\\"]"][c]',
        b"[a][b][c]",
        b'[a b="' + b"\\\\" * MUCH + b'"]',
    ):
        found = structured(b"1 2026-11-23T18:30:00Z mx app 1 - " + data + b" text")
        assert found is not None
        assert found.text == b"text"
    assert structured(b"1 2026-11-23T18:30:00Z mx app 1 - " + b"[" + b'"' * (MUCH + 1)) is None


def test_an_endless_sending_is_none() -> None:
    fields = (b"smtp", b"", b"b@x", b"r", b"1", b"0/0/0/inf", b"2.0.0", b"sent", b"", b"", b"", b"")
    assert sending_us(Event(0, int(Kind.DELIVERY), 1, 1, b"AB12", fields)) == 0
