"""The last outcomes beside the ends, and when they are said to differ from the prediction."""

from typing import TYPE_CHECKING

import pytest

from journal.records import Status
from query.scope import Scope
from query.trace import history
from query.trace.tree import Host, Node, Outcome, Question, Step, Trace, Verdict
from tests.unit.query.conftest import NOON_US, row

if TYPE_CHECKING:
    from tests.unit.query.conftest import Shelf

MX = Host(name="mx.example.org", addresses=("192.0.2.25",), preference=10)
RELAYED = Outcome(
    time="2026-11-23T12:00:00.000Z", status="delivered", reason="relayed",
    relay="mx.example.org[192.0.2.25]:25", folder=None, id="x",
)  # fmt: skip


def end(verdict: Verdict = Verdict.OK, *hosts: Host) -> Node:
    return Node(address="to@example.org", step=Step.DELIVER, verdict=verdict, hosts=hosts)


def outcome(**changes: str | None) -> Outcome:
    values = {name: getattr(RELAYED, name) for name in RELAYED.__dataclass_fields__}
    return Outcome(**(values | changes))


@pytest.mark.parametrize(
    ("node", "last"),
    [
        (end(Verdict.OK, MX), RELAYED),
        (end(Verdict.OK, MX), outcome(relay="MX.example.org.[192.0.2.77]:25")),  # same name
        (end(Verdict.OK, MX), outcome(relay="other.example[192.0.2.25]:25")),  # same address
        (end(Verdict.OK, MX), outcome(relay=None)),
        (end(Verdict.OK, MX), outcome(status="deferred", reason="connection")),
        (end(Verdict.OK, MX), outcome(status="in_progress", reason="queued")),
        (end(Verdict.OK, MX), outcome(status="rejected", reason="spam", relay=None)),
        (end(Verdict.OK, MX), outcome(status="rejected", reason="size", relay=None)),
        (end(Verdict.OK), outcome(reason="stored", folder="Junk", status="filtered", relay="x")),
        (end(Verdict.UNKNOWN), outcome(status="error", reason="bounced")),
        (end(Verdict.TEMPORARY, MX), RELAYED),  # DNS may be down just now
        (end(Verdict.DISCARDED), outcome(status="filtered", reason="discarded", relay="none")),
        (end(Verdict.PERMANENT), outcome(status="error", reason="bounced")),
        (end(Verdict.OK, MX), outcome(status="filtered", reason="discarded", relay=None)),
    ],
)
def test_they_agree(node: Node, last: Outcome) -> None:
    assert history.difference(node, (last,)) is None


@pytest.mark.parametrize(
    ("node", "last", "word"),
    [
        (end(Verdict.OK, MX), outcome(relay="old.example[192.0.2.99]:25"), "old.example"),
        (end(Verdict.OK, MX), outcome(reason="stored", folder="INBOX", relay="dovecot"), "INBOX"),
        (end(Verdict.OK, MX), outcome(status="error", reason="bounced"), "bounced"),
        (end(Verdict.OK), outcome(status="rejected", reason="unknown_user"), "unknown_user"),
        (
            end(Verdict.OK),
            outcome(status="filtered", reason="discarded", relay="none"),
            "discarded",
        ),
        (end(Verdict.DISCARDED), RELAYED, "delivered"),
        (end(Verdict.REJECTED_AT_SMTP), RELAYED, "fail"),
        (end(Verdict.LOOP), RELAYED, "fail"),
    ],
)
def test_they_differ(node: Node, last: Outcome, word: str) -> None:
    assert word in (history.difference(node, (last,)) or "")


def test_the_newest_final_outcome_counts() -> None:
    bounced = outcome(status="error", reason="bounced")
    waiting = outcome(status="deferred", reason="dns")
    node = end(Verdict.OK, MX)
    assert history.difference(node, (waiting, bounced, RELAYED)) is not None
    assert history.difference(node, (waiting, RELAYED, bounced)) is None
    assert history.difference(node, ()) is None


def test_the_newest_three_of_an_address_stand_beside_its_end(shelf: "Shelf") -> None:
    for number in range(5):
        shelf.put(row(b"to@example.org"), at_us=NOON_US + number * 1_000_000)
    shelf.put(row(b"alias@example.org", final_recipient=b"to@example.org"), at_us=NOON_US - 1)
    shelf.put(row(b"other@example.org"), at_us=NOON_US + 9_000_000)
    last = history.newest(shelf.source.reader, Scope.all())
    assert [each.time[17:19] for each in last("TO@example.org")] == ["04", "03", "02"]
    assert last("nobody@example.org") == ()
    assert last("bare") == ()
    assert last("|/usr/bin/command") == ()


def test_rows_that_aliases_made_count_too(shelf: "Shelf") -> None:
    shelf.put(row(b"alias@example.org", final_recipient=b"to@example.org", status=Status.ERROR))
    last = history.newest(shelf.source.reader, Scope.all())
    assert [each.status for each in last("to@example.org")] == ["error"]


def test_only_ends_are_looked_up() -> None:
    same = Node(address="b@example.org", step=Step.SAME)
    root = Node(
        address="a@example.org", step=Step.VIRTUAL_ALIAS, children=(end(Verdict.OK, MX), same)
    )
    trace = Trace(question=Question(address="a@example.org"), mta="m", as_of="t", root=root)
    asked: list[str] = []

    def last(name: str) -> tuple[Outcome, ...]:
        asked.append(name)
        return (RELAYED,)

    made = history.beside(trace, last)
    assert asked == ["to@example.org"]
    assert made.root.children[0].history == (RELAYED,)
    assert made.root.history == ()
