"""The check finds each kind of damage, and nothing where there is none."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from journal.check import Part, check_journal, check_part
from journal.keys import DAY_US, id_text
from journal.records import Record
from journal.store import DAY_DATABASES, Change, Store
from journal.writer import Writer

BEGIN_US = 20_780 * DAY_US
MakeRecord = Callable[..., Record]


@pytest.fixture
def filled(directory: Path, record: MakeRecord) -> Path:
    """A journal of one day."""
    with Writer.open(directory) as writer:
        for number in range(30):
            writer.put(record(number), None)
        writer.tombstone(record(40), record(1).id)
        writer.commit()
    return directory


def test_a_sound_journal_has_no_problems(filled: Path) -> None:
    state, day = check_journal(filled)
    assert state.name == "state"
    assert day == Part(name="2026-11-23", messages=30, tombstones=1, entries=30 * 8)


def test_positions_that_move_meanwhile_are_no_damage(filled: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            with Writer.open(filled) as writer:
                for number in range(10_000):
                    writer.commit({"spool": b"%d" % number})
        finally:
            os._exit(0)
    try:
        parts = [check_part(filled, "state") for _ in range(300)]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert sum(part.problems for part in parts) == 0


def _change(directory: Path, database: bytes, change: Callable[[Store], Change]) -> Part:
    with Store(directory / "2026-11-23", DAY_DATABASES, writable=True) as opened:
        opened.apply({database: change(opened)})
    return check_part(directory, "2026-11-23")


def test_a_flipped_byte_of_a_record_is_found(filled: Path, record: MakeRecord) -> None:
    key = record(3).id[2:]

    def flip(opened: Store) -> Change:
        body = bytearray(opened.get(b"m", key) or b"")
        body[-1] ^= 1
        return Change((), [(key, bytes(body))])

    part = _change(filled, b"m", flip)
    assert part.problems == 1
    assert "checksum" in part.first_problems[0]
    assert record(3).id.hex() in part.first_problems[0]


def test_a_missing_index_entry_is_found(filled: Path, record: MakeRecord) -> None:
    part = _change(filled, b"x", lambda opened: Change([opened.up(b"x", b"q", limit=1)[0][0]], ()))
    assert part.problems == 2
    assert "is not in the index under kind q" in part.first_problems[0]


def test_an_index_entry_too_many_is_found(filled: Path) -> None:
    part = _change(filled, b"x", lambda _: Change((), [(b"r" + bytes(12), b"\0")]))
    assert part.first_problems == (
        "2026-11-23: the index has 241 entries, the records call for 240",
    )


def test_a_wrong_status_in_the_index_is_found(filled: Path) -> None:
    def spoil(opened: Store) -> Change:
        key, _ = opened.up(b"x", b"s", limit=1)[0]
        return Change((), [(key, b"\5")])

    assert "under kind s" in _change(filled, b"x", spoil).first_problems[0]


def test_a_wrong_counter_is_found(filled: Path) -> None:
    part = _change(filled, b"c", lambda _: Change((), [(bytes((0, 0, 1)), bytes(7) + b"\x09")]))
    assert part.first_problems == (
        "2026-11-23: counter hour 0 status 0 direction 1 is 9, the rows say 30",
    )


def test_a_missing_change_is_found(filled: Path, record: MakeRecord) -> None:
    part = _change(filled, b"l", lambda opened: Change([opened.up(b"l", b"", limit=1)[0][0]], ()))
    assert id_text(record(0).id) in part.first_problems[0]
    assert part.problems == 2


def test_a_tombstone_that_leads_nowhere_is_found(filled: Path, record: MakeRecord) -> None:
    with Writer.open(filled) as writer:
        writer.tombstone(record(5), record(500).id)
        writer.commit()
    part = check_part(filled, "2026-11-23")
    assert part.problems == 1
    assert "merged into a message that is not there" in part.first_problems[0]


def test_many_problems_are_counted_and_some_are_named(filled: Path) -> None:
    def spoil(opened: Store) -> Change:
        return Change([key for key, _ in opened.up(b"x", b"a", limit=100)], ())

    part = _change(filled, b"x", spoil)
    assert part.problems == 101
    assert len(part.first_problems) == 20
