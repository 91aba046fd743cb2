"""Ids and keys sort as time does, and their text is theirs alone."""

from hypothesis import given
from hypothesis import strategies as st

from journal import keys

days = st.integers(0, keys.LAST_DAY)
ids = st.binary(min_size=8, max_size=8)


@given(ids, ids)
def test_texts_sort_as_ids_do(one: bytes, other: bytes) -> None:
    assert (keys.id_text(one) < keys.id_text(other)) == (one < other)


@given(ids)
def test_an_id_comes_back_from_its_text_in_either_case(message_id: bytes) -> None:
    text = keys.id_text(message_id)
    assert len(text) == 13
    assert text == text.lower()
    assert keys.parse_id(text) == keys.parse_id(text.upper()) == message_id


@given(
    st.text(max_size=14) | st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=13, max_size=13)
)
def test_what_parses_is_the_one_text_of_that_id(text: str) -> None:
    parsed = keys.parse_id(text)
    assert parsed is None or keys.id_text(parsed) == text.lower()


def test_a_text_with_stray_bits_is_refused() -> None:
    assert keys.parse_id("0000000000000") == bytes(8)
    assert keys.parse_id("0000000000001") is None


@given(days)
def test_a_day_comes_back_from_its_name(day: int) -> None:
    assert keys.parse_day(keys.day_name(day)) == day
    assert keys.day_of(day * keys.DAY_US) == keys.day_of((day + 1) * keys.DAY_US - 1) == day


def test_names_that_are_no_days() -> None:
    for name in (
        "",
        "state",
        "bad-2026-11-23",
        "2026-11-31",
        "2026-W48-1",
        "1969-12-31",
        "20261123",
    ):
        assert keys.parse_day(name) is None


def test_times_out_of_range_are_clamped() -> None:
    assert keys.day_of(-5) == 0
    assert keys.day_of(1 << 62) == keys.LAST_DAY
    assert keys.suffix_ms(10, 9 * keys.DAY_US) == 0
    assert keys.suffix_ms(10, 11 * keys.DAY_US) == keys.DAY_MS - 1


@given(days, st.integers(0, keys.DAY_US - 1), st.integers(0, keys.HASH_MASK))
def test_the_suffix_of_a_message_is_its_id_while_its_time_stays(
    day: int, us: int, low: int
) -> None:
    time_us = day * keys.DAY_US + us
    message_id = keys.make_id(day, time_us, low)
    assert keys.id_day(message_id) == day
    assert keys.id_time_us(message_id) == time_us - time_us % 1000
    assert keys.suffix(message_id, time_us) == message_id[2:]
    ms = us // 1000
    assert keys.bound(ms) <= keys.suffix(message_id, time_us) < keys.bound(ms + 1)


def test_terms_depend_on_key_kind_and_value() -> None:
    keyer = keys.Keyer(b"k" * 32)
    terms = {
        keyer.term(b"rbob@example.org"),
        keyer.term(b"sbob@example.org"),
        keyer.term(b"rbob@example.net"),
        keys.Keyer(b"K" * 32).term(b"rbob@example.org"),
    }
    assert len(terms) == 4
    assert all(len(term) == keys.TERM_BYTES for term in terms)
    assert keyer.term(b"rbob@example.org") == keyer.term(b"rbob@example.org")


def test_door_values_of_one_session_agree() -> None:
    assert keys.door_port(b"192.0.2.1", 25, b"a") != keys.door_port(b"192.0.2.12", 5, b"a")
    assert keys.door_rcpt(b"192.0.2.1", b"", b"a") != keys.door_rcpt(b"192.0.2.1", b"a", b"")
