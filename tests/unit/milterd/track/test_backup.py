"""A backup of a journal that is being written, restored, goes on as if nothing had been."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from journal import backup, manifest, restore
from journal.check import check_journal
from journal.reader import Reader
from journal.writer import Writer, WriterBusyError
from posttrail.errors import (
    DataError,
    JournalFormatError,
    TryAgainError,
    UnavailableError,
    UsageError,
)
from posttrail.run import program
from tests.unit.milterd.track.replayed import (
    Kept,
    Replayed,
    damage_page,
    kept,
    leaf_pages,
)

ROOT = Path(__file__).resolve().parents[4]


def backed_up(journal: Path, directory: Path, *, keep: int = 7) -> backup.Done:
    *_, done = backup.backup(journal, directory, queryd=None, keep=keep)
    assert isinstance(done, backup.Done)
    return done


def restored(directory: Path, journal: Path, *, replace: bool = False) -> restore.Done:
    *_, done = restore.restore(directory, journal, replace=replace, group=None, queryd=None)
    assert isinstance(done, restore.Done)
    return done


def holds(schema: str, done: backup.Done | restore.Done) -> None:
    told = json.loads((ROOT / f"docs/schema/{schema}.json").read_text())
    Draft202012Validator(told).validate(asdict(done))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with kept(tmp_path_factory.mktemp("site"), messages=60) as made:
        yield made


@pytest.fixture
def site(played: Kept) -> Replayed:
    """At rest, with a sound journal."""
    return played.again()


def messages(journal: Path) -> set[object]:
    with Reader.open(journal) as reader:
        return {reader.message(message_id) for message_id, _ in reader.scan()}


def test_a_backup_in_the_middle_of_a_replay_goes_on_to_the_truth(tmp_path: Path) -> None:
    folder, shelf = tmp_path / "live", tmp_path / "shelf"
    folder.mkdir()
    made = Replayed(folder, messages=40)
    with made.machine.patched():
        made.machine.start()
        pieces = len(made.history.pieces)
        made.play(pieces // 3)
        beside(made.directory, shelf)  # trackd has it open
        made.play(pieces // 3)
        beside(made.directory, shelf)
        made.play(pieces // 6)
        made.machine.stop()
        assert restored(shelf, made.directory, replace=True).aside is not None
        made.machine.start()
        made.play()
        made.settle()
        made.disk.close()
        assert made.wrong() == []


def test_a_restored_journal_is_the_one_that_was_backed_up(site: Replayed, tmp_path: Path) -> None:
    before = messages(site.directory)
    done = backed_up(site.directory, tmp_path / "shelf")
    holds("backup", done)
    elsewhere = tmp_path / "lib" / "journal"
    elsewhere.parent.mkdir()
    back = restored(tmp_path / "shelf", elsewhere)
    holds("restore", back)
    assert messages(elsewhere) == before
    assert back.messages == sum(part.messages for part in check_journal(elsewhere))
    assert back.aside is None
    for name in ("KEY", "FORMAT"):
        assert (elsewhere / name).read_text() == (site.directory / name).read_text()
    with Writer.open(elsewhere) as writer, Writer.open(site.directory) as other:
        name = f"log {site.disk.log}"
        assert writer.position(name) == other.position(name) != None  # noqa: E711 - a chain


def test_what_did_not_change_is_linked_and_costs_nothing(site: Replayed, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    first = backed_up(site.directory, shelf)
    with site.bench() as bench:
        bench.writer.set_context("touched", b"1")
        bench.writer.commit()
    second = backed_up(site.directory, shelf)
    assert second.copied == ["state"]
    assert sorted(second.linked) == sorted(set(first.copied) - {"state"})
    for name in second.linked:
        pair = [Path(one.directory, "journal", name, "data.mdb") for one in (first, second)]
        assert pair[0].samefile(pair[1])
    assert messages(restored_at(shelf, tmp_path)) == messages(site.directory)


def beside(journal: Path, directory: Path) -> None:
    """By a process of its own: this one is trackd."""
    done = subprocess.run(
        [program("posttrail"), "--journal", str(journal), "backup", str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "copied" in done.stdout


def restored_at(shelf: Path, tmp_path: Path) -> Path:
    journal = tmp_path / "lib" / "journal"
    journal.parent.mkdir(exist_ok=True)
    restored(shelf, journal)
    return journal


def test_older_backups_go_one_by_one(site: Replayed, tmp_path: Path) -> None:
    made = [backed_up(site.directory, tmp_path, keep=2).directory for _ in range(4)]
    assert [str(path) for path in manifest.whole(tmp_path)] == made[-2:]
    assert sorted(os.listdir(tmp_path)) == sorted([".lock", *(Path(one).name for one in made[-2:])])


def test_a_backup_that_is_cut_leaves_the_good_one(
    site: Replayed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = backed_up(site.directory, tmp_path)
    monkeypatch.setattr(backup._Backup, "_is_unchanged", lambda *_: False)
    for stop_after in range(1, len(good.copied) + 1):
        steps = backup.backup(site.directory, tmp_path, queryd=None, keep=1)
        for _ in range(stop_after):
            next(steps)
        del steps
        assert [str(path) for path in manifest.whole(tmp_path)] == [good.directory]
    restored_at(tmp_path, tmp_path)


def test_two_backups_at_once_are_refused(site: Replayed, tmp_path: Path) -> None:
    steps = backup.backup(site.directory, tmp_path, queryd=None, keep=1)
    next(steps)
    with pytest.raises(TryAgainError, match="another backup"):
        backed_up(site.directory, tmp_path)


def test_a_damaged_day_ends_the_backup_and_not_the_process(site: Replayed, tmp_path: Path) -> None:
    path = site.directory / site.fullest()
    for number in range(2, (path / "data.mdb").stat().st_size // 4096):
        damage_page(path, number)
    with pytest.raises(UnavailableError, match=f"{path.name} cannot be copied"):
        backed_up(site.directory, tmp_path)
    assert manifest.whole(tmp_path) == []


def test_no_room_is_told_before_anything_is_written(
    site: Replayed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_RESERVE", 1 << 60)
    with pytest.raises(TryAgainError, match="bytes are needed"):
        backed_up(site.directory, tmp_path)
    assert manifest.whole(tmp_path) == []


def test_restore_refuses_what_would_harm(site: Replayed, tmp_path: Path) -> None:
    done = backed_up(site.directory, tmp_path)
    before = messages(site.directory)
    with pytest.raises(UsageError, match="not empty; --replace"):
        restored(tmp_path, site.directory)
    with site.bench(), pytest.raises(WriterBusyError):
        restored(tmp_path, site.directory, replace=True)
    with pytest.raises(DataError, match="no whole backup"):
        restored(tmp_path / "nothing", site.directory, replace=True)
    listed = Path(done.directory, manifest.MANIFEST)
    told: dict[str, Any] = json.loads(listed.read_text())
    listed.write_text(json.dumps({**told, "journal_format": 2}))
    with pytest.raises(JournalFormatError) as caught:
        restored(tmp_path, site.directory, replace=True)
    assert caught.value.exit_code == 78
    listed.write_text(json.dumps({**told, "files": {**told["files"], "journal/../../x": {}}}))
    with pytest.raises((DataError, KeyError)):
        restored(tmp_path, site.directory, replace=True)
    listed.write_text(json.dumps(told))
    data = Path(done.directory, "journal", site.fullest(), "data.mdb")
    damage_page(data.parent, leaf_pages(data.parent, 6)[0])
    with pytest.raises(DataError, match="checksum"):
        restored(tmp_path, site.directory, replace=True)
    data.unlink()
    with pytest.raises(DataError, match="missing"):
        restored(tmp_path, site.directory, replace=True)
    assert messages(site.directory) == before


def test_a_damaged_backup_with_a_right_checksum_is_found_by_the_check(
    site: Replayed, tmp_path: Path
) -> None:
    done = backed_up(site.directory, tmp_path)
    before = messages(site.directory)
    relative = f"journal/{site.fullest()}/data.mdb"
    data = Path(done.directory, relative)
    damage_page(data.parent, leaf_pages(data.parent, 6)[0])
    listed = Path(done.directory, manifest.MANIFEST)
    told = json.loads(listed.read_text())
    told["files"][relative] |= manifest.sum_of(data)
    listed.write_text(json.dumps(told))
    with pytest.raises(UnavailableError, match="the journal stays as it is"):
        restored(tmp_path, site.directory, replace=True)
    assert messages(site.directory) == before


KILLED = """
import sys
from pathlib import Path
from journal import backup, manifest, restore
shelf, journal, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
print("up", flush=True)
if what == "backup":
    list(backup.backup(journal, shelf, queryd=None, keep=2))
else:
    list(restore.restore(shelf, journal, replace=True, group=None, queryd=None))
"""


def kills(site: Replayed, tmp_path: Path, what: str, count: int) -> None:
    """kill -9 at instants spread over the whole run; a good backup and a sound journal stay."""
    shelf = tmp_path / "shelf"
    backed_up(site.directory, shelf)
    before = messages(site.directory)
    command = [sys.executable, "-c", KILLED, str(shelf), str(site.directory), what]
    for number in range(count):
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as running:
            assert running.stdout is not None
            running.stdout.readline()
            try:
                running.wait(0.005 + 0.4 * number / count)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
        found = manifest.whole(shelf)
        assert found
        for one in found:
            files = manifest.read(one)["files"]
            assert all(manifest.is_as_told(one / name, told) for name, told in files.items())
        assert messages(site.directory) == before
    backed_up(site.directory, shelf)
    restored(shelf, site.directory, replace=True)
    assert messages(site.directory) == before


@pytest.mark.parametrize("what", ["backup", "restore"])
def test_a_kill_at_any_instant_costs_nothing(site: Replayed, tmp_path: Path, what: str) -> None:
    kills(site, tmp_path, what, 3)


@pytest.mark.soak
@pytest.mark.parametrize("what", ["backup", "restore"])
def test_many_kills_cost_nothing(site: Replayed, tmp_path: Path, what: str) -> None:
    kills(site, tmp_path, what, 200)
