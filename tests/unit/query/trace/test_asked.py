"""What is an address: quoted local parts, literals, other scripts, bare names; and what is none."""

import pytest

from posttrail.errors import UsageError
from query.trace import asked


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.com",
        "alice",
        "alice+tag@example.com",
        '"a b"@example.com',
        '"a@b"@example.com',
        r'"a\"b"@example.com',
        "alice@[192.0.2.1]",
        "alice@[IPv6:2001:db8::1]",
        "alice@bücher.example",
        "alice@xn--bcher-kva.example",
        "jürgen@example.com",
        "user%other.example@example.com",
        "host.example!user",
        "user@inside.example@example.com",
        "a.b.@example.com",
        "alice@example.com.",
        "alice@_srv.example",
        "-x@example.com",
        "b\udce4r@example.com",  # a byte that is no UTF-8
    ],
)
def test_is_an_address(address: str) -> None:
    assert asked.question(address).address == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "@example.com",
        "alice@",
        "alice@@example.com",
        "alice@example..com",
        "alice@.example.com",
        "a b@example.com",
        "a,b@example.com",
        "alice@exam ple.com",
        "alice@[192.0.2.256]",
        "alice@[example.com]",
        "alice@[192.0.2.1",
        '"open@example.com',
        '"a"b@example.com',
        "alice\n@example.com",
        "alice@example.com\x1b[2J",
        "alice\x00@example.com",
        "\u202ealice@example.com",
        f"alice@{'x' * 64}.example",
        f"{'x' * 2000}@example.com",
    ],
)
def test_is_none_and_the_error_is_harmless(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked.question(address)
    assert str(caught.value).isprintable()


def test_angle_brackets_are_taken_off_and_the_null_sender_is_empty() -> None:
    assert asked.question("<alice@example.com>", "<>").address == "alice@example.com"
    assert asked.question("alice", "<>").sender == ""
    assert asked.question("alice", "").sender == ""
    assert asked.question("alice").sender is None
    assert asked.question("alice", "<bob@example.com>").sender == "bob@example.com"


def test_the_sender_is_checked_as_well() -> None:
    with pytest.raises(UsageError):
        asked.question("alice@example.com", "bob\n@example.com")


def test_an_entry_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="smtp, submission, pickup"):
        asked.question("alice", entry="fax")
