"""An operator's answers from the journal: what shows rows of mailboxes goes through the audit.

Raises what ``query.local`` raises; StateError for a look-up that cannot be recorded, before a row
is given.
"""

import os
import pwd
from dataclasses import replace

from posttrail.config import Config
from query.answers import Filters, Page
from query.details import Details
from query.httpd.audit import Audit
from query.httpd.caller import Caller, How, Role
from query.httpd.state import State
from query.local import Local, Within
from query.never import Never
from query.scope import Scope


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

    def never(self, filters: Filters) -> Never:
        """What the journal can say of mail that a report does not find; it shows some rows."""
        entry = self._audit.begin(self._who, "never", filters)
        found = super().never(filters)
        for near in found.instead:
            for row in near.newest:
                entry.saw(row)
        entry.end()
        return found


def of_verb(source: Local, scope: Scope, settings: Config) -> Within:
    """The answers of a verb that reads the journal's files itself.

    Whoever may read the files may do so without us, so this is a record among honest people: it
    is written where the state can be, and where not, a warning says so and the answer comes.
    """
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid={os.getuid()}"
    who = Caller(name=name, role=Role.OPERATOR, how=How.JOURNAL, scope=scope)
    query = settings.query
    state = State(query.state, create=False)
    audit = Audit(state, days=query.audit_days, delimiters=query.delimiters, required=False)
    return Audited(source, who, audit)
