"""Rows from a journal on this machine, opened in a child process that may die of damage.

Raises what ``Reader.open`` raises, and UnavailableError where a socket is asked for:
posttrail-queryd does not exist yet.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from journal import days
from journal.reader import Reader
from journal.records import Status
from posttrail import process
from posttrail.cli import Globals
from posttrail.errors import UnavailableError
from query import rows as report_rows
from query.cursor import Signer
from query.match import Query
from query.rows import Row
from query.scope import Scope
from query.search import Counts, Found, counts, search


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a report; its rows are made while they are read."""

    rows: Iterator[Row]
    next: str | None  # the cursor of the page behind it
    counts: Mapping[str, int]  # of all pages, by status; empty where that is not known cheaply
    counted: str  # what the counts are of: "row" or "message"


class Local:
    """The local form of ``rows(query, scope)``."""

    def __init__(self, reader: Reader, *, journal_key: bytes) -> None:
        self.reader = reader
        self._signer = Signer(journal_key)

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


def _page(rows: Iterator[Row], known: Counts | None, *, next: str | None) -> Page:
    if known is None:
        return Page(rows=rows, next=next, counts={}, counted="row")
    by_status = {status.token: known.by_status.get(status, 0) for status in Status}
    by_status = {token: number for token, number in by_status.items() if number}
    return Page(rows=rows, next=next, counts=by_status, counted=known.what)


def read(options: Globals, work: Callable[[Local], int]) -> int:
    """The exit code of ``work`` on the journal, done in a child process."""
    if options.socket is not None:
        raise UnavailableError(
            f"socket {options.socket}: this release has no posttrail-queryd; use --journal DIR"
        )
    return process.in_child(lambda: _opened(options.journal, work), journal=options.journal)


def _opened(journal: Path, work: Callable[[Local], int]) -> int:
    reader = Reader.open(journal)
    try:
        return work(Local(reader, journal_key=days.read_key(journal)))
    finally:
        reader.close()


def _row(found: Found) -> Row:
    return report_rows.make(found.message, found.number, found.row)


def _count(shown: list[Found]) -> Mapping[str, int]:
    statuses = [found.row.status for found in shown]
    return {status.token: statuses.count(status) for status in Status if status in statuses}
