"""Answers from a journal on this machine; verbs open it in a child that may die of damage.

``Local`` is the journal with its cursors, ``Within`` is that bound to one scope: the local form
of ``query.answers``. Raises what ``Reader.open`` raises.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import tzinfo
from itertools import islice

from journal import days
from journal.reader import Reader
from journal.records import Status
from journal.tokens import Hashing
from posttrail import process
from posttrail.cli import Globals
from query import coverage, never, show, stats, summary, when
from query import days as days_by
from query import rows as report_rows
from query.answers import Answers, Filters, Page
from query.coverage import Coverage
from query.cursor import Signer
from query.days import Days
from query.details import Details
from query.filters import parse
from query.match import Query
from query.never import Never
from query.rows import Row
from query.scope import Scope
from query.search import Counts, Found, counts, search
from query.stats import Stats
from query.summary import Summary


class Local:
    """The local form of ``rows(query, scope)``."""

    def __init__(self, reader: Reader, *, journal_key: bytes) -> None:
        self.reader = reader
        self._key = journal_key
        self._signer = Signer(journal_key)

    def hashing(self, delimiters: bytes) -> Hashing | None:
        """What tells under which names old days have somebody; None where no day has others."""
        return Hashing(self._key, delimiters) if self.reader.is_hashed() else None

    def rows(self, query: Query, scope: Scope) -> Iterator[Row]:
        """Every row that answers the query, newest first."""
        return map(_row, search(self.reader, query, scope))

    def page(
        self,
        query: Query,
        scope: Scope,
        *,
        limit: int | None,
        cursor: str | None = None,
        count: bool = True,
    ) -> Page:
        """The first ``limit`` rows (None: all), or those behind the cursor; counted if wanted."""
        after = None
        if cursor is not None:
            query, after = self._signer.resume(cursor, query, scope)
        found = search(self.reader, query, scope, after=after)
        if limit is None:
            known = counts(self.reader, query, scope) if count else None
            return _page(map(_row, found), known, next=None)
        shown = list(islice(found, limit))
        following = None
        if next(found, None) is not None:
            following = self._signer.sign(query, scope, shown[-1].position)
        elif cursor is None:
            return Page(rows=map(_row, shown), next=None, counts=_count(shown), counted="row")
        known = counts(self.reader, query, scope) if count else None
        return _page(map(_row, shown), known, next=following)


class Within:
    """The local form of ``Answers``: a journal, and the scope of whoever asks."""

    def __init__(self, source: Local, scope: Scope) -> None:
        self._source = source
        self._hashing = source.hashing(scope.delimiters)
        self._scope = scope if self._hashing is None else scope.called(self._hashing.alias)

    @property
    def reader(self) -> Reader:
        """The journal, for whoever listens to its changes."""
        return self._source.reader

    def page(
        self, filters: Filters, *, limit: int | None, cursor: str | None = None, count: bool = True
    ) -> Page:
        """Rows, newest first; limit None is all."""
        query = self._parsed(filters)
        return self._source.page(query, self._scope, limit=limit, cursor=cursor, count=count)

    def _parsed(self, filters: Filters) -> Query:
        query = parse(filters, now_us=_now_us(), delimiters=self._scope.delimiters)
        return query if self._hashing is None else replace(query, hashing=self._hashing)

    def message(self, name: str) -> list[Details]:
        """The messages with this id or queue id, newest first; empty: none."""
        return list(show.told(self._source.reader, os.fsencode(name), self._scope))

    def stats(self, by: str, *, since: str, until: str, limit: int | None) -> Stats:
        """Rows counted by status, domain or hour."""
        window = when.window(since, until, now_us=_now_us())
        return stats.count(self._source.reader, by, window, self._scope, limit=limit)

    def days(self, filters: Filters, *, zone: tzinfo | None) -> Days:
        """The rows of a report by day and status; without a zone in this machine's."""
        query = self._parsed(filters)
        return days_by.count(self._source.reader, query, self._scope, zone=zone)

    def summary(self, by: str, *, since: str, until: str, limit: int | None) -> Summary:
        """What was sent, by domain, login or sender."""
        window = when.window(since, until, now_us=_now_us())
        return summary.count(self._source.reader, by, window, self._scope, limit=limit)

    def never(self, filters: Filters) -> Never:
        """What the journal can say of mail that a report does not find."""
        query = self._parsed(filters)
        return never.find(self._source.reader, query, self._scope)

    def coverage(self) -> Coverage:
        """When capture was up, and the gaps."""
        return coverage.document(self._source.reader.coverage())


def _now_us() -> int:
    return time.time_ns() // 1000


def _page(rows: Iterator[Row], known: Counts | None, *, next: str | None) -> Page:
    if known is None:
        return Page(rows=rows, next=next, counts={}, counted="row")
    by_status = {status.token: known.by_status.get(status, 0) for status in Status}
    by_status = {token: number for token, number in by_status.items() if number}
    return Page(rows=rows, next=next, counts=by_status, counted=known.what)


def read(options: Globals, work: Callable[[Answers], int]) -> int:
    """The exit code of ``work`` on the whole journal, done in a child process."""
    return process.in_child(lambda: _opened(options, work), journal=options.journal)


def _opened(options: Globals, work: Callable[[Answers], int]) -> int:
    journal, everything = options.journal, Scope.all(delimiters=options.config.query.delimiters)
    reader = Reader.open(journal)
    try:
        return work(_within(options, Local(reader, journal_key=days.read_key(journal)), everything))
    finally:
        reader.close()


def _within(options: Globals, source: Local, scope: Scope) -> Within:
    """The answers; of the configured journal they are in the audit, where there may be one."""
    settings = options.config
    mine = options.journal == settings.journal.directory
    if not mine or not os.access(settings.query.state, os.W_OK):
        return Within(source, scope)
    from query.httpd import audited

    return audited.of_verb(source, scope, settings)


def _row(found: Found) -> Row:
    return report_rows.make(found.message, found.number, found.row)


def _count(shown: list[Found]) -> Mapping[str, int]:
    statuses = [found.row.status for found in shown]
    return {status.token: statuses.count(status) for status in Status if status in statuses}
