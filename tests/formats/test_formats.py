"""Every format that was released is read and written by this release; a newer one is refused."""

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from journal import codec, counters, days, store
from journal.check import check_journal
from journal.reader import Reader
from journal.records import REASONS, Status
from journal.store import Change, Store
from journal.writer import Writer
from posttrail.errors import JournalFormatError
from tests.formats.make import plain
from tests.simulation.runner import _told

HERE = Path(__file__).resolve().parent
STORED = sorted(HERE.glob("journal-*.tar.xz"))
each = pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name.split(".")[0])


def unpacked(stored: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    with tarfile.open(stored) as archive:
        archive.extractall(folder)  # ours
    return folder / "journal", json.loads(stored.with_name(f"{name_of(stored)}.json").read_text())


def name_of(stored: Path) -> str:
    return stored.name.removesuffix(".tar.xz")


def says(journal: Path) -> list[list[Any]]:
    return sorted((plain(one) for one in _told(journal)), key=json.dumps)


def counted(journal: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    with Reader.open(journal) as reader:
        for (status, _), rows in reader.counters().items():
            found[status] += rows
    return +found


def problems(journal: Path) -> list[str]:
    return [sentence for part in check_journal(journal) for sentence in part.first_problems]


def test_there_is_a_stored_journal_of_each_format_and_they_are_small() -> None:
    names = [f"journal-{number}" for number in range(1, days.FORMAT + 1)]
    assert list(map(name_of, STORED)) == names
    assert all(path.stat().st_size < 200_000 for path in STORED)


@each
def test_it_is_read_to_the_letter(stored: Path, tmp_path: Path) -> None:
    journal, told = unpacked(stored, tmp_path)
    assert says(journal) == told["messages"]
    with Reader.open(journal) as reader:
        assert sorted(one.hex() for one, _ in reader.scan()) == told["ids"]
    assert problems(journal) == []
    rows = Counter(row[2] for message in told["messages"] for row in message[-1])
    assert counted(journal) == rows


@each
def test_it_is_written_on(stored: Path, tmp_path: Path) -> None:
    journal, told = unpacked(stored, tmp_path)
    with Writer.open(journal) as writer:
        assert writer.position("spool")
        assert writer.bad_days == []
        old = writer.get(bytes.fromhex(told["ids"][0]))
        assert old is not None
        row = old.message.rows[0]._replace(status=int(Status.ERROR), reason="bounced")
        rows = (row, *old.message.rows[1:])
        writer.put(old._replace(message=old.message._replace(rows=rows)), old)
        writer.commit()
    assert problems(journal) == []
    with Reader.open(journal) as reader:
        message = reader.message(bytes.fromhex(told["ids"][0]))
        assert message is not None
        assert message.rows[0].reason == "bounced"
    assert (journal / "FORMAT").read_text() == f"posttrail-journal {name_of(stored)[-1]}\n"


@each
def test_what_a_later_release_may_add_is_borne_and_kept(stored: Path, tmp_path: Path) -> None:
    """docs/journal-format.md, "What may change within format 1": N-1, then N, then N-1 again."""
    journal, told = unpacked(stored, tmp_path)
    message_id = bytes.fromhex(told["ids"][0])
    (journal / ".later").write_text("a file of a later release")
    (journal / "bad-2026-10-01").mkdir()
    name = min(path.name for path in journal.glob("20*-*-*"))
    term = b"Z" + b"laterx" + message_id[2:]
    with Store(journal / name, (*store.DAY_DATABASES, b"z"), writable=True) as opened:
        opened.apply({b"z": Change((), [(b"later", b"on")]), b"x": Change((), [(term, b"\0")])})
    with Store(journal / days.STATE, (*store.STATE_DATABASES, b"z"), writable=True) as opened:
        later = {b"p": Change((), [(b"later", b"17")]), b"k": Change((), [(b"later", b"18")])}
        opened.apply({b"z": Change((), [(b"later", b"on")]), **later})
    assert says(journal) == told["messages"]
    with Writer.open(journal) as writer:  # the older release writes
        record = writer.get(message_id)
        assert record is not None
        event = record.events[0]._replace(kind=99, fields=(b"of", b"a", b"later", b"release"))
        added = record._replace(events=tuple(sorted((*record.events, event))))
        writer.put(added, record)
        writer.set_context("touched", b"1")
        writer.commit()
        writer.days.compact(name)
    with Writer.open(journal) as writer:
        kept = writer.get(message_id)
        assert kept is not None
        assert event in kept.events
        assert writer.position("later") == b"17"
        assert writer.context("later") == b"18"
    with Store(journal / name, (*store.DAY_DATABASES, b"z"), writable=False) as opened:
        assert opened.get(b"z", b"later") == b"on"
        assert opened.get(b"x", term) == b"\0"
    with Store(journal / days.STATE, (*store.STATE_DATABASES, b"z"), writable=False) as opened:
        assert opened.get(b"z", b"later") == b"on"
    assert (journal / ".later").exists()
    assert says(journal) == told["messages"]


@each
def test_a_reason_of_a_later_release_is_unknown_and_nothing_else(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, told = unpacked(stored, tmp_path)
    message_id = bytes.fromhex(told["ids"][0])
    with monkeypatch.context() as later:
        numbers = {reason: number for number, reason in enumerate((*REASONS, "marvellous"))}
        later.setattr(codec, "_REASON", numbers)
        later.setattr(counters, "_REASON", numbers)
        with Writer.open(journal) as writer:
            record = writer.get(message_id)
            assert record is not None
            row = record.message.rows[0]._replace(reason="marvellous")
            rows = (row, *record.message.rows[1:])
            writer.put(record._replace(message=record.message._replace(rows=rows)), record)
            writer.commit()
    with Reader.open(journal) as reader:
        message = reader.message(message_id)
        assert message is not None
        assert message.rows[0].reason == "unknown"


@each
def test_a_newer_format_is_refused_and_nothing_is_touched(stored: Path, tmp_path: Path) -> None:
    journal, _ = unpacked(stored, tmp_path)
    (journal / "FORMAT").write_text(f"posttrail-journal {days.FORMAT + 1}\n")
    before = {path: path.read_bytes() for path in journal.rglob("*") if path.is_file()}
    for use in (Writer.open, Reader.open, lambda where: list(check_journal(where))):
        with pytest.raises(JournalFormatError, match="newer than this release") as caught:
            use(journal)
        assert caught.value.exit_code == 78
    assert {path: path.read_bytes() for path in journal.rglob("*") if path.is_file()} == before
