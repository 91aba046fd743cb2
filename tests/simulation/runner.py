"""Runs seeds: a history, its feeds through the real tracker with faults, and the comparison.

    python -m tests.simulation SEED [--count N] [--jobs N] [--break NAME] [--keep DIR]

A seed that fails prints itself, its plan, and the smallest message that differs; the same
command with that seed alone does it again, to the letter. Exit codes: 0 every message is as
its history has it, 1 not.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from journal.check import check_part
from journal.days import STATE
from journal.reader import Reader
from journal.records import Status
from tests.bench.scene import Row
from tests.simulation.breakage import BREAKAGES
from tests.simulation.disk import Disk
from tests.simulation.history import History, Told
from tests.simulation.machine import Machine
from tests.simulation.plan import BEGIN_US, Plan, plan

SHM: Final = Path("/dev/shm")


class Outcome(NamedTuple):
    """What one seed came to."""

    seed: int
    wrong: list[str]  # empty: as it must be
    messages: int
    lines: int
    kills: int
    rotations: int


def run(seed: int, *, breaking: str = "", keep: Path | None = None) -> Outcome:
    """Simulate one seed."""
    history = History(plan(seed))
    logging.disable(logging.CRITICAL)
    base = str(SHM) if SHM.is_dir() and os.access(SHM, os.W_OK) else None
    try:
        with (
            tempfile.TemporaryDirectory(prefix="simulation-", dir=base)
            if keep is None
            else nullcontext(str(keep))
        ) as folder:
            return _run(Path(folder), history, breaking)
    finally:
        logging.disable(logging.NOTSET)


def _run(folder: Path, history: History, breaking: str) -> Outcome:
    chosen = history.plan
    random = Random(chosen.seed + 17)
    disk = Disk(folder, rotation=chosen.rotation, segment_bytes=chosen.segment_bytes)
    machine = Machine(folder, chosen, disk, random)
    disk.now_us = history.clock(BEGIN_US)
    with machine.patched(), BREAKAGES[breaking]():
        machine.start()
        _play(folder, history, disk, machine, random)
        machine.settle()
        disk.close()
        wrong = list(_differences(machine.directory, history.truth))
    return Outcome(
        chosen.seed, wrong, len(history.truth), len(history.pieces), machine.kills, disk.rotated
    )


def _play(folder: Path, history: History, disk: Disk, machine: Machine, random: Random) -> None:
    """Both feeds reach their files piece by piece, while everything goes wrong that may."""
    chosen = history.plan
    due = _due(chosen, len(history.pieces), random)
    archive = _archive(folder, history, random)
    down = 0
    for number, piece in enumerate(history.pieces):
        disk.now_us = max(disk.now_us, history.clock(piece.at_us))
        for what in due.get(number, ()):
            if what == "rotate":
                disk.rotate(random.randrange(0, 8))
            elif what == "kill" and machine.up():
                machine.light()
            elif what == "stop" and machine.up():
                machine.stop()
                down = random.choice((0, 3, 40))
            elif what == "import":
                _import(folder, disk, machine, archive, random)
        if piece.record is not None:
            disk.record(piece.record)
        elif random.random() < chosen.half_lines and not disk.late:
            cut = random.randrange(1, len(piece.line))
            disk.write(piece.line[:cut])
            if machine.up():
                machine.turn()
            disk.write(piece.line[cut:])
        else:
            disk.write(piece.line)
        if not machine.up():
            down -= 1
            if down < 0:
                machine.start()
        while machine.up() and random.random() < (0.8 if machine.lit() else chosen.turns):
            machine.turn()
            if not machine.up():
                down = random.choice((0, 1, 5, 60))
    if archive:
        _import(folder, disk, machine, archive, random)


def _due(chosen: Plan, pieces: int, random: Random) -> dict[int, list[str]]:
    """What happens before which piece."""
    due: dict[int, list[str]] = {}
    counts = {
        "rotate": chosen.rotations, "kill": chosen.kills, "stop": chosen.stops,
        "import": chosen.imports,
    }  # fmt: skip
    for what, count in counts.items():
        for _ in range(count):
            due.setdefault(random.randrange(pieces or 1), []).append(what)
    return due


def _archive(folder: Path, history: History, random: Random) -> list[Path]:
    """The old lines in one or two files."""
    lines = history.archive
    if not lines:
        return []
    cut = random.randrange(len(lines)) if random.random() < 0.5 else 0
    paths = []
    for name, part in (("old.log.1", lines[:cut]), ("old.log", lines[cut:])):
        if part:
            path = folder / name
            path.write_bytes(b"".join(part))
            at_us = history.clock(BEGIN_US + history.plan.span_us)
            os.utime(path, ns=(at_us * 1000, at_us * 1000))
            paths.append(path)
    return paths


def _import(
    folder: Path, disk: Disk, machine: Machine, archive: list[Path], random: Random
) -> None:
    """Somebody imports: the old files, one of them, or what is being followed anyway."""
    from tests.simulation.machine import Caller

    files = list(archive)
    if random.random() < 0.5:
        files = [*files, *disk.generations()]
    files = [path for path in files if path.stat().st_size]
    random.shuffle(files)
    copies = []
    for number, path in enumerate(files):  # a rotation must not move them meanwhile
        copy = folder / f"import-{random.getrandbits(40):010x}-{number}{path.suffix}"
        copy.write_bytes(path.read_bytes())
        status = path.stat()
        os.utime(copy, ns=(status.st_mtime_ns, status.st_mtime_ns))
        copies.append(copy)
    if copies:
        machine.callers.waiting.append(Caller(copies))


# -- comparing ----------------------------------------------------------------------------


def _differences(directory: Path, truth: list[Told]) -> Iterator[str]:
    """Messages that are missing (-) or too many (+), the smallest first; then the figures."""
    found = list(_told(directory))
    lost, extra = Counter(truth) - Counter(found), Counter(found) - Counter(truth)
    marked = [("-", one) for one in lost.elements()] + [("+", one) for one in extra.elements()]
    marked.sort(key=lambda pair: (len(pair[1].rows), repr(pair[1])))
    yield from (f"{mark} {one}" for mark, one in marked)
    with Reader.open(directory) as reader:
        counted: Counter[str] = Counter()
        for (status, _), rows in reader.counters().items():
            counted[status] += rows
        rowless = reader.rowless()
        names = [STATE, *reader.days()]
    true = Counter(row.status for one in truth for row in one.rows)
    if +counted != true:
        yield f"counters {dict(+counted)} where the rows are {dict(true)}"
    empty = sum(not one.rows for one in truth)
    if rowless != empty:
        yield f"{rowless} messages without rows counted where there are {empty}"
    for name in names:
        part = check_part(directory, name)
        if part.problems:
            yield f"check of {name}: {part.first_problems}"


def _told(directory: Path) -> Iterator[Told]:
    with Reader.open(directory) as reader:
        for message_id, _ in reader.scan():
            message = reader.message(message_id)
            assert message is not None
            rows = [
                Row(
                    _text(row.recipient), _text(row.final_recipient), Status(row.status).token,
                    row.reason, _text(row.folder), row.attempts,
                )
                for row in message.rows
            ]  # fmt: skip
            yield Told(
                tuple(queue_id.decode() for queue_id in message.queue_ids),
                _text(message.sender),
                _text(message.login),
                _text(message.client_ip),
                _text(message.message_id),
                message.sources,
                tuple(sorted(rows, key=repr)),
            )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


# -- the command line ---------------------------------------------------------------------


def runs(seeds: list[int], *, jobs: int = 1, breaking: str = "") -> Iterator[Outcome]:
    """Many seeds, in several processes."""
    if jobs <= 1:
        for seed in seeds:
            yield run(seed, breaking=breaking)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_Task(breaking), seeds, chunksize=4)


class _Task:
    """``run`` with its switch, for another process."""

    def __init__(self, breaking: str) -> None:
        self._breaking = breaking

    def __call__(self, seed: int) -> Outcome:
        return run(seed, breaking=self._breaking)


def report(outcome: Outcome) -> str:
    """What to print of a seed that failed."""
    lines = [
        f"seed {outcome.seed} FAILED: {len(outcome.wrong)} differences",
        str(plan(outcome.seed)),
    ]
    lines += outcome.wrong[:6]
    return "\n  ".join([*lines, f"again: python -m tests.simulation {outcome.seed}"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("seed", type=int)
    parser.add_argument("--count", type=int, default=1, help="so many seeds from there on")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--break", dest="breaking", default="", choices=sorted(BREAKAGES))
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave files and journal there")
    asked = parser.parse_args()
    begin = time.time()
    failed: list[int] = []
    total: Counter[str] = Counter()
    if asked.keep is not None:
        asked.keep.mkdir(parents=True)
        outcomes: Iterator[Outcome] = iter([run(asked.seed, keep=asked.keep)])
    else:
        jobs = asked.jobs if asked.count > 1 else 1
        seeds = list(range(asked.seed, asked.seed + asked.count))
        outcomes = runs(seeds, jobs=jobs, breaking=asked.breaking)
    for outcome in outcomes:
        total.update(
            seeds=1, messages=outcome.messages, pieces=outcome.lines, kills=outcome.kills,
            rotations=outcome.rotations,
        )  # fmt: skip
        if outcome.wrong:
            failed.append(outcome.seed)
            print(report(outcome), flush=True)
    figures = ", ".join(f"{count:,} {name}" for name, count in total.items())
    print(f"{figures}; {time.time() - begin:.0f} s; failed: {sorted(failed) or 'none'}")
    sys.exit(1 if failed else 0)
