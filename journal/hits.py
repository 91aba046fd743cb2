"""Walk the index over days: newest first, and counts.

A message's index entries lie in the day of its id, under its time as that day can hold
it. Where a later fact moved the time of a message before its day, the entry stands
at the day's first millisecond; such entries are looked up and yielded where their
true time puts them. The order is (time in milliseconds, id), descending.
Raises what journal/store.py raises.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from typing import Final, NamedTuple

from journal.keys import DAY_MS, HASH_BITS, bound
from journal.store import Pairs, Store

_FIRST_CHUNK: Final = 64
_CHUNK: Final = 1024


class Hit(NamedTuple):
    """One index entry."""

    ms: int  # since 1970
    id: bytes
    status: int


class Day(NamedTuple):
    """An open day."""

    number: int
    store: Store


class Term(NamedTuple):
    """What to look up; entries of another status are left out where one is given."""

    key: bytes
    status: int | None = None


class Span(NamedTuple):
    """A half-open interval, in milliseconds since 1970."""

    since: int
    until: int

    @classmethod
    def of_us(cls, since_us: int, until_us: int) -> "Span":
        """The milliseconds that an interval in microseconds touches."""
        return cls(since_us // 1000, -(-until_us // 1000))


TimeOf = Callable[[bytes], int | None]
"""The time of a message in microseconds, by id."""
TermsOf = Callable[[Day], list[Term]]
"""What to look up in a day: not every day is indexed alike."""


def newest_first(
    days: Iterable[Day], terms_of: TermsOf, span: Span, time_of: TimeOf
) -> Iterator[Hit]:
    """The hits of a span; ``days`` come newest first and are opened as they are asked for."""
    early: list[Hit] = []  # whose true time lies before their day, newest last
    for day in days:
        if (day.number + 1) * DAY_MS <= span.since:
            break
        streams = [_walk(day, term, span) for term in terms_of(day)]
        stream = streams[0] if len(streams) == 1 else merge(*streams, reverse=True)
        moved = []
        for hit in stream:
            if hit.ms == day.number * DAY_MS:
                true_ms = _true_ms(hit, time_of)
                if true_ms < hit.ms:
                    moved.append(hit._replace(ms=true_ms))
                    continue
                if hit.ms >= span.until:
                    continue
            while early and early[-1] > hit:
                yield early.pop()
            yield hit
        early = sorted(early + [hit for hit in moved if span.since <= hit.ms < span.until])
    yield from reversed(early)


def count(days: Iterable[Day], terms_of: TermsOf, span: Span, time_of: TimeOf) -> Counter[int]:
    """How many messages of each status a span holds under any of the terms."""
    counts: Counter[int] = Counter()
    for day in days:
        terms = [term.key for term in terms_of(day)]
        low, high = _within(day, span)
        edges = bound(max(low, 1)), bound(high)
        if edges[0] < edges[1]:
            found = [day.store.span(b"x", term + edges[0], term + edges[1]) for term in terms]
            counts.update(_statuses([pairs for pairs in found if pairs]))
        if low == 0:
            first: dict[bytes, int] = {}
            for term in terms:
                pairs = day.store.span(b"x", term + bound(0), term + bound(1))
                for hit in _hits(day, pairs):
                    if span.since <= _true_ms(hit, time_of) < span.until:
                        first[hit.id] = hit.status
            counts.update(first.values())
    return counts


def _statuses(found: list[Pairs]) -> bytes:
    """The status of each message once, whichever of the terms it stands under."""
    if not found:
        return b""
    largest, *others = sorted(found, key=len, reverse=True)
    statuses = b"".join([value[:1] for _, value in largest])
    if not others:
        return statuses
    term = largest[0][0][:7]
    rest = {(term + key[7:], value) for pairs in others for key, value in pairs}
    for pair in rest:
        at = bisect_left(largest, pair)
        if at == len(largest) or largest[at] != pair:
            statuses += pair[1][:1]
    return statuses


def _within(day: Day, span: Span) -> tuple[int, int]:
    """The span in milliseconds of the day."""
    base = day.number * DAY_MS
    return max(span.since - base, 0), min(max(span.until - base, 0), DAY_MS)


def _true_ms(hit: Hit, time_of: TimeOf) -> int:
    time_us = time_of(hit.id)
    return hit.ms if time_us is None else time_us // 1000


def _walk(day: Day, term: Term, span: Span) -> Iterator[Hit]:
    """The entries of a day; those of its first millisecond also where the span ends before."""
    low, high = _within(day, span)
    begin, end = term.key + bound(low), term.key + bound(max(high, 1) if low == 0 else high)
    limit = _FIRST_CHUNK
    while begin < end:
        pairs = day.store.down(b"x", begin, end, limit=limit)
        if len(pairs) == limit:
            # Whole milliseconds only, so that a chunk can be put in order by itself.
            edge = term.key + bound(_ms_of(pairs[-1][0]) + 1)
            whole = [pair for pair in pairs if pair[0] >= edge]
            if not whole:
                limit *= 4
                continue
            pairs, end = whole, edge
        else:
            end = begin
        limit = max(limit, _CHUNK)
        hits = _hits(day, pairs)
        if term.status is not None:
            hits = [hit for hit in hits if hit.status == term.status]
        yield from hits


def _ms_of(key: bytes) -> int:
    return int.from_bytes(key[7:13], "big") >> HASH_BITS


def _hits(day: Day, pairs: Pairs) -> list[Hit]:
    prefix = day.number.to_bytes(2, "big")
    base = day.number * DAY_MS
    hits = []
    moved = False
    for key, value in pairs:
        if len(value) == 1:
            hits.append(Hit(base + _ms_of(key), prefix + key[7:], value[0]))
        else:
            hits.append(Hit(base + _ms_of(key), prefix + value[1:], value[0]))
            moved = True
    if moved:  # their keys sort by the low bits of the id only
        hits.sort(reverse=True)
    return hits
