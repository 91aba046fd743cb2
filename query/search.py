"""Filters to rows: the best index, the hits in order, each one verified.

An index hit is a candidate: its hash may be another term's, and the row that
made the message a hit may be out of scope. So every message is read and every
row is held against the whole query before it is shown, newest first by (time,
id, row). Raises what the reader raises.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from typing import Final, NamedTuple, TypeAlias

from journal import keys
from journal.reader import Reader
from journal.records import NO_STATUS, Message, Recipient, Status
from query import redact
from query.match import PENDING, Query, called, ids_of, message_test, row_test
from query.scope import Scope
from query.when import Window

Term: TypeAlias = tuple[bytes, bytes]
"""An index kind and a folded value."""


class Position(NamedTuple):
    """Where a row stands in the order of a report."""

    time_ms: int
    id: bytes
    row: int


class Found(NamedTuple):
    """A row that answers the query, with its message."""

    message: Message
    number: int  # of the row, from 1
    row: Recipient

    @property
    def position(self) -> Position:
        """Its place in the order."""
        return Position(self.message.time_us // 1000, self.message.id, self.number)


def search(
    reader: Reader, query: Query, scope: Scope, *, after: Position | None = None
) -> Iterator[Found]:
    """The rows that answer the query and may be seen, newest first, those behind ``after``."""
    window = query.window
    until_us = window.until_us
    if after is not None:
        until_us = min(until_us, (after.time_ms + 1) * 1000)
    streams = [
        _messages(reader, term, window.since_us, until_us, _parting(query, scope))
        for term in driver(reader, query, scope)
    ]
    message_fits, row_fits = message_test(query, reader), row_test(query)
    for whole in _distinct(merge(*streams, key=_order, reverse=True)):
        if not window.since_us <= whole.time_us < window.until_us:
            continue
        message = redact.seen(whole, scope)  # so that no filter tells what no row shows
        if not message.rows or not message_fits(message):
            continue
        for number, row in reversed(tuple(enumerate(message.rows, 1))):
            found = Found(message, number, row)
            if row_fits(message, row) and (after is None or found.position < after):
                yield found


def sent(reader: Reader, window: Window, scope: Scope) -> Iterator[Message]:
    """The messages that the scope is proven to have sent, newest first; all for an operator."""
    terms: tuple[Term | None, ...] = (None,) if scope.operator else _login_terms(scope)
    for message in _within(reader, terms, window, b""):
        if scope.sees_whole(message):
            yield redact.seen(message, scope)


def claimed(reader: Reader, window: Window, scope: Scope) -> int | None:
    """How many messages name a sender of the scope without its proof; None where too many to read.

    For an operator nobody is a claimant.
    """
    terms: tuple[Term, ...] = (
        *((keys.SENDER, name) for name in sorted(scope.mailboxes)),
        *((keys.SENDER_DOMAIN, name) for name in sorted(scope.domains)),
    )
    if scope.operator or _hit_count(reader, terms, window, scope.delimiters) > _MOST_READ:
        return None
    named = _within(reader, terms, window, scope.delimiters)
    return sum(scope.owns(message.sender) and not scope.sent(message) for message in named)


def _within(
    reader: Reader, terms: Iterable[Term | None], window: Window, parting: bytes
) -> Iterator[Message]:
    """Each message of a window that the terms may lead to, newest first."""
    streams = [_messages(reader, term, window.since_us, window.until_us, parting) for term in terms]
    for message in _distinct(merge(*streams, key=_order, reverse=True)):
        if window.since_us <= message.time_us < window.until_us:
            yield message


class Counts(NamedTuple):
    """How many there are of each status."""

    what: str  # "row"; or "message", by its worst row
    by_status: Mapping[int, int]


_MOST_READ: Final = 20_000
"""So many messages are read for a count, some 0.3 s; beyond, it stays unknown."""


def counts(reader: Reader, query: Query, scope: Scope) -> Counts | None:
    """Counts of a whole report; None where nothing tells them cheaply.

    The index knows one term at a time, and the worst of all rows; the counters know all rows of
    the journal. Both are for those who may see all rows: others' rows are read and counted,
    where there are not too many.
    """
    if not scope.operator:
        return _read_counts(reader, query, scope)
    if not _is_plain(query):
        return None
    window, choices = query.window, _indexed(query)
    if not choices and window == Window(spelled=window.spelled):
        hourly = reader.hourly(window.since_us, window.until_us)
        numbers = {status.token: int(status) for status in Status}
        rows: Counter[int] = Counter()
        for (_hour, token), number in hourly.items():
            rows[numbers[token]] += number
        return Counts("row", rows)
    if len(choices) != 1:
        return None
    terms, parting = choices[0], b""
    if any(kind in (keys.RECIPIENT, keys.SENDER) and value for kind, value in terms):
        parting = query.delimiters
        if not reader.counts_mailboxes(parting, window.since_us, window.until_us):
            return None
    found = reader.count_any(terms, window.since_us, window.until_us, delimiters=parting)
    return Counts("message", {each: n for each, n in found.items() if each != NO_STATUS})


def _read_counts(reader: Reader, query: Query, scope: Scope) -> Counts | None:
    terms = [term for term in driver(reader, query, scope) if term is not None]
    if _hit_count(reader, terms, query.window, _parting(query, scope)) > _MOST_READ:
        return None
    return Counts("row", Counter(found.row.status for found in search(reader, query, scope)))


def driver(reader: Reader, query: Query, scope: Scope) -> tuple[Term | None, ...]:
    """The terms that together lead to every answer, as few hits as can be; None is a scan.

    A mailbox is searched by its own terms wherever another's would tell, by the time it takes,
    how much mail that other one has.
    """
    choices = _indexed(query)
    if not scope.operator:
        if not scope.domains:
            choices = [terms for terms in choices if all(_is_own(term, scope) for term in terms)]
        choices.append(_scope_terms(scope))
    if not choices:
        statuses = query.statuses or (PENDING if query.silent_for_us is not None else frozenset())
        if not statuses or Status.DELIVERED in statuses:
            return (None,)
        return tuple((keys.STATUS, Status(status).token.encode()) for status in sorted(statuses))
    if len(choices) == 1:
        return choices[0]
    parting = _parting(query, scope)
    return min(choices, key=lambda terms: _hit_count(reader, terms, query.window, parting))


def _is_own(term: Term, scope: Scope) -> bool:
    """Whether the hits of a term are the caller's, or a few: those of an id."""
    kind, name = term
    if kind in (keys.MESSAGE_ID, keys.QUEUE_ID):
        return True
    if kind == keys.LOGIN:
        return scope.is_login(name)
    return kind == keys.RECIPIENT and scope.owns(name)


def _hit_count(reader: Reader, terms: Iterable[Term], window: Window, parting: bytes) -> int:
    """How many hits the terms have; the index tells without reading a message."""
    counted = reader.count_any(terms, window.since_us, window.until_us, delimiters=parting)
    return sum(counted.values())


def _parting(query: Query, scope: Scope) -> bytes:
    """The delimiters by which a term must lead to subaddresses: the query's or the scope's."""
    return bytes(sorted({*query.delimiters, *(b"" if scope.operator else scope.delimiters)}))


def _indexed(query: Query) -> list[tuple[Term, ...]]:
    """For each filter that has an index: the terms that lead to all of its answers."""
    choices: list[tuple[Term, ...]] = []
    if query.message_id is not None:
        ids = ids_of(query, query.message_id)
        choices.append(tuple((keys.MESSAGE_ID, message_id) for message_id in ids))
    if query.queue_id is not None:
        choices.append(((keys.QUEUE_ID, query.queue_id),))
    if query.recipient is not None:
        choices.append(tuple(map(_recipient_term, called(query, query.recipient))))
    if query.sender is not None:
        choices.append(tuple(map(_sender_term, called(query, query.sender))))
    if query.address is not None:
        known = called(query, query.address)
        choices.append((*map(_recipient_term, known), *map(_sender_term, known)))
    if query.login is not None:
        choices.append(tuple(map(_login_term, called(query, query.login))))
    if query.client_ip is not None:
        choices.append(((keys.CLIENT_IP, query.client_ip),))
    return choices


def _is_plain(query: Query) -> bool:
    """Whether a query has no filter beyond its window and what is indexed by itself."""
    filters = query.text, query.statuses, query.reasons, query.directions, query.silent_for_us
    return not any(filters)


def _scope_terms(scope: Scope) -> tuple[Term, ...]:
    return (
        *((keys.RECIPIENT, name) for name in sorted(scope.mailboxes)),
        *((keys.RECIPIENT_DOMAIN, name) for name in sorted(scope.domains)),
        *_login_terms(scope),
    )


def _login_terms(scope: Scope) -> tuple[Term, ...]:
    return (
        *((keys.LOGIN, name) for name in sorted(scope.mailboxes | scope.logins)),
        *((keys.LOGIN_DOMAIN, name) for name in sorted(scope.domains)),
    )


def _recipient_term(name: bytes) -> Term:
    return (keys.RECIPIENT_DOMAIN, name[1:]) if name[:1] == b"@" else (keys.RECIPIENT, name)


def _sender_term(name: bytes) -> Term:
    return (keys.SENDER_DOMAIN, name[1:]) if name[:1] == b"@" else (keys.SENDER, name)


def _login_term(name: bytes) -> Term:
    return (keys.LOGIN_DOMAIN, name[1:]) if name[:1] == b"@" else (keys.LOGIN, name)


def _messages(
    reader: Reader, term: Term | None, since_us: int, until_us: int, parting: bytes
) -> Iterator[Message]:
    """The messages that a term may lead to, newest first."""
    hits = reader.scan(since_us, until_us)
    if term is not None:
        hits = reader.hits(*term, since_us, until_us, delimiters=parting)
    for id, _status in hits:
        message = reader.message(id)
        if message is not None and message.id == id:  # else merged into one that has hits itself
            yield message


def _order(message: Message) -> tuple[int, bytes]:
    return message.time_us // 1000, message.id


def _distinct(messages: Iterable[Message]) -> Iterator[Message]:
    """Each message once, of an ordered stream."""
    last = None
    for message in messages:
        if message.id != last:
            yield message
        last = message.id
