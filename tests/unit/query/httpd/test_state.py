"""query.httpd.state: one file, never in the way for long, never open to others."""

import sqlite3
import time
from pathlib import Path

import pytest

from query.httpd.state import MIGRATIONS, State, StateError


def put(state: State, name: str) -> None:
    state.write(lambda db: db.execute("INSERT INTO secret VALUES (?, x'00')", (name,)))


def names(state: State) -> list[str]:
    return state.read(lambda db: [row[0] for row in db.execute("SELECT name FROM secret")])


def test_what_was_written_is_read_by_another_process(tmp_path: Path) -> None:
    put(State(tmp_path / "state"), "one")
    assert names(State(tmp_path / "state")) == ["one"]


def test_the_file_and_its_log_are_for_nobody_else(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    put(state, "one")
    modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("state", "state-wal", "state-shm"), 0o600)


def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    put(State(tmp_path / "state"), "one")
    (tmp_path / "state").chmod(0o644)
    assert names(State(tmp_path / "state")) == ["one"]
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


def test_nothing_of_a_failed_transaction_stays(tmp_path: Path) -> None:
    state = State(tmp_path / "state")

    def work(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO secret VALUES ('one', x'00')")
        raise KeyError

    with pytest.raises(KeyError):
        state.write(work)
    assert names(state) == []


def test_a_name_that_is_taken_is_told_apart_from_a_broken_file(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    put(state, "one")
    with pytest.raises(sqlite3.IntegrityError):
        put(state, "one")
    put(state, "two")
    assert names(state) == ["one", "two"]


def test_a_locked_file_is_waited_for_so_long_and_reads_go_on(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    put(state, "one")
    other = sqlite3.connect(tmp_path / "state", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    with pytest.raises(StateError, match="locked"):
        state.write(lambda db: db.execute("DELETE FROM secret"), patience_s=0)
    assert time.monotonic() - begun < 0.9  # patience 0 is not the default second
    assert names(state) == ["one"]
    other.execute("ROLLBACK")
    other.close()
    put(state, "two")
    assert names(state) == ["one", "two"]


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(100)])
def test_a_file_that_is_none_is_said_and_a_good_one_is_taken_later(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    state = State(path)
    with pytest.raises(StateError, match=str(path)):
        names(state)
    path.unlink()
    put(state, "one")
    assert names(state) == ["one"]


def test_a_file_that_is_replaced_is_let_go(tmp_path: Path) -> None:
    state, path = State(tmp_path / "state"), tmp_path / "state"
    put(state, "one")
    for each in tmp_path.iterdir():
        each.unlink()
    assert names(state) == []
    put(state, "two")
    assert names(State(path)) == ["two"]


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    made = sqlite3.connect(tmp_path / "state")
    made.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    made.close()
    with pytest.raises(StateError, match="newer than this release"):
        names(State(tmp_path / "state"))


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="No such file"):
        names(State(tmp_path / "no" / "state"))


def test_a_verb_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="start posttrail-queryd once"):
        names(State(tmp_path / "state", create=False))
    assert list(tmp_path.iterdir()) == []
