"""One mailbox has one key however it is spelled, and two mailboxes have two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.address import domain, fold, fold_domain, mailbox

SAME = [
    [b"bob@example.org", b"Bob@Example.ORG", b"<bob@example.org>", b"bob@example.org.",
     b'"bob"@example.org', b'"b\\ob"@EXAMPLE.org', b'<"bob"@example.org.>'],
    ["x@bücher.example".encode(), "X@BÜCHER.example".encode(), b"x@xn--bcher-kva.example",
     b"x@XN--BCHER-KVA.example.", "x@bu\u0308cher.example".encode(),
     "x@bücher。example".encode()],
    ["jürgen@example.org".encode(), "JÜRGEN@example.org".encode(),
     "ju\u0308rgen@example.org".encode(), '"jürgen"@example.org'.encode()],
    [b'"a b"@example.org', b'"A\\ b"@example.org'],
    [b'"a@b"@example.org', b'<"A@B"@example.org>'],
    [b"", b"<>", b" "],
    [b"root", b"Root", b"<ROOT>"],
]  # fmt: skip


@pytest.mark.parametrize("spellings", SAME, ids=lambda group: group[0].decode())
def test_spellings_of_one_mailbox_agree(spellings: list[bytes]) -> None:
    assert {fold(spelling) for spelling in spellings} == {fold(spellings[0])}


def test_different_mailboxes_stay_apart() -> None:
    assert len({fold(group[0]) for group in SAME}) == len(SAME)
    apart = [b"a@example.org", b"a@example.org.uk", b"a+x@example.org", b"a.b@example.org",
             b'"a..b"@example.org', b"a@[192.0.2.1]", b"a@192.0.2.1",
             b'"a "@example.org']  # fmt: skip
    assert len({fold(raw) for raw in apart}) == len(apart)


@given(
    st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
)
def test_anything_folds_and_stays_folded(raw: bytes) -> None:
    assert fold(fold(raw)) == fold(raw)


@given(st.from_regex(rb"[A-Za-z0-9.+_-]{1,12}@[A-Za-z0-9-]{1,8}\.[a-z]{2,3}", fullmatch=True))
def test_case_and_brackets_never_matter(raw: bytes) -> None:
    assert fold(raw) == fold(raw.swapcase()) == fold(b"<" + raw + b".>")


def test_the_domain_is_what_follows_the_last_at() -> None:
    assert domain(b'"x@inner.example"@Outer.Example.') == b"outer.example"
    assert domain("a@BÜCHER.example".encode()) == b"xn--bcher-kva.example"
    assert domain(b"root") == domain(b"") == domain(b"root@") == b""


def test_a_bare_domain_folds_like_one_in_an_address() -> None:
    for raw in (b"Example.Org", b"@example.org", b"example.org."):
        assert fold_domain(raw) == domain(b"x@example.org")
    assert fold_domain("bücher.example".encode()) == b"xn--bcher-kva.example"


def test_a_wide_at_sign_does_not_move_the_domain() -> None:
    assert domain("x@evil\uff20example.com".encode()) != b"example.com"


@pytest.mark.parametrize(
    ("folded", "delimiters", "name"),
    [
        (b"user+x@example.com", b"+", b"user@example.com"),
        (b"user+x+y@example.com", b"+", b"user@example.com"),
        (b"user+@example.com", b"+", b"user@example.com"),
        (b"user-x+y@example.com", b"+-", b"user@example.com"),
        (b"user+x", b"+", b"user"),
        (b'"us er+x"@example.com', b"+", b'"us er"@example.com'),
        (b'"user+x y"@example.com', b"+", b"user@example.com"),
        (b"user@example.com+x", b"+", b"user@example.com+x"),
        (b"+x+y@example.com", b"+", b"+x+y@example.com"),
        (b'"+x y"@example.com', b"+", b'"+x y"@example.com'),
        (b"user+x@example.com", b"", b"user+x@example.com"),
        (b"user-x@example.com", b"+", b"user-x@example.com"),
        (b"owner-list@example.com", b"-", b"owner-list@example.com"),
        (b"list-request@example.com", b"-", b"list-request@example.com"),
        (b"double-bounce@example.com", b"-", b"double-bounce@example.com"),
        (b"mailer-daemon@example.com", b"-", b"mailer-daemon@example.com"),
        (b"", b"+", b""),
    ],
)
def test_a_subaddress_belongs_to_its_mailbox(folded: bytes, delimiters: bytes, name: bytes) -> None:
    """postconf(5) recipient_delimiter; the exceptions are those of Postfix's split_addr.c."""
    assert mailbox(folded, delimiters) == name
    assert mailbox(name, delimiters) == name


@given(
    st.text(max_size=12),
    st.text('+-a" @\\', max_size=12),
    st.sampled_from([b"+", b"-", b"+-="]),
)
def test_a_mailbox_is_a_folded_address_and_its_own_mailbox(
    one: str, other: str, delimiters: bytes
) -> None:
    folded = fold((one + other + "@example.com").encode("utf-8", "replace"))
    name = mailbox(folded, delimiters)
    assert fold(name) == name
    assert mailbox(name, delimiters) == name
