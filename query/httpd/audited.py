"""An operator's answers from the journal: what shows rows of mailboxes goes through the audit.

Raises what ``query.local`` raises; StateError for a look-up that cannot be recorded, before a row
is given.
"""

from dataclasses import replace

from query.answers import Filters, Page
from query.details import Details
from query.httpd.audit import Audit
from query.httpd.caller import Caller
from query.local import Local, Within


class Audited(Within):
    """``Within``, for a caller whose look-ups are recorded."""

    def __init__(self, source: Local, who: Caller, audit: Audit) -> None:
        super().__init__(source, who.scope)
        self._who = who
        self._audit = audit

    def page(
        self, filters: Filters, *, limit: int | None, cursor: str | None = None, count: bool = True
    ) -> Page:
        """Rows, newest first; recorded as they are read."""
        found = super().page(filters, limit=limit, cursor=cursor, count=count)
        return replace(
            found, rows=self._audit.begin(self._who, "report", filters).watch(found.rows)
        )

    def message(self, name: str) -> list[Details]:
        """The messages with this id or queue id, all of them recorded."""
        entry = self._audit.begin(self._who, "show", {"id": name})
        found = super().message(name)
        for each in found:
            for row in each.rows:
                entry.saw(row)
        entry.end()
        return found
