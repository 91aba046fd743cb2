"""The questions that verbs, the API and the page ask, in one form.

``query.local`` answers from a journal on this machine, within the scope it was opened for;
``query.remote`` asks posttrail-queryd, which knows the caller. Filters are the texts of the
options of posttrail(1), by name ("status": "deferred,error"), so that both spell alike.
Raises UsageError for a filter that means nothing, and what the form at hand raises.
"""

from collections.abc import Mapping
from typing import Protocol

from query.coverage import Coverage
from query.details import Details
from query.local import Page
from query.stats import Stats

Filters = Mapping[str, str | None]


class Answers(Protocol):
    """Everything within one caller's scope; what is outside is absent."""

    def page(
        self, filters: Filters, *, limit: int | None, cursor: str | None = None, count: bool = True
    ) -> Page:
        """Rows, newest first; limit None is all."""
        ...

    def message(self, name: str) -> list[Details]:
        """The messages with this id, queue id or Message-ID, newest first; empty: none."""
        ...

    def stats(self, by: str, *, since: str, until: str, limit: int | None) -> Stats:
        """Rows counted by status, domain or hour."""
        ...

    def coverage(self) -> Coverage:
        """When capture was up, and the gaps."""
        ...
