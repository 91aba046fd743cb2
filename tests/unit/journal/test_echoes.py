"""A line that the log and journald both told is one event, in whatever order they came."""

from hypothesis import given
from hypothesis import strategies as st

from journal import kinds
from journal.echoes import free, same, without
from journal.events import Event, Source
from journal.fold import fold
from journal.locality import Locality
from journal.records import FLAG_ECHOED

BASE_US = 1_790_000_000_000_000
LOG, JOURNALD = int(Source.LOG), int(Source.JOURNALD)
SENT = (
    b"smtp", b"b@example.com", b"b@example.com", b"mx[192.0.2.1]:25", b"1", b"", b"2.0.0", b"sent",
    b"250 Ok", b"", b"", b"",
)  # fmt: skip


def event(at_us: int, source: int, *, text: bytes = b"250 Ok", tls: bytes = b"") -> Event:
    fields = (*SENT[:8], text, tls, *SENT[10:])
    return Event(BASE_US + at_us, kinds.DELIVERY, source, 7, b"AB12", fields)


events = st.lists(
    st.builds(
        event,
        st.integers(0, 6_000_000),
        st.sampled_from([LOG, JOURNALD]),
        text=st.sampled_from([b"250 Ok", b"250 Other"]),
    ),
    min_size=1,
    max_size=12,
)


def record(found: list[Event]) -> tuple[Event, ...]:
    locality = Locality(local_domains=(), inside_networks=())
    return fold(found, id=bytes(8), host=b"mx", locality=locality).events


@given(events, st.randoms())
def test_the_order_in_which_they_come_does_not_matter(found: list[Event], random: object) -> None:
    mixed = list(found)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert record(mixed) == record(found)
    half = record(mixed[: len(mixed) // 2]) if len(mixed) > 1 else ()
    assert record([*half, *mixed[len(mixed) // 2 :], *mixed[:1]]) == record(found)


@given(events)
def test_all_that_journald_told_stays_and_no_lone_line_is_lost(found: list[Event]) -> None:
    kept = without(sorted(set(found)))
    told = {one for one in found if one.source == JOURNALD}
    assert {one for one in kept if one.source == JOURNALD} == told
    for one in set(found) - set(kept):
        assert any(same(one, other) for other in told)


def test_a_record_remembers_that_the_log_spoke_too() -> None:
    locality = Locality(local_domains=(), inside_networks=())
    both = [event(500_000, JOURNALD), event(0, LOG)]
    message = fold(both, id=bytes(8), host=b"mx", locality=locality).message
    assert message.sources == 1 << LOG | 1 << JOURNALD
    assert message.flags == FLAG_ECHOED
    assert message.rows[0].attempts == 1


def test_the_tls_that_only_one_of_them_knows_is_kept() -> None:
    kept = without(sorted([event(500_000, JOURNALD), event(0, LOG, tls=b"TLSv1.3 X")]))
    assert [(one.source, one.fields[9]) for one in kept] == [(JOURNALD, b"TLSv1.3 X")]


def test_an_event_has_one_echo_when_refusals_are_joined() -> None:
    told, first, second = event(500_000, JOURNALD), event(0, LOG), event(1_000_000, LOG)
    assert free(first, [told])
    assert free(first, [told, first])
    assert not free(second, [told, first])
