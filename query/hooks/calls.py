"""The calls that wait, or were given up, in posttrail-hookd's memory (``query.hooks.state``).

Each function works in a transaction of its caller. Raises what SQLite raises.
"""

import sqlite3
from typing import Any, Final

from query.hooks.events import Names
from query.hooks.state import Call

_CALL: Final = (
    "id, kind, message, recipient, final, body, made_us, due_us, attempts, error, dead_us"
)


def _call(found: tuple[Any, ...]) -> Call:
    id, kind, message, recipient, final, *rest = found
    return Call(id, kind, message, Names(recipient, final), *rest)


def due(db: sqlite3.Connection, number: int, now_us: int, most: int) -> list[Call]:
    """The calls of a hook that may be made now, the longest due first."""
    found = db.execute(
        f"SELECT {_CALL} FROM call WHERE hook = ? AND dead_us IS NULL AND due_us <= ?"
        " ORDER BY due_us, made_us, rowid LIMIT ?",
        (number, now_us, most),
    )
    return [_call(each) for each in found]


def taken(db: sqlite3.Connection, number: int, id: str) -> None:
    """The receiver has it."""
    db.execute("DELETE FROM call WHERE hook = ? AND id = ?", (number, id))


def failed(db: sqlite3.Connection, number: int, id: str, *, error: str, due_us: int) -> None:
    """Once more, later."""
    db.execute(
        "UPDATE call SET attempts = attempts + 1, error = ?, due_us = ? WHERE hook = ? AND id = ?",
        (error, due_us, number, id),
    )


def given_up(db: sqlite3.Connection, number: int, id: str, *, error: str, now_us: int) -> None:
    """No more, unless somebody says so."""
    db.execute(
        "UPDATE call SET attempts = attempts + 1, error = ?, dead_us = ? WHERE hook = ? AND id = ?",
        (error, now_us, number, id),
    )


def turn_off(db: sqlite3.Connection, number: int, *, error: str, now_us: int) -> None:
    """The receiver wants nothing any more (410): what waits is given up."""
    db.execute("UPDATE hook SET off = 1 WHERE number = ?", (number,))
    db.execute(
        "UPDATE call SET error = ?, dead_us = ? WHERE hook = ? AND dead_us IS NULL",
        (error, now_us, number),
    )


def turn_on(db: sqlite3.Connection, name: str) -> bool:
    """Tell it again, from where it stopped; whether there is such a hook."""
    return db.execute("UPDATE hook SET off = 0 WHERE name = ?", (name,)).rowcount > 0


def calls(db: sqlite3.Connection, number: int, *, dead: bool) -> list[Call]:
    """What waits, or what was given up, oldest first."""
    which = "IS NOT NULL" if dead else "IS NULL"
    found = db.execute(
        f"SELECT {_CALL} FROM call WHERE hook = ? AND dead_us {which} ORDER BY made_us, rowid",
        (number,),
    )
    return [_call(each) for each in found]


def again(db: sqlite3.Connection, id: str | None, number: int | None, now_us: int) -> int:
    """Calls due now, with all their time before them: one by its id, or all dead of a hook."""
    if id is not None:
        return db.execute(
            "UPDATE call SET dead_us = NULL, due_us = ?, made_us = ?, attempts = 0 WHERE id = ?",
            (now_us, now_us, id),
        ).rowcount
    return db.execute(
        "UPDATE call SET dead_us = NULL, due_us = ?, made_us = ?, attempts = 0"
        " WHERE hook = ? AND dead_us IS NOT NULL",
        (now_us, now_us, number),
    ).rowcount
