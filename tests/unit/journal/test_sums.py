"""Damage that LMDB does not see: of positions, contexts, the key and records."""

from pathlib import Path

import pytest

from journal import check, days, sums
from journal.reader import Reader
from journal.store import STATE_DATABASES, Change, DamagedStoreError, Store
from journal.writer import Writer
from tests.conftest import ExpectedLog


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    directory = tmp_path / "journal"
    with Writer.open(directory) as writer:
        writer.set_context("told", b"something")
        writer.commit({"log": b'{"offset":1000}'})
    return directory


def overwrite(journal: Path, database: bytes, name: bytes, value: bytes) -> None:
    """As a flipped bit would: the value, and not its checksum."""
    with Store(journal / days.STATE, STATE_DATABASES, writable=True) as state:
        state.apply({database: Change((), [(name, value)])})


def test_what_was_written_is_read(journal: Path) -> None:
    with Writer.open(journal) as writer:
        assert writer.position("log") == b'{"offset":1000}'
        assert writer.context("told") == b"something"
        assert writer.position("other") is None


@pytest.mark.parametrize(("database", "name"), [(b"p", b"log"), (b"k", b"told")])
def test_another_value_is_refused_and_put_aside_at_the_next_start(
    journal: Path, database: bytes, name: bytes, expected_log: ExpectedLog
) -> None:
    expected_log("a part was put aside")
    overwrite(journal, database, name, b'{"offset":3000}')
    assert [part.name for part in check.check_journal(journal) if part.problems] == ["state"]
    with pytest.raises(DamagedStoreError), Writer.open(journal) as writer:
        writer.position("log")
        writer.context("told")
    with Writer.open(journal) as writer:
        assert writer.bad_days == ["state"]
        assert writer.position("log") is None


def test_a_value_without_a_checksum_is_taken(journal: Path) -> None:
    overwrite(journal, b"p", b"older", b"x")
    with Writer.open(journal) as writer:
        assert writer.position("older") == b"x"


def test_another_key_is_refused_by_all(journal: Path) -> None:
    path = journal / "KEY"
    kept = path.read_text()
    path.write_text(("1" if kept[0] == "0" else "0") + kept[1:])
    with pytest.raises(days.WrongKeyError):
        Writer.open(journal)
    with pytest.raises(days.WrongKeyError):
        Reader.open(journal)
    assert [part.problems for part in check.check_journal(journal)] == [1]
    path.write_text(kept)
    with Writer.open(journal) as writer:
        assert sums.key_is_known(writer.days.state, bytes.fromhex(kept))
