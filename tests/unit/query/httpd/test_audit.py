"""query.httpd.audit and audited: who looked at whose mail, and who may know."""

import inspect
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from query.answers import Answers
from query.httpd.audit import MOST_OWNERS, Audit
from query.httpd.audited import Audited
from query.httpd.caller import Caller, How, Role
from query.httpd.state import State, StateError
from query.scope import Scope
from tests.conftest import ExpectedLog
from tests.unit.query.conftest import NOON_US, Shelf, row
from tests.unit.query.httpd.test_tokens import Clock

ROOT = Caller(name="root", role=Role.OPERATOR, how=How.PEER, scope=Scope.all())
ALICE = Scope.of(mailboxes=[b"alice@example.com"])
BOB = Scope.of(mailboxes=[b"bob@example.com"])
EXAMPLE = Scope.of(domains=[b"example.com"])
NET = Scope.of(domains=[b"example.net"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def audit(tmp_path: Path, clock: Clock) -> Audit:
    return Audit(State(tmp_path / "state"), days=90, delimiters=b"+", clock=clock)


def asks(shelf: Shelf, audit: Audit) -> Audited:
    return Audited(shelf.source, ROOT, audit)


def test_a_report_is_recorded_with_whose_rows_it_gave(shelf: Shelf, audit: Audit) -> None:
    shelf.put(row(b"Alice@example.com"), row(b"bob@example.com"))
    shelf.put(row(b"carol@example.net"), login=b"alice@example.com")
    page = asks(shelf, audit).page({"status": "delivered"}, limit=50)
    assert audit.seen_by(Scope.all())[0].rows is None  # not known before the rows are read
    assert len(list(page.rows)) == 3
    [entry] = audit.seen_by(Scope.all())
    assert (entry.who, entry.how, entry.what, entry.rows) == ("root", "peer", "report", 3)
    assert entry.filters == {"status": "delivered"}
    assert entry.owners == ["alice@example.com", "bob@example.com", "carol@example.net"]
    assert [each.rows for each in audit.seen_by(ALICE)] == [2]
    assert [each.rows for each in audit.seen_by(BOB)] == [1]
    assert [each.rows for each in audit.seen_by(EXAMPLE)] == [3]
    assert [each.rows for each in audit.seen_by(NET)] == [1]


def test_a_message_is_recorded(shelf: Shelf, audit: Audit) -> None:
    made = shelf.put(row(b"alice@example.com"), row(b"bob@example.com"))
    assert len(asks(shelf, audit).message(made.queue_ids[0].decode())) == 1
    [entry] = audit.seen_by(ALICE)
    assert (entry.what, entry.rows) == ("show", 1)
    assert entry.filters == {"id": None}


def test_an_owner_learns_of_no_other(shelf: Shelf, audit: Audit) -> None:
    shelf.put(row(b"alice@example.com"), row(b"bob@example.com"), sender=b"canary@example.org")
    filters = {"sender": "canary@example.org", "text": "canary", "recipient": "alice@example.com"}
    list(asks(shelf, audit).page(filters, limit=50).rows)
    [entry] = audit.seen_by(ALICE)
    assert entry.filters == {"sender": None, "text": None, "recipient": "alice@example.com"}
    assert entry.owners == ["alice@example.com"]
    assert "canary" not in repr(entry)
    assert audit.seen_by(BOB) == []


def test_who_is_asked_for_knows_it_though_nothing_was_found(shelf: Shelf, audit: Audit) -> None:
    list(asks(shelf, audit).page({"address": "Alice+x@Example.com"}, limit=50).rows)
    [entry] = audit.seen_by(ALICE)
    assert entry.rows == 0
    assert entry.filters == {"address": "Alice+x@Example.com"}
    assert len(audit.seen_by(EXAMPLE)) == 1
    assert audit.seen_by(NET) == []


def test_an_operator_may_ask_about_one_and_others_about_themselves(
    shelf: Shelf, audit: Audit
) -> None:
    shelf.put(row(b"alice@example.com"))
    shelf.put(row(b"bob@example.com"))
    for name in ("alice@example.com", "bob@example.com"):
        list(asks(shelf, audit).page({"recipient": name}, limit=50).rows)
    about = b"alice@example.com"
    for scope in (Scope.all(), EXAMPLE, ALICE):
        [entry] = audit.seen_by(scope, about=about)
        assert entry.filters == {"recipient": "alice@example.com"}
        assert entry.rows == 1
    assert audit.seen_by(BOB, about=about) == []
    assert len(audit.seen_by(EXAMPLE, about=b"@example.com")) == 2
    assert audit.seen_by(ALICE, about=b"@example.com") == []


def test_a_look_up_at_very_many_is_everybodys(shelf: Shelf, audit: Audit) -> None:
    entry = audit.begin(ROOT, "report", {"recipient": "bob@example.com"})
    shelf.put(row())
    [one] = list(asks(shelf, audit).page({}, limit=1).rows)
    for number in range(MOST_OWNERS + 1):
        entry.saw(replace(one, recipient=f"u{number}@example.com"))
    entry.end()
    [told] = audit.seen_by(ALICE)
    assert told.rows is None
    assert told.filters == {"recipient": None}
    assert told.owners == []


def test_what_cannot_be_recorded_is_not_given(shelf: Shelf, audit: Audit, tmp_path: Path) -> None:
    shelf.put(row(b"alice@example.com"))
    answers = asks(shelf, audit)
    other = sqlite3.connect(tmp_path / "state", isolation_level=None)
    audit.begin(ROOT, "report", {}).end()
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError):
        answers.page({}, limit=50)
    with pytest.raises(StateError):
        answers.message("QID1")
    other.execute("ROLLBACK")
    page = answers.page({}, limit=50)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError):
        list(page.rows)  # the whole of it: no document is made
    other.close()


def test_a_verb_answers_though_nothing_can_be_recorded_and_says_so(
    shelf: Shelf, tmp_path: Path, expected_log: ExpectedLog
) -> None:
    expected_log("look-up is not in the audit")
    shelf.put(row(b"alice@example.com"))
    (tmp_path / "state").write_bytes(b"no database")
    lenient = Audit(State(tmp_path / "state"), days=90, delimiters=b"+", required=False)
    assert len(list(asks(shelf, lenient).page({}, limit=50).rows)) == 1


def test_rows_that_were_given_before_a_client_went_are_recorded(shelf: Shelf, audit: Audit) -> None:
    shelf.put(row(b"alice@example.com"))
    shelf.put(row(b"bob@example.com"), at_us=NOON_US + 1_000_000)
    rows = asks(shelf, audit).page({}, limit=50).rows
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    [entry] = audit.seen_by(Scope.all())
    assert (entry.rows, entry.owners) == (1, ["bob@example.com"])


def test_entries_go_after_their_days(audit: Audit, clock: Clock) -> None:
    audit.begin(ROOT, "report", {"recipient": "alice@example.com"}).end()
    clock.now += 90 * 86400 - 1
    audit.begin(ROOT, "report", {"recipient": "bob@example.com"}).end()
    assert len(audit.seen_by(Scope.all())) == 2
    clock.now += 3601
    audit.begin(ROOT, "report", {"recipient": "bob@example.com"}).end()
    assert len(audit.seen_by(Scope.all())) == 2
    assert audit.seen_by(ALICE) == []


def test_no_two_entries_have_one_time(audit: Audit) -> None:
    for _ in range(3):
        audit.begin(ROOT, "report", {})
    assert len({entry.time for entry in audit.seen_by(Scope.all())}) == 3


def test_every_answer_is_recorded_or_shows_no_rows() -> None:
    recorded = {"page", "message", "never"}
    no_rows = {"stats", "days", "summary", "coverage"}
    answers = {name for name, _ in inspect.getmembers(Answers, inspect.isfunction)}
    assert {name for name in answers if name[0] != "_"} == recorded | no_rows
    assert recorded <= set(vars(Audited))
