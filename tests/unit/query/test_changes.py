"""What a change is to a watcher: the difference of what they saw and what they see."""

from dataclasses import dataclass, field

import pytest

from journal.keys import id_text
from journal.reader import Change, Reader
from journal.records import Message, Recipient, Record, Status
from query.changes import Gone, Versions, Watch
from query.filters import Filters, parse
from query.rows import Row
from query.scope import Scope
from tests.unit.query.conftest import NOON_US, Shelf, row

ALICE = Scope.of(mailboxes=[b"alice@example.com"])
EVERYTHING = Scope.all()


def deferred(name: bytes) -> Recipient:
    return row(name, status=Status.DEFERRED, reason="greylisted", done_at_us=None, delay_ms=None)


@dataclass
class Feed:
    """A journal, its changes and one watcher of them."""

    shelf: Shelf
    versions: Versions = field(default_factory=Versions)

    def put(self, message: Message, *rows: Recipient) -> Message:
        changed = message._replace(rows=rows)
        self.shelf.writer.put(Record(changed, (), ()), None)
        self.shelf.writer.commit()
        return changed

    @property
    def reader(self) -> Reader:
        return self.shelf.source.reader

    def watch(
        self,
        scope: Scope,
        filters: Filters | None = None,
        *,
        after: int | None = None,
        told: int = 0,
    ) -> Watch:
        query = parse(filters or {}, now_us=NOON_US)
        first = self.reader.last_change() if after is None else after
        return Watch(query, scope, after=first, told=told)

    def changes(self, after: int) -> list[Change]:
        found = list(self.reader.news(after, self.reader.last_change()))
        for change in found:
            self.versions.add(change)
        return found

    def told(self, watch: Watch) -> list[Row | Gone]:
        return [
            each
            for change in self.changes(watch.at)
            for each in watch.news(change, self.versions, self.reader)
        ]


@pytest.fixture
def feed(shelf: Shelf) -> Feed:
    return Feed(shelf)


def recipients(found: list[Row | Gone]) -> list[str | None]:
    return [each.recipient for each in found if isinstance(each, Row)]


def test_a_new_message_is_told_row_by_row(feed: Feed) -> None:
    watch = feed.watch(EVERYTHING)
    feed.shelf.put(row(b"a@example.com"), row(b"b@example.com"))
    assert recipients(feed.told(watch)) == ["a@example.com", "b@example.com"]


def test_only_the_row_that_changed_is_told_again(feed: Feed) -> None:
    watch = feed.watch(EVERYTHING)
    message = feed.shelf.put(row(b"a@example.com"), deferred(b"b@example.com"))
    feed.told(watch)
    feed.put(message, row(b"a@example.com"), row(b"b@example.com"))
    assert recipients(feed.told(watch)) == ["b@example.com"]


def test_what_happens_to_a_bcc_is_no_news_to_the_others(feed: Feed) -> None:
    watch = feed.watch(ALICE)
    message = feed.shelf.put(row(b"alice@example.com"), deferred(b"secret@example.org"))
    assert recipients(feed.told(watch)) == ["alice@example.com"]
    feed.put(message, row(b"alice@example.com"), row(b"secret@example.org"))
    assert feed.told(watch) == []


def test_nor_where_the_message_was_there_before_anybody_watched(feed: Feed) -> None:
    message = feed.shelf.put(row(b"alice@example.com"), deferred(b"secret@example.org"))
    feed.versions.learn(feed.reader)
    watch = feed.watch(ALICE)
    feed.put(message, row(b"alice@example.com"), row(b"secret@example.org"))
    assert feed.told(watch) == []


def test_mail_of_others_is_no_news(feed: Feed) -> None:
    watch = feed.watch(ALICE)
    feed.shelf.put(row(b"bob@example.com"), sender=b"alice@example.com")
    assert feed.told(watch) == []


def test_a_row_that_left_the_filter_is_gone(feed: Feed) -> None:
    watch = feed.watch(EVERYTHING, {"status": "deferred"})
    message = feed.shelf.put(deferred(b"a@example.com"))
    assert recipients(feed.told(watch)) == ["a@example.com"]
    feed.put(message, row(b"a@example.com"))
    assert feed.told(watch) == [Gone(id=id_text(message.id), row=1)]


def test_a_row_that_never_answered_is_not_said_to_be_gone(feed: Feed) -> None:
    watch = feed.watch(EVERYTHING, {"status": "deferred"})
    message = feed.shelf.put(row(b"a@example.com"))
    feed.put(message, row(b"a@example.com", reply=b"250 again"))
    assert feed.told(watch) == []


def test_who_comes_back_gets_what_changed_since_and_nothing_else(feed: Feed) -> None:
    watch = feed.watch(EVERYTHING)
    message = feed.shelf.put(row(b"a@example.com"), deferred(b"b@example.com"))
    feed.told(watch)
    feed.put(message, row(b"a@example.com"), deferred(b"b@example.com")._replace(attempts=2))
    feed.changes(watch.at)  # another watcher is served meanwhile
    feed.put(message, row(b"a@example.com"), row(b"b@example.com"))
    again = feed.watch(EVERYTHING, after=watch.at)
    assert recipients(feed.told(again)) == ["b@example.com"]


def test_a_change_that_was_cut_between_its_rows_goes_on_behind_the_cut(feed: Feed) -> None:
    before = feed.reader.last_change()
    feed.shelf.put(row(b"a@example.com"), row(b"b@example.com"), row(b"c@example.com"))
    again = feed.watch(EVERYTHING, after=before, told=2)
    assert recipients(feed.told(again)) == ["c@example.com"]


def test_what_changes_again_while_it_is_read_comes_once_with_its_newer_number(feed: Feed) -> None:
    message = feed.shelf.put(deferred(b"a@example.com"))
    until = feed.reader.last_change()
    feed.put(message, row(b"a@example.com"))
    assert list(feed.reader.news(0, until)) == []
    assert [change.seq for change in feed.reader.news(0, until + 1)] == [until + 1]


def test_one_message_is_followed_into_the_one_it_is_merged_into(feed: Feed) -> None:
    into = feed.shelf.put(row(b"a@example.com"))
    message = feed.shelf.put(deferred(b"a@example.com"))
    query = parse({}, now_us=NOON_US)
    watch = Watch(query, EVERYTHING, after=feed.reader.last_change(), message_id=message.id)
    feed.changes(0)
    feed.shelf.writer.tombstone(Record(message, (), ()), into.id)
    feed.shelf.writer.commit()
    found = feed.told(watch)
    assert found[0] == Gone(id=id_text(message.id), row=1)
    assert [each.id for each in found[1:]] == [id_text(into.id)]


def test_versions_are_forgotten_beyond_their_room(feed: Feed) -> None:
    versions = Versions(most_rows=4)
    first = feed.shelf.put(row())
    others = [feed.shelf.put(row()) for _ in range(2)]
    for seq, message in enumerate((first, *others), 1):
        versions.add(Change(seq, message.id, message))
    assert versions.at(first.id, 1) is None
    assert versions.at(others[1].id, 3) == others[1]
