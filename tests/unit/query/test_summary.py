"""query.summary: what was sent, proven, in numbers."""

from typing import TYPE_CHECKING

from journal.records import Direction, Status
from query import summary
from query.scope import Scope
from query.summary import Summary
from query.when import Window
from tests.unit.query.conftest import NOON_US, row
from tests.unit.query.test_verbs import validate

if TYPE_CHECKING:
    from tests.unit.query.conftest import Run, Shelf

ANNA, BERT = b"anna@example.com", b"bert@example.com"
LATER_US = NOON_US + 1_000_000


def filled(shelf: "Shelf") -> "Shelf":
    bounced = row(b"x@example.org", status=Status.ERROR, reason="bounced")
    shelf.put(row(), bounced, sender=ANNA, login=ANNA, size_bytes=100)
    shelf.put(row(), sender=b"Office@Example.com", login=b"Anna@example.com", size_bytes=10)
    shelf.put(row(), sender=BERT, login=BERT, size_bytes=1000, at_us=LATER_US)
    shelf.put(row(), sender=ANNA, size_bytes=5)  # from inside networks, without login
    shelf.put(row(ANNA, direction=Direction.INBOUND), sender=ANNA, size_bytes=7)  # forged
    shelf.put(row(ANNA, direction=Direction.INBOUND), sender=b"x@example.net", size_bytes=9)
    return shelf


def counted(
    shelf: "Shelf",
    by: str,
    scope: Scope,
    window: Window = Window(),  # noqa: B008
) -> Summary:
    return summary.count(shelf.source.reader, by, window, scope)


def groups(found: Summary) -> list[tuple[str | None, int, int, int]]:
    return [(each.key, each.messages, each.rows, each.size_bytes) for each in found.groups]


def test_an_operator_sees_what_came_from_inside(shelf: "Shelf") -> None:
    filled(shelf)
    found = counted(shelf, "login", Scope.all())
    assert groups(found) == [
        ("anna@example.com", 2, 3, 110),
        (None, 1, 1, 5),
        ("bert@example.com", 1, 1, 1000),
    ]
    assert (found.messages, found.rows, found.size_bytes) == (4, 5, 1115)
    assert found.claimed_messages is None
    by_domain = counted(shelf, "domain", Scope.all())
    assert groups(by_domain) == [("example.com", 4, 5, 1115)]


def test_a_mailbox_sees_what_its_login_sent_and_how_often_its_name_was_used(
    shelf: "Shelf",
) -> None:
    filled(shelf)
    found = counted(shelf, "sender", Scope.of(mailboxes=[ANNA]))
    assert groups(found) == [("anna@example.com", 1, 2, 100), ("office@example.com", 1, 1, 10)]
    assert found.groups[0].statuses["error"] == 1
    assert found.groups[0].statuses["delivered"] == 1
    assert found.claimed_messages == 2


def test_a_domain_sees_its_logins(shelf: "Shelf") -> None:
    filled(shelf)
    found = counted(shelf, "login", Scope.of(domains=[b"example.com"]))
    assert groups(found) == [("anna@example.com", 2, 3, 110), ("bert@example.com", 1, 1, 1000)]
    assert counted(shelf, "login", Scope.of(domains=[b"example.net"])).groups == []


def test_the_window_is_exact(shelf: "Shelf") -> None:
    filled(shelf)
    window = Window(since_us=LATER_US, until_us=LATER_US + 1)
    assert groups(counted(shelf, "login", Scope.all(), window)) == [
        ("bert@example.com", 1, 1, 1000)
    ]


def test_the_verb_keeps_to_its_schema_and_names_what_it_leaves_out(
    shelf: "Shelf", run: "Run"
) -> None:
    import json

    filled(shelf).close()
    done = run("summary", "--by", "login", "--limit", "1", "--format", "json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    validate("summary", document)
    assert (len(document["groups"]), document["groups_left_out"]) == (1, 2)
    text = run("summary", "--by", "login", "--limit", "1").out
    assert "anna@example.com" in text
    assert "4 messages, 1,115 bytes, 2 more" in text
