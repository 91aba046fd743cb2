"""Does the work that callers hand to trackd over its control socket, one after the other.

An import is a job of its own kind; every other verb is a task (``writing``). Whoever drives
``turn`` goes on with other work between two steps. A caller that goes away leaves its job to
be finished; one that waits is served when its turn comes. What is wrong with a job is told to
its caller. Raises DamagedStoreError.
"""

import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Final, Protocol

from journal import retention
from journal.keys import day_of
from journal.store import DamagedStoreError
from journal.writer import Writer
from milterd.track import writing
from milterd.track.bulk import Import, Options, Progress
from milterd.track.compressed import LogFile
from milterd.track.control import VERB, Caller, Door
from milterd.track.correlate import Correlator
from milterd.track.sessions import Sessions
from milterd.track.writing import Bench
from posttrail.config import JOURNALD_UNITS
from posttrail.errors import EX_DATAERR, EX_TEMPFAIL, DataError, PosttrailError, UsageError

log = logging.getLogger(__name__)

STOPPED: Final = "posttrail-trackd was stopped; import again, it goes on where it was"
CUT_SHORT: Final = "posttrail-trackd was stopped in the middle; %s again"


class Job(Protocol):
    """Handed work that is under way."""

    caller: Caller
    stopped: str  # what its caller is told when trackd is stopped

    def step(self) -> bool:
        """Some of the work; False when it is done, and the caller was told so."""

    def save(self) -> None:
        """End early; what was done so far stays, or is as if nothing had been done."""

    def close(self) -> None:
        """Let go of the files."""


class Ourselves(Caller):
    """Who asks for what trackd does of its own accord: the log hears what went wrong."""

    def __init__(self, verb: str, options: dict[str, Any]) -> None:
        self.verb, self.options = verb, options
        self.names = []

    def take_descriptors(self) -> list[int]:
        """There are none."""
        return []

    def tell(self, **said: object) -> None:
        """An end; what was done is in the log already."""
        if "error" in said and said.get("exit") != EX_TEMPFAIL:
            log.error("%s failed: %s", self.verb, said["error"])

    def progress(self, step: dict[str, Any]) -> None:
        """Nobody watches."""

    def flush(self) -> bool:
        """All was heard."""
        return True

    def close(self) -> None:
        """Nothing to close."""


class TaskJob:
    """A verb's generator, driven from step to step."""

    def __init__(self, caller: Caller, bench: Bench) -> None:
        """Raises UsageError for a verb that nobody knows."""
        self.caller = caller
        self.stopped = CUT_SHORT % caller.verb
        if caller.verb not in writing.TASKS:
            raise UsageError(f"posttrail-trackd knows no verb {caller.verb!r}")
        task = writing.task(caller.verb)
        self._raws = [os.fdopen(one, "rb", 0) for one in caller.take_descriptors()]
        files = list(zip(caller.names, self._raws, strict=True))
        self._steps = task(bench, caller.options, files)

    def step(self) -> bool:
        """To the next place where the task lets others go on."""
        try:
            self.caller.progress(next(self._steps))
        except StopIteration as end:
            self.caller.tell(done=end.value)
            return False
        return True

    def save(self) -> None:
        """What a task has committed stays."""
        self._steps.close()

    def close(self) -> None:
        """Let go of the files."""
        self._steps.close()
        for raw in self._raws:
            raw.close()


class ImportJob:
    """One handed import that is under way."""

    stopped = STOPPED

    def __init__(
        self, caller: Caller, correlator: Correlator, writer: Writer, *, keep_days: int
    ) -> None:
        """Raises DataError, UsageError, KeyError or TypeError for what cannot be imported."""
        options = caller.options
        names = {key.encode(): value.encode() for key, value in options["names"].items()}
        wanted = Options(
            host=options["host"],
            timezone=options["timezone"],
            year=options["year"],
            mta=options.get("mta", "auto"),
            names=names,
            units=tuple(options.get("units", JOURNALD_UNITS)),
            again=bool(options.get("again", False)),
        )
        self.caller = caller
        self._correlator = correlator
        self._sessions = Sessions()  # its lines are not of the processes that run now
        self._raws = [os.fdopen(one, "rb", 0) for one in caller.take_descriptors()]
        try:
            files = [_file(name, raw) for name, raw in zip(caller.names, self._raws, strict=True)]
            self._import = Import(files, correlator, writer, wanted)
            if not options["keep"]:
                _refuse_expired(self._import.first_us(), keep_days)
        except BaseException:
            self.close()
            raise
        self._steps: Iterator[Progress] = self._import.steps()

    def step(self) -> bool:
        """A few thousand lines more; False when it is done."""
        correlator = self._correlator
        live, correlator.sessions = correlator.sessions, self._sessions
        try:
            step = next(self._steps, None)
        finally:
            correlator.sessions = live
        if step is not None:
            self.caller.progress(step._asdict())
            return True
        self.caller.tell(done=self._import.summary.plain())
        return False

    def save(self) -> None:
        """End early: what was read is committed, with the place from which to go on."""
        self._import.stop()
        while self.step():
            pass

    def close(self) -> None:
        """Let go of the files."""
        for raw in self._raws:
            raw.close()


class Desk:
    """Takes callers from the door, and does their work."""

    def __init__(self, door: Door, bench: Bench, own: Sequence[Caller] = ()) -> None:
        """``own`` is done where nobody asks for anything."""
        self._own: list[Caller] = list(own)
        self._door = door
        self._bench = bench
        self._job: Job | None = None
        self._leaving: list[Caller] = []  # not everything was said to them yet

    def turn(self) -> bool:
        """The next step of a job, or the next caller; False when there is nothing to do."""
        for left in [caller for caller in self._leaving if caller.flush()]:
            self._leaving.remove(left)
            left.close()
        if self._job is not None:
            if not self._guarded(self._job.caller, self._job.step):
                self._job.close()
                self._leaving.append(self._job.caller)
                self._job = None
            return True
        caller = self._door.accept()
        if caller is None and self._own:
            caller = self._own.pop(0)
        if caller is None:
            return False
        if not self._guarded(caller, lambda: self._begin(caller)):
            self._leaving.append(caller)
        return True

    @property
    def ages(self) -> bool:
        """Whether old days are to forget anything."""
        kept = self._bench.settings.journal
        return bool(kept.hash_after_days or kept.counts_after_days)

    def later(self, verb: str) -> None:
        """Have something done of our own accord, where that is not waiting already."""
        if all(one.verb != verb for one in self._own):
            self._own.append(Ourselves(verb, {}))

    def _begin(self, caller: Caller) -> bool:
        bench = self._bench
        if caller.verb == VERB:
            keep_days = bench.settings.journal.retention_days
            self._job = ImportJob(caller, bench.correlator, bench.writer, keep_days=keep_days)
        else:
            self._job = TaskJob(caller, bench)
        log.info("work begins verb=%s files=%d", caller.verb, len(caller.names))
        return True

    @staticmethod
    def _guarded(caller: Caller, work: Callable[[], bool]) -> bool:
        """Whether there is more to do; what went wrong is told."""
        try:
            return work()
        except PosttrailError as error:
            caller.tell(error=str(error), exit=error.exit_code)
            if isinstance(error, DamagedStoreError):
                raise  # the process must end, the next one puts the day aside
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            caller.tell(error=f"{caller.verb} failed: {error}", exit=EX_DATAERR)
        return False

    def stop(self) -> None:
        """End what is under way; what was done stays."""
        if self._job is not None:
            self._job.caller.tell(error=self._job.stopped, exit=EX_TEMPFAIL)
            try:
                self._job.save()
            except PosttrailError as error:
                log.info("a job was not saved, it must be done again: %s", error)
            self._job.close()
            self._leaving.append(self._job.caller)
        for caller in self._leaving:
            caller.close()
        self._door.close()


def _file(name: str, raw: IO[bytes]) -> LogFile:
    if not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):  # reading it might wait for ever
        raise DataError(f"{name}: not a regular file")
    return LogFile(name, raw)


def _refuse_expired(oldest_us: int, keep_days: int) -> None:
    """A live journal would drop these days at once."""
    if oldest_us and retention.expired(
        [day_of(oldest_us)], day_of(time.time_ns() // 1000), keep_days
    ):
        raise DataError(
            f"the log begins more than {keep_days} days ago, beyond this journal's"
            " retention; --keep imports it all the same"
        )
