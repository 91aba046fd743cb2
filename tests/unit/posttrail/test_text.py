"""posttrail.text: nothing from mail reaches a terminal unescaped, and no text is lost to JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrail import text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain text", "plain text"),
        (b"a\x1b[31mred\x07", "a\\x1b[31mred\\x07"),
        (b"tab\tline\r\n", "tab\\x09line\\x0d\\x0a"),
        (b"del\x7f", "del\\x7f"),
        (b"\xc2\x9b31m", "\\u{009b}31m"),  # CSI of the C1 set, as UTF-8
        (b"\x9b31m", "\\x9b31m"),  # the same as a bare byte
        (b"caf\xe9", "caf\\xe9"),  # Latin-1
        ("gnp.\u202eexe".encode(), "gnp.\\u{202e}exe"),
        (
            "\u2066x\u2069\u200e\u200f\u061c".encode(),
            "\\u{2066}x\\u{2069}\\u{200e}\\u{200f}\\u{061c}",
        ),
        ("a\u2028b\u2029".encode(), "a\\u{2028}b\\u{2029}"),
        ("δοκιμή@παράδειγμα.test".encode(), "δοκιμή@παράδειγμα.test"),
        ("👩\u200d💻".encode(), "👩\u200d💻"),  # the joiner of an emoji moves nothing
    ],
)
def test_safe_escapes_what_a_terminal_acts_on(raw: bytes, shown: str) -> None:
    assert text.safe(raw) == shown
    assert text.safe(text.decode(raw)) == shown


def test_safe_escapes_a_surrogate_that_stands_for_no_byte() -> None:
    assert text.safe("\ud800x") == "\\u{d800}x"


@given(st.binary())
def test_safe_leaves_nothing_hostile(raw: bytes) -> None:
    assert not text.HOSTILE.search(text.safe(raw))


@given(st.binary())
def test_decode_loses_nothing(raw: bytes) -> None:
    assert text.decode(raw).encode("utf-8", "surrogateescape") == raw


def test_json_text_rewrites_only_bytes_that_are_not_utf8() -> None:
    assert text.json_text(b"caf\xe9\x1b") == "caf\\xe9\x1b"


@given(st.text())
def test_json_dump_is_lossless_and_harmless(value: str) -> None:
    line = text.json_dump({"subject": value})
    assert json.loads(line) == {"subject": value}
    assert not text.HOSTILE.search(line)


def test_json_dump_keeps_readable_what_can_be_read() -> None:
    assert text.json_dump(["δ", "\u202e", "\x9b"]) == '["δ","\\u202e","\\u009b"]'
    assert text.json_dump(["δ"], ascii_only=True) == '["\\u03b4"]'


@pytest.mark.parametrize(
    ("at_us", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_458_601_250_999, "2026-11-23T18:30:01.250Z"),
        (1_795_458_601_000_000, "2026-11-23T18:30:01.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_rfc3339_has_milliseconds_always(at_us: int, shown: str) -> None:
    assert text.rfc3339(at_us) == shown
