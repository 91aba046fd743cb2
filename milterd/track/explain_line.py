"""``posttrail explain-line``: what a line of the mail log is understood as, and why not.

Format: one block of lines for each line of standard input, ``name: value`` with the
names of journal.events.FIELDS. Raises nothing, whatever the line; the values are
escaped, for they come from the wire.
"""

import sys
import time
from collections.abc import Iterator

import click

from journal.events import ABSENT, Event, Kind, named
from milterd.track import formats, losses, postfix, programs
from milterd.track.syslog import MAX_LINE, Line
from posttrail.text import rfc3339, safe


def explain(line: bytes) -> list[str]:
    """Daemon, kind of event and each of its fields; or why the line tells nothing."""
    text = line.rstrip(b"\r\n")
    now_us = time.time_ns() // 1000
    parser = formats.splitter(formats.sniff([text]), timezone=None, reference_us=now_us)
    parsed = parser.parse(text)
    if parsed is None:
        return [_reason(text)]
    return [*_header(parsed), *_meaning(parsed)]


def _reason(text: bytes) -> str:
    """Why a line has no header."""
    if not text.strip():
        return "unknown: the line is empty"
    if text.lstrip()[:1] in (b"{", b"["):
        return "unknown: a JSON document; only lines of a syslog file are read"
    words = text.lstrip(b"\0").split(b" ", 1)[0]
    return (
        "unknown: no syslog header (RFC 3164 or RFC 3339 stamp, host, tag);"
        f" the line begins with {safe(words[:40])!r}"
    )


def _header(line: Line) -> Iterator[str]:
    yield f"time: {rfc3339(line.at_us)}"
    if line.host:
        yield f"host: {safe(line.host)}"
    yield f"daemon: {safe(line.daemon)}"
    if line.instance != line.daemon:
        yield f"instance: {safe(line.instance)}"
    if line.service:
        yield f"service: {safe(line.service)}"
    if line.pid:
        yield f"pid: {line.pid}"


def _meaning(line: Line) -> Iterator[str]:
    told = programs.parse(line)
    if told is None:
        yield _nothing(line)
    elif isinstance(told, list):
        for number, event in enumerate(told):
            if number:
                yield "and"
            yield from _event(event)
    elif isinstance(told, Event):
        yield from _event(told)
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


def _event(event: Event) -> Iterator[str]:
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


@click.command("explain-line")
def verb() -> None:
    """Say what each line of standard input is understood as."""
    for number, line in enumerate(sys.stdin.buffer):
        if number:
            click.echo()
        for words in explain(line):
            click.echo(words)
