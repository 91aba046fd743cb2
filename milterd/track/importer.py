"""``posttrail import FILE...``: the verb, its options, its progress bar and its summary.

Where posttrail-trackd holds the journal the open files are handed to it. Exit
codes: 0; 65 not a mail log, or damaged; 66 no such file; 75 another process writes, or the
disk is full; 77 no permission. Everything readable is imported all the same.
"""

import gc
import grp
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import click

from journal.keys import day_name, day_of
from journal.locality import Locality
from journal.writer import Writer, WriterBusyError
from milterd.track import formats
from milterd.track.bulk import Import, Options, Progress, Summary
from milterd.track.compressed import LogFile, open_raw
from milterd.track.control import hand_over, plain
from milterd.track.correlate import Correlator
from posttrail.cli import Globals
from posttrail.errors import DataError, UsageError
from posttrail.text import rfc3339

SECOND = 1_000_000


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--host", default="", metavar="NAME", help="Every line is of this host.")
@click.option("--timezone", default="", metavar="ZONE", help="Of stamps without one.")
@click.option("--year", type=int, help="Of the first line, for stamps without one.")
@click.option("--local-domain", "domains", multiple=True, metavar="D", help="A domain of ours.")
@click.option("--mta", type=click.Choice(formats.MTAS), default="auto", help="Log format.")
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
    keep: bool,
    form: str,
) -> int:
    """Read mail logs (plain, .gz, .bz2, .xz, .zst, or - for standard input) into the journal."""
    wanted = Options(
        host=host,
        timezone=timezone or options.config.log.timezone,
        year=year,
        mta=mta,
        names=_names(options),
        units=options.config.log.journald_units,
    )
    with ExitStack() as stack:
        raws = [stack.enter_context(open_raw(name)) for name in files]
        try:
            writer = stack.enter_context(
                Writer.open(options.journal, group=_group(options.config.journal.group))
            )
        except WriterBusyError:
            if domains:
                raise UsageError(
                    "--local-domain: posttrail-trackd holds the journal, its local_domains count"
                ) from None
            whole = [stack.enter_context(_whole(raw)) for raw in raws]
            steps = _handed(options, list(zip(files, whole, strict=True)), wanted, keep=keep)
        else:
            logs = [LogFile(name, raw) for name, raw in zip(files, raws, strict=True)]
            steps = _here(options, logs, writer, wanted, domains)
        began = time.monotonic()
        summary = _watch(steps)
    _tell(summary, form, time.monotonic() - began)
    if summary.damaged:
        raise DataError("; ".join(summary.damaged))
    return 0


def _names(options: Globals) -> dict[bytes, bytes]:
    """What the log may call the configured host; Exim's own log names none, and means it."""
    mta = options.config.mta
    return {alias.encode(): mta.hostname.encode() for alias in ("", *mta.host_aliases)}


def _group(name: str) -> str | None:
    """The journal's group, where this user may give a file to it; else the user's own remains."""
    try:
        gid = grp.getgrnam(name).gr_gid
    except KeyError:
        return None
    return name if os.geteuid() == 0 or gid in (os.getegid(), *os.getgroups()) else None


def _whole(raw: IO[bytes]) -> IO[bytes]:
    """The file, or a copy of what a pipe brings: posttrail-trackd must not wait for its writer."""
    if stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        return raw
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes what it gets
    shutil.copyfileobj(raw, copy)
    copy.seek(0)
    return copy


def _here(
    options: Globals,
    logs: list[LogFile],
    writer: Writer,
    wanted: Options,
    domains: tuple[str, ...],
) -> Iterator[Progress | Summary]:
    """The import in this process, which holds the writer's lock."""
    mta = options.config.mta
    locality = Locality(
        local_domains=domains or mta.local_domains,
        inside_networks=mta.inside_networks,
        junk_folders=mta.junk_folders,
    )
    correlator = Correlator(writer, locality=locality, lifetime_days=mta.queue_lifetime_days)
    job = Import(logs, correlator, writer, wanted)
    gc.disable()  # the correlator breaks its circles itself; looking for others costs a tenth
    try:
        yield from job.steps()
    finally:
        gc.enable()
    summary = job.summary
    if summary.messages:
        for day in range(day_of(summary.first_us), day_of(summary.last_us) + 1):
            writer.compact(day_name(day))
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
            "keep": keep,
        },
    )


def _watch(steps: Iterator[Progress | Summary]) -> Summary:
    """Drive an import to its end; with a bar where somebody is looking."""
    if not sys.stderr.isatty():
        for step in steps:
            if isinstance(step, Summary):
                return step
        raise AssertionError("an import ends with its summary")
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("import", total=None, rate="")
        for step in steps:
            if isinstance(step, Summary):
                return step
            rate = step.lines / max(time.monotonic() - began, 0.001)
            bar.update(
                task,
                description=Path(step.file).name,
                completed=step.bytes_done,
                total=step.bytes_all or None,
                rate=f"{rate:,.0f} lines/s",
            )
    raise AssertionError("an import ends with its summary")


def _tell(summary: Summary, form: str, seconds: float) -> None:
    """The summary on stdout."""
    if form == "json":
        print(json.dumps(plain(summary), ensure_ascii=True))
        return
    period = "no stamps"
    if summary.first_us:
        period = f"{rfc3339(summary.first_us)} to {rfc3339(summary.last_us)}"
    years = ", ".join(map(str, summary.years)) or "in the stamps"
    rate = summary.lines / max(seconds, 0.001)
    rows = [
        ("period", period),
        ("time zone", f"{summary.timezone} (year {years})"),
        ("lines", f"{summary.lines:,} ({rate:,.0f} a second)"),
        ("understood", f"{summary.understood:,}"),
        ("ignored", f"{summary.ignored:,}"),
        ("unknown", f"{summary.unknown:,}"),
        ("messages", f"{summary.messages:,} new"),
        ("rows", f"{summary.rows:,} new"),
    ]
    for name, value in rows:
        print(f"{name:<11} {value}")
    if summary.first_unknown:
        print(f"first unknown line: {summary.first_unknown[:200]}")
