"""``posttrail stats``: rows counted by status, by hour, or by the recipient's domain.

Status and hour come from the journal's counters, which count whole hours (UTC);
a domain is counted by reading every row of the window. Exit codes: 0, and those of ``errors``.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from journal import address, keys
from journal.reader import Reader
from journal.records import Status
from posttrail.cli import Globals
from posttrail.text import json_text, rfc3339, safe
from query import export, source, text_table, when
from query.filters import DEFAULT_LIMIT, parse_limit
from query.match import Query
from query.options import not_older, older_than, text_or_json
from query.scope import Scope
from query.search import search
from query.when import END_US, Window

if TYPE_CHECKING:
    from query.answers import Answers

TOKENS: Final = tuple(status.token for status in Status)
BY: Final = ("status", "domain", "hour")
Counts = dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The rows of one status, hour or domain."""

    key: str | None  # None: rows whose recipient has no domain
    rows: int
    statuses: Counts  # all six


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The document of ``stats`` (docs/schema/stats.json)."""

    by: str
    since: str | None
    until: str | None
    rows: int
    groups: list[
        Group
    ]  # a status: as DESIGN lists them; an hour: oldest first; a domain: most rows first
    groups_left_out: int


@click.command("stats")
@click.option("--by", type=click.Choice(BY), default="status", help="Key.")
@not_older
@older_than
@click.option("--limit", default=str(DEFAULT_LIMIT), metavar="50|all", help="Domains to list.")
@text_or_json
@click.pass_obj
def stats(options: Globals, /, by: str, since: str, until: str, limit: str, form: str) -> int:
    """Count rows by status, domain or hour. A window is widened to whole hours, save by domain."""
    most = parse_limit(limit)
    when.window(since, until, now_us=time.time_ns() // 1000)  # said before all else

    def work(answers: "Answers") -> int:
        found = answers.stats(by, since=since, until=until, limit=most)
        if form == "json":
            sys.stdout.write(export.json_line(asdict(found), sys.stdout))
        else:
            sys.stdout.writelines(lines(found))
        return 0

    return source.ask(options, work)


def count(reader: Reader, by: str, window: Window, scope: Scope, *, limit: int | None) -> Stats:
    """The document; ``limit`` cuts the list of domains."""
    if by != "domain":
        window = _whole_hours(window)
    counted = _counted(reader, by, window, scope)
    if by == "domain":
        ordered = sorted(counted.items(), key=lambda item: (-sum(item[1].values()), item[0] or ""))
    elif by == "hour":
        ordered = sorted(counted.items(), key=lambda item: item[0] or "")
    else:
        ordered = [(token, counted.get(token, _none())) for token in TOKENS]
    shown = ordered if by != "domain" else ordered[:limit]
    return Stats(
        by=by,
        since=rfc3339(window.since_us) if window.since_us else None,
        until=rfc3339(window.until_us) if window.until_us < END_US else None,
        rows=sum(sum(statuses.values()) for _, statuses in ordered),
        groups=[Group(key=key, rows=sum(n.values()), statuses=n) for key, n in shown],
        groups_left_out=len(ordered) - len(shown),
    )


def _counted(reader: Reader, by: str, window: Window, scope: Scope) -> dict[str | None, Counts]:
    """Counts by key; the journal's counters know whole hours of everything, and only that."""
    if by == "domain" or not scope.operator:
        return _tally(_read(reader, by, window, scope))
    hourly = reader.hourly(window.since_us, window.until_us)
    if by == "hour":
        return _tally(((rfc3339(hour), token), n) for (hour, token), n in hourly.items())
    return _tally(((token, token), n) for (_, token), n in hourly.items())


def _whole_hours(window: Window) -> Window:
    return Window(
        since_us=window.since_us // keys.HOUR_US * keys.HOUR_US,
        until_us=-(-window.until_us // keys.HOUR_US) * keys.HOUR_US,
        spelled=window.spelled,
    )


def _read(
    reader: Reader, by: str, window: Window, scope: Scope
) -> Iterator[tuple[tuple[str | None, str], int]]:
    """The key and status of every row that the scope may see."""
    for found in search(reader, Query(window=window), scope):
        token = Status(found.row.status).token
        key: str | None = token
        if by == "hour":
            key = rfc3339(found.message.time_us // keys.HOUR_US * keys.HOUR_US)
        elif by == "domain":
            name = address.domain(found.row.final_recipient or found.row.recipient or b"")
            key = json_text(name) if name else None
        yield (key, token), 1


def _tally(pairs: Iterable[tuple[tuple[str | None, str], int]]) -> dict[str | None, Counts]:
    """Counts by key, then by status."""
    counted: dict[str | None, Counts] = {}
    for (key, token), number in pairs:
        counted.setdefault(key, _none())[token] += number
    return counted


def _none() -> Counts:
    return dict.fromkeys(TOKENS, 0)


def lines(found: Stats) -> Iterator[str]:
    """The document for eyes."""
    total = f"{found.rows:,}"
    if found.by == "status":
        cells = [
            (text_table.face(group.key or "", sys.stdout), group.rows) for group in found.groups
        ]
        yield from text_table.aligned(
            [(name, f"{n:>{len(total)},}", _share(n, found.rows)) for name, n in cells]
        )
    else:
        heading = (found.by, "rows", *(text_table.FACES[token].word for token in TOKENS))
        yield from text_table.aligned([heading, *map(_line, found.groups)])
    left = f", {found.groups_left_out:,} more domains" if found.groups_left_out else ""
    yield f"{total} rows{left}\n"


def _line(group: Group) -> tuple[str, ...]:
    counts: Mapping[str, int] = group.statuses
    return safe(group.key or "-"), f"{group.rows:,}", *(f"{counts[token]:,}" for token in TOKENS)


def _share(number: int, total: int) -> str:
    return f"{number / total:7.2%}" if total else ""
