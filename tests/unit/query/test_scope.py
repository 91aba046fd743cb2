"""query.scope: a recipient sees its own row, a proven sender the whole message, others nothing."""

from itertools import chain, combinations
from typing import Any

import pytest

from journal.records import Message, Recipient, Status
from query.scope import Scope

ALICE, BOB, CAROL = b"alice@example.com", b"bob@example.com", b"carol@example.net"


def recipient(spoken: bytes | None, final: bytes | None = None) -> Recipient:
    return Recipient(
        spoken, final or spoken, Status.DELIVERED, "stored", None, None, None, None, None,
        1, False, None, None, None,
    )  # fmt: skip


def message(*rows: Recipient, sender: bytes = CAROL, login: bytes | None = None) -> Message:
    return Message(
        bytes(8), 0, b"mx.example.com", b"postfix", (b"Q1",), sender, None, None, None, None, None,
        None, None, login, None, None, 1, 0, (), rows,
    )  # fmt: skip


def seen(scope: Scope, mail: Message) -> list[int]:
    return [number for number, _ in scope.rows(mail)]


def test_an_operator_sees_every_row() -> None:
    assert seen(Scope.all(), message(recipient(ALICE), recipient(CAROL))) == [1, 2]


def test_a_mailbox_sees_its_own_row_only_so_that_a_bcc_stays_hidden() -> None:
    mail = message(recipient(BOB), recipient(ALICE), recipient(CAROL))
    assert list(Scope.of(mailboxes=[ALICE]).rows(mail)) == [(1, mail.rows[1])]  # not the second
    assert not Scope.of(mailboxes=[ALICE]).sees_whole(mail)


def test_a_mailbox_behind_an_alias_sees_its_part_of_the_alias_only() -> None:
    mail = message(recipient(b"all@example.com", ALICE), recipient(b"all@example.com", BOB))
    assert list(Scope.of(mailboxes=[BOB]).rows(mail)) == [(1, mail.rows[1])]


@pytest.mark.parametrize("login", [ALICE, b"Alice@Example.COM."])
def test_a_login_proves_the_sender(login: bytes) -> None:
    mail = message(recipient(BOB), recipient(CAROL), sender=ALICE, login=login)
    assert seen(Scope.of(mailboxes=[ALICE]), mail) == [1, 2]


def test_mail_from_proves_nothing() -> None:
    mail = message(recipient(BOB), recipient(CAROL), sender=ALICE)
    assert seen(Scope.of(mailboxes=[ALICE]), mail) == []
    assert seen(Scope.of(domains=[b"example.com"]), mail) == [1]  # Bob's, who received it


def test_a_local_uid_proves_the_sender_where_the_scope_names_it() -> None:
    mail = message(recipient(CAROL), sender=ALICE, login=b"uid=1000")
    assert seen(Scope.of(mailboxes=[ALICE], logins=[b"uid=1000"]), mail) == [1]
    assert seen(Scope.of(mailboxes=[ALICE], logins=[b"uid=100"]), mail) == []


def test_a_domain_is_all_its_mailboxes_and_no_subdomain() -> None:
    scope = Scope.of(domains=[b"Example.com"])
    mail = message(
        recipient(ALICE), recipient(b"x@sub.example.com"), recipient(b"x@notexample.com")
    )
    assert seen(scope, mail) == [1]
    assert seen(scope, message(recipient(CAROL), login=b"dora@example.com")) == [1]


def test_an_international_domain_is_one_in_both_spellings() -> None:
    scope = Scope.of(domains=["παράδειγμα.test".encode()])
    assert seen(scope, message(recipient(b"x@xn--hxajbheg2az3al.test"))) == [1]


def test_what_has_no_recipient_is_nobodys() -> None:
    mail = message(recipient(None), sender=b"")
    assert seen(Scope.of(mailboxes=[ALICE], domains=[b"example.com"]), mail) == []


@pytest.mark.parametrize("names", [{"mailboxes": [b""]}, {"domains": [b"@"]}, {"logins": [b"<>"]}])
def test_an_empty_name_is_refused(names: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nobody"):
        Scope.of(**names)


def test_a_wider_scope_sees_no_less() -> None:
    mail = message(recipient(BOB), recipient(ALICE), recipient(CAROL), login=BOB)
    every = [ALICE, BOB, CAROL]
    for some in chain.from_iterable(combinations(every, size) for size in range(3)):
        for more in every:
            narrow, wide = Scope.of(mailboxes=some), Scope.of(mailboxes=[*some, more])
            assert {row for _, row in narrow.rows(mail)} <= {row for _, row in wide.rows(mail)}


SAME = [
    b"alice@example.com",
    b"Alice@EXAMPLE.com",
    b"<alice@example.com>",
    b"alice@example.com.",
    b'"alice"@example.com',
    b'"al\\ice"@example.com',
    b"alice+x@example.com",
    b"ALICE+x+y@example.com",
    b'"alice+x"@example.com',
    b'"alice+x y"@example.com',
    b"alice+@example.com",
]
OTHERS = [
    b"alice-x@example.com",
    b"+alice@example.com",
    b"bob+alice@example.com",
    b"alice@sub.example.com",
    b"alice@notexample.com",
    b"alice@example.com.test",
    b"alice@example",
    b"malice@example.com",
    b'"alice "@example.com',
    b"alice",
    b"alice%example.com@example.net",
    b'"alice@example.com"@example.net',
]


@pytest.mark.parametrize("name", SAME)
def test_every_spelling_of_a_mailbox_is_the_mailbox(name: bytes) -> None:
    assert Scope.of(mailboxes=[ALICE]).owns(name)
    assert Scope.of(domains=[b"example.com."]).owns(name)


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_looks_like_a_mailbox_is_another(name: bytes) -> None:
    assert not Scope.of(mailboxes=[ALICE]).owns(name)


@pytest.mark.parametrize("name", [b"x@evil-example.com", b"x@a.example.com", b"x@example.com.evil"])
def test_a_domain_ends_where_its_labels_do(name: bytes) -> None:
    assert not Scope.of(domains=[b"example.com"]).owns(name)


def test_a_subaddress_owns_itself_only() -> None:
    scope = Scope.of(mailboxes=[b"alice+x@example.com"])
    assert scope.owns(b"Alice+X@example.com")
    assert not scope.owns(ALICE)
    assert not scope.owns(b"alice+y@example.com")


def test_a_login_is_no_subaddress() -> None:
    mail = message(recipient(CAROL), login=b"alice+x@example.com")
    assert seen(Scope.of(mailboxes=[ALICE]), mail) == []


def test_the_delimiters_are_the_mail_systems() -> None:
    both = Scope.of(mailboxes=[ALICE], delimiters=b"+-")
    assert both.owns(b"alice-x@example.com")
    assert both.owns(b"alice-x+y@example.com")
    assert not Scope.of(mailboxes=[ALICE], delimiters=b"").owns(b"alice+x@example.com")


@pytest.mark.parametrize("name", ["@straße.example", "x@Straße.example"])
def test_a_domain_that_two_could_hold_is_refused(name: str) -> None:
    kind = "domains" if name.startswith("@") else "mailboxes"
    with pytest.raises(ValueError, match="A-label"):
        Scope.of(**{kind: [name.encode()]})  # type: ignore[arg-type]
