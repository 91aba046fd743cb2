"""Tokens of old days: found again by who has the address, read by nobody, and again the same."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from journal.address import fold, mailbox
from journal.erased import Erased
from journal.forget import Forget
from journal.hashed import Hasher
from journal.tokens import Hashing, is_token

KEY = bytes(range(32))


@pytest.fixture
def hasher() -> Hasher:
    return Hasher(Hashing(KEY, b"+"), None)


@pytest.mark.parametrize(
    "name", [b"alice@example.com", b"Alice@EXAMPLE.com", b"<alice@example.com>"]
)
def test_every_spelling_has_the_token_of_the_address(hasher: Hasher, name: bytes) -> None:
    new = hasher.name(name)
    assert b"alice" not in new.lower()
    assert fold(new) == Hashing(KEY, b"+").alias(b"alice@example.com")
    assert hasher.name(new) == new


def test_a_subaddress_is_of_the_token_of_its_mailbox(hasher: Hasher) -> None:
    new = hasher.name(b"alice+lists@example.com")
    assert is_token(new)
    assert mailbox(fold(new), b"+") == Hashing(KEY, b"+").alias(b"alice@example.com")
    assert new != hasher.name(b"alice+other@example.com")


def test_words_lose_addresses_and_keep_hosts(hasher: Hasher) -> None:
    said = b"host mx.example.net[192.0.2.1] said: 550 <alice@example.com>: relay=mx.example.net no"
    new = hasher.text(said)
    assert b"alice" not in new
    assert new.startswith(b"host mx.example.net[192.0.2.1] said: 550 <hashed")
    assert new.endswith(b"@example.com>: relay=mx.example.net no")


def test_who_was_erased_stays_so(hasher: Hasher) -> None:
    erased = Forget(Erased(KEY).with_address(b"alice@example.com", 9, b"+")).at(0)
    assert erased is not None
    word = erased.name(b"alice@example.com")
    assert hasher.name(word) == word


_PIECES = (b"!", b"@", b"=", b"%", b"+", b'"', b"\\", b"<", b">", b".", b"a", b"b.c", b" ", b"/",
           b"hashed", b"example.com", b"erased01234567", b"%40", b"=40", b"-")  # fmt: skip
_NOISE = st.binary(max_size=60) | st.lists(st.sampled_from(_PIECES), max_size=9).map(b"".join)


@example(b"!@=", b"a@example.com")  # the token comes to stand where a domain could
@example(b"!%40", b"a@example.com")  # two spellings that overlap
@example(b"@a!", b"x")
@given(_NOISE, st.sampled_from([b"a@example.com", b"b+c@example.org", b"x"]))
def test_twice_is_once(noise: bytes, name: bytes) -> None:
    scrubber = Hasher(Hashing(KEY, b"+"), None)
    for scrub in (scrubber.name, scrubber.text, scrubber.message_id):
        once = scrub(noise + name)
        assert scrub(once) == once
