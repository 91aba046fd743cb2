"""posttrail-trackd under a simulated clock, killed and started again at the worst moments.

Everything is the real code: Follower, Intake, Correlator, Writer, LMDB, Desk and Import, put
together by ``milterd.track.main.make``. Doubles are: time; the control socket's callers;
and a kill, which here is an exception at the chosen instruction, after which all that a
process holds in memory is thrown away (tests/crash kills real processes).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, cast
from unittest.mock import patch

from journal.store import Store
from journal.writer import Writer
from milterd.track import bulk, main, source, tracker
from milterd.track.control import Door
from milterd.track.follow import Follower
from milterd.track.intake import Intake
from posttrail import config
from tests.bench.world import LOCAL_DOMAINS
from tests.simulation.disk import Disk
from tests.simulation.plan import Plan

HOST: Final = "mx1.example.com"


class Killed(BaseException):
    """kill -9."""


class Caller:
    """``posttrail import`` at the control socket."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.verb = "import"
        self.names = [str(path) for path in paths]
        self.options: dict[str, Any] = {
            "host": HOST, "timezone": "UTC", "year": None, "mta": "auto", "names": {}, "keep": True,
        }  # fmt: skip
        self.told: dict[str, object] = {}

    def take_descriptors(self) -> list[int]:
        return [os.open(path, os.O_RDONLY) for path in self.paths]

    def tell(self, **said: object) -> None:
        self.told.update(said)

    def progress(self, step: object) -> None: ...

    def flush(self) -> bool:
        return True

    def close(self) -> None: ...


class Callers:
    """The door they come through."""

    def __init__(self) -> None:
        self.waiting: list[Caller] = []
        self._inside: Caller | None = None

    def accept(self) -> Caller | None:
        if self._inside is not None and self._inside.told:
            assert "done" in self._inside.told, self._inside.told
            self._inside = None
        if self._inside is None and self.waiting:
            self._inside = self.waiting.pop(0)
            return self._inside
        return None

    def killed(self) -> None:
        """The import that was under way comes again: its user sees no answer."""
        if self._inside is not None and "done" not in self._inside.told:
            self.waiting.insert(0, Caller(self._inside.paths))
        self._inside = None

    @property
    def busy(self) -> bool:
        return bool(self.waiting) or (self._inside is not None and not self._inside.told)

    def close(self) -> None: ...


class Machine:
    """The program, up or down, and the clock."""

    def __init__(self, folder: Path, plan: Plan, disk: Disk, random: Random) -> None:
        self._plan = plan
        self._disk = disk
        self._random = random
        self.callers = Callers()
        self.directory = folder / "journal"
        self._settings = config.Config(
            journal=config.Journal(directory=self.directory),
            milter=config.Milter(spool=disk.spool),
            log=config.Log(files=(disk.log,), timezone="UTC"),
            mta=config.Mta(host=HOST, local_domains=LOCAL_DOMAINS),
            run=config.Run(directory=folder),
        )
        self._monotonic = 100_000.0
        self._writer: Writer | None = None
        self._tracker: tracker.Tracker | None = None
        self._fuse: tuple[str, int] | None = None
        self.kills = 0

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Time is ours, limits are the plan's, and a kill may come anywhere."""
        plan = self._plan
        follower = partial(Follower, clock=lambda: self._monotonic)
        with (
            patch.object(time, "monotonic", lambda: self._monotonic),
            patch.object(time, "time_ns", lambda: self._disk.now_us * 1000),
            patch.object(main, "Follower", follower),
            patch.object(tracker, "OPEN_MOST", plan.open_most),
            patch.object(source, "READ_BYTES", plan.read_bytes),
            patch.object(bulk, "OPEN_MOST", min(plan.open_most, 50)),
            patch.object(bulk, "BATCH", 10),
            patch.object(bulk, "STEP_LINES", 40),
            patch.object(Store, "apply", self._dangerous("apply", Store.apply)),
            patch.object(Intake, "take", self._dangerous("take", Intake.take)),
        ):
            yield

    def _dangerous(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, in which (before or behind it) a fuse may burn down."""

        def wrapped(*arguments: Any, **options: Any) -> Any:
            if self._burns(f"{name}<"):
                raise Killed
            found = method(*arguments, **options)
            if self._burns(f"{name}>"):
                raise Killed
            return found

        return wrapped

    def _burns(self, place: str) -> bool:
        if self._fuse is None or self._fuse[0] != place:
            return False
        self._fuse = (place, self._fuse[1] - 1)
        return self._fuse[1] <= 0

    # -- up and down ------------------------------------------------------------------

    def up(self) -> bool:
        """Whether the program runs."""
        return self._tracker is not None

    def start(self) -> None:
        """Begin with an empty memory."""
        try:
            self._writer = Writer.open(self.directory)
            self._tracker = main.make(self._settings, self._writer, cast(Door, self.callers))
        except Killed:
            self.crash()

    def crash(self) -> None:
        """All that was in memory is gone."""
        self._fuse = None
        self.kills += 1
        if self._tracker is not None:
            for each in self._tracker._sources:
                each.follower.close()
            desk = self._tracker._desk
            if desk is not None and desk._job is not None:
                desk._job.close()
        if self._writer is not None:
            self._writer.close()
        self._writer = self._tracker = None
        self.callers.killed()

    def stop(self) -> None:
        """SIGTERM."""
        assert self._tracker is not None
        assert self._writer is not None
        try:
            self._tracker.stop()
        except Killed:
            self.crash()
            return
        self._writer.close()
        self._writer = self._tracker = None
        self.callers.killed()

    def light(self) -> None:
        """A kill comes soon: in a commit (before or behind one of its parts) or at a line."""
        place = self._random.choice(("apply<", "apply>", "apply>", "take<", "take>"))
        most = 6 if place.startswith("apply") else 30
        self._fuse = (place, self._random.randrange(1, most))

    def lit(self) -> bool:
        """Whether a kill is due."""
        return self._fuse is not None

    # -- running ----------------------------------------------------------------------

    def turn(self) -> bool:
        """One round; False when there was nothing to do, or the program was killed."""
        self._monotonic += self._random.choice((0.001, 0.02, 0.12, 1.1))
        if not self._disk.late and self._random.random() < 0.02:
            self._monotonic += 40.0
        assert self._tracker is not None
        try:
            return self._tracker.turn()
        except Killed:
            self.crash()
            return False

    def settle(self) -> None:
        """Go on until everything is read, imported and committed."""
        self._fuse = None
        if not self.up():
            self.start()
        idle = 0
        while idle < 4:
            idle = 0 if self.turn() or self.callers.busy else idle + 1
        self.stop()
