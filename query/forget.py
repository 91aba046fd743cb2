"""Takes erased addresses out of the states of posttrail-queryd and posttrail-hookd.

Whom to forget the journal's list tells (``journal.erased``). Entries of the audit stay, with a
placeholder; a token or session for an erased address ends; a call that waits to be made is
dropped, for it carries the row. Freed pages are overwritten: ``secure_delete``, then VACUUM, and
the write-ahead log is cut to nothing. Raises nothing: what could not be done is told.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Final, TypedDict

from journal import days, erased
from journal.forget import Forget
from journal.scrub import Scrubber
from posttrail.cli import Globals
from posttrail.errors import PosttrailError

BUSY_S: Final = 10.0


class Done(TypedDict):
    """What became of a state."""

    changed: int  # entries
    left: list[str]  # sentences about what may hold the address still


def queryd(options: Globals) -> Done:
    """Audit, tokens and sessions."""
    return _forget(options, options.config.query.state, _queryd)


def hookd(options: Globals) -> Done:
    """Calls that wait, and whose silence is watched."""
    return _forget(options, options.config.hookd.state, _hookd)


def _forget(
    options: Globals, path: Path, work: Callable[[sqlite3.Connection, Forget], int]
) -> Done:
    try:
        if not path.exists():
            return {"changed": 0, "left": []}
        forget = Forget(erased.load(options.journal, days.read_key(options.journal)))
        with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as db:
            db.execute("PRAGMA secure_delete = ON")
            db.execute("BEGIN IMMEDIATE")
            changed = work(db, forget)
            db.execute("COMMIT")
            db.execute("VACUUM")
            busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        left = [f"{path}-wal: its readers are busy"] if busy else []
    except (sqlite3.Error, OSError, PosttrailError) as error:
        return {"changed": 0, "left": [f"{path}: {error}"]}
    return {"changed": changed, "left": left}


def _queryd(db: sqlite3.Connection, forget: Forget) -> int:
    changed = 0
    for at_us, who, filters in db.execute("SELECT at_us, who, filters FROM audit").fetchall():
        scrubber = forget.at(at_us)
        new = (_name(scrubber, who), _filters(scrubber, filters))
        if new != (who, filters):
            db.execute("UPDATE audit SET who = ?, filters = ? WHERE at_us = ?", (*new, at_us))
            changed += 1
    owners = db.execute("SELECT owner, at_us FROM audit_owner").fetchall()
    for at_us, names in _by_entry(owners).items():
        scrubber = forget.at(at_us)
        if scrubber is None:
            continue
        scrubbed = [scrubber.name(owner) for owner in names]
        for owner, name in zip(names, scrubbed, strict=True):
            named = scrubber.bare(name, scrubbed)
            if named != owner:
                db.execute(
                    "UPDATE OR REPLACE audit_owner SET owner = ? WHERE owner = ? AND at_us = ?",
                    (named, owner, at_us),
                )
                changed += 1
    for id, grants, label, created_s in db.execute(
        "SELECT id, grants, label, created_s FROM token"
    ).fetchall():
        scrubber = forget.at(created_s * 1_000_000)
        if _name(scrubber, grants) != grants or _text(scrubber, grants) != grants:
            db.execute("DELETE FROM token WHERE id = ?", (id,))
            changed += 1
        elif _text(scrubber, label) != label:
            db.execute("UPDATE token SET label = ? WHERE id = ?", (_text(scrubber, label), id))
            changed += 1
    for hash, address, created_s in db.execute(
        "SELECT hash, address, created_s FROM session"
    ).fetchall():
        scrubber = forget.at(created_s * 1_000_000)
        if scrubber is not None and scrubber.name(address) != address:
            db.execute("DELETE FROM session WHERE hash = ?", (hash,))
            changed += 1
    return changed


def _by_entry(owners: Iterable[tuple[bytes, int]]) -> dict[int, list[bytes]]:
    """The owners of each entry of the audit."""
    found: dict[int, list[bytes]] = {}
    for owner, at_us in owners:
        found.setdefault(at_us, []).append(owner)
    return found


def _hookd(db: sqlite3.Connection, forget: Forget) -> int:
    """What was told stays told, under the placeholder; a call that waits names too much to stay."""
    scrubber = forget.at(0)
    if scrubber is None:
        return 0
    changed = 0
    for hook, id, *names, kind in db.execute(
        "SELECT hook, id, recipient, final, kind FROM told"
    ).fetchall():
        new = [scrubber.name(name) for name in names]
        if new != names:
            db.execute(
                "UPDATE OR REPLACE told SET recipient = ?, final = ? WHERE hook = ? AND id = ?"
                " AND recipient = ? AND final = ? AND kind = ?",
                (*new, hook, id, *names, kind),
            )
            changed += 1
    changed += _dropped(db, scrubber, "call", "id", ("recipient", "final", "body", "error"))
    return changed + _dropped(db, scrubber, "silence", "usual", ("usual",))


def _dropped(
    db: sqlite3.Connection, scrubber: Scrubber, table: str, key: str, columns: tuple[str, ...]
) -> int:
    """Drop the rows of a table that name an erased address; how many."""
    changed = 0
    rows = db.execute(f"SELECT hook, {key}, {', '.join(columns)} FROM {table}").fetchall()
    for hook, id, *values in rows:
        if any(_names(scrubber, value) for value in values):
            db.execute(f"DELETE FROM {table} WHERE hook = ? AND {key} = ?", (hook, id))
            changed += 1
    return changed


def _names(scrubber: Scrubber, value: object) -> bool:
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if not isinstance(value, bytes):
        return False
    return scrubber.text(value) != value or scrubber.name(value) != value


def _filters(scrubber: Scrubber | None, text: str) -> str:
    """The filters of an entry, name to text, as JSON."""
    if scrubber is None:
        return text
    given = json.loads(text)
    new = {name: _text(scrubber, _name(scrubber, value)) for name, value in given.items()}
    return text if new == given else json.dumps(new)


def _name(scrubber: Scrubber | None, text: str) -> str:
    if scrubber is None:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    return scrubber.name(raw).decode("utf-8", "surrogateescape")


def _text(scrubber: Scrubber | None, text: str) -> str:
    if scrubber is None:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    return scrubber.text(raw).decode("utf-8", "surrogateescape")
