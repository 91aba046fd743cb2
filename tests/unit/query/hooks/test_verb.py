"""posttrail hooks: what waits, what was given up, and once more."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from journal.records import Status
from query.hooks import calls, state
from tests.unit.query.conftest import NOON_US, Ran, Run, Shelf, row
from tests.unit.query.hooks.conftest import Desk, hook
from tests.unit.query.test_verbs import EVIL, validate

Hooks = Callable[..., Ran]


@pytest.fixture
def hooks(run: Run, desk: Desk, tmp_path: Path) -> Hooks:
    """``posttrail hooks ARGS`` on the state of the desk."""
    file = tmp_path / "posttrail.toml"
    file.write_text(f'[hookd]\nstate = "{desk.path}"\n')
    return lambda *arguments: run("--config", str(file), "hooks", *arguments)


def lines(done: Ran) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    found = [json.loads(line) for line in done.out.splitlines()]
    for each in found:
        validate("hooks", each)
    return found


def given_up(desk: Desk, number: int = 1) -> str:
    """One call that is dead; its id."""
    (call, *_) = desk.store.read(lambda db: calls.due(db, number, desk.now_us, 9))
    desk.store.write(
        lambda db: calls.given_up(db, number, call.id, error="HTTP \x1b[2J 500", now_us=desk.now_us)
    )
    return call.id


def test_hooks_and_calls_are_listed(shelf: Shelf, desk: Desk, hooks: Hooks) -> None:
    desk.start(hook(), hook("quiet", on=("error",)))
    shelf.put(row(b"a@example.org"), row(b"b@example.org"))
    desk.look()
    dead = given_up(desk)
    assert [(each["hook"], each["waiting"], each["dead"]) for each in lines(hooks("list", "--format", "json"))] == [
        ("all", 1, 1), ("quiet", 0, 0),
    ]  # fmt: skip
    (one,) = lines(hooks("dead", "--format", "json"))
    assert (one["id"], one["tries"], one["next_try"]) == (dead, 1, None)
    assert len(lines(hooks("waiting", "--format", "json"))) == 1
    shown = hooks("dead").out
    assert dead in shown
    assert "\x1b" not in shown
    assert "quiet" in hooks("list").out


def test_what_was_given_up_is_made_again(shelf: Shelf, desk: Desk, hooks: Hooks) -> None:
    desk.start(hook())
    shelf.put(row(b"a@example.org"), row(b"b@example.org"))
    desk.look()
    assert hooks("retry", given_up(desk)).code == 0
    assert lines(hooks("dead", "--format", "json")) == []
    given_up(desk)
    assert hooks("retry", "--all", "all").code == 0
    assert len(lines(hooks("waiting", "--format", "json"))) == 2


def test_a_hook_that_was_turned_off_goes_on_where_it_stopped(
    shelf: Shelf, desk: Desk, hooks: Hooks
) -> None:
    desk.start(hook())
    desk.store.write(lambda db: calls.turn_off(db, 1, error="HTTP 410", now_us=NOON_US))
    shelf.put(row())
    assert desk.told() == []
    assert lines(hooks("list", "--format", "json"))[0]["off"] is True
    assert hooks("on", "all").code == 0
    assert desk.kinds() == [("to@example.org", "delivered")]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("retry",), 64), (("retry", "x", "--all", "all"), 64), (("retry", "x"), 1),
     (("retry", "--all", "x"), 1), (("on", "x"), 1)],
)  # fmt: skip
def test_what_means_nothing_is_said(
    desk: Desk, hooks: Hooks, arguments: tuple[str, ...], code: int
) -> None:
    desk.start(hook())
    done = hooks(*arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err


def test_without_a_state_it_says_who_makes_it(hooks: Hooks) -> None:
    done = hooks("list")
    assert done.code == 69
    assert "start posttrail-hookd once" in done.err


def test_what_is_told_keeps_to_its_schema_whatever_mail_says(shelf: Shelf, desk: Desk) -> None:
    desk.start(hook(), hook("some", fields=("id", "recipient", "status")))
    shelf.put(
        row(EVIL, final_recipient=EVIL, reply=EVIL, folder=EVIL, relay=EVIL, enhanced_status=EVIL),
        row(status=Status.DEFERRED, reason="quota", done_at_us=None, delay_ms=None),
        sender=EVIL, subject=EVIL, helo=EVIL, login=EVIL, client_name=EVIL, queue_ids=(EVIL,),
    )  # fmt: skip
    desk.look()
    places = desk.store.read(state.places)
    found = desk.store.read(
        lambda db: [each for place in places for each in calls.calls(db, place.number, dead=False)]
    )
    bodies = [call.body for call in found]
    assert len(bodies) == 4
    for body in bodies:
        validate("hook", json.loads(body))
        assert body.decode().isprintable()
