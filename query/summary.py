"""``posttrail summary``: what was sent, by login, by sender or by the sender's domain.

Sent is what came in under a login or a local uid, or from inside networks; in a scope that is not
the operator's, what its logins are proven to have sent. A message counts once, its size once;
statuses count rows. The window is exact. Exit codes: 0, and those of ``errors``.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

import click

from journal import address
from journal.reader import Reader
from journal.records import Direction, Message, Status
from posttrail.cli import Globals
from posttrail.text import json_text, rfc3339, safe
from query import export, source, text_table, when
from query.filters import DEFAULT_LIMIT, parse_limit
from query.options import not_older, older_than, text_or_json
from query.scope import Scope
from query.search import claimed, sent
from query.when import END_US, Window

if TYPE_CHECKING:
    from query.answers import Answers

BY: Final = ("domain", "login", "sender")
TOKENS: Final = tuple(status.token for status in Status)
_OUT: Final = frozenset({int(Direction.OUTBOUND), int(Direction.INTERNAL)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What one login, sender or domain sent."""

    key: str | None  # None: no login, no sender named; "": the null sender
    messages: int
    rows: int
    statuses: dict[str, int]  # rows of all six; "error" is failed
    size_bytes: int  # of the messages, each once


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The document of ``summary`` (docs/schema/summary.json); most messages first."""

    by: str
    since: str | None
    until: str | None
    messages: int
    rows: int
    size_bytes: int
    groups: list[Sent]
    groups_left_out: int
    claimed_messages: int | None
    """Not proven to be the scope's, under its addresses; None for an operator, or too many."""


@dataclass(slots=True)
class _Tally:
    messages: int = 0
    size_bytes: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


@click.command("summary")
@click.option("--by", type=click.Choice(BY), default="domain", help="Key. Default: domain.")
@not_older
@older_than
@click.option("--limit", default=str(DEFAULT_LIMIT), metavar="50|all", help="Keys to list.")
@text_or_json
@click.pass_obj
def summary(options: Globals, /, by: str, since: str, until: str, limit: str, form: str) -> int:
    """What was sent, by the sender's domain, by login or by sender, and what became of it."""
    most = parse_limit(limit)
    when.window(since, until, now_us=time.time_ns() // 1000)  # said before all else

    def work(answers: "Answers") -> int:
        found = answers.summary(by, since=since, until=until, limit=most)
        if form == "json":
            sys.stdout.write(export.json_line(asdict(found), sys.stdout))
        else:
            sys.stdout.writelines(lines(found))
        return 0

    return source.ask(options, work)


def count(
    reader: Reader, by: str, window: Window, scope: Scope, *, limit: int | None = None
) -> Summary:
    """The document; ``limit`` cuts the list of groups."""
    tallies: dict[str | None, _Tally] = {}
    for message in sent(reader, window, scope):
        if not scope.operator or _is_sent(message):
            tally = tallies.setdefault(_key(by, message), _Tally())
            tally.messages += 1
            tally.size_bytes += message.size_bytes or 0
            tally.statuses.update(Status(row.status).token for row in message.rows)
    groups = [
        Sent(
            key=key,
            messages=tally.messages,
            rows=tally.statuses.total(),
            statuses={token: tally.statuses[token] for token in TOKENS},
            size_bytes=tally.size_bytes,
        )
        for key, tally in tallies.items()
    ]
    groups.sort(key=lambda group: (-group.messages, group.key or ""))
    shown = groups[:limit]
    return Summary(
        by=by,
        since=rfc3339(window.since_us) if window.since_us else None,
        until=rfc3339(window.until_us) if window.until_us < END_US else None,
        messages=sum(group.messages for group in groups),
        rows=sum(group.rows for group in groups),
        size_bytes=sum(group.size_bytes for group in groups),
        groups=shown,
        groups_left_out=len(groups) - len(shown),
        claimed_messages=claimed(reader, window, scope),
    )


def _is_sent(message: Message) -> bool:
    """Whether the message is of somebody inside."""
    return message.login is not None or any(row.direction in _OUT for row in message.rows)


def _key(by: str, message: Message) -> str | None:
    if by == "login":
        return None if message.login is None else json_text(address.fold(message.login))
    if message.sender is None:
        return None
    name = address.fold(message.sender)
    return json_text(name if by == "sender" else address.domain(name))


def lines(found: Summary) -> Iterator[str]:
    """The document for eyes."""
    words = (text_table.FACES[token].word for token in TOKENS)
    heading = (found.by, "messages", "recipients", *words, "bytes")
    yield from text_table.aligned([heading, *map(_line, found.groups)])
    left = f", {found.groups_left_out:,} more" if found.groups_left_out else ""
    yield f"{found.messages:,} messages, {found.size_bytes:,} bytes{left}\n"
    if found.claimed_messages:
        yield (
            f"{found.claimed_messages:,} messages named your address as sender without a login:"
            " forged, or from a device or site that does not log in\n"
        )


def _line(group: Sent) -> tuple[str, ...]:
    key = "-" if group.key is None else group.key or "<>"
    numbers = (group.messages, group.rows, *group.statuses.values(), group.size_bytes)
    return safe(key), *(f"{number:,}" for number in numbers)
