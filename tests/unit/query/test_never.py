"""query.never: "it never reached this server" is said only where somebody was recording."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from journal.records import Direction, Gap, Recipient, Status
from query import never
from query.match import Query
from query.never import Never
from query.scope import Scope
from query.when import Window
from tests.unit.query.conftest import NOON_US, row
from tests.unit.query.test_verbs import validate

if TYPE_CHECKING:
    from tests.unit.query.conftest import Run, Shelf

HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000
SINCE_US, NOW_US = NOON_US - HOUR_US, NOON_US + HOUR_US
LOST = b"lost@example.net"
ANNA = b"anna@example.com"
ASKED = Query(window=Window(since_us=SINCE_US), sender=LOST, recipient=ANNA, now_us=NOW_US)


def found(shelf: "Shelf", query: Query = ASKED, scope: Scope | None = None) -> Never:
    return never.find(shelf.source.reader, query, scope or Scope.all())


def covered(shelf: "Shelf", source: str, begin_us: int = SINCE_US, end_us: int = NOW_US) -> None:
    shelf.writer.extend(source, begin_us, end_us)
    shelf.writer.commit()


def test_a_window_that_the_log_covers_proves_it(shelf: "Shelf") -> None:
    covered(shelf, "log")
    said = found(shelf)
    assert (said.rows, said.proven, said.by_log, said.gaps) == (0, True, True, [])
    assert never.exit_code(said) == 0
    assert next(never.lines(said)).startswith("It never reached this server")


def test_an_import_proves_nothing(shelf: "Shelf") -> None:
    covered(shelf, "import")
    said = found(shelf)
    assert not said.proven
    assert [gap.minutes for gap in said.gaps] == [120.0]
    assert [(each.source, each.gapless) for each in said.witnesses] == [("import", None)]
    assert never.exit_code(said) == 1


def test_without_any_record_nothing_is_proven(shelf: "Shelf") -> None:
    assert not found(shelf).proven


def test_where_one_source_lacks_time_the_other_stands_in(shelf: "Shelf") -> None:
    covered(shelf, "log")
    shelf.writer.gap(Gap("log", NOON_US, NOON_US + 10 * MINUTE_US, "rotated_away"))
    covered(shelf, "milter", NOON_US - MINUTE_US, NOON_US + 8 * MINUTE_US)
    said = found(shelf)
    assert (said.proven, said.by_log) == (False, False)
    assert [(gap.begin, gap.minutes) for gap in said.gaps] == [("2026-11-23T12:08:00.000Z", 2.0)]
    log = next(each for each in said.witnesses if each.source == "log")
    assert [(gap.minutes, gap.reason) for gap in log.gaps] == [(10.0, "rotated_away")]
    covered(shelf, "milter", NOON_US, NOON_US + 10 * MINUTE_US)
    assert (found(shelf).proven, found(shelf).by_log) == (True, False)


def test_the_last_moments_are_not_held_against_a_follower(shelf: "Shelf") -> None:
    covered(shelf, "log", end_us=NOW_US - 3_000_000)
    assert found(shelf).proven
    assert found(shelf).until == "2026-11-23T12:59:57.000Z"
    late = replace(ASKED, now_us=NOW_US + HOUR_US)
    assert not found(shelf, late).proven


def test_mail_that_did_come_is_said_to(shelf: "Shelf") -> None:
    covered(shelf, "log")
    shelf.put(row(ANNA), sender=LOST)
    said = found(shelf)
    assert (said.rows, said.proven, said.instead, never.exit_code(said)) == (1, False, [], 2)


def refused(name: bytes) -> Recipient:
    return row(
        name, status=Status.REJECTED, reason="policy", direction=Direction.INBOUND,
        final_recipient=None, relay=None, reply=b"554 5.7.1 no",
    )  # fmt: skip


def near(said: Never) -> list[tuple[str, str, int]]:
    return [(each.what, each.key, each.rows) for each in said.instead]


def fill(shelf: "Shelf") -> None:
    bert = b"bert@example.org"
    shelf.put(row(bert, direction=Direction.INBOUND), sender=LOST, client_ip=b"192.0.2.9")
    shelf.put(refused(ANNA), sender=b"other@example.net", client_ip=b"192.0.2.9")
    shelf.put(refused(bert), sender=b"x@example.org", client_ip=b"192.0.2.9")
    shelf.put(refused(ANNA), sender=b"y@example.org", client_ip=b"192.0.2.77")


def test_what_was_seen_instead_is_told(shelf: "Shelf") -> None:
    fill(shelf)
    assert near(found(shelf)) == [
        ("sender", "lost@example.net", 1),
        ("sender_domain", "example.net", 2),
        ("client", "192.0.2.9", 2),
        ("recipient", "anna@example.com", 2),
    ]


def test_what_was_seen_instead_stays_in_the_scope(shelf: "Shelf") -> None:
    fill(shelf)
    said = found(shelf, scope=Scope.of(mailboxes=[ANNA]))
    assert near(said) == [
        ("sender_domain", "example.net", 1),
        ("client", "192.0.2.9", 1),
        ("recipient", "anna@example.com", 2),
    ]
    assert "bert" not in repr(said)


@pytest.mark.parametrize(("source", "code"), [("log", 0), ("import", 1)])
def test_the_verb_keeps_to_its_schema(shelf: "Shelf", run: "Run", source: str, code: int) -> None:
    covered(shelf, source)
    fill(shelf)
    shelf.close()
    window = "--since", "2026-11-23T11:00:00Z", "--until", "2026-11-23T13:00:00Z"
    who = "--sender", LOST.decode(), "--recipient", ANNA.decode()
    done = run("never", *who, *window, "--format", "json")
    assert (done.code, done.err) == (code, "")
    validate("never", json.loads(done.out))
    told = run("never", *who, *window)
    assert "seen refused to this recipient, anna@example.com: 2 rejected" in told.out
    empty = run("report", *who, *window)
    assert empty.code == 1
    words = "It never reached this server" if source == "log" else "120.0 minutes of it"
    assert words in empty.err
    assert "never" not in run("report", "--text", "nowhere", *window).err


def test_nobody_is_no_question(run: "Run", shelf: "Shelf") -> None:
    shelf.close()
    done = run("never")
    assert done.code == 64
    assert "--sender" in done.err
