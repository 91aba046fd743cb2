"""query.search and query.local: what is found equals what a reader of every record would find."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from journal import address, codec, days, keys, store, terms
from journal.check import check_part
from journal.events import Event, Kind, Source
from journal.records import Direction, Message, Recipient, Status
from posttrail.errors import UsageError
from query import redact
from query.local import Local
from query.match import Query
from query.rows import Row
from query.scope import Scope
from query.search import Found, search
from query.when import Window
from tests.unit.query.conftest import NOON_US, row

if TYPE_CHECKING:
    from tests.unit.query.conftest import Shelf

ALL = Scope.all()
SECOND_US = 1_000_000
ANY = Query(window=Window())
MIDNIGHT_US = NOON_US + 12 * 3600 * SECOND_US


def ids(found: list[Row]) -> list[tuple[str, int]]:
    return [(each.id, each.row) for each in found]


def found(source: Local, query: Query, scope: Scope = ALL) -> list[tuple[str, int]]:
    return ids(list(source.rows(query, scope)))


def names(*messages: Message) -> list[tuple[str, int]]:
    return [(keys.id_text(message.id), 1) for message in messages]


def test_the_newest_row_comes_first_and_of_a_message_the_last(shelf: "Shelf") -> None:
    old = shelf.put(row(), row(b"second@example.org"))
    new = shelf.put(row(), at_us=NOON_US + SECOND_US)
    older = shelf.put(row(), at_us=NOON_US - 3 * 86_400 * SECOND_US)
    assert found(shelf.source, ANY) == [
        (keys.id_text(new.id), 1),
        (keys.id_text(old.id), 2),
        (keys.id_text(old.id), 1),
        (keys.id_text(older.id), 1),
    ]


def test_an_abandoned_transaction_has_no_row(shelf: "Shelf") -> None:
    shelf.put()
    assert found(shelf.source, ANY) == []


MESSAGE_QUERIES: list[tuple[Query, dict[str, Any]]] = [
    (replace(ANY, sender=b"anna@example.com"), {"sender": b"Anna@Example.com"}),
    (replace(ANY, sender=b""), {"sender": b""}),
    (replace(ANY, sender=b"@example.net"), {"sender": b"x@EXAMPLE.net"}),
    (replace(ANY, address=b"anna@example.com"), {"sender": b"anna@example.com"}),
    (replace(ANY, address=b"@example.net"), {"sender": b"x@example.net"}),
    (replace(ANY, login=b"anna"), {"login": b"anna"}),
    (replace(ANY, login=b"@example.net"), {"login": b"x@example.net"}),
    (replace(ANY, message_id=b"Case@x"), {"message_id": b"Case@x"}),
    (replace(ANY, queue_id=b"AbC"), {"queue_ids": (b"XX", b"AbC")}),
    (replace(ANY, queue_id=b"AbC"), {"next_queue_ids": (b"AbC",)}),
    (replace(ANY, client_ip=b"2001:db8::1"), {"client_ip": b"2001:DB8::1"}),
    (replace(ANY, text="straße"), {"subject": "STRASSE straße".encode()}),
]


@pytest.mark.parametrize(("query", "changes"), MESSAGE_QUERIES)
def test_a_message_filter_finds_its_message_only(
    shelf: "Shelf", query: Query, changes: dict[str, Any]
) -> None:
    shelf.put(row())
    wanted = shelf.put(row(), **changes)
    shelf.put(row(), queue_ids=(b"abc",), message_id=b"case@x")
    query = query if query.text is None else replace(query, text=query.text.casefold())
    assert found(shelf.source, query) == names(wanted)


ROW_QUERIES: list[tuple[Query, Recipient]] = [
    (replace(ANY, recipient=b"anna@example.com"), row(b"<Anna@example.com>")),
    (replace(ANY, recipient=b"anna@example.com"), row(final_recipient=b"anna@example.com")),
    (replace(ANY, recipient=b"@example.net"), row(b"x@example.net")),
    (replace(ANY, address=b"anna@example.com"), row(b"anna@example.com")),
    (replace(ANY, statuses=frozenset({Status.ERROR})), row(status=Status.ERROR, reason="bounced")),
    (replace(ANY, statuses=frozenset({0, 5}), reasons=frozenset({"piped"})), row(reason="piped")),
    (replace(ANY, directions=frozenset({Direction.INTERNAL})), row(direction=Direction.INTERNAL)),
    (replace(ANY, text="mailbox full"), row(reply=b"452 4.2.2 Mailbox full")),
]


@pytest.mark.parametrize(("query", "wanted"), ROW_QUERIES)
def test_a_row_filter_finds_its_row_only(shelf: "Shelf", query: Query, wanted: Recipient) -> None:
    shelf.put(row())
    message = shelf.put(row(b"other@example.org"), wanted)
    assert found(shelf.source, query) == [(keys.id_text(message.id), 2)]


def test_the_window_begins_with_since_and_ends_before_until(shelf: "Shelf") -> None:
    at = [NOON_US, NOON_US + 500, NOON_US + 1500, NOON_US + 2000]
    put = [shelf.put(row(), at_us=at_us) for at_us in at]
    window = Window(since_us=at[1], until_us=at[3])
    assert found(shelf.source, replace(ANY, window=window)) == names(put[2], put[1])


def event(at_us: int) -> Event:
    return Event(
        at_us, Kind.QUEUED, Source.LOG, 1, b"Q", (b"a@example.com", b"1", b"1", b"postfix")
    )


def test_silent_is_what_is_not_final_and_not_heard_of(shelf: "Shelf") -> None:
    waiting: dict[str, Any] = {"status": Status.DEFERRED, "reason": "other", "done_at_us": None}
    lost = shelf.put(row(**waiting), events=(event(NOON_US),))
    shelf.put(row(**waiting), events=(event(NOON_US), event(NOON_US + 3600 * SECOND_US)))
    shelf.put(row(), events=(event(NOON_US),))
    query = replace(ANY, now_us=NOON_US + 7200 * SECOND_US, silent_for_us=7200 * SECOND_US)
    assert found(shelf.source, query) == names(lost)
    assert found(shelf.source, replace(query, statuses=frozenset({Status.DELIVERED}))) == []


def test_a_message_moved_before_its_day_by_a_late_fact_keeps_its_place(
    shelf: "Shelf",
) -> None:
    """First seen after midnight; then a shelf.source that lagged said that it began before."""
    moved = shelf.put(
        row(), at_us=MIDNIGHT_US - 5 * SECOND_US, first_seen_us=MIDNIGHT_US + SECOND_US
    )
    before = shelf.put(row(), at_us=MIDNIGHT_US - 9 * SECOND_US)
    between = shelf.put(row(), at_us=MIDNIGHT_US - 2 * SECOND_US)
    after = shelf.put(row(), at_us=MIDNIGHT_US + 3 * SECOND_US)
    assert found(shelf.source, ANY) == names(after, between, moved, before)
    window = Window(until_us=MIDNIGHT_US - 3 * SECOND_US)
    assert found(shelf.source, replace(ANY, window=window)) == names(moved, before)
    assert paged(shelf, ANY, ALL, 1) == found(shelf.source, ANY)


def paged(shelf: "Shelf", query: Query, scope: Scope, limit: int) -> list[tuple[str, int]]:
    """All pages of a report, through their cursors."""
    rows: list[Row] = []
    cursor = None
    while True:
        page = shelf.source.page(query, scope, limit=limit, cursor=cursor)
        rows.extend(page.rows)
        cursor = page.next
        if cursor is None:
            return ids(rows)


PEOPLE = [b"anna@example.com", b"bert@example.com", b"carl@example.net", b"dora@example.org"]


def populate(shelf: "Shelf", random: Random) -> list[Message]:
    """Messages whose times, people and fates collide often; some were moved before midnight."""
    put = []
    for _ in range(60):
        rows = [
            row(
                random.choice(PEOPLE),
                final_recipient=random.choice([None, *PEOPLE]),
                status=random.choice(list(Status)),
                direction=random.choice([None, *Direction]),
            )
            for _ in range(random.choice([0, 1, 1, 2, 3]))
        ]
        at_us = MIDNIGHT_US + random.randrange(-3, 3) * SECOND_US + random.randrange(3) * 400
        seen_us = max(at_us, random.choice([at_us, MIDNIGHT_US]))
        put.append(
            shelf.put(
                *rows,
                at_us=at_us,
                first_seen_us=seen_us,
                sender=random.choice([None, b"", *PEOPLE]),
                login=random.choice([None, None, *PEOPLE]),
            )
        )
    return put


def expected(
    put: list[Message], scope: Scope, fits: Callable[[Message, Recipient], bool]
) -> list[tuple[str, int]]:
    """The same by reading everything."""
    every = [
        Found(message, number, each)
        for message in (redact.seen(whole, scope) for whole in put)
        for number, each in enumerate(message.rows, 1)
        if fits(message, each)
    ]
    every.sort(key=lambda one: one.position, reverse=True)
    return [(keys.id_text(one.message.id), one.number) for one in every]


def about(name: bytes, message: Message, each: Recipient) -> bool:
    return name in (message.sender, each.recipient, each.final_recipient)


SCOPES = [
    ALL,
    Scope.of(mailboxes=[PEOPLE[0]]),
    Scope.of(mailboxes=[PEOPLE[2]], logins=[PEOPLE[3]]),
    Scope.of(domains=[b"example.com"]),
]


@pytest.mark.parametrize("seed", range(4))
def test_search_equals_a_scan_in_every_scope(shelf: "Shelf", seed: int) -> None:
    put = populate(shelf, Random(seed))
    anna, error = PEOPLE[0], frozenset({int(Status.ERROR)})
    since = Window(since_us=MIDNIGHT_US - SECOND_US, until_us=MIDNIGHT_US + SECOND_US)
    queries: list[tuple[Query, Callable[[Message, Recipient], bool]]] = [
        (ANY, lambda m, r: True),
        (replace(ANY, address=anna), lambda m, r: about(anna, m, r)),
        (
            replace(ANY, address=b"@example.com", statuses=error),
            lambda m, r: (
                r.status == Status.ERROR
                and any(
                    name is not None and address.domain(name) == b"example.com"
                    for name in (m.sender, r.recipient, r.final_recipient)
                )
            ),
        ),
        (
            replace(ANY, sender=PEOPLE[1], recipient=anna),
            lambda m, r: m.sender == PEOPLE[1] and anna in (r.recipient, r.final_recipient),
        ),
        (replace(ANY, statuses=error), lambda m, r: r.status == Status.ERROR),
        (
            replace(ANY, window=since),
            lambda m, r: since.since_us <= m.time_us < since.until_us,
        ),
    ]
    for (query, fits), scope in product(queries, SCOPES):
        wanted = expected(put, scope, fits)
        assert found(shelf.source, query, scope) == wanted
        assert paged(shelf, query, scope, 3) == wanted
    assert len(expected(put, ALL, lambda m, r: True)) > 40


def test_a_page_shows_each_row_once_while_new_ones_come_in(shelf: "Shelf") -> None:
    for second in range(5):
        shelf.put(row(), row(b"x@example.org"), at_us=NOON_US + second * SECOND_US)
    before = found(shelf.source, ANY)
    first = shelf.source.page(ANY, ALL, limit=3)
    shown = ids(list(first.rows))
    shelf.put(row(), at_us=NOON_US + 9 * SECOND_US)
    second_page = shelf.source.page(ANY, ALL, limit=100, cursor=first.next)
    assert shown + ids(list(second_page.rows)) == before


def test_a_page_of_a_large_report_reads_little_of_it(
    shelf: "Shelf", monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(40):
        shelf.put(row(), at_us=NOON_US + second * SECOND_US)
    read: list[bytes] = []
    plain = shelf.source.reader.message

    def message(id: bytes) -> Message | None:
        read.append(id)
        return plain(id)

    monkeypatch.setattr(shelf.source.reader, "message", message)
    page = shelf.source.page(replace(ANY, address=b"to@example.org"), ALL, limit=5)
    assert len(list(page.rows)) == 5
    assert page.counts == {"delivered": 40}
    assert page.counted == "message"
    assert len(read) <= 9  # the page, one row to know that more follow, one a stream looked ahead


def test_counts_are_of_the_whole_report_or_absent(shelf: "Shelf") -> None:
    error = row(b"x@example.org", status=Status.ERROR, reason="bounced")
    for second in range(3):
        shelf.put(row(), error, sender=b"to@example.org", at_us=NOON_US + second * SECOND_US)
    query = replace(ANY, address=b"to@example.org")
    assert shelf.source.page(query, ALL, limit=2).counts == {
        "error": 3
    }  # messages, by their worst row
    whole = shelf.source.page(query, ALL, limit=50)
    assert whole.counts == {"delivered": 3, "error": 3}  # rows: all of them are on the page
    assert whole.counted == "row"
    everything = shelf.source.page(ANY, ALL, limit=2)  # from the counters, which count rows
    assert (everything.counts, everything.counted) == ({"delivered": 3, "error": 3}, "row")
    assert shelf.source.page(ANY, ALL, limit=2, count=False).counts == {}
    filtered = replace(query, statuses=frozenset({int(Status.ERROR)}))
    assert shelf.source.page(filtered, ALL, limit=2).counts == {}
    mine = Scope.of(mailboxes=[b"to@example.org"])
    own = shelf.source.page(query, mine, limit=2)  # their rows, not the worst of all rows
    assert (own.counts, own.counted) == ({"delivered": 3}, "row")


def test_mail_to_oneself_counts_once(shelf: "Shelf") -> None:
    for second in range(3):
        shelf.put(row(), sender=b"to@example.org", at_us=NOON_US + second * SECOND_US)
    shelf.put(row(b"x@example.net"), sender=b"to@example.org")
    query = replace(ANY, address=b"to@example.org")
    assert shelf.source.page(query, ALL, limit=1).counts == {"delivered": 4}


def subaddressed(shelf: "Shelf") -> list[Message]:
    """Mail to a mailbox and its subaddresses, among others of the domain."""
    names = [b"to@example.org", b"To+x@example.org", b'"to+y z"@example.org', b"to-x@example.org"]
    put = [
        shelf.put(row(name), at_us=NOON_US + second * SECOND_US)
        for second, name in enumerate([*names, b"tom@example.org", b"+to@example.org"])
    ]
    put.append(shelf.put(row(b"x@example.net"), sender=b"to+z@example.org", at_us=NOON_US - 1000))
    return put


def unmark(shelf: "Shelf") -> None:
    """Make the day one of before subaddresses were indexed: no entries of theirs, no mark."""
    mark = store.Change([keys.MARK], ())
    shelf.close()
    key = days.read_key(shelf.directory)
    with store.Store(shelf.directory / "2026-11-23", store.DAY_DATABASES, writable=True) as opened:
        new, old = keys.Keyer(key, b"+"), keys.Keyer(key)
        extra: set[bytes] = set()
        for id, body in opened.up(b"m", b"", limit=1000):
            message = codec.decode_message(keys.make_id(20_780, 0, 0)[:2] + id, body)
            extra |= terms.entries(message, new).keys() - terms.entries(message, old).keys()
        assert extra
        opened.apply({b"x": mark._replace(deletes=sorted([keys.MARK, *extra]))})


@pytest.mark.parametrize("indexed", [True, False])
def test_a_mailbox_is_its_subaddresses_too(shelf: "Shelf", *, indexed: bool) -> None:
    put = subaddressed(shelf)
    if not indexed:
        unmark(shelf)
    to = b"to@example.org"
    mine = names(put[2], put[1], put[0])
    assert found(shelf.source, replace(ANY, recipient=to)) == mine
    assert found(shelf.source, replace(ANY, address=to)) == mine + names(put[-1])
    assert found(shelf.source, replace(ANY, recipient=b"to+x@example.org")) == names(put[1])
    assert found(shelf.source, ANY, Scope.of(mailboxes=[to])) == mine
    assert found(shelf.source, ANY, Scope.of(mailboxes=[b"to+x@example.org"])) == names(put[1])
    wide = Scope.of(mailboxes=[to], delimiters=b"+-")  # by another character than the day's
    assert found(shelf.source, ANY, wide) == names(put[3]) + mine
    assert found(shelf.source, replace(ANY, recipient=to, delimiters=b"")) == names(put[0])
    counted = shelf.source.page(replace(ANY, address=to), ALL, limit=1).counts
    assert counted == ({"delivered": 4} if indexed else {})
    shelf.close()
    assert check_part(shelf.directory, "2026-11-23").problems == 0


@pytest.mark.parametrize("indexed", [True, False])
def test_a_day_keeps_its_delimiters(shelf: "Shelf", *, indexed: bool) -> None:
    subaddressed(shelf)
    if not indexed:
        unmark(shelf)
    late = shelf.put(row(b"to+late@example.org"), at_us=NOON_US + 60 * SECOND_US)
    shelf.close()
    assert check_part(shelf.directory, "2026-11-23").problems == 0
    scope = Scope.of(mailboxes=[b"to@example.org"])
    assert found(shelf.source, ANY, scope)[0] == (keys.id_text(late.id), 1)


def test_a_mailbox_reads_its_own_messages_only(
    shelf: "Shelf", monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(40):
        shelf.put(row(b"u%d@example.org" % second), at_us=NOON_US + second * SECOND_US)
    mine = shelf.put(row(b"u7+x@example.org"))
    read: list[bytes] = []
    plain = shelf.source.reader.message

    def message(id: bytes) -> Message | None:
        read.append(id)
        return plain(id)

    monkeypatch.setattr(shelf.source.reader, "message", message)
    page = shelf.source.page(ANY, Scope.of(mailboxes=[b"u7@example.org"]), limit=1)
    assert len(list(page.rows)) == 1
    assert page.counts == {"delivered": 2}
    assert set(read) <= {
        mine.id,
        *(id for id, _ in shelf.source.reader.hits(keys.RECIPIENT, b"u7@example.org")),
    }


def test_a_cursor_serves_its_own_search_only(shelf: "Shelf") -> None:
    for second in range(3):
        shelf.put(row(), at_us=NOON_US + second * SECOND_US)
    query = replace(ANY, address=b"to@example.org", window=Window(spelled=("30d", "")))
    cursor = shelf.source.page(query, ALL, limit=1).next
    assert cursor is not None
    later = replace(query, window=Window(since_us=NOON_US + SECOND_US * 5, spelled=("30d", "")))
    assert len(list(shelf.source.page(later, ALL, limit=5, cursor=cursor).rows)) == 2
    others = [
        (replace(query, address=b"from@example.com"), ALL),
        (replace(query, text="x"), ALL),
        (replace(query, window=Window(spelled=("31d", ""))), ALL),
        (query, Scope.of(mailboxes=[b"to@example.org"])),
    ]
    for other, scope in others:
        with pytest.raises(UsageError, match="another search"):
            shelf.source.page(other, scope, limit=1, cursor=cursor)


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é", "A" * 200])
def test_a_made_up_cursor_is_refused(shelf: "Shelf", cursor: str) -> None:
    with pytest.raises(UsageError, match="cursor"):
        shelf.source.page(ANY, ALL, limit=1, cursor=cursor)


def test_every_bit_of_a_cursor_is_signed(shelf: "Shelf") -> None:
    for second in range(2):
        shelf.put(row(), at_us=NOON_US + second * SECOND_US)
    cursor = shelf.source.page(ANY, ALL, limit=1).next or ""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place, letter in enumerate(cursor[:-1]):  # the last letter has bits to spare
        other = alphabet[(alphabet.index(letter) + 1) % 64]
        with pytest.raises(UsageError):
            shelf.source.page(
                ANY, ALL, limit=1, cursor=cursor[:place] + other + cursor[place + 1 :]
            )


def test_a_merged_message_is_found_once(shelf: "Shelf") -> None:
    into = shelf.put(row())
    gone = shelf.put(row(), at_us=NOON_US + SECOND_US)
    record = shelf.writer.get(gone.id)
    assert record is not None
    shelf.writer.tombstone(record, into.id)
    shelf.writer.commit()
    assert list(search(shelf.source.reader, ANY, ALL)) == [Found(into, 1, into.rows[0])]
