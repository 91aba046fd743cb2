"""posttrail-hookd's own memory: one SQLite file with how far each hook came, and what waits.

Of each hook: the change number up to which it has read, what it was told, and the calls that are
still to be made or were given up. One transaction moves the number, remembers what is told and
puts the calls in: a crash leaves all of it or nothing. A call that was taken (2xx, exit 0) is
deleted; its id does not come again while the mark that it was told is kept. The file is made and
migrated as posttrail-queryd's is (``query.httpd.state``). Raises StateError.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from query.hooks.events import Fact, Mark, Names
from query.httpd.state import State

MIGRATIONS: Final = (
    """
    CREATE TABLE journal (one INTEGER PRIMARY KEY CHECK (one = 1), key BLOB NOT NULL);
    CREATE TABLE day (number INTEGER PRIMARY KEY, inode INTEGER NOT NULL);
    CREATE TABLE hook (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, digest TEXT NOT NULL,
        cursor INTEGER NOT NULL, begun_us INTEGER NOT NULL, looked_us INTEGER NOT NULL,
        off INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE told (
        hook INTEGER NOT NULL, id BLOB NOT NULL, recipient BLOB NOT NULL, final BLOB NOT NULL,
        kind TEXT NOT NULL, PRIMARY KEY (hook, id, recipient, final, kind)
    ) WITHOUT ROWID;
    CREATE TABLE fact (
        hook INTEGER NOT NULL, day INTEGER NOT NULL, key BLOB NOT NULL,
        PRIMARY KEY (hook, day, key)
    ) WITHOUT ROWID;
    CREATE TABLE call (
        hook INTEGER NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, message BLOB NOT NULL,
        recipient BLOB NOT NULL, final BLOB NOT NULL, body BLOB NOT NULL,
        made_us INTEGER NOT NULL, due_us INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
        dead_us INTEGER, error TEXT NOT NULL DEFAULT '', PRIMARY KEY (hook, id)
    );
    CREATE INDEX call_due ON call (hook, due_us) WHERE dead_us IS NULL;
    CREATE INDEX call_dead ON call (hook, dead_us) WHERE dead_us IS NOT NULL;
    CREATE INDEX call_message ON call (message);
    CREATE TABLE silence (
        hook INTEGER NOT NULL, usual TEXT NOT NULL, last_us INTEGER NOT NULL,
        PRIMARY KEY (hook, usual)
    ) WITHOUT ROWID;
    """,
)
"""One script a version; a script that was released is never changed."""

MOST_DEAD: Final = 10_000
"""Calls given up that are kept, of one hook; the oldest go."""
PIECE: Final = 5_000
"""Rows forgotten in one transaction."""


class Place(NamedTuple):
    """How far a hook came."""

    number: int
    name: str
    digest: str
    cursor: int
    begun_us: int  # nothing older is told
    looked_us: int  # when it last stood at the end of the change log
    off: bool


class Call(NamedTuple):
    """One event that is to be told."""

    id: str
    kind: str
    message: bytes
    names: Names
    body: bytes
    made_us: int
    due_us: int
    attempts: int = 0
    error: str = ""
    dead_us: int | None = None


class Told(NamedTuple):
    """What one hook is told of one message."""

    hook: int
    message: bytes
    mark: Mark
    facts: tuple[Fact, ...]
    call: Call


NOBODY: Final = Names(b"", b"")
"""Of a silence: no row."""


def open_state(path: Path, *, create: bool = True) -> State:
    """The file."""
    return State(path, create=create, migrations=MIGRATIONS, maker="posttrail-hookd")


# Each in a transaction of the caller


def places(db: sqlite3.Connection) -> list[Place]:
    """All hooks that ever were configured."""
    found = db.execute(
        "SELECT number, name, digest, cursor, begun_us, looked_us, off FROM hook ORDER BY number"
    )
    return [
        Place(number, name, digest, cursor, begun_us, looked_us, bool(off))
        for number, name, digest, cursor, begun_us, looked_us, off in found
    ]


def begin(db: sqlite3.Connection, name: str, digest: str, *, cursor: int, now_us: int) -> None:
    """A hook that is new, or asks for something else than before, begins now."""
    db.execute(
        "INSERT INTO hook (name, digest, cursor, begun_us, looked_us) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, cursor = excluded.cursor,"
        " begun_us = excluded.begun_us, looked_us = excluded.looked_us, off = 0",
        (name, digest, cursor, now_us, now_us),
    )


def drop(db: sqlite3.Connection, number: int) -> None:
    """A hook that is configured no more, and all of it."""
    for table in ("told", "fact", "call", "silence"):
        db.execute(f"DELETE FROM {table} WHERE hook = ?", (number,))
    db.execute("DELETE FROM hook WHERE number = ?", (number,))


def move(db: sqlite3.Connection, number: int, cursor: int, looked_us: int | None) -> None:
    """A hook has read so far; ``looked_us`` where that is the end of the log."""
    db.execute(
        "UPDATE hook SET cursor = ?, looked_us = coalesce(?, looked_us) WHERE number = ?",
        (cursor, looked_us, number),
    )


def marks(db: sqlite3.Connection, number: int, message: bytes) -> list[Mark]:
    """What a hook was told of a message."""
    found = db.execute(
        "SELECT recipient, final, kind FROM told WHERE hook = ? AND id = ?", (number, message)
    )
    return [Mark(Names(recipient, final), kind) for recipient, final, kind in found]


def knows(db: sqlite3.Connection, number: int, facts: Iterable[Fact]) -> bool:
    """Whether it was told by one of these."""
    asked = "SELECT 1 FROM fact WHERE hook = ? AND day = ? AND key = ?"
    return any(db.execute(asked, (number, *fact)).fetchone() for fact in facts)


def tell(db: sqlite3.Connection, told: Told) -> None:
    """Remember it and put the call in."""
    names, kind = told.mark
    db.execute(
        "INSERT OR IGNORE INTO told VALUES (?, ?, ?, ?, ?)", (told.hook, told.message, *names, kind)
    )
    db.executemany(
        "INSERT OR IGNORE INTO fact VALUES (?, ?, ?)", [(told.hook, *fact) for fact in told.facts]
    )
    put(db, told.hook, told.call)


def put(db: sqlite3.Connection, hook: int, call: Call) -> None:
    """A call to be made; one that waits under the same id stays as it is."""
    db.execute(
        "INSERT OR IGNORE INTO call (hook, id, kind, message, recipient, final, body, made_us,"
        " due_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (hook, call.id, call.kind, call.message, *call.names, call.body, call.made_us, call.due_us),
    )


def merged(db: sqlite3.Connection, gone: bytes, into: bytes) -> None:
    """What was told of a message was told of the one that it is a part of."""
    db.execute("UPDATE OR IGNORE told SET id = ? WHERE id = ?", (into, gone))
    db.execute("DELETE FROM told WHERE id = ?", (gone,))
    db.execute("UPDATE call SET message = ? WHERE message = ?", (into, gone))


def names_waiting(db: sqlite3.Connection, message: bytes) -> set[Names]:
    """Whose rows of a message there are calls of."""
    found = db.execute("SELECT recipient, final FROM call WHERE message = ?", (message,))
    return {Names(*each) for each in found}


def unsay(db: sqlite3.Connection, message: bytes, names: Names) -> None:
    """Calls of a row that is no more: it was erased."""
    db.execute(
        "DELETE FROM call WHERE message = ? AND recipient = ? AND final = ?", (message, *names)
    )


def waiting(db: sqlite3.Connection, number: int) -> int:
    """Calls of a hook that are still to be made."""
    asked = "SELECT count(*) FROM call WHERE hook = ? AND dead_us IS NULL"
    found: int = db.execute(asked, (number,)).fetchone()[0]
    return found


def dead(db: sqlite3.Connection, number: int) -> int:
    """Calls of a hook that were given up."""
    asked = "SELECT count(*) FROM call WHERE hook = ? AND dead_us IS NOT NULL"
    found: int = db.execute(asked, (number,)).fetchone()[0]
    return found


def last_silence(db: sqlite3.Connection, number: int, usual: str) -> int | None:
    """Behind which message of a sender a silence was told last."""
    found = db.execute(
        "SELECT last_us FROM silence WHERE hook = ? AND usual = ?", (number, usual)
    ).fetchone()
    return None if found is None else int(found[0])


def silent(db: sqlite3.Connection, number: int, usual: str, last_us: int) -> None:
    """A silence is told, once."""
    db.execute("INSERT OR REPLACE INTO silence VALUES (?, ?, ?)", (number, usual, last_us))


def forget(db: sqlite3.Connection, day: int, dead_before_us: int) -> bool:
    """Let go of what was told of days before ``day`` and of old calls; whether there is more."""
    more = False
    for number in [place.number for place in places(db)]:
        below = day.to_bytes(2, "big") if day > 0 else b""
        some = db.execute(
            "SELECT id FROM told WHERE hook = ? AND id < ? ORDER BY id LIMIT 1 OFFSET ?",
            (number, below, PIECE),
        ).fetchone()
        db.execute(
            "DELETE FROM told WHERE hook = ? AND id < ?", (number, some[0] if some else below)
        )
        more |= some is not None
        oldest = db.execute("SELECT min(day) FROM fact WHERE hook = ?", (number,)).fetchone()[0]
        if oldest is not None and oldest < day:
            db.execute(
                "DELETE FROM fact WHERE hook = ? AND day = ? AND key IN"
                " (SELECT key FROM fact WHERE hook = ? AND day = ? LIMIT ?)",
                (number, oldest, number, oldest, PIECE),
            )
            more = True
        _forget_dead(db, number, dead_before_us)
    return more


def _forget_dead(db: sqlite3.Connection, number: int, before_us: int) -> None:
    db.execute("DELETE FROM call WHERE hook = ? AND dead_us < ?", (number, before_us))
    db.execute(
        "DELETE FROM call WHERE hook = ? AND id IN (SELECT id FROM call WHERE hook = ?"
        " AND dead_us IS NOT NULL ORDER BY dead_us DESC LIMIT -1 OFFSET ?)",
        (number, number, MOST_DEAD),
    )


# The journal that all of it is about


def journal_key(db: sqlite3.Connection) -> bytes | None:
    """What stands for the journal that was read."""
    found = db.execute("SELECT key FROM journal").fetchone()
    return None if found is None else bytes(found[0])


def set_journal_key(db: sqlite3.Connection, key: bytes) -> None:
    """It is this one."""
    db.execute("INSERT OR REPLACE INTO journal VALUES (1, ?)", (key,))


def inodes(db: sqlite3.Connection) -> dict[int, int]:
    """The files of the days that were read."""
    return dict(db.execute("SELECT number, inode FROM day"))


def set_inodes(db: sqlite3.Connection, known: dict[int, int]) -> None:
    """They are these."""
    db.execute("DELETE FROM day")
    db.executemany("INSERT INTO day VALUES (?, ?)", known.items())


def figures(db: sqlite3.Connection) -> tuple[int, int, int | None]:
    """Calls that wait, calls given up, and when the oldest that waits was put in."""
    waiting, oldest = db.execute(
        "SELECT count(*), min(made_us) FROM call WHERE dead_us IS NULL"
    ).fetchone()
    dead = db.execute("SELECT count(*) FROM call WHERE dead_us IS NOT NULL").fetchone()[0]
    return waiting, dead, oldest
