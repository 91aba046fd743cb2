"""Power cuts: what was acknowledged is there, what is there can be opened, and all goes on.

Each program writes under a trace; the trace is played up to a random call, what was not
synced is kept, torn or dropped (``disk``), and what is left is opened. The same
without any sync must lose something, else these tests could not see a loss.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from journal import check
from journal.writer import Writer
from milterd.spool import SpoolWriter, parse_line, segments
from posttrail import config
from query.httpd.state import State
from tests.crash.acked import RECORDS, SEGMENT, mark
from tests.crash.disk import TRACE, Disk, calls
from tests.crash.figures import Clock, tell
from tests.crash.replay import Replay, Told, differences, take_all, told
from tests.crash.trials import Trials

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


class Cut(NamedTuple):
    """The power was cut."""

    place: Path  # what is left
    acked: list[str]
    thorough: bool  # goes on from the feeds, too


def traced(kind: str, directory: Path, *options: str) -> Path:
    """The trace of one of the programs of ``acked``."""
    if shutil.which(TRACE[0]) is None:
        pytest.skip("strace is not installed: tools/setup dns")
    trace = directory / "trace"
    (directory / "disk").mkdir()
    program = (sys.executable, "-m", "tests.crash.acked", kind, str(directory), *options)
    subprocess.run((*TRACE, "-o", str(trace), *program), cwd=ROOT, check=True, timeout=120)
    return trace


def cut(
    directory: Path,
    trace: Path,
    count: int,
    judge: Callable[[Cut], list[str]],
    *,
    thorough: int = 1,
) -> list[str]:
    """What was wrong after ``count`` cuts of the power at random calls; a signal is wrong, too."""
    chance = random.Random(count)
    played = list(calls(trace))
    ours = [n for n, call in enumerate(played) if call.path.startswith(f"{directory}/disk/")]
    instants = Counter(chance.choice(ours) for _ in range(count))
    disk, acked = Disk(directory / "disk"), list[str]()

    def judge_and_clear(trial: Cut) -> list[str]:
        wrong = judge(trial)
        if not wrong:
            shutil.rmtree(trial.place)
        return wrong

    trials = Trials(judge_and_clear)
    for number, call in enumerate(played):
        disk.play(call)
        if call.path == f"{directory}/acked" and call.name == "write":
            acked.append(call.data.decode().strip())
        for _ in range(instants[number]):
            place = directory / f"cut{trials.begun}"
            disk.write_out(place, chance)
            trials.begin(place.name, Cut(place, list(acked), trials.begun % thorough == 0))
    return trials.end()


# -- the journal -------------------------------------------------------------------------


def journal_cut(
    part: Path, directory: Path, count: int, *options: str, thorough: int = 1
) -> list[str]:
    """What was wrong with the journal after so many cuts."""
    replay = Replay(part, directory)
    (directory / "feeds").symlink_to(part)
    text = replay.config.read_text()
    text = text.replace(f'"{directory}/journal"', f'"{directory}/disk/journal"')
    replay.config.write_text(text)
    trace = traced("journal", directory, *options)
    truth = told(directory / "disk" / "journal")

    def judge(trial: Cut) -> list[str]:
        return journal_wrong(trial, text, directory, truth)

    return cut(directory, trace, count, judge, thorough=thorough)


def journal_wrong(trial: Cut, text: str, directory: Path, truth: Told) -> list[str]:
    journal = trial.place / "journal"
    file = trial.place / "posttrail.toml"
    file.write_text(text.replace(f"{directory}/disk/", f"{trial.place}/"))
    wrong = []
    with Writer.open(config.load(file).journal.directory) as writer:
        wrong += [f"put aside: {name}" for name in writer.bad_days]
        for line in trial.acked:
            id, _, marks = line.partition(" ")
            record = writer.get(bytes.fromhex(id))
            have = {str(mark(event)) for event in record.events} if record else set()
            if not have >= set(filter(None, marks.split(","))):
                wrong.append(f"lost: {line[:80]}")
                break
    if trial.thorough and not wrong:
        take_all(file)
        wrong += differences(told(journal), truth)
        for each in check.check_journal(journal):
            wrong += each.first_problems
    return wrong


@pytest.mark.parametrize(
    ("count", "thorough"), [(12, 6), pytest.param(400, 2, marks=pytest.mark.soak)]
)
def test_a_journal_outlasts_power_cuts(
    part: Path, tmp_path: Path, count: int, thorough: int
) -> None:
    clock = Clock()
    assert journal_cut(part, tmp_path, count, thorough=thorough) == []
    tell(f"journal: {count} power cuts: {count} opened, 0 acknowledged events lost, {clock}")


@pytest.mark.parametrize("count", [8, pytest.param(200, marks=pytest.mark.soak)])
def test_a_journal_without_sync_does_not(part: Path, tmp_path: Path, count: int) -> None:
    wrong = journal_cut(part, tmp_path, count, "--no-sync")
    failed = {text.partition(":")[0] for text in wrong}
    tell(f"journal without sync, the control: {count} power cuts: {len(failed)} failed")
    assert len(failed) > count // 2


# -- the spool ---------------------------------------------------------------------------


def spool_wrong(trial: Cut) -> list[str]:
    directory = trial.place / "spool"
    acked = int(trial.acked[-1]) if trial.acked else 0
    SpoolWriter(directory, segment_bytes=SEGMENT).close()  # the next start: no exception
    found: list[int] = []
    for path in [*segments(directory), directory / "current"]:
        found += [
            record["n"]
            for raw in path.read_bytes().splitlines()
            if (record := parse_line(raw)) is not None
        ]
    wrong = [] if found == sorted(set(found)) else ["doubled or disordered"]
    missing = set(range(acked)) - set(found)
    return wrong + ([f"lost {sorted(missing)[:5]}"] if missing else [])


@pytest.mark.parametrize("count", [15, pytest.param(400, marks=pytest.mark.soak)])
def test_a_spool_outlasts_power_cuts(tmp_path: Path, count: int) -> None:
    clock = Clock()
    trace = traced("spool", tmp_path)
    assert len(segments(tmp_path / "disk" / "spool")) > RECORDS // 20
    assert cut(tmp_path, trace, count, spool_wrong) == []
    tell(f"spool: {count} power cuts: 0 synced records lost, {clock}")


def test_a_spool_without_sync_does_not(tmp_path: Path) -> None:
    assert cut(tmp_path, traced("spool", tmp_path, "--no-sync"), 10, spool_wrong) != []


# -- what posttrail-queryd remembers -----------------------------------------------------


def state_wrong(trial: Cut) -> list[str]:
    kept = State(trial.place / "state.sqlite")
    wrong = list[str]()

    def look(db: sqlite3.Connection) -> None:
        wrong.extend(row[0] for row in db.execute("PRAGMA integrity_check") if row[0] != "ok")
        nonces = {row[0].hex() for row in db.execute("SELECT value FROM nonce")}
        tokens = {row[0]: row[1] for row in db.execute("SELECT id, revoked_s FROM token")}
        for line in trial.acked:
            kind, name = line.split()
            if not (name in nonces if kind == "nonce" else name in tokens):
                wrong.append(f"lost: {line}")
            elif kind == "revoked" and tokens[name] is None:
                wrong.append(f"valid again: {line}")

    kept.read(look)
    kept.close()
    return wrong[:3]


@pytest.mark.parametrize("count", [15, pytest.param(400, marks=pytest.mark.soak)])
def test_tokens_and_used_links_outlast_power_cuts(tmp_path: Path, count: int) -> None:
    clock = Clock()
    assert cut(tmp_path, traced("state", tmp_path), count, state_wrong) == []
    tell(f"state of queryd: {count} power cuts: 0 tokens, used links or revocations lost, {clock}")
