"""A journal, hooks on it, and what they would be told."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posttrail import config
from posttrail.hook import Hook
from query.hooks import calls, state, wanted
from query.hooks.look import Look
from query.httpd.state import State
from tests.unit.query.conftest import NOON_US, Shelf

LATER_US = NOON_US + 60_000_000
DEFAULT_ON = ("delivered", "error", "rejected", "filtered", "deferred", "late_bounce")


def hook(name: str = "all", **changes: Any) -> Hook:
    """A hook that runs a command; on all that rows can tell."""
    plain = {"name": name, "on": DEFAULT_ON, "exec": ("/bin/true",)}
    return Hook(**(plain | changes))


class Desk:
    """posttrail-hookd without its threads: it may be started again, with other hooks."""

    def __init__(self, shelf: Shelf, path: Path) -> None:
        self.shelf = shelf
        self.path = path
        self.now_us = NOON_US - 1_000_000
        self._store: State | None = None
        self._look: Look | None = None
        self._hooks: tuple[Hook, ...] = ()

    @property
    def store(self) -> State:
        if self._store is None:
            self._store = state.open_state(self.path)
        return self._store

    def start(self, *hooks: Hook) -> None:
        """Begin; what is in the journal by now was before."""
        self.close()
        self._hooks = hooks
        made = wanted.of_config(config.Config(hooks=hooks))
        self._look = Look(made, self.store, 5)
        reader = self.shelf.source.reader
        self._look.begin(reader, self.shelf.directory, now_us=self.now_us)
        self.now_us = max(self.now_us, LATER_US)

    def again(self) -> None:
        """The process ended and was started again."""
        self.start(*self._hooks)

    def look(self) -> None:
        """Read all there is."""
        assert self._look is not None
        reader = self.shelf.source.reader
        while self._look.tick(reader, self.shelf.directory, now_us=self.now_us):
            pass

    def told(self, name: str = "all") -> list[dict[str, Any]]:
        """All that waits to be told to a hook, oldest first."""
        self.look()
        place = next(each for each in self.store.read(state.places) if each.name == name)
        found = self.store.read(lambda db: calls.calls(db, place.number, dead=False))
        return [json.loads(call.body) for call in found]

    def kinds(self, name: str = "all") -> list[tuple[str, str]]:
        """The same as recipient and event."""
        return [(each["data"]["recipient"], each["event"]) for each in self.told(name)]

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


@pytest.fixture
def desk(shelf: Shelf, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(shelf, tmp_path / "hooks.sqlite")
    yield made
    made.close()


Put = Callable[..., None]
