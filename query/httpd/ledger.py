"""What counters were exported last: none of them may ever go down.

The journal's sums are exact, and may go down: a delivery turns out to be an error, two messages
prove to be one. Prometheus takes any decrease for a restart and adds everything again. So what
is exported is the highest that a sum ever was; it is kept in the state, and read back after a
restart. As soon as the sum has grown past it, it is the sum again. Another journal (another key)
begins anew, and so does a state that was lost: Prometheus sees one restart then. Raises nothing.

Log messages: "exported counters cannot be kept" (warning).
"""

import hashlib
import logging
import sqlite3
from collections.abc import Mapping
from threading import Lock

from query.httpd.state import State, StateError

log = logging.getLogger(__name__)


class Ledger:
    """Safe for use by several threads."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = Lock()
        self._journal = ""
        self._exported: dict[str, int] | None = None  # None: not read back yet
        self._unkept: dict[str, int] = {}
        self.kept = True
        """Whether what was exported last would outlast a restart."""

    def raised(self, sums: Mapping[str, int], journal_key: bytes) -> dict[str, int] | None:
        """The sums, each at its highest so far; None where that cannot be known now."""
        with self._lock:
            journal = hashlib.sha256(b"exported" + journal_key).hexdigest()[:16]
            if self._exported is None or journal != self._journal:
                self._exported = self._read(journal)
                self._journal = journal
            if self._exported is None:
                return None
            grown = higher(sums, self._exported)
            self._exported |= grown
            self._unkept |= grown
            self._keep()
            return dict(self._exported)

    def _read(self, journal: str) -> dict[str, int] | None:
        def read(db: sqlite3.Connection) -> dict[str, int]:
            found = db.execute("SELECT series, value FROM exported WHERE journal = ?", (journal,))
            return dict(found.fetchall())

        self._unkept = {}
        try:
            return self._state.read(read)
        except StateError as error:
            self._failed(error)
            return None

    def _keep(self) -> None:
        """Before anybody is told: what was told and then forgotten would go down."""
        rows = [(self._journal, *each) for each in self._unkept.items()]
        try:
            if rows:
                self._state.write(lambda db: _write(db, rows), durable=False)
            self._unkept = {}
            self.kept = True
        except StateError as error:
            self._failed(error)

    def _failed(self, error: StateError) -> None:
        if self.kept:
            log.warning("exported counters cannot be kept error=%s", error)
        self.kept = False


def higher(sums: Mapping[str, int], exported: Mapping[str, int]) -> dict[str, int]:
    """The sums that are above what was exported; those that were never exported, too."""
    return {name: value for name, value in sums.items() if value > exported.get(name, -1)}


def _write(db: sqlite3.Connection, rows: list[tuple[str, str, int]]) -> None:
    journal = rows[0][0]
    db.execute("DELETE FROM exported WHERE journal <> ?", (journal,))
    db.executemany("INSERT OR REPLACE INTO exported VALUES (?, ?, ?)", rows)
