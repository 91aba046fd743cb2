"""``posttrail never``: mail that a report does not find: did it reach this server at all?

The answer is a proof only where somebody recorded at every moment of the window: the log (or
journald), which tells of all that spoke of mail, or the milter, which misses what is refused
before it. An import proves nothing: nobody knows whether its file was whole. Beside it stands
what was seen of that sender instead, in the same scope. Exit codes: 0 it never reached this
server, 1 not found but not proven, 2 it did, and those of ``errors``.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from journal import address
from journal.reader import Reader
from journal.records import Cover, Gap, Status
from posttrail.cli import Globals
from posttrail.errors import UsageError
from posttrail.text import json_text, rfc3339, safe
from query import export, source, text_table
from query import rows as report_rows
from query.filters import parse
from query.match import Query
from query.options import text_or_json
from query.rows import Row
from query.scope import Scope
from query.search import Found, search
from query.when import DAY_US, END_US

if TYPE_CHECKING:
    from query.answers import Answers

USUAL_US: Final = 7 * DAY_US
LATE_US: Final = 120_000_000
"""What came in so lately may not have been read yet: the window ends where recording does."""
_MOST_ROWS: Final = 1000
_NEWEST: Final = 5
TOKENS: Final = tuple(status.token for status in Status)
_MOST_CLIENTS: Final = 5
_LOGS: Final = frozenset({"log", "journald"})
_MINUTE_US: Final = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Time in which something was not recorded; both ends RFC 3339."""

    begin: str
    end: str
    minutes: float
    reason: str | None  # None: nobody says why


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """One source within the window."""

    source: str  # log, journald, milter, import
    gapless: bool | None  # None: an import, whose completeness nobody knows
    gaps: list[Span]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instead:
    """What was seen in the same window, of something near."""

    what: str  # sender, sender_domain, client, recipient
    key: str
    rows: int
    more: bool  # there are more rows than were read
    statuses: dict[str, int]  # those there are
    newest: list[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Never:
    """The document of ``never`` (docs/schema/never.json)."""

    since: str
    until: str
    rows: int  # that answer the search after all; at most 1,000 are counted
    proven: bool  # nothing was found, and at every moment somebody was recording
    by_log: bool  # that was the log; else the milter alone for some of it
    gaps: list[Span]  # in which nobody was
    witnesses: list[Witness]
    instead: list[Instead]


@click.command("never")
@click.option("--sender", metavar="ADDRESS|@DOMAIN", help="Who should have sent it.")
@click.option("--recipient", metavar="ADDRESS|@DOMAIN", help="Who should have got it.")
@click.option("--since", default="7d", metavar="TIME", help="Not older. Default: 7d.")
@click.option("--until", default="", metavar="TIME", help="Older than this. Default: now.")
@text_or_json
@click.pass_obj
def never(
    options: Globals,
    /,
    *,
    sender: str | None,
    recipient: str | None,
    since: str,
    until: str,
    form: str,
) -> int:
    """Whether mail never reached this server, and what was seen instead."""
    if sender is None and recipient is None:
        raise UsageError("say --sender, --recipient or both")
    filters = {"sender": sender, "recipient": recipient, "since": since, "until": until}
    parse(filters, now_us=time.time_ns() // 1000)  # what means nothing is said before all else

    def work(answers: "Answers") -> int:
        found = answers.never(filters)
        if form == "json":
            sys.stdout.write(export.json_line(asdict(found), sys.stdout))
        else:
            sys.stdout.writelines(lines(found))
        return exit_code(found)

    return source.ask(options, work)


def exit_code(found: Never) -> int:
    """That of the verb."""
    if found.rows:
        return 2
    return 0 if found.proven else 1


def find(reader: Reader, query: Query, scope: Scope) -> Never:
    """The document for a search; a window without a beginning is the last week."""
    spans = reader.coverage()
    since_us, until_us = _window(query, spans)
    window = replace(query.window, since_us=since_us, until_us=max(until_us, since_us + 1))
    query = replace(query, window=window)
    rows = sum(1 for _ in islice(search(reader, query, scope), _MOST_ROWS))
    gaps = _uncovered(spans, since_us, until_us)
    logs = [span for span in spans if span.source in _LOGS]
    return Never(
        since=rfc3339(since_us),
        until=rfc3339(until_us),
        rows=rows,
        proven=not rows and not gaps,
        by_log=not _uncovered(logs, since_us, until_us),
        gaps=[_span(begin, end, None) for begin, end in gaps],
        witnesses=_witnesses(spans, since_us, until_us),
        instead=[] if rows else list(_instead(reader, query, scope)),
    )


def _window(query: Query, spans: Iterable[Cover | Gap]) -> tuple[int, int]:
    """From when to when: nothing after now is asked for, nor the last moments, still unread."""
    until_us = min(query.window.until_us, query.now_us)
    last_us = max((span.end_us for span in spans if _is_live(span)), default=0)
    if last_us < until_us <= last_us + LATE_US:
        until_us = last_us
    since_us = query.window.since_us or max(until_us - USUAL_US, 0)
    return min(since_us, until_us), until_us


def _is_live(span: Cover | Gap) -> bool:
    return isinstance(span, Cover) and span.source != "import"


def _uncovered(spans: Iterable[Cover | Gap], since_us: int, until_us: int) -> list[tuple[int, int]]:
    """The parts of a window in which none of the sources was recording."""
    found: list[tuple[int, int]] = []
    at = since_us
    for span in sorted(filter(_is_live, spans), key=lambda span: span.begin_us):
        if span.end_us <= at or span.begin_us >= until_us:
            continue
        if span.begin_us > at:
            found.append((at, span.begin_us))
        at = max(at, span.end_us)
    if at < until_us:
        found.append((at, until_us))
    return found


def _witnesses(spans: Iterable[Cover | Gap], since_us: int, until_us: int) -> list[Witness]:
    """Each source that was ever recording, with what it lacks of the window."""
    spans = list(spans)
    found = []
    for name in sorted({span.source for span in spans}):
        own = [span for span in spans if span.source == name]
        if name == "import":
            if any(span.begin_us < until_us and span.end_us > since_us for span in own):
                found.append(Witness(source=name, gapless=None, gaps=[]))
            continue
        gaps = [
            _span(begin, end, _reason(own, begin, end))
            for begin, end in _uncovered(own, since_us, until_us)
        ]
        found.append(Witness(source=name, gapless=not gaps, gaps=gaps))
    return found


def _reason(spans: Iterable[Cover | Gap], begin_us: int, end_us: int) -> str | None:
    for span in spans:
        if isinstance(span, Gap) and span.begin_us < end_us and span.end_us > begin_us:
            return span.reason
    return None


def _span(begin_us: int, end_us: int, reason: str | None) -> Span:
    minutes = round((end_us - begin_us) / _MINUTE_US, 1)
    return Span(begin=rfc3339(begin_us), end=rfc3339(end_us), minutes=minutes, reason=reason)


def _instead(reader: Reader, query: Query, scope: Scope) -> Iterator[Instead]:
    """What is near: other mail of the sender, of its domain and hosts; what was refused."""
    plain = Query(window=query.window, now_us=query.now_us, delimiters=query.delimiters)
    refused = replace(plain, statuses=frozenset({int(Status.REJECTED)}))

    def rows(asked: Query) -> list[Found]:
        return list(islice(search(reader, asked, scope), _MOST_ROWS + 1))

    name = query.sender or query.address or b""
    if name and name[:1] != b"@":
        yield from _seen("sender", name, rows(replace(plain, sender=name)))
    domain = name[1:] if name[:1] == b"@" else address.domain(name)
    if domain:
        found = rows(replace(plain, sender=b"@" + domain))
        yield from _seen("sender_domain", domain, found)
        ips = Counter(each.message.client_ip.lower() for each in found if each.message.client_ip)
        for ip, _ in ips.most_common(_MOST_CLIENTS):
            yield from _seen("client", ip, rows(replace(refused, client_ip=ip)))
    if query.recipient:
        asked = replace(refused, recipient=query.recipient)
        yield from _seen("recipient", query.recipient, rows(asked))


def _seen(what: str, key: bytes, found: list[Found]) -> Iterator[Instead]:
    """Nothing where there is no row."""
    if not found:
        return
    counted = Counter(Status(each.row.status).token for each in found[:_MOST_ROWS])
    yield Instead(
        what=what,
        key=json_text(key),
        rows=min(len(found), _MOST_ROWS),
        more=len(found) > _MOST_ROWS,
        statuses={
            status.token: counted[status.token] for status in Status if counted[status.token]
        },
        newest=[report_rows.make(each.message, each.number, each.row) for each in found[:_NEWEST]],
    )


_NEAR: Final = {
    "sender": "from this sender",
    "sender_domain": "from this domain",
    "client": "refused from this client",
    "recipient": "refused to this recipient",
}


def lines(found: Never) -> Iterator[str]:
    """The document for eyes, in local time."""
    yield from statement(found)
    for witness in found.witnesses:
        for gap in witness.gaps:
            reason = f": {gap.reason.replace('_', ' ')}" if gap.reason else ""
            yield f"  {safe(witness.source)} lacks {_times(gap)}{safe(reason)}\n"
    for near in found.instead:
        statuses = ", ".join(
            f"{number:,} {text_table.FACES[token].word}" for token, number in near.statuses.items()
        )
        more = " at least" if near.more else ""
        yield f"\nseen {_NEAR[near.what]}, {safe(near.key)}:{more} {statuses}\n"
        for row in near.newest:
            names = f"{text_table.sender(row.sender)} > {text_table.recipients(row)}"
            yield f"  {text_table.local(row.time)}  {safe(row.status)}  {names}  {row.id}\n"
    yield f"times in {text_table.zone_name()}\n"


def statement(found: Never) -> Iterator[str]:
    """One or two sentences: what is known, and how well."""
    window = f"{text_table.local(found.since)} to {text_table.local(found.until)}"
    if found.rows:
        yield f"It did reach this server: {found.rows:,} rows from {window}.\n"
    elif found.proven:
        yield f"It never reached this server: everything was recorded from {window}.\n"
        if not found.by_log:
            yield "For a part only the milter was: what is refused before it is not known.\n"
    else:
        minutes = sum(gap.minutes for gap in found.gaps)
        yield (
            f"It was not seen from {window}, but {minutes:,.1f} minutes of it were not recorded:\n"
        )
        for gap in found.gaps:
            yield f"  {_times(gap)}\n"


def _times(gap: Span) -> str:
    ends = f"{text_table.local(gap.begin)} to {text_table.local(gap.end)}"
    return f"{ends} ({gap.minutes:,.1f} minutes)"


def asked_by(query: Query) -> bool:
    """Whether a search is about mail between people and nothing else: then "never" is an answer."""
    people = query.address or query.sender or query.recipient
    plain = Query(
        window=query.window,
        address=query.address,
        sender=query.sender,
        recipient=query.recipient,
        now_us=query.now_us,
        delimiters=query.delimiters,
    )
    return bool(people) and query == plain and query.window.since_us < END_US
