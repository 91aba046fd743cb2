"""kill -9 of posttrail-trackd at random instants: every row and counter as without kills.

Half of the kills are random in time, in the middle of whatever trackd does: its start, a commit,
compaction of yesterday, an import that was handed over. The others come at a system call of a
random number (strace injects them), since the instants between two of these are short.
"""

from __future__ import annotations

import math
import random
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from posttrail.errors import EX_TEMPFAIL
from tests.crash.figures import Clock, tell
from tests.crash.replay import WAIT_S, Piece, Replay, Told, differences, pieces

pytestmark = pytest.mark.integration

PIECE = 40  # lines written at once
RATE = 2_000  # lines a second: what "load" means
KILLS = 20  # in one replay
CALLS = {
    "pwrite64": 150, "pwritev": 40, "fdatasync": 60, "openat": 300, "ftruncate": 6,
    "fsync": 4, "rename": 4, "renameat2": 1, "mkdir": 3, "unlink": 3, "unlinkat": 3,
}  # fmt: skip
"""System calls at which trackd is killed, those that change or make durable what is on disk, and
up to which number of them from its start."""
LONGEST_S = 0.7  # of a start of trackd


def test_the_recorded_feeds_are_worth_replaying(feeds: Path, truth: Told) -> None:
    rows, counters = truth
    assert len(rows) > 1000
    assert len(pieces(feeds)) > 8000
    statuses = {status for status, _ in counters}
    assert statuses >= {"delivered", "in_progress", "filtered", "deferred", "rejected", "error"}


class Killer:
    """trackd under load, killed again and again, while a log is handed to it."""

    def __init__(self, replay: Replay, handed: Path, chance: random.Random) -> None:
        self.replay = replay
        self._handed = handed
        self._chance = chance
        self.kills = 0
        self._done = threading.Event()

    def run(self, todo: list[Piece]) -> None:
        """Until ``KILLS`` kills were made and all is written; at least one turn of the import."""
        feeding = threading.Thread(target=self._feed, args=(todo,))
        handing = threading.Thread(target=self._hand)
        feeding.start()
        handing.start()
        for _ in range(KILLS):
            if self._chance.random() < 0.5:
                self._killed((), self._chance.random() * LONGEST_S)
            else:
                self._killed(self._at_a_call(), LONGEST_S)
            self.kills += 1
        feeding.join()
        handing.join()
        assert self._done.is_set(), "the import never came through"

    def _killed(self, before: tuple[str, ...], wait_s: float) -> None:
        """One start of trackd and its end; again where the import held the journal just then."""
        code = EX_TEMPFAIL
        while code == EX_TEMPFAIL:
            running = self.replay.start(*before)
            try:
                code = running.wait(wait_s)
            except subprocess.TimeoutExpired:
                running.kill()
                code = running.wait()
        assert code == -signal.SIGKILL, self.replay.words()

    def _at_a_call(self) -> tuple[str, ...]:
        """What ends trackd before the nth call of one kind, if it comes so far."""
        kind, most = self._chance.choice(list(CALLS.items()))
        number = math.ceil(most ** self._chance.random())
        inject = f"inject={kind}:signal=KILL:when={number}"
        return ("strace", "-D", "-f", "-qqq", "-o", "/dev/null", "-e", inject)

    def _feed(self, todo: list[Piece]) -> None:
        began = time.monotonic()
        for at in range(0, len(todo), PIECE):
            self.replay.append(todo[at : at + PIECE])
            time.sleep(max(0.0, began + at / RATE - time.monotonic()))  # the pace, no more

    def _hand(self) -> None:
        """``posttrail import`` until one comes through."""
        deadline = time.monotonic() + WAIT_S
        while self.replay.bring(self._handed) != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        if time.monotonic() < deadline:
            self._done.set()


def survived(
    seed: int, *, feeds: Path, old: Path, handed: Path, truth: Told, directory: Path
) -> tuple[int, list[str]]:
    """Kills of one replay, and what differs after it."""
    replay = Replay(feeds, directory / f"replay{seed}", old=old)
    killer = Killer(replay, handed, random.Random(seed))
    killer.run(pieces(feeds))
    return killer.kills, differences(replay.settled(truth), truth)


def test_20_kills_change_nothing(
    feeds: Path, old: Path, old_logs: Path, truth: Told, tmp_path: Path
) -> None:
    assert shutil.which("strace"), "tools/setup dns"
    handed, clock = old_logs / "handed.log", Clock()
    kills, differs = survived(
        1, feeds=feeds, old=old, handed=handed, truth=truth, directory=tmp_path
    )
    assert differs == []
    tell(f"trackd: {kills} kills: 0 lost, 0 doubled, {clock}")


@pytest.mark.soak
def test_500_kills_change_nothing(
    feeds: Path, old: Path, old_logs: Path, truth: Told, tmp_path: Path
) -> None:
    handed, clock = old_logs / "handed.log", Clock()
    one = partial(survived, feeds=feeds, old=old, handed=handed, truth=truth, directory=tmp_path)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(one, range(2, 2 + 500 // KILLS)))
    assert [differs for _, differs in done if differs] == []
    tell(f"trackd: {sum(kills for kills, _ in done)} kills: 0 lost, 0 doubled, {clock}")
