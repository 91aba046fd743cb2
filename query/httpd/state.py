"""posttrail-queryd's own memory: one SQLite file.

It has tokens, used links, sessions, the audit, and what counters were exported last.

The file is 0600 and made by whoever serves (sqlite3 gives its -wal and -shm the same owner and
mode); ``PRAGMA user_version`` says which migrations it has. What needs no state never waits for
it: a reading and a writing connection, each opened on use, each with a limit to its patience.
Raises StateError where the file cannot be had, whatever the reason; the next call tries again.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar

from posttrail.durable import sync_directory
from posttrail.errors import UnavailableError

T = TypeVar("T")

PATIENCE_S: Final = 1.0
"""How long another process's transaction is waited for."""

MIGRATIONS: Final = (
    """
    CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE token (
        id TEXT PRIMARY KEY, hash BLOB NOT NULL, grants TEXT NOT NULL, label TEXT NOT NULL,
        created_s INTEGER NOT NULL, expires_s INTEGER NOT NULL, used_s INTEGER, revoked_s INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE nonce (value BLOB PRIMARY KEY, expires_s INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE session (
        hash BLOB PRIMARY KEY, address BLOB NOT NULL,
        created_s INTEGER NOT NULL, seen_s INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE audit (
        at_us INTEGER PRIMARY KEY, who TEXT NOT NULL, how TEXT NOT NULL, what TEXT NOT NULL,
        filters TEXT NOT NULL, rows INTEGER, many INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE audit_owner (
        owner BLOB NOT NULL, at_us INTEGER NOT NULL, rows INTEGER NOT NULL,
        PRIMARY KEY (owner, at_us)
    ) WITHOUT ROWID;
    CREATE INDEX audit_owner_at ON audit_owner (at_us);
    CREATE INDEX audit_many ON audit (at_us) WHERE many;
    """,
    """
    CREATE TABLE exported (
        journal TEXT NOT NULL, series TEXT NOT NULL, value INTEGER NOT NULL,
        PRIMARY KEY (journal, series)
    ) WITHOUT ROWID;
    """,
)
"""One script a version; a script that was released is never changed."""


class StateError(UnavailableError):
    """The state cannot be read or written now."""


class State:
    """The file; safe for use by several threads, not across a fork."""

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        migrations: tuple[str, ...] = MIGRATIONS,
        maker: str = "posttrail-queryd",
    ) -> None:
        """``create``: make it where it is missing; else ``maker`` is named as who does."""
        self.path = path
        self._create = create
        self._migrations = migrations
        self._maker = maker
        self._reading = _Connection(self, readonly=True)
        self._writing = _Connection(self, readonly=False)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` finds."""
        return self._reading.run(work, PATIENCE_S)

    def write(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        patience_s: float = PATIENCE_S,
        durable: bool = True,
    ) -> T:
        """What ``work`` says after its one transaction; not ``durable``: a power cut may undo it.

        An exception of ``work`` undoes it, too.
        """

        def transaction(connection: sqlite3.Connection) -> T:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                found = work(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            return found

        return self._writing.run(transaction, patience_s)

    def close(self) -> None:
        """Nothing stays open."""
        self._reading.close()
        self._writing.close()

    def prepare(self) -> None:
        """Make the file where it is missing and may be made, and bring it to our version."""
        if not self.path.exists():
            if not self._create:
                raise StateError(f"{self.path}: no such file; start {self._maker} once")
            _make(self.path)
        with suppress(PermissionError):
            self.path.chmod(0o600)
        made = sqlite3.connect(self.path, timeout=PATIENCE_S, isolation_level=None)
        try:
            _migrate(made, self.path, self._migrations)
        finally:
            made.close()


class _Connection:
    """One connection, opened on use; closed where it fails or the file is another one."""

    def __init__(self, state: State, *, readonly: bool) -> None:
        self._state = state
        self._readonly = readonly
        self._lock = Lock()
        self._open: sqlite3.Connection | None = None
        self._file = (0, 0)

    def run(self, work: Callable[[sqlite3.Connection], T], patience_s: float) -> T:
        path = self._state.path
        if not self._lock.acquire(timeout=PATIENCE_S + patience_s):
            raise StateError(f"{path}: busy")
        try:
            connection = self._connection()
            connection.execute(f"PRAGMA busy_timeout = {int(patience_s * 1000)}")
            return work(connection)
        except sqlite3.IntegrityError:
            raise  # the caller's: a name that is taken
        except (sqlite3.Error, OSError) as error:
            self._close()
            raise StateError(f"{path}: {error}") from None
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._close()

    def _connection(self) -> sqlite3.Connection:
        if self._open is not None and self._identity() != self._file:
            self._close()
        if self._open is None:
            self._state.prepare()
            self._file = self._identity()
            self._open = sqlite3.connect(
                self._state.path, isolation_level=None, check_same_thread=False
            )
            if self._readonly:
                self._open.execute("PRAGMA query_only = ON")
        return self._open

    def _identity(self) -> tuple[int, int]:
        try:
            found = self._state.path.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_dev, found.st_ino

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def _make(path: Path) -> None:
    """An empty file that nobody else can open; root makes it for the folder's owner."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        if os.geteuid() == 0:
            folder = path.parent.stat()
            os.chown(path, folder.st_uid, folder.st_gid)
        sync_directory(path.parent)


def _migrate(connection: sqlite3.Connection, path: Path, scripts: tuple[str, ...]) -> None:
    if _version(connection, path, len(scripts)) == len(scripts):
        return
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    have = _version(connection, path, len(scripts))  # another process may have been quicker
    for number, script in enumerate(scripts[have:], have + 1):
        for statement in filter(str.strip, script.split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection, path: Path, known: int) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > known:
        raise StateError(
            f"{path}: format {found} is newer than this release, which reads up to {known}"
        )
    return found
