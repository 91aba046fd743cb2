"""kill -9 of posttrail-trackd at random instants: every row and counter as without kills."""

import json
import math
import random
import signal
import subprocess
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from journal.reader import Reader
from journal.writer import Writer
from milterd import spool
from milterd.track.main import make
from posttrail import config
from posttrail.run import program

PIECE = 40  # lines written at once
RATE = 2_000  # lines a second: what "load" means
WAIT_S = 60.0

Told = tuple[list[str], dict[tuple[str, str], int]]


class Piece(NamedTuple):
    """Bytes to append to one of the two files."""

    at_us: int
    file: str
    data: bytes


def pieces(feeds: Path) -> list[Piece]:
    """Both feeds as one stream, each source in its own order, the two by their stamps."""
    found = []
    for raw in (feeds / "mail.log").read_bytes().splitlines(keepends=True):
        found.append(Piece(_stamp(raw), "mail.log", raw))
    for path in [*spool.segments(feeds / "spool"), feeds / "spool" / "current"]:
        for raw in path.read_bytes().splitlines(keepends=True):
            record = spool.parse_line(raw)
            assert record is not None
            found.append(Piece(record.get("end") or record["at"], "spool/current", raw))
    latest = {"mail.log": 0, "spool/current": 0}
    for number, piece in enumerate(found):  # a source's own order is the truth
        latest[piece.file] = max(latest[piece.file], piece.at_us)
        found[number] = piece._replace(at_us=latest[piece.file])
    return sorted(found, key=lambda piece: piece.at_us)


def _stamp(raw: bytes) -> int:
    """The RFC 3164 or RFC 3339 stamp of a line, near enough to interleave by."""
    try:
        return int(datetime.fromisoformat(raw.split(b" ", 1)[0].decode()).timestamp() * 1e6)
    except ValueError:
        year = datetime.now().astimezone().year
        text = f"{year} {raw[:15].decode()}"
        return int(datetime.strptime(text, "%Y %b %d %H:%M:%S").astimezone().timestamp() * 1e6)


class Replay:
    """One journal that trackd fills from two files that grow."""

    def __init__(self, feeds: Path, directory: Path) -> None:
        self.directory = directory
        (directory / "spool").mkdir(parents=True)
        (directory / "mail.log").touch()
        (directory / "spool" / "current").touch()
        settings = config.load(feeds / "posttrail.toml")
        mta: dict[str, object] = {
            "host": settings.mta.host,
            "local_domains": list(settings.mta.local_domains),
        }
        tables: dict[str, dict[str, object]] = {
            "journal": {"directory": str(directory / "journal")},
            "milter": {"spool": str(directory / "spool")},
            "log": {"files": [str(directory / "mail.log")]},
            "mta": mta,
            "run": {"directory": str(directory)},
        }
        self.config = directory / "posttrail.toml"
        self.config.write_text(
            "".join(
                f"[{name}]\n"
                + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
                for name, table in tables.items()
            )
        )

    def append(self, batch: list[Piece]) -> None:
        for piece in batch:
            with (self.directory / piece.file).open("ab") as file:
                file.write(piece.data)

    def start(self) -> subprocess.Popen[bytes]:
        command = (program("posttrail-trackd"), "--config", str(self.config))
        with (self.directory / "trackd.log").open("ab") as log:
            return subprocess.Popen(command, stderr=log)

    def stop(self, running: subprocess.Popen[bytes]) -> None:
        """End trackd as systemd does; it may not have got as far as to take the signal."""
        running.terminate()
        code = running.wait(WAIT_S)
        assert code in (0, -signal.SIGTERM), (self.directory / "trackd.log").read_text()

    def settled(self, truth: Told) -> Told:
        """What a last trackd makes of all that is left to read."""
        running = self.start()
        deadline = time.monotonic() + WAIT_S
        while self.told() != truth and time.monotonic() < deadline:
            time.sleep(0.2)
        self.stop(running)
        return self.told()

    def told(self) -> Told:
        """All rows and counters; ids differ from journal to journal and are left out."""
        if not (self.directory / "journal" / "FORMAT").exists():
            return [], {}
        reader = Reader.open(self.directory / "journal")
        try:
            records = [reader.record(id) for id, _ in reader.scan(0, 1 << 62)]
            told = [
                repr((record.message._replace(id=b""), record.events, record.dropped))
                for record in records
                if record is not None
            ]
            return sorted(told), reader.counters()
        finally:
            reader.close()

    def whole(self) -> Told:
        """What one tracker in this process makes of everything at once."""
        settings = config.load(self.config)
        with Writer.open(settings.journal.directory) as writer:
            tracker = make(settings, writer)
            while tracker.turn():
                pass
            tracker.stop()
        return self.told()


@pytest.fixture(scope="session")
def truth(feeds: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    replay = Replay(feeds, tmp_path_factory.mktemp("truth"))
    replay.append(pieces(feeds))
    return replay.whole()


def test_the_recorded_feeds_are_worth_replaying(feeds: Path, truth: Told) -> None:
    rows, counters = truth
    assert len(rows) > 1000
    assert len(pieces(feeds)) > 8000
    statuses = {status for status, _ in counters}
    assert statuses >= {"delivered", "in_progress", "filtered", "deferred", "rejected", "error"}


def killed(replay: Replay, todo: list[Piece], count: int, chance: random.Random) -> None:
    """Feed at the pace of load, and kill trackd ``count`` times at random instants."""
    kills = iter(sorted(chance.sample(range(len(todo)), count)))
    following = next(kills, math.inf)
    running = replay.start()
    began = time.monotonic()
    for at in range(0, len(todo), PIECE):
        replay.append(todo[at : at + PIECE])
        while following < at + PIECE:
            running.kill()
            running.wait()
            running = replay.start()
            following = next(kills, math.inf)
        time.sleep(max(0.0, began + at / RATE - time.monotonic()))  # the pace, no more
    replay.stop(running)


def differences(told: Told, truth: Told) -> list[str]:
    """Rows that are missing or too many, and counters that differ; the first of them, cut."""
    rows = Counter(told[0])
    rows.subtract(truth[0])
    found = [f"{count:+d} {row}" for row, count in rows.items() if count]
    found += [f"counter {item}" for item in told[1].items() ^ truth[1].items()]
    return [text[:2000] for text in found[:4]]


def test_20_kills_change_nothing(feeds: Path, truth: Told, tmp_path: Path) -> None:
    replay = Replay(feeds, tmp_path / "replay")
    killed(replay, pieces(feeds), 20, random.Random(1))
    assert differences(replay.settled(truth), truth) == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_200_kills_change_nothing(feeds: Path, truth: Told, tmp_path: Path, seed: int) -> None:
    replay = Replay(feeds, tmp_path / "replay")
    killed(replay, pieces(feeds), 20, random.Random(seed))
    assert differences(replay.settled(truth), truth) == []
