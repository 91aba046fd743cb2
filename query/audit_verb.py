"""``posttrail audit [ADDRESS|@DOMAIN]``: who looked at whose mail, newest first.

posttrail-queryd tells what the caller may know; where it does not listen, or --journal is given,
its state is read, which root and its own user may. Exit codes: 0, 1 nothing found, and those of
``errors``.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from posttrail.cli import Globals
from posttrail.text import safe
from query import export, source, text_table, when
from query.filters import DEFAULT_LIMIT, mailbox, parse_limit
from query.httpd.audit import Audit, Looked
from query.httpd.state import State
from query.options import not_older, older_than, text_or_json
from query.scope import Scope

if TYPE_CHECKING:
    from query.remote import Remote


MOST: Final = 1000
"""Entries that posttrail-queryd gives at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """What ``GET /v1/audit`` answers."""

    entries: list[Looked]
    next: str | None  # "until" of the page behind it


@click.command("audit")
@click.argument("address", required=False, metavar="[ADDRESS|@DOMAIN]")
@not_older
@older_than
@click.option("--limit", default=str(DEFAULT_LIMIT), metavar="50|all", help="Entries.")
@text_or_json
@click.pass_obj
def verb(
    options: Globals, /, address: str | None, since: str, until: str, limit: str, form: str
) -> int:
    """Who looked at whose mail; with ADDRESS only what is about it."""
    now_us = time.time_ns() // 1000
    window = when.window(since, until, now_us=now_us)
    about = mailbox(address) if address else None
    most = parse_limit(limit)
    socket = options.socket or options.config.query.socket
    if options.socket is None and (options.journal_named or not source.listens(socket)):
        found = _read(options, about, window, most)
    else:
        from query.remote import Remote

        asked = {"since": when.absolute(since, now_us=now_us), "address": address or ""}
        until = when.absolute(until, now_us=now_us)
        found = _asked(Remote(socket), asked, until, most)
    return _write(found, form)


def _read(
    options: Globals, about: bytes | None, window: when.Window, limit: int | None
) -> Iterator[Looked]:
    query = options.config.query
    state = State(query.state, create=False)
    try:
        audit = Audit(state, days=query.audit_days, delimiters=query.delimiters)
        yield from audit.seen_by(
            Scope.all(delimiters=query.delimiters),
            about=about,
            since_us=window.since_us,
            until_us=window.until_us,
            limit=limit,
        )
    finally:
        state.close()


def _asked(
    remote: "Remote", asked: dict[str, str], until: str, limit: int | None
) -> Iterator[Looked]:
    """The entries of as many pages as it takes."""
    left = limit
    while left is None or left > 0:
        most = MOST if left is None else min(left, MOST)
        given = {**asked, "until": until, "limit": str(most)}
        page = remote.document(
            Entries, "/v1/audit", {name: value for name, value in given.items() if value}
        )
        yield from page.entries
        if page.next is None:
            return
        until = page.next
        left = None if left is None else left - len(page.entries)


def _write(found: Iterator[Looked], form: str) -> int:
    count = 0
    for each in found:
        count += 1
        if form == "json":
            sys.stdout.write(export.json_line(asdict(each), sys.stdout))
        else:
            sys.stdout.write(_line(each))
    if not count:
        text_table.say("nothing found")
    return 0 if count else 1


def _line(entry: Looked) -> str:
    """An entry for eyes: when, who and how, what, at how many rows, whose."""
    filters = " ".join(
        name if value is None else f"{name}={value}" for name, value in entry.filters.items()
    )
    rows = "rows unknown" if entry.rows is None else f"{entry.rows} row{'s' * (entry.rows != 1)}"
    whose = f" of {', '.join(entry.owners)}" if entry.owners else ""
    said = f"{entry.who} ({entry.how})  {entry.what} {filters}".rstrip()
    return f"{text_table.local(entry.time)}  {safe(f'{said}  {rows}{whose}')}\n"
