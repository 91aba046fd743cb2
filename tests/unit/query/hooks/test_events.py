"""From versions of a record to news: each row's each kind once, and how it ended always."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from journal.records import Direction, Message, Recipient, Status
from query.hooks.events import Keyed, Mark, is_of, kind_of, news
from tests.unit.query.conftest import NOON_US, row

KEYED = Keyed(b"k" * 32)
ALL = frozenset({"delivered", "error", "rejected", "filtered", "deferred", "late_bounce"})
FINAL = ALL - {"deferred"}


def message(*rows: Recipient, queue_ids: tuple[bytes, ...] = (b"Q1",)) -> Message:
    return Message(
        b"\0\1\0\0\0\0\0\1", NOON_US, b"mx.example.com", b"postfix", queue_ids,
        b"from@example.com", 1, b"m@example.com", None, None, None, None, None, None, None, None,
        1, 0, (), rows,
    )  # fmt: skip


def waiting(name: bytes, final: bytes | None = None) -> Recipient:
    return row(
        name, final_recipient=final, status=Status.IN_PROGRESS, reason="queued", done_at_us=None
    )


def deferred(name: bytes) -> Recipient:
    return row(name, status=Status.DEFERRED, reason="connection", done_at_us=None)


def bounced(name: bytes, reason: str = "bounced") -> Recipient:
    return row(name, status=Status.ERROR, reason=reason)


class Hook:
    """What a hook with a memory is told of one message."""

    def __init__(self, kinds: frozenset[str] = ALL) -> None:
        self.kinds = kinds
        self.marks: list[Mark] = []

    def see(self, now: Message) -> list[tuple[bytes | None, str]]:
        found = list(news(now, self.kinds, self.marks, KEYED))
        self.marks += [each.mark for each in found]
        return [(now.rows[each.place].recipient, each.mark.kind) for each in found]


def test_a_row_is_told_when_it_ends_and_not_again() -> None:
    hook = Hook()
    assert hook.see(message(waiting(b"a@x.example"))) == []
    ended = message(row(b"a@x.example"))
    assert hook.see(ended) == [(b"a@x.example", "delivered")]
    assert hook.see(ended) == []


def test_only_the_first_deferral_is_told_and_then_the_end() -> None:
    hook = Hook()
    assert hook.see(message(deferred(b"a@x.example"))) == [(b"a@x.example", "deferred")]
    assert hook.see(message(deferred(b"a@x.example")._replace(attempts=9))) == []
    assert hook.see(message(bounced(b"a@x.example", "expired"))) == [(b"a@x.example", "error")]


def test_a_late_bounce_comes_after_the_delivery() -> None:
    hook = Hook()
    assert hook.see(message(row(b"a@x.example"))) == [(b"a@x.example", "delivered")]
    late = message(bounced(b"a@x.example", "late_bounce"))
    assert hook.see(late) == [(b"a@x.example", "late_bounce")]
    assert hook.see(late) == []


def test_a_kind_that_is_not_wanted_is_not_told() -> None:
    hook = Hook(frozenset({"error"}))
    assert hook.see(message(row(b"a@x.example"), bounced(b"b@x.example"))) == [
        (b"b@x.example", "error")
    ]


def test_a_list_that_splits_after_it_was_told_is_not_told_again() -> None:
    hook = Hook()
    hook.see(message(row(b"list@x.example", final_recipient=b"list@x.example")))
    split = message(
        row(b"list@x.example", final_recipient=b"a@x.example"),
        row(b"list@x.example", final_recipient=b"b@x.example"),
    )
    assert hook.see(split) == []


def test_a_second_address_of_a_list_is_told_beside_the_first() -> None:
    hook = Hook()
    first = row(b"list@x.example", final_recipient=b"a@x.example")
    second = row(b"list@x.example", final_recipient=b"b@x.example")
    assert len(hook.see(message(first))) == 1
    assert len(hook.see(message(first, second))) == 1


def test_a_refusal_that_gets_its_recipient_later_is_one() -> None:
    hook = Hook()
    refused = row(None, final_recipient=None, status=Status.REJECTED, reason="policy")
    assert hook.see(message(refused)) == [(None, "rejected")]
    assert hook.see(message(refused._replace(recipient=b"a@x.example"))) == []


def test_an_alias_that_is_learned_late_does_not_make_it_another() -> None:
    hook = Hook()
    assert len(hook.see(message(row(b"final@x.example")))) == 1
    assert hook.see(message(row(b"alias@x.example", final_recipient=b"final@x.example"))) == []


def test_a_spelling_does_not_make_it_another() -> None:
    hook = Hook()
    assert len(hook.see(message(row(b"A@X.example")))) == 1
    assert hook.see(message(row(b"a@x.EXAMPLE"))) == []


def test_the_evidence_is_the_same_under_another_id_of_the_message() -> None:
    one = message(row(b"a@x.example"))
    other = one._replace(id=b"\0\1\0\0\0\0\0\2", queue_ids=(b"Q0", b"Q1"))
    facts = [set(next(news(each, ALL, [], KEYED)).facts) for each in (one, other)]
    assert facts[0] < facts[1]


def test_the_evidence_of_another_queue_file_is_another() -> None:
    one = message(row(b"a@x.example"))
    other = one._replace(queue_ids=(b"Q2",))
    facts = [set(next(news(each, ALL, [], KEYED)).facts) for each in (one, other)]
    assert facts[0].isdisjoint(facts[1])


def test_hashes_need_the_journals_key() -> None:
    assert Keyed(b"k" * 32).id(b"a", b"b") != Keyed(b"l" * 32).id(b"a", b"b")
    assert KEYED.id(b"ab", b"c") != KEYED.id(b"a", b"bc")


def test_a_row_that_was_erased_is_of_no_row() -> None:
    names = KEYED.names(row(b"a@x.example"))
    assert is_of(names, message(row(b"a@x.example"), row(b"b@x.example")), KEYED)
    assert not is_of(names, message(row(b"b@x.example")), KEYED)


def hashed(number: int) -> bytes:
    return b"hashed%016x@x.example" % number


def test_a_row_whose_address_became_a_token_is_not_told_again() -> None:
    hook = Hook()
    hook.see(message(row(b"a@x.example"), row(b"b@x.example")))
    assert hook.see(message(row(hashed(1)), row(hashed(2)))) == []
    assert hook.see(message(row(hashed(1)), row(hashed(2)))) == []


def test_a_row_that_ends_after_its_address_became_a_token_is_told() -> None:
    hook = Hook()
    hook.see(message(row(b"a@x.example"), waiting(b"b@x.example")))
    assert hook.see(message(row(hashed(1)), waiting(hashed(2)))) == []
    late = row(hashed(2), done_at_us=NOON_US + 99_000_000)
    assert hook.see(message(late, row(hashed(1)))) == [(hashed(2), "delivered")]
    assert hook.see(message(late, row(hashed(1)))) == []


NAMES = st.sampled_from([b"a@x.example", b"b@x.example", b"c@x.example"])
STATES = st.sampled_from(
    [
        (Status.IN_PROGRESS, "queued"),
        (Status.DEFERRED, "connection"),
        (Status.DELIVERED, "relayed"),
        (Status.ERROR, "bounced"),
        (Status.ERROR, "late_bounce"),
        (Status.REJECTED, "policy"),
        (Status.FILTERED, "junk"),
    ]
)
VERSIONS = st.lists(st.dictionaries(NAMES, STATES, max_size=3), max_size=12)


def versions(drawn: list[dict[bytes, tuple[Status, str]]]) -> Iterator[Message]:
    """A record's versions: a row that was there stays there."""
    known: dict[bytes, tuple[Status, str]] = {}
    for each in drawn:
        known |= each
        yield message(
            *(
                row(name, status=status, reason=reason, direction=Direction.INBOUND)
                for name, (status, reason) in known.items()
            )
        )


@given(VERSIONS)
def test_whatever_versions_come_each_kind_of_a_row_is_told_once_and_its_end_always(
    drawn: list[dict[bytes, tuple[Status, str]]],
) -> None:
    hook = Hook()
    told: list[tuple[bytes | None, str]] = []
    for now in versions(drawn):
        told += hook.see(now)
        for each in now.rows:
            if kind_of(each) in FINAL:
                assert (each.recipient, kind_of(each)) in told
    assert len(told) == len(set(told))


@given(VERSIONS, st.data())
def test_whatever_versions_are_missed_the_last_end_is_told(
    drawn: list[dict[bytes, tuple[Status, str]]], data: st.DataObject
) -> None:
    every = list(versions(drawn))
    if not every:
        return
    seen = [now for now in every[:-1] if data.draw(st.booleans())]
    hook = Hook()
    told = [each for now in [*seen, every[-1]] for each in hook.see(now)]
    ends = {(each.recipient, kind_of(each)) for each in every[-1].rows if kind_of(each) in FINAL}
    assert ends <= set(told)
    assert len(told) == len(set(told))
