"""``posttrail import FILE...``: the verb, its options, its progress bar and its summary.

Where posttrail-trackd holds the journal the open files are handed to it. Exit
codes: 0; 65 not a mail log, or damaged; 66 no such file; 75 another process writes, or the
disk is full; 77 no permission; 130 ended by Ctrl-C. Everything readable is imported all the
same, and what was read when it was ended is in the journal: the same command goes on there.
"""

import gc
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType
from typing import IO, Final

import click

from journal.keys import day_name, day_of
from journal.writer import Writer
from milterd.lines import formats
from milterd.track import ledger, telling, writing
from milterd.track.bulk import Import
from milterd.track.compressed import LogFile, open_raw
from milterd.track.control import hand_over
from milterd.track.summary import Options, Progress, Summary
from posttrail.cli import Globals
from posttrail.errors import DataError, UsageError
from posttrail.process import EX_INTERRUPTED

INTERRUPTED: Final = (
    "posttrail: interrupted; what was read is in the journal, the same command goes on from there"
)


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--host", default="", metavar="NAME", help="Every line is of this host.")
@click.option("--timezone", default="", metavar="ZONE", help="Of stamps without one.")
@click.option("--year", type=int, help="Of the first line, for stamps without one.")
@click.option("--local-domain", "domains", multiple=True, metavar="D", help="A domain of ours.")
@click.option("--mta", type=click.Choice(formats.MTAS), default="auto", help="Log format.")
@click.option("--again", is_flag=True, help="Read what was read before, too.")
@click.option("--keep", is_flag=True, help="Take days past a live journal's retention, too.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def import_(
    options: Globals,
    /,
    *,
    files: tuple[str, ...],
    host: str,
    timezone: str,
    year: int | None,
    domains: tuple[str, ...],
    mta: str,
    again: bool,
    keep: bool,
    form: str,
) -> int:
    """Read mail logs (plain, .gz, .bz2, .xz, .zst, or - for standard input) into the journal."""
    site = options.config.mta
    wanted = Options(
        host=host,
        timezone=timezone or options.config.log.timezone,
        year=year,
        mta=mta,
        names=_names(options),
        units=options.config.log.journald_units,
        places=(domains or site.local_domains, site.inside_networks, site.junk_folders),
        again=again,
    )
    with ExitStack() as stack:
        raws = [stack.enter_context(open_raw(name)) for name in files]
        writer = writing.take(options)
        if writer is None:
            if domains:
                raise UsageError(
                    "--local-domain: posttrail-trackd holds the journal, its local_domains count"
                )
            whole = [stack.enter_context(writing.regular(raw)) for raw in raws]
            steps = _handed(options, list(zip(files, whole, strict=True)), wanted, keep=keep)
        else:
            stack.enter_context(writer)
            logs = [LogFile(name, raw) for name, raw in zip(files, raws, strict=True)]
            steps = _here(options, logs, writer, wanted, domains)
        began = time.monotonic()
        summary = _watch(steps)
    if form == "json":
        print(json.dumps(summary.plain(), ensure_ascii=True))
    else:
        print("\n".join(telling.lines(summary, time.monotonic() - began)))
    if summary.interrupted:
        print(INTERRUPTED, file=sys.stderr)
        return EX_INTERRUPTED
    if summary.damaged:
        raise DataError("; ".join(summary.damaged))
    return 0


def _names(options: Globals) -> dict[bytes, bytes]:
    """What the log may call the configured host; Exim's own log names none, and means it."""
    mta = options.config.mta
    return {alias.encode(): mta.hostname.encode() for alias in ("", *mta.host_aliases)}


def _here(
    options: Globals,
    logs: list[LogFile],
    writer: Writer,
    wanted: Options,
    domains: tuple[str, ...],
) -> Iterator[Progress | Summary]:
    """The import in this process, which holds the writer's lock."""
    correlator = writing.correlator(options.config, writer, domains)
    if writer.bad_days:
        ledger.forget(writer)
    job = Import(logs, correlator, writer, wanted)
    gc.disable()  # the correlator breaks its circles itself; looking for others costs a tenth
    try:
        with _gently(job.stop):
            yield from job.steps()
    finally:
        gc.enable()
    summary = job.summary
    if summary.messages and not summary.interrupted:
        for day in range(day_of(summary.first_us), day_of(summary.last_us) + 1):
            writer.days.compact(day_name(day))
    yield summary


def _handed(
    options: Globals, files: list[tuple[str, IO[bytes]]], wanted: Options, *, keep: bool
) -> Iterator[Progress | Summary]:
    """The import done by posttrail-trackd."""
    return hand_over(
        options.config.control_socket_of(options.journal),
        [(name, raw.fileno()) for name, raw in files],
        {
            "host": wanted.host,
            "timezone": wanted.timezone,
            "year": wanted.year,
            "mta": wanted.mta,
            "names": {key.decode(): value.decode() for key, value in wanted.names.items()},
            "units": list(wanted.units),
            "again": wanted.again,
            "keep": keep,
        },
    )


@contextmanager
def _gently(stop: Callable[[], None]) -> Iterator[None]:
    """What asks us to end is an end after the next commit; a second time it is one at once."""
    asked = False

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(steps: Iterator[Progress | Summary]) -> Summary:
    """Drive an import to its end; with a bar where somebody is looking."""
    shown = telling.bar() if sys.stderr.isatty() else nullcontext(telling.silent)
    with shown as show:
        for step in steps:
            if isinstance(step, Summary):
                return step
            show(step)
    raise AssertionError("an import ends with its summary")
