"""query.scope: a recipient sees its own row, a proven sender the whole message, others nothing."""

from itertools import chain, combinations

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
    assert seen(Scope.of(mailboxes=[ALICE]), mail) == [2]
    assert not Scope.of(mailboxes=[ALICE]).sees_whole(mail)


def test_a_mailbox_behind_an_alias_sees_its_part_of_the_alias_only() -> None:
    mail = message(recipient(b"all@example.com", ALICE), recipient(b"all@example.com", BOB))
    assert seen(Scope.of(mailboxes=[BOB]), mail) == [2]


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
def test_an_empty_name_is_refused(names: dict[str, list[bytes]]) -> None:
    with pytest.raises(ValueError, match="nobody"):
        Scope.of(**names)


def test_a_wider_scope_sees_no_less() -> None:
    mail = message(recipient(BOB), recipient(ALICE), recipient(CAROL), login=BOB)
    every = [ALICE, BOB, CAROL]
    for some in chain.from_iterable(combinations(every, size) for size in range(3)):
        for more in every:
            narrow, wide = Scope.of(mailboxes=some), Scope.of(mailboxes=[*some, more])
            assert set(seen(narrow, mail)) <= set(seen(wide, mail))
