"""From the change log to calls: what is told, to whom, once, whatever becomes of the journal."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from journal import days, keys
from journal.reader import Change, Reader
from journal.records import Message, Recipient, Record, Status
from posttrail.errors import UnavailableError
from query.hooks import look, state
from query.hooks.events import Keyed
from tests.unit.query.conftest import NOON_US, Shelf, row
from tests.unit.query.hooks.conftest import DEFAULT_ON, Desk, hook

ExpectedLog = Callable[[str], None]

DEFERRED = row(status=Status.DEFERRED, reason="connection", done_at_us=None)
BOUNCED = row(status=Status.ERROR, reason="bounced")


def change(shelf: Shelf, old: Message, *rows: Recipient, **changes: object) -> Message:
    """Write another version of a message."""
    new = old._replace(rows=rows, **changes)  # type: ignore[arg-type]  # names of its fields, by a test
    shelf.writer.put(Record(new, (), ()), Record(old, (), ()))
    shelf.writer.commit()
    return new


def merge(shelf: Shelf, gone: Message, into: Message) -> None:
    shelf.writer.tombstone(Record(gone, (), ()), into.id)
    shelf.writer.commit()


def test_a_hook_begins_with_what_comes_after_it(shelf: Shelf, desk: Desk) -> None:
    shelf.put(row(b"before@example.org"))
    desk.start(hook())
    shelf.put(row(b"after@example.org"))
    assert desk.kinds() == [("after@example.org", "delivered")]


def test_an_old_message_that_is_written_anew_is_not_news(shelf: Shelf, desk: Desk) -> None:
    old = shelf.put(row(b"a@example.org", done_at_us=NOON_US - 60_000_000), DEFERRED)
    desk.start(hook())
    change(shelf, old, old.rows[0], BOUNCED)
    assert desk.kinds() == [("to@example.org", "error")]


def test_the_event_is_the_row_of_the_report_in_an_envelope(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook())
    message = shelf.put(DEFERRED)
    desk.look()
    change(shelf, message, BOUNCED)
    first, second = desk.told()
    assert (first["event"], first["previous_status"]) == ("deferred", None)
    assert (second["event"], second["previous_status"]) == ("error", "deferred")
    assert second["hook"] == "all"
    assert second["at"] == "2026-11-23T12:00:01.500Z"  # when it ended, not when it was seen
    assert second["data"]["id"] == keys.id_text(message.id)
    assert second["data"]["reply"] == "250 2.0.0 Ok"
    assert first["id"] != second["id"]


def test_an_event_has_the_same_id_wherever_it_is_made(
    shelf: Shelf, desk: Desk, tmp_path: Path
) -> None:
    desk.start(hook())
    other = Desk(shelf, tmp_path / "other.sqlite")
    other.start(hook("all"))
    shelf.put(row())
    assert [each["id"] for each in desk.told()] == [each["id"] for each in other.told()]
    other.close()


def test_nothing_is_told_twice_over_a_restart(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook())
    message = shelf.put(row())
    desk.look()
    desk.again()
    change(shelf, message, row(), subject=b"other")
    assert len(desk.told()) == 1


def test_what_comes_while_it_is_down_is_told_when_it_is_up(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook())
    desk.close()
    message = shelf.put(DEFERRED)
    change(shelf, message, row())
    desk.again()
    assert desk.kinds() == [("to@example.org", "delivered")]


def test_a_crash_before_the_commit_changes_nothing(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook())
    shelf.put(row())
    before = desk.store.read(state.places)

    class PowerCutError(Exception):
        pass

    def cut(*_: object) -> None:
        raise PowerCutError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "move", cut)  # the last that a look writes
        with pytest.raises(PowerCutError):
            desk.look()
    assert desk.store.read(state.places) == before
    assert len(desk.told()) == 1


def test_a_hop_that_joins_after_it_was_told_is_not_told_again(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook())
    outer = shelf.put(row(status=Status.IN_PROGRESS, reason="queued", done_at_us=None))
    inner = shelf.put(row())
    desk.look()
    whole = change(shelf, outer, row(), queue_ids=(*outer.queue_ids, *inner.queue_ids))
    merge(shelf, inner, outer)
    desk.look()
    change(shelf, whole, row(), subject=b"once more")
    assert desk.kinds() == [("to@example.org", "delivered")]


def test_a_hop_whose_end_is_seen_before_its_tombstone_is_not_told_again(
    shelf: Shelf, desk: Desk
) -> None:
    """Days are committed one by one: the tombstone may be in the next."""
    desk.start(hook())
    outer = shelf.put(row(status=Status.IN_PROGRESS, reason="queued", done_at_us=None))
    inner = shelf.put(row(), at_us=NOON_US + keys.DAY_US)
    desk.look()
    change(shelf, outer, row(), queue_ids=(*outer.queue_ids, *inner.queue_ids))
    desk.look()
    merge(shelf, inner, outer)
    assert desk.kinds() == [("to@example.org", "delivered")]


def test_a_hook_that_is_added_begins_then_and_the_others_go_on(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook())
    shelf.put(row(b"first@example.org"))
    desk.look()
    desk.now_us = NOON_US + 10_000_000
    desk.start(hook(), hook("new"))
    shelf.put(row(b"second@example.org", done_at_us=NOON_US + 11_000_000))
    assert len(desk.told("all")) == 2
    assert desk.kinds("new") == [("second@example.org", "delivered")]


def test_a_hook_that_asks_for_something_else_begins_anew(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook(on=("error",)))
    message = shelf.put(row(), BOUNCED)
    desk.look()
    desk.now_us = NOON_US + 10_000_000
    desk.start(hook(on=("error", "delivered")))
    change(shelf, message, row(), BOUNCED, subject=b"other")
    assert desk.kinds() == [("to@example.org", "error")]  # waits since before


def test_a_hook_that_is_configured_no_more_leaves_nothing(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook(), hook("other"))
    shelf.put(row())
    desk.look()
    desk.start(hook("other"))
    left = desk.store.read(
        lambda db: [db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("call", "hook")]
    )
    assert left == [1, 1]


def test_a_hook_sees_its_scope_and_nothing_else(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook(addresses=("own@example.org",)))
    shelf.put(row(b"hidden@example.org"), row(b"own@example.org"), login=b"boss")
    (told,) = desk.told()
    assert told["data"]["recipient"] == "own@example.org"
    assert told["data"]["row"] == 1
    assert told["data"]["login"] is None  # whose it is the recipient may not know
    assert "hidden" not in str(told)


@pytest.mark.parametrize(
    ("asked", "recipients"),
    [
        ({"recipient": "@example.net"}, ["b@example.net"]),
        ({"sender": "from@example.com"}, ["a@example.org", "b@example.net"]),
        ({"sender": "@example.net"}, []),
        ({"direction": ("inbound",)}, ["b@example.net"]),
        ({"reason": ("stored", "piped")}, ["a@example.org"]),
        ({"addresses": ("@example.net",)}, ["b@example.net"]),
    ],
)
def test_filters_are_those_of_the_report(
    shelf: Shelf, desk: Desk, asked: dict[str, Any], recipients: list[str]
) -> None:
    desk.start(hook(**asked))
    shelf.put(row(b"a@example.org", reason="stored"), row(b"b@example.net", direction=1))
    assert [each["data"]["recipient"] for each in desk.told()] == recipients


def test_fields_that_are_not_wanted_are_not_sent(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook(fields=("status", "recipient")))
    shelf.put(row())
    assert desk.told()[0]["data"] == {"recipient": "to@example.org", "status": "delivered"}


def test_a_restored_journal_is_gone_through_again_and_nothing_is_told_twice(
    shelf: Shelf, desk: Desk, tmp_path: Path, expected_log: ExpectedLog
) -> None:
    expected_log("change number went back or a day went")
    desk.start(hook())
    old = shelf.put(row(b"kept@example.org"))
    desk.look()
    shelf.close()
    shutil.copytree(shelf.directory, tmp_path / "backup")
    lost = shelf.put(row(b"lost@example.org"))
    change(shelf, old, row(b"kept@example.org"), subject=b"other")
    assert len(desk.told()) == 2
    shelf.close()
    shutil.rmtree(shelf.directory)
    shutil.copytree(tmp_path / "backup", shelf.directory)
    desk.again()
    desk.look()
    # What was recorded since is read from the log again; here under another id.
    shelf.put(row(b"lost@example.org"), queue_ids=lost.queue_ids)
    shelf.put(row(b"new@example.org"))
    recipients = [recipient for recipient, _ in desk.kinds()]
    assert recipients == ["kept@example.org", "lost@example.org", "new@example.org"]


def test_a_restored_journal_that_has_grown_beyond_the_number_is_noticed(
    shelf: Shelf, desk: Desk, tmp_path: Path
) -> None:
    desk.start(hook())
    shelf.put(row(b"kept@example.org"))
    desk.look()
    shelf.close()
    shutil.copytree(shelf.directory, tmp_path / "backup")
    shelf.put(row(b"lost@example.org"))
    desk.look()
    desk.close()
    shelf.close()
    shutil.rmtree(shelf.directory)
    shutil.copytree(tmp_path / "backup", shelf.directory)
    for number in range(5):
        shelf.put(row(b"new%d@example.org" % number))
    desk.again()
    recipients = [recipient for recipient, _ in desk.kinds()]
    assert recipients[2:] == [f"new{number}@example.org" for number in range(5)]


def test_a_day_that_is_made_anew_is_gone_through_again(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook())
    shelf.put(row(b"kept@example.org"))
    desk.look()
    day = shelf.directory / keys.day_name(keys.day_of(NOON_US))
    shelf.close()
    copy = shelf.directory / "copy"
    copy.mkdir()
    (copy / "data.mdb").write_bytes((day / "data.mdb").read_bytes())
    (copy / "data.mdb").rename(day / "data.mdb")
    shelf.put(row(b"new@example.org"))
    assert [recipient for recipient, _ in desk.kinds()] == ["kept@example.org", "new@example.org"]


def test_a_pass_that_breaks_off_is_begun_again(
    shelf: Shelf, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.start(hook())
    message = shelf.put(DEFERRED)
    desk.look()
    day = shelf.directory / keys.day_name(keys.day_of(NOON_US))
    change(shelf, message, BOUNCED)
    shelf.close()
    # As if it had been read already, in the file that was there before.
    last = shelf.source.reader.last_change()
    shelf.close()
    desk.store.write(lambda db: state.move(db, 1, last, None))
    (day / "copy").write_bytes((day / "data.mdb").read_bytes())
    (day / "copy").rename(day / "data.mdb")
    real, broken = Reader.change, [True]

    def once_broken(reader: Reader, id: bytes) -> Change | None:
        if broken.pop() if broken else False:
            raise UnavailableError("no journal")
        return real(reader, id)

    monkeypatch.setattr(Reader, "change", once_broken)
    with pytest.raises(UnavailableError):
        desk.look()
    assert desk.kinds() == [("to@example.org", "deferred"), ("to@example.org", "error")]


def test_another_journal_is_begun_anew(shelf: Shelf, desk: Desk, expected_log: ExpectedLog) -> None:
    expected_log("journal is another one, hooks begin now")
    desk.start(hook())
    shelf.put(row())
    desk.look()
    shelf.close()
    shutil.rmtree(shelf.directory)
    shelf.put(row(b"there@example.org"))
    desk.now_us = NOON_US + 10_000_000
    desk.again()
    shelf.put(row(b"later@example.org", done_at_us=NOON_US + 11_000_000))
    assert desk.kinds() == [("later@example.org", "delivered")]


def test_what_is_learned_too_late_is_no_news(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook())
    desk.now_us = NOON_US + 2 * look.LATE_US
    desk.look()
    shelf.put(row(), at_us=NOON_US)
    assert desk.told() == []


def test_a_hook_whose_calls_pile_up_stands_still_and_misses_nothing(
    shelf: Shelf, desk: Desk, monkeypatch: pytest.MonkeyPatch, expected_log: ExpectedLog
) -> None:
    expected_log("hook has too many calls waiting")
    monkeypatch.setattr(look, "MOST_WAITING", 2)
    desk.start(hook(), hook("quick", on=("error",)))
    for number in range(4):
        shelf.put(row(b"%d@example.org" % number))
        desk.look()
    shelf.put(BOUNCED)
    assert len(desk.told()) == 2
    assert len(desk.told("quick")) == 1
    desk.store.write(lambda db: db.execute("DELETE FROM call"))
    left = [recipient for recipient, _ in desk.kinds()]
    assert left == ["2@example.org", "3@example.org", "to@example.org"]


def test_calls_of_a_row_that_is_erased_are_not_made(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook())
    message = shelf.put(row(b"erased@example.org"), row(b"other@example.org"))
    assert len(desk.told()) == 2
    change(shelf, message, row(b"other@example.org"))
    assert desk.kinds() == [("other@example.org", "delivered")]


def test_an_erased_address_is_told_to_nobody_and_what_waits_with_it_goes(
    shelf: Shelf, desk: Desk
) -> None:
    desk.start(hook())
    message = shelf.put(row(b"erased@example.org"), row(b"other@example.org"))
    kept = shelf.put(row(b"kept@example.org"))
    sent = shelf.put(row(b"to@example.org"), sender=b"erased@example.org")
    assert len(desk.told()) == 4
    name = b"erased0123abcd@example.org"
    change(shelf, message, row(name), row(b"other@example.org"))
    change(shelf, sent, row(b"to@example.org"), sender=name)
    change(shelf, kept, row(b"kept@example.org"))
    assert desk.kinds() == [("kept@example.org", "delivered")]


def test_what_happens_after_an_erasure_is_told_without_the_address(
    shelf: Shelf, desk: Desk
) -> None:
    desk.start(hook())
    message = shelf.put(DEFERRED, sender=b"erased0123abcd@example.org")
    change(shelf, message, BOUNCED)
    (told,) = desk.told()
    assert (told["event"], told["data"]["sender"]) == ("error", "erased0123abcd@example.org")


def test_what_was_told_long_ago_is_forgotten(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook())
    shelf.put(row())
    desk.look()
    desk.now_us = NOON_US + 20 * keys.DAY_US
    shelf.put(row(done_at_us=desk.now_us), at_us=desk.now_us)
    desk.look()
    assert desk._look is not None
    desk._look.places = desk.store.read(state.places)
    while desk._look.forget(now_us=desk.now_us, dead_us=keys.DAY_US):
        pass
    counts = desk.store.read(
        lambda db: [db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("told", "fact")]
    )
    assert counts == [1, 1]


def test_marks_hold_no_address(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook(on=DEFAULT_ON))
    shelf.put(row(b"secret@example.org"))
    desk.look()
    desk.store.write(lambda db: db.execute("DELETE FROM call"))
    dumped = desk.store.read(
        lambda db: [each for t in ("told", "fact") for each in db.execute(f"SELECT * FROM {t}")]
    )
    assert dumped
    assert b"secret" not in repr(dumped).encode()
    names = Keyed(days.read_key(shelf.directory)).names(row(b"secret@example.org"))
    assert any(bytes(names.recipient) in each for each in dumped)
