"""Verbs that write: here where the journal is free, else by the trackd that holds it.

A verb's work is a *task*, a generator function of its own module. It yields what progress it
makes (plain data; each time others may go on: a few tens of milliseconds apart) and returns
what it did (plain data, too). In trackd the correlator is the live one: a task that changes
records must ``settle`` the bench first, after each step in which others went on.

Raises what the task raises; TryAgainError where another process writes and takes no work.
"""

import grp
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, Final, cast

from journal.locality import Locality
from journal.writer import Writer, WriterBusyError
from milterd.track.control import ask
from milterd.track.correlate import Correlator
from milterd.track.sessions import IMPORTED, LIVE, Sessions
from posttrail.config import Config

if TYPE_CHECKING:  # trackd needs no command line
    from posttrail.cli import Globals

Told = dict[str, Any]
Steps = Generator[Told, None, Told]
Files = Sequence[tuple[str, IO[bytes]]]

ERASE_AGAIN: Final = "erase again"
"""Ends the erasures that were begun, whosever they are."""

AGE: Final = "age"
"""What trackd does once an hour of its own accord."""

TASKS: Final[dict[str, str]] = {
    "prune": "milterd.track.prune:task",
    "rebuild": "milterd.track.rebuild:task",
    "erase": "milterd.track.erase:erase",
    AGE: "milterd.track.aging:age",
    ERASE_AGAIN: "milterd.track.erase:resumed",
}
"""Verb to "module:function"; imported on use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a task works with."""

    writer: Writer
    correlator: Correlator
    settings: Config
    live: bool  # in trackd, which follows log and spool meanwhile

    def settle(self) -> None:
        """Nothing that was read is in memory alone, and memory holds no record."""
        self.correlator.flush()
        self.writer.commit()
        self.correlator.evict(0)

    def sessions(self) -> Iterator[tuple[str, Sessions]]:
        """What open sessions told, wherever it is kept, by the names of its contexts."""
        for name in (LIVE, IMPORTED):
            if self.live and name == LIVE:
                yield name, self.correlator.sessions
            elif saved := self.writer.context(name):
                sessions = Sessions()
                sessions.load(saved)
                yield name, sessions


Task = Callable[[Bench, Mapping[str, Any], Files], Steps]


def task(verb: str) -> Task:
    """The generator function of a verb; KeyError where it has none."""
    module, _, name = TASKS[verb].partition(":")
    return cast(Task, getattr(import_module(module), name))


def carried_out(
    options: "Globals", verb: str, wanted: Told, *, files: Files = ()
) -> Iterator[tuple[Told, bool]]:
    """Do a verb's work here or have it done; (progress, False) each, (what was done, True) last."""
    with ExitStack() as stack:
        writer = take(options)
        whole = [(name, stack.enter_context(regular(raw))) for name, raw in files]
        if writer is None:
            opened = [(name, raw.fileno()) for name, raw in whole]
            control = options.config.control_socket_of(options.journal)
            for answer in ask(control, verb, wanted, files=opened):
                done = "done" in answer
                yield answer["done" if done else "progress"], done
            return
        stack.enter_context(writer)
        bench = Bench(
            writer=writer,
            correlator=correlator(options.config, writer),
            settings=options.config,
            live=False,
        )
        steps = task(verb)(bench, wanted, whole)
        ended = False
        while not ended:
            try:
                told = next(steps)
            except StopIteration as end:
                told, ended = end.value, True
            yield told, ended


def take(options: "Globals") -> Writer | None:
    """The journal, open for writing; None where another process writes."""
    try:
        return Writer.open(
            options.journal,
            group=_group(options.config.journal.group),
            delimiters=options.config.query.delimiters,
        )
    except WriterBusyError:
        return None


def correlator(settings: Config, writer: Writer, domains: tuple[str, ...] = ()) -> Correlator:
    """One that knows what the configuration says is inside."""
    mta = settings.mta
    locality = Locality(
        local_domains=domains or mta.local_domains,
        inside_networks=mta.inside_networks,
        junk_folders=mta.junk_folders,
    )
    return Correlator(writer, locality=locality, lifetime_days=mta.queue_lifetime_days)


def regular(raw: IO[bytes]) -> IO[bytes]:
    """The file, or a copy of what a pipe brings: posttrail-trackd must not wait for its writer."""
    if stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        return raw
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes what it gets
    shutil.copyfileobj(raw, copy)
    copy.seek(0)
    return copy


def _group(name: str) -> str | None:
    """The journal's group, where this user may give a file to it; else the user's own remains."""
    try:
        gid = grp.getgrnam(name).gr_gid
    except KeyError:
        return None
    return name if os.geteuid() == 0 or gid in (os.getegid(), *os.getgroups()) else None
