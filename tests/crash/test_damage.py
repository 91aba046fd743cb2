"""Damaged pages and flipped bits: always found, never shown, and rebuilt from spool and log.

A place anywhere in the journal is damaged, 4 KiB of noise or one bit. ``check`` finds it, or
it lies where nothing is read (a free page, the slack of a used one). A reader shows
rows that are right, or says what is wrong, or dies; it never shows a wrong row. trackd, started
again after a kill, puts aside what it finds and goes on. What only ``check`` finds (index,
change log, counters) is put aside by whoever ran it. Then spool and log give all rows again.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from journal import check, days
from milterd.spool import parse_line
from posttrail.errors import PosttrailError
from posttrail.run import program
from query.httpd.links import Links
from query.httpd.state import State, StateError
from query.httpd.tokens import Tokens
from tests.crash.figures import Clock, tell
from tests.crash.replay import Replay, Told, differences, fates, old_log, take_all, told
from tests.crash.trials import Trials, said_by_child

pytestmark = pytest.mark.integration

PAGE = 4096
STARTS = 4  # of trackd, of which the last must go on
WHOLE = "journal"  # damage that concerns all of it


class Whole(NamedTuple):
    """What is damaged, copy by copy, and what it must come to again."""

    replay: Replay
    yesterday: Path
    truth: Told
    fates: Told


class Trial(NamedTuple):
    """One copy and its damage."""

    place: Path
    seed: int
    is_page: bool


@pytest.fixture(scope="session")
def whole(part: Path, old_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    replay = Replay(part, tmp_path_factory.mktemp("whole"))
    for name in ("mail.log", "spool/current"):
        (replay.directory / name).write_bytes((part / name).read_bytes())
    yesterday = old_logs / "yesterday.log"
    assert replay.bring(yesterday) == 0
    return Whole(replay, yesterday, replay.whole(), fates(replay.journal))


def hurt(file: Path, chance: random.Random, *, is_page: bool) -> None:
    """4 KiB of noise at a multiple of that, or one flipped bit."""
    data = bytearray(file.read_bytes())
    if is_page:
        at = chance.randrange((len(data) + PAGE - 1) // PAGE) * PAGE
        data[at : at + PAGE] = chance.randbytes(len(data[at : at + PAGE]))
    else:
        at = chance.randrange(len(data))
        data[at] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def copied(whole: Whole, place: Path) -> Replay:
    """A journal as trackd leaves it when it is killed, with the same feeds."""
    replay = Replay(whole.replay.directory, place)
    for name in ("mail.log", "spool"):
        target = place / name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()
        target.symlink_to(whole.replay.directory / name)
    shutil.copytree(whole.replay.journal, replay.journal)
    parts = [path.name for path in replay.journal.iterdir() if path.is_dir()]
    (replay.journal / "TOUCHING").write_text("".join(f"{name}\n" for name in parts))
    return replay


def wrong(whole: Whole, trial: Trial) -> list[str]:
    """What is not as promised after a damage."""
    chance = random.Random(trial.seed)
    replay = copied(whole, trial.place)
    files = [path for path in replay.journal.rglob("*") if path.is_file() and path.stat().st_size]
    files = sorted(path for path in files if path.name != "lock.mdb")
    small = [path for path in files if path.name != "data.mdb"]
    large = [path for path in files if path.name == "data.mdb"]
    file = chance.choice(small if chance.random() < 0.1 else large)
    before = file.read_bytes()
    hurt(file, chance, is_page=trial.is_page)
    name = file.relative_to(replay.journal)
    found = checked(replay.journal)
    seen = said_by_child(lambda: reader_says(replay.journal, whole.truth))
    sentences = []
    if not found and seen and name.name != "TOUCHING":
        sentences.append(f"not found by check: {seen}")
    sentences += [text for text in seen if text.startswith("WRONG")]
    if name.name in ("FORMAT", "KEY"):
        sentences += refused(replay, found)
        file.write_bytes(before)  # what the operator does
    sentences += gone_on(whole, replay)
    sentences = [f"{name}: {text}" for text in sentences]
    if not sentences:
        shutil.rmtree(trial.place)
    return sentences


def checked(journal: Path) -> set[str]:
    """The parts in which ``check`` finds something."""
    try:
        return {part.name for part in check.check_journal(journal) if part.problems}
    except PosttrailError:
        return {WHOLE}


def reader_says(journal: Path, truth: Told) -> list[str]:
    """Nothing where the rows are right and whole; what is wrong, with WRONG where it is shown."""
    try:
        rows, _ = told(journal)
    except PosttrailError as error:
        return [str(error)]
    more = Counter(rows) - Counter(truth[0])
    if more:
        return [f"WRONG row shown: {next(iter(more))[:300]}"]
    return [] if len(rows) == len(truth[0]) else ["rows are missing"]


def refused(replay: Replay, found: set[str]) -> list[str]:
    """Without its key or its format nothing is read or written, and a sentence says so."""
    said = said_by_child(lambda: take_all(replay.config))
    if not found:
        return [] if not said else [f"refused, but not by check: {said}"]
    return [] if any("raised" in text for text in said) else ["trackd went on without its key"]


def gone_on(whole: Whole, replay: Replay) -> list[str]:
    """trackd starts, puts aside what is damaged, goes on; with what is rebuilt all is there."""
    said = ["never started"]
    for _ in range(STARTS):
        said = said_by_child(lambda: take_all(replay.config))
        if all(days.is_part(name) for name in said):
            break
    else:
        return [f"trackd does not go on: {said}"]
    found = checked(replay.journal)
    if not said and not found:
        return said_by_child(lambda: differences(told(replay.journal), whole.truth))
    for name in sorted({*said, *found} - {days.STATE}):
        rebuild(replay, name, whole.yesterday)
    if days.STATE in found:
        days.quarantine(replay.journal, days.STATE)
    said = said_by_child(lambda: take_all(replay.config))
    return said or said_by_child(lambda: differences(fates(replay.journal), whole.fates))


def rebuild(replay: Replay, day: str, log: Path) -> dict[str, Any]:
    """What ``posttrail rebuild`` says; the logs that were imported are given to it again."""
    command = (program("posttrail"), "--config", str(replay.config), "rebuild")
    done = subprocess.run(
        (*command, day, str(log), "--format", "json"), capture_output=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["days"][0]
    return found


@pytest.mark.parametrize(
    ("is_page", "count"),
    [
        (True, 3),
        (False, 3),
        pytest.param(True, 200, marks=pytest.mark.soak),
        pytest.param(False, 200, marks=pytest.mark.soak),
    ],
)
def test_damage_is_found_and_mended(
    whole: Whole, tmp_path: Path, is_page: bool, count: int
) -> None:
    clock = Clock()
    trials = Trials[Trial](lambda trial: wrong(whole, trial))
    for seed in range(count):
        trials.begin(f"seed {seed}", Trial(tmp_path / f"trial{seed}", seed, is_page))
    assert trials.end() == []
    kind = "corrupt pages" if is_page else "flipped bits"
    tell(
        f"journal: {count} {kind}: none shown, all found or without effect, "
        f"0 lost and 0 doubled after rebuilding, {clock}"
    )


@pytest.mark.soak
def test_the_time_that_a_rebuild_takes(part: Path, tmp_path: Path) -> None:
    replay = Replay(part, tmp_path / "replay")
    log = tmp_path / "yesterday.log"
    log.write_bytes(old_log(1, messages=40_000))
    assert replay.bring(log) == 0
    truth = fates(replay.journal)
    day = next(path for path in replay.journal.glob("2*") if path.is_dir())
    data = bytearray((day / "data.mdb").read_bytes())
    for at in range(40 * PAGE, len(data), 400 * PAGE):
        data[at : at + PAGE] = random.Random(at).randbytes(PAGE)
    (day / "data.mdb").write_bytes(data)
    found = rebuild(replay, day.name, log)
    assert differences(fates(replay.journal), truth) == []
    rate = found["seconds"] / found["events"] * 1e6
    tell(f"rebuild: {found['events']} events in {found['seconds']:.1f} s: {rate:.0f} s a million")


# -- the spool, and what queryd remembers ------------------------------------------------


def records(data: bytes) -> list[str]:
    """What can be read of a spool's bytes, in order; "" for a line that is damaged."""
    found = [parse_line(raw) for raw in data.splitlines()]
    return ["" if record is None else repr(record) for record in found]


@pytest.mark.parametrize("is_page", [True, False])
@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.soak)])
def test_a_damaged_spool_costs_the_records_in_it_and_shows_none(
    part: Path, tmp_path: Path, count: int, is_page: bool
) -> None:
    whole = (part / "spool" / "current").read_bytes()
    known, file = Counter(records(whole)), tmp_path / "current"
    for seed in range(count):
        file.write_bytes(whole)
        hurt(file, random.Random(seed), is_page=is_page)
        found = records(file.read_bytes())
        assert not set(found) - set(known) - {""}, seed
        assert "" in found, seed
        assert sum(known.values()) - len(list(filter(None, found))) <= (
            PAGE // 100 if is_page else 2
        )
    tell(
        f"spool: {count} {'corrupt pages' if is_page else 'flipped bits'}: each found by its checksum"
    )


@pytest.mark.parametrize("is_page", [True, False])
@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.soak)])
def test_a_damaged_state_is_an_error_with_its_name_or_goes_on(
    tmp_path: Path, count: int, is_page: bool
) -> None:
    """SQLite has no checksums: a flipped bit in a value of it stays unseen, see security.md."""
    path = tmp_path / "state.sqlite"
    state = State(path)
    state.prepare()
    tokens = Tokens(state, delimiters=b"+")
    texts = [tokens.add("operator", label=f"token {number}")[1] for number in range(40)]
    state.close()
    whole, refused = path.read_bytes(), 0
    for seed in range(count):
        for other in tmp_path.iterdir():
            other.unlink()
        path.write_bytes(whole)
        hurt(path, random.Random(seed), is_page=is_page)
        refused += bool(said_by_child(lambda: used(path, texts)))
    tell(
        f"state of queryd: {count} {'corrupt pages' if is_page else 'flipped bits'}: {refused} refused, none fatal"
    )


def used(path: Path, texts: list[str]) -> list[str]:
    """What refuses a use of the state; nothing else may happen."""
    state = State(path)
    tokens, links = Tokens(state, delimiters=b"+"), Links(state, delimiters=b"+")
    try:
        tokens.all()
        for text in texts:
            tokens.caller(text)
        link = links.read(links.mint(b"alice@example.com")[0])
        assert link is not None
        links.use(link)
        state.read(lambda db: db.execute("PRAGMA integrity_check").fetchall())
    except (StateError, sqlite3.IntegrityError) as error:
        return [str(error)]
    return []
