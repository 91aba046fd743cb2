"""``posttrail explain-line``: what a line is understood as, and which record it joined.

Format: one block of lines for each line of standard input, ``name: value`` with the
names of journal.events.FIELDS; where there is a journal, the record that has the line, its
status and the rule that joined it, or why there is none. Each line's form is told by itself
(``formats``). The values are escaped, for they come from the wire.

Raises nothing of a line, whatever it is; what the reader raises where a journal was named.
"""

import sys
import time
from collections.abc import Iterator
from datetime import tzinfo

import click

from journal.events import ABSENT, Event, Kind, named
from journal.reader import Reader
from milterd.lines import formats, losses, postfix, programs
from milterd.lines.journald import JournalParser, entry_of
from milterd.lines.syslog import MAX_LINE, Line, zone
from milterd.track.whereabouts import Journal
from posttrail import config, process
from posttrail.cli import Globals
from posttrail.errors import NotPermittedError, UnavailableError
from posttrail.text import rfc3339, safe


def explain(
    line: bytes,
    journal: Journal | None = None,
    *,
    timezone: tzinfo | None = None,
    units: tuple[str, ...] = config.JOURNALD_UNITS,
) -> list[str]:
    """Daemon, kind of event and each of its fields; or why the line tells nothing."""
    text = line.rstrip(b"\r\n")
    form = formats.sniff([text])
    now_us = time.time_ns() // 1000
    parser = formats.splitter(form, timezone=timezone, reference_us=now_us, units=units)
    parsed = parser.parse(text)
    if parsed is None:
        return [_reason(text)]
    told = list(_header(parsed))
    if form != "syslog":
        told.insert(0, f"form: {form}")
    if isinstance(parser, JournalParser) and parser.forged:
        return [*told, *_forged(text)]
    return [*told, *_meaning(parsed, journal, formats.source(parser))]


def _reason(text: bytes) -> str:
    """Why a line has no header."""
    if not text.strip():
        return "unknown: the line is empty"
    if text.lstrip()[:1] in (b"{", b"["):
        return (
            "unknown: a JSON document, and no record of journalctl -o json"
            " (__REALTIME_TIMESTAMP, MESSAGE)"
        )
    words = text.lstrip(b"\0").split(b" ", 1)[0]
    return (
        "unknown: no syslog header (RFC 3164 or RFC 3339 stamp, host, tag), nor another known one;"
        f" the line begins with {safe(words[:40])!r}"
    )


def _forged(text: bytes) -> Iterator[str]:
    """A record of journald that claims to be a mail program's."""
    entry = entry_of(text)
    unit = entry.unit if entry is not None else b""
    tag = entry.tag if entry is not None else b""
    yield f"tag: {safe(tag)}"
    uid = safe(entry.uid) if entry is not None else ""
    who = f"{safe(unit) or 'no unit'}, user {uid or 'unknown'}"
    yield f"ignored: it comes from {who}: not of journald_units, or not of the mail system's users"


def _header(line: Line) -> Iterator[str]:
    yield f"time: {rfc3339(line.at_us)}"
    yield f"host: {safe(line.host)}"
    yield f"daemon: {safe(line.daemon)}"
    if line.instance != line.daemon:
        yield f"instance: {safe(line.instance)}"
    if line.service:
        yield f"service: {safe(line.service)}"
    if line.pid:
        yield f"pid: {line.pid}"


def _meaning(line: Line, journal: Journal | None, source: int) -> Iterator[str]:
    told = programs.parse(line)
    if told is None:
        yield _nothing(line)
    elif isinstance(told, list):
        for number, event in enumerate(told):
            if number:
                yield "and"
            yield from _event(event._replace(source=source), line, journal)
    elif isinstance(told, Event):
        yield from _event(told._replace(source=source), line, journal)
    else:
        yield f"unknown: a line of {safe(line.daemon)}, in a form that is not known"
        yield f"text: {safe(line.text)}"
    if len(line.text) >= MAX_LINE - 256:
        yield f"cut: lines end after {MAX_LINE} bytes"


def _nothing(line: Line) -> str:
    """Why a line tells nothing of a message."""
    if not programs.is_mail(line) and line.daemon not in losses.LOGGERS:
        return "ignored: not a line of a program of the mail system"
    if line.daemon in postfix.IGNORED and line.instance != line.daemon:
        return f"ignored: {safe(line.daemon)} never tells a message's fate"
    return "ignored: understood, and tells nothing of a message's fate"


def _event(event: Event, line: Line, journal: Journal | None) -> Iterator[str]:
    yield f"event: {Kind(event.kind).name.lower()}"
    if event.queue_id:
        yield f"queue_id: {safe(event.queue_id)}"
    for name, value in named(event).items():
        if value == ABSENT:
            yield f"{name}: (not named)"
        elif name.endswith("sender") and not value:
            yield f"{name}: <> (the null sender)"
        elif value:
            yield f"{name}: {safe(value)}"
    if journal is not None:
        yield from journal.of(event, line.host)


@click.command("explain-line")
@click.pass_obj
def verb(options: Globals) -> int:
    """Say what each line of standard input is understood as, and which record it joined."""
    if options.socket is not None:
        raise UnavailableError("explain-line asks no socket; use --journal DIR")
    own = options.journal == options.config.journal.directory
    if own and not options.journal.exists():
        return _explain_all(options, None)
    return process.in_child(lambda: _with_journal(options, own=own), journal=options.journal)


def _with_journal(options: Globals, *, own: bool) -> int:
    try:
        reader = Reader.open(options.journal)
    except (NotPermittedError, UnavailableError) as error:
        if not own:
            raise
        click.echo(f"posttrail: without the journal: {safe(str(error))}", err=True)
        return _explain_all(options, None)
    with reader:
        mta = options.config.mta
        names = {mta.hostname.encode()} if mta.host else set[bytes]()
        return _explain_all(options, Journal(reader, names=frozenset(names)))


def _explain_all(options: Globals, journal: Journal | None) -> int:
    settings = options.config.log
    for number, line in enumerate(sys.stdin.buffer):
        if number:
            click.echo()
        for words in explain(
            line, journal, timezone=zone(settings.timezone), units=settings.journald_units
        ):
            click.echo(words)
    return 0
