"""``posttrail hooks list|waiting|dead|retry|on``: what posttrail-hookd has still to tell.

Its state is read and written by root or its user; it need not run. Exit codes: 0; 1 no such call
or hook; and those of ``errors``.
"""

import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import click

from posttrail.cli import Globals
from posttrail.errors import RefusedError, UsageError
from posttrail.text import rfc3339, safe
from query import export, text_table
from query.hooks import calls, state
from query.hooks.look import clock_us
from query.hooks.state import Call, Place
from query.httpd.state import State
from query.options import text_or_json

_HEADS: Final = {
    "list": ("hook", "waiting", "dead", "state"),
    "calls": ("id", "hook", "event", "since", "next try", "tries", "last error"),
}


@click.group("hooks")
def verb() -> None:
    """What other programs are still to be told."""


@verb.command("list")
@text_or_json
@click.pass_obj
def list_(options: Globals, /, *, form: str) -> int:
    """Every hook, and how many calls of it wait or were given up."""
    with _state(options) as store:
        found = store.read(
            lambda db: [(each, state.waiting(db, each.number), state.dead(db, each.number))
                        for each in state.places(db)]
        )  # fmt: skip
    documents: list[dict[str, object]] = [
        {"hook": place.name, "waiting": waiting, "dead": dead, "off": place.off,
         "change": place.cursor, "begun_at": rfc3339(place.begun_us)}
        for place, waiting, dead in found
    ]  # fmt: skip
    lines = [
        (place.name, str(waiting), str(dead), "off" if place.off else "on")
        for place, waiting, dead in found
    ]
    _show(documents, _HEADS["list"], lines, form)
    return 0


@verb.command("waiting")
@text_or_json
@click.pass_obj
def waiting(options: Globals, /, *, form: str) -> int:
    """Calls that are still to be made, the oldest of each hook first."""
    return _calls(options, form, dead=False)


@verb.command("dead")
@text_or_json
@click.pass_obj
def dead(options: Globals, /, *, form: str) -> int:
    """Calls that were given up."""
    return _calls(options, form, dead=True)


@verb.command("retry")
@click.argument("id", required=False)
@click.option("--all", "name", metavar="HOOK", help="All that were given up of this hook.")
@click.pass_obj
def retry(options: Globals, /, *, id: str | None, name: str | None) -> int:
    """Make a call now, and with all its time before it."""
    if (id is None) == (name is None):
        raise UsageError("write the ID of a call, or --all HOOK")

    def work(db: sqlite3.Connection) -> int:
        number = next((each.number for each in state.places(db) if each.name == name), None)
        if id is None and number is None:
            return 0
        return calls.again(db, id, number, clock_us())

    return _done(options, work, f"no such call or hook: {safe(id or name or '')}")


@verb.command("on")
@click.argument("name", metavar="HOOK")
@click.pass_obj
def on(options: Globals, /, *, name: str) -> int:
    """Tell a hook again that its receiver turned off, from where it stopped."""
    return _done(options, lambda db: int(calls.turn_on(db, name)), f"no such hook: {safe(name)}")


def _done(options: Globals, work: Callable[[sqlite3.Connection], int], otherwise: str) -> int:
    with _state(options) as store:
        if store.write(work, patience_s=5.0):
            return 0
    text_table.say(otherwise)
    return 1


def _calls(options: Globals, form: str, *, dead: bool) -> int:
    with _state(options) as store:
        found = store.read(
            lambda db: [
                (place, call)
                for place in state.places(db)
                for call in calls.calls(db, place.number, dead=dead)
            ]
        )
    documents = [_document(place, call) for place, call in found]
    _show(documents, _HEADS["calls"], [_line(place, call) for place, call in found], form)
    return 0


def _document(place: Place, call: Call) -> dict[str, object]:
    return {
        "id": call.id,
        "hook": place.name,
        "event": call.kind,
        "since": rfc3339(call.made_us),
        "next_try": rfc3339(call.due_us) if call.dead_us is None else None,
        "given_up": None if call.dead_us is None else rfc3339(call.dead_us),
        "tries": call.attempts,
        "error": call.error,
    }


def _line(place: Place, call: Call) -> tuple[str, ...]:
    due = text_table.local_us(call.due_us) if call.dead_us is None else "-"
    since = text_table.local_us(call.made_us)
    return call.id, place.name, call.kind, since, due, str(call.attempts), safe(call.error)


def _show(
    documents: Sequence[Mapping[str, object]],
    heading: tuple[str, ...],
    lines: Sequence[tuple[str, ...]],
    form: str,
) -> None:
    if form == "json":
        for each in documents:
            sys.stdout.write(export.json_line(each, sys.stdout))
    elif lines:
        sys.stdout.writelines(text_table.aligned([heading, *lines]))


@contextmanager
def _state(options: Globals) -> Iterator[State]:
    path = options.config.hookd.state
    try:
        path.stat()
        path.open("ab").close()
    except PermissionError:
        raise RefusedError(f"no permission on {path}: run as root or as posttrail-hooks") from None
    except OSError:
        pass  # the state says it better
    store = state.open_state(path, create=False)
    try:
        yield store
    finally:
        store.close()
