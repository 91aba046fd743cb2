"""A journal that trackd made of a history whose truth is known (tests/simulation), at rest."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

from journal import days
from journal.keys import day_name, id_day
from journal.reader import Reader
from journal.writer import Writer
from milterd.track import writing
from milterd.track.writing import Bench, Steps, Told
from tests.bench.world import DAY
from tests.simulation.disk import Disk
from tests.simulation.history import History
from tests.simulation.machine import Machine
from tests.simulation.plan import BEGIN_US, plan
from tests.simulation.runner import _differences


class Replayed:
    """The history, its files, and the journal made of them."""

    def __init__(self, folder: Path, *, messages: int, days_long: int = 3, seed: int = 5) -> None:
        calm = replace(
            plan(seed), messages=messages, span_us=days_long * DAY, kills=0, stops=0, imports=0,
            rotation="delaycompress", rotations=2, archived_until_us=0, torn_records=0.0,
            half_lines=0.0, lag_us=(0, 0), mute=(0, 0), deaf=(0, 0), steps=(), strangers=20,
            open_most=20_000, read_bytes=1 << 18, segment_bytes=20_000, turns=0.1,
        )  # fmt: skip
        self.history = History(calm)
        self.random = Random(seed)
        self.disk = Disk(folder, rotation=calm.rotation, segment_bytes=calm.segment_bytes)
        self.machine = Machine(folder, calm, self.disk, self.random)
        self.directory = self.machine.directory
        self.disk.now_us = self.history.clock(BEGIN_US)
        self._pieces = iter(self.history.pieces)
        self._number = 0

    def play(self, count: int = 1 << 60) -> None:
        """So many more pieces of both feeds reach their files, and trackd reads them."""
        rotations = {len(self.history.pieces) // 3, len(self.history.pieces) * 2 // 3}
        for _, piece in zip(range(count), self._pieces, strict=False):
            self._number += 1
            self.disk.now_us = max(self.disk.now_us, self.history.clock(piece.at_us))
            if self._number in rotations:
                self.disk.rotate(0)
            if piece.record is not None:
                self.disk.record(piece.record)
            else:
                self.disk.write(piece.line)
            if self.random.random() < 0.3:
                self.machine.turn()

    def settle(self) -> None:
        """All is read and committed; nothing runs."""
        self.machine.settle()

    def wrong(self) -> list[str]:
        """What the journal does not tell as the history has it; of its counters and indexes, too."""
        return list(_differences(self.directory, self.history.truth))

    def ids(self) -> dict[bytes, tuple[bytes, ...]]:
        """The id of each message, and its queue ids."""
        found = {}
        with Reader.open(self.directory) as reader:
            for message_id, _ in reader.scan():
                message = reader.message(message_id)
                assert message is not None
                found[message_id] = message.queue_ids
        return found

    def fullest(self) -> str:
        """The day with the most messages."""
        counted: dict[int, int] = {}
        for message_id in self.ids():
            counted[id_day(message_id)] = counted.get(id_day(message_id), 0) + 1
        return day_name(max(counted, key=lambda day: counted[day]))

    @contextmanager
    def bench(self) -> Iterator[Bench]:
        """The journal open for writing, as a verb has it."""
        settings = self.machine._settings
        with Writer.open(self.directory) as writer:
            correlator = writing.correlator(settings, writer)
            yield Bench(writer=writer, correlator=correlator, settings=settings, live=False)


@contextmanager
def replayed(folder: Path, *, messages: int = 200, days_long: int = 3) -> Iterator[Replayed]:
    """The whole history, read and at rest; time is the history's within."""
    made = Replayed(folder, messages=messages, days_long=days_long)
    logging.disable(logging.CRITICAL)
    try:
        with made.machine.patched():
            made.machine.start()
            made.play()
            made.settle()
            made.disk.close()
            yield made
    finally:
        logging.disable(logging.NOTSET)


class Kept:
    """A replayed history and a copy of all its files: tests may spoil the one, and get it again."""

    def __init__(self, site: Replayed, folder: Path) -> None:
        self._site = site
        self._folder = folder
        self._whole = folder.with_name("whole")
        shutil.copytree(folder, self._whole)

    def again(self) -> Replayed:
        """As it was at first."""
        shutil.rmtree(self._folder)
        shutil.copytree(self._whole, self._folder)
        return self._site


@contextmanager
def kept(folder: Path, *, messages: int, days_long: int = 3) -> Iterator[Kept]:
    """A history that several tests use, below an existing folder."""
    live = folder / "live"
    live.mkdir()
    with replayed(live, messages=messages, days_long=days_long) as site:
        assert site.wrong() == []
        yield Kept(site, live)


def result(steps: Steps) -> Told:
    """What a task says at its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            told: Told = end.value
            return told


def damage_page(path: Path, number: int, *, page: int = 4096) -> None:
    """Overwrite one page of an environment."""
    with (path / "data.mdb").open("r+b") as file:
        file.seek(number * page)
        file.write(os.urandom(page))


def leaf_pages(path: Path, key_size: int, *, page: int = 4096) -> list[int]:
    """The numbers of the leaf pages whose first key has that size, as the file has them."""
    data = (path / "data.mdb").read_bytes()
    found = []
    for number in range(2, len(data) // page):
        at = number * page
        flags = int.from_bytes(data[at + 10 : at + 12], "little")
        first = at + int.from_bytes(data[at + 16 : at + 18], "little")
        if flags & 2 and int.from_bytes(data[first + 6 : first + 8], "little") == key_size:
            found.append(number)
    return found


def set_aside(directory: Path, name: str) -> Path:
    """As trackd does at its start with a day that kills."""
    days.quarantine(directory, name)
    return directory / (days.BAD + name)
