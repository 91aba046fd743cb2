"""The audit: which operator looked at whose mail, when, how, with which filters, at how many rows.

An entry is written before a row is given, so that what cannot be recorded is not
done, and completed with what was answered; without that its ``rows`` stay unknown. Whose an
entry is: the addresses and logins of its rows and filters, and their domains. Each of these
sees it: who and when, its own rows, and of the filters the names and its own addresses. An entry
of more than ``MOST_OWNERS`` is everybody's. Kept ``audit_days``. Raises StateError.

Log messages: "look-up is not in the audit" (warning, of a verb).
"""

import json
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from journal import address
from posttrail.text import json_dump, json_text
from query.httpd.caller import Caller
from query.httpd.state import PATIENCE_S, State, StateError
from query.rows import Row
from query.scope import Scope

log = logging.getLogger(__name__)

MOST_OWNERS: Final = 1000
SHOWN_OWNERS: Final = 50
PURGE_S: Final = 3600
PURGED: Final = 2000
"""Entries that one look-up drops at most."""
ADDRESSES: Final = ("address", "sender", "recipient", "login")
"""Filters that name somebody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """An entry as a reader may see it."""

    time: str
    who: str  # a login, or "token:ID"
    how: str  # peer, proxy, token; journal: a verb that read the files itself
    what: str  # report, show, live, link
    filters: dict[str, str | None]  # None: a value that is not the reader's
    rows: int | None  # of the reader's; None: unknown
    owners: list[str]  # those that the reader may know of, at most 50


class Audit:
    """The entries in a state."""

    def __init__(
        self,
        state: State,
        *,
        days: int,
        delimiters: bytes,
        required: bool = True,  # what cannot be recorded is not done
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._required = required
        self._days = days
        self._delimiters = delimiters
        self._clock = clock
        self._purged_at = 0.0

    def begin(self, who: Caller, what: str, filters: Mapping[str, str | None]) -> "Entry":
        """Record that a look-up begins; ``filters`` are the texts that were given."""
        given = {name: json_text(_raw(value)) for name, value in filters.items() if value}
        named = Counter[bytes]()
        for name in ADDRESSES:
            if filters.get(name):
                named.update(dict.fromkeys(self._owners(_raw(filters[name] or "")), 0))
        at_us = int(self._clock() * 1_000_000)

        def work(db: sqlite3.Connection) -> int:
            last: int = db.execute("SELECT coalesce(max(at_us), 0) FROM audit").fetchone()[0]
            at = max(at_us, last + 1)
            db.execute(
                "INSERT INTO audit VALUES (?, ?, ?, ?, ?, NULL, 0)",
                (at, who.name, who.how.value, what, json_dump(given)),
            )
            _add_owners(db, at, named)
            self._purge(db, at_us)
            return at

        try:
            at_us = self._state.write(work, durable=False)
        except StateError as error:
            if self._required:
                raise
            log.warning("look-up is not in the audit: %s", error)
            return Entry(None, 0, self._owners_of)
        return Entry(self._state, at_us, self._owners_of)

    def seen_by(
        self,
        scope: Scope,
        *,
        about: bytes | None = None,
        since_us: int = 0,
        until_us: int = 1 << 62,
        limit: int | None = 50,
    ) -> list[Looked]:
        """The entries that a reader may see, newest first; ``about`` one folded owner or @domain.

        An ``about`` outside of the scope has none.
        """
        owners = None if scope.operator else sorted(_names(scope))
        if about is not None:
            if owners is not None and not _is_within(scope, about):
                return []
            owners = [about]
        rows = self._state.read(
            lambda db: _select(db, owners, since_us, until_us, -1 if limit is None else limit)
        )
        return [_looked(row, scope, about) for row in rows]

    def _owners_of(self, row: Row) -> set[bytes]:
        """Whose a row is."""
        found: set[bytes] = set()
        for name in (row.recipient, row.final_recipient, row.login):
            if name:
                found.update(self._owners(_raw(name)))
        return found

    def _owners(self, name: bytes) -> Iterator[bytes]:
        """An address, its mailbox and its @domain; a login; an @domain itself."""
        if name[:1] == b"@":
            yield b"@" + address.fold_domain(name)
            return
        folded = address.fold(name)
        yield folded
        yield address.mailbox(folded, self._delimiters)
        if domain := address.domain(folded):
            yield b"@" + domain

    def _purge(self, db: sqlite3.Connection, now_us: int) -> None:
        if now_us / 1e6 - self._purged_at < PURGE_S:
            return
        before = now_us - self._days * 86_400_000_000
        old = "SELECT at_us FROM audit WHERE at_us < ? ORDER BY at_us LIMIT ?"
        for table in ("audit_owner", "audit"):  # the second by what the first was chosen by
            db.execute(f"DELETE FROM {table} WHERE at_us IN ({old})", (before, PURGED))
        if db.execute("SELECT 1 FROM audit WHERE at_us < ?", (before,)).fetchone() is None:
            self._purged_at = now_us / 1e6


class Entry:
    """One look-up while its rows are read; for one thread at a time."""

    def __init__(
        self, state: State | None, at_us: int, owners: Callable[[Row], set[bytes]]
    ) -> None:
        self._state = state
        self._at_us = at_us
        self._owners_of = owners
        self._owners = Counter[bytes]()
        self._rows = 0
        self._many = False

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, each noted before it is given; the entry ends with them."""
        try:
            for row in rows:
                self.saw(row)
                yield row
        except BaseException:  # a client that is gone, or damage: told at once, or not
            with suppress(StateError):
                self.end(patience_s=0)
            raise
        self.end()

    def saw(self, row: Row) -> None:
        """A row is about to be given."""
        self._rows += 1
        if not self._many:
            self._owners.update(self._owners_of(row))
            self._many = len(self._owners) > MOST_OWNERS

    def end(self, *, patience_s: float = PATIENCE_S) -> None:
        """Complete the entry; may be called again after more rows."""
        if self._state is None:
            return
        owners = Counter[bytes]() if self._many else self._owners

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE audit SET rows = ?, many = ? WHERE at_us = ?",
                (self._rows, self._many, self._at_us),
            )
            _add_owners(db, self._at_us, owners)

        self._state.write(work, patience_s=patience_s, durable=False)


def _add_owners(db: sqlite3.Connection, at_us: int, owners: Mapping[bytes, int]) -> None:
    db.executemany(
        "INSERT INTO audit_owner VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET rows = max(rows, excluded.rows)",
        ((owner, at_us, rows) for owner, rows in owners.items()),
    )


def _names(scope: Scope) -> set[bytes]:
    """The owners that a caller is."""
    return {*scope.mailboxes, *scope.logins, *(b"@" + name for name in scope.domains)}


def _is_within(scope: Scope, owner: bytes) -> bool:
    if owner[:1] == b"@":
        return owner[1:] in scope.domains
    return scope.owns(owner) or scope.is_login(owner)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_FIELDS: Final = "at_us, who, how, what, filters, rows, many"


class _Found(NamedTuple):
    """An entry as the state has it."""

    at_us: int
    who: str
    how: str
    what: str
    filters: str
    rows: int | None
    many: int
    owners: tuple[tuple[bytes, int], ...]


def _select(
    db: sqlite3.Connection, owners: list[bytes] | None, since_us: int, until_us: int, limit: int
) -> list[_Found]:
    chosen = ""
    values: list[int | bytes] = [since_us, until_us, limit]
    if owners is not None:
        marks = ", ".join("?" * len(owners))
        chosen = f" AND (many OR at_us IN (SELECT at_us FROM audit_owner WHERE owner IN ({marks})))"
        values[2:2] = owners
    found = db.execute(
        f"SELECT {_FIELDS} FROM audit WHERE at_us >= ? AND at_us < ?{chosen}"
        " ORDER BY at_us DESC LIMIT ?",
        values,
    ).fetchall()
    whose = "SELECT owner, rows FROM audit_owner WHERE at_us = ? ORDER BY rows DESC, owner"
    return [_Found._make((*row, tuple(db.execute(whose, row[:1])))) for row in found]


def _looked(found: _Found, scope: Scope, about: bytes | None) -> Looked:
    filters: dict[str, str | None] = json.loads(found.filters)
    owners = [owner for owner, _ in found.owners if owner[:1] != b"@" and _may_know(scope, owner)]
    rows = found.rows
    if not scope.operator:
        filters = {name: _own(name, value, scope) for name, value in filters.items()}
        mine = {about} if about is not None else _names(scope)
        rows = None if rows is None or found.many else _sum(found.owners, mine)
    return Looked(
        time=micro(found.at_us),
        who=found.who,
        how=found.how,
        what=found.what,
        filters=filters,
        rows=rows,
        owners=[json_text(owner) for owner in owners[:SHOWN_OWNERS]],
    )


def _sum(owners: Iterable[tuple[bytes, int]], mine: set[bytes]) -> int:
    return sum(rows for owner, rows in owners if owner in mine)


def _may_know(scope: Scope, owner: bytes) -> bool:
    return scope.operator or _is_within(scope, owner)


def _own(name: str, value: str | None, scope: Scope) -> str | None:
    """The value of a filter, where it says nothing of others."""
    if name in ADDRESSES and value is not None:
        raw = _raw(value)
        folded = b"@" + address.fold_domain(raw) if raw[:1] == b"@" else address.fold(raw)
        return value if _is_within(scope, folded) else None
    return value if name in _PLAIN else None


_PLAIN: Final = frozenset({"since", "until", "status", "direction"})


def micro(at_us: int) -> str:
    """A UTC time as RFC 3339 text with microseconds: no two entries have the same."""
    seconds, rest = divmod(at_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
