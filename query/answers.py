"""The questions that verbs, the API and the page ask, in one form.

``query.local`` answers from a journal on this machine, within the scope it is bound to;
``query.remote`` asks posttrail-queryd, which knows the caller. Filters are the texts of the
options of posttrail(1), by name ("status": "deferred,error"), so that both spell alike.
Raises UsageError for a filter that means nothing, and what the form at hand raises.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Protocol

from query.coverage import Coverage
from query.days import Days
from query.details import Details
from query.filters import Filters
from query.never import Never
from query.rows import Row
from query.stats import Stats
from query.summary import Summary

__all__ = ["Answers", "Filters", "Page"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a report; its rows are made while they are read."""

    rows: Iterator[Row]
    next: str | None  # the cursor of the page behind it
    counts: Mapping[str, int]  # of all pages, by status; empty where that is not known cheaply
    counted: str  # what the counts are of: "row" or "message"


class Answers(Protocol):
    """Everything within one caller's scope; what is outside is absent."""

    def page(
        self, filters: Filters, *, limit: int | None, cursor: str | None = None, count: bool = True
    ) -> Page:
        """Rows, newest first; limit None is all."""
        ...

    def message(self, name: str) -> list[Details]:
        """The messages with this id or queue id, newest first; empty: none."""
        ...

    def stats(self, by: str, *, since: str, until: str, limit: int | None) -> Stats:
        """Rows counted by status, domain or hour."""
        ...

    def days(self, filters: Filters, *, zone: tzinfo | None) -> Days:
        """The rows of a report by day and status; without a zone in this machine's."""
        ...

    def summary(self, by: str, *, since: str, until: str, limit: int | None) -> Summary:
        """What was sent, by domain, login or sender."""
        ...

    def never(self, filters: Filters) -> Never:
        """What the journal can say of mail that a report does not find."""
        ...

    def coverage(self) -> Coverage:
        """When capture was up, and the gaps."""
        ...
