"""Switches that break trackd on purpose: the simulation must notice each of them.

Without such a control a simulation that compares nothing would pass as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final
from unittest.mock import patch

from journal.writer import Writer
from milterd.track.memory import Memory


@contextmanager
def forgetful() -> Iterator[None]:
    """What the journal has is never looked up: reading again makes a second message."""
    with patch.object(Memory, "bring", lambda *_: None):
        yield


@contextmanager
def hasty() -> Iterator[None]:
    """Positions are committed before the messages: a kill between loses what was read."""
    commit = Writer.commit

    def early(self: Writer, positions: Mapping[str, bytes] | None = None) -> int:
        for name, position in (positions or {}).items():
            self._positions[name.encode()] = position
        self._commit_state()
        return commit(self, positions)

    with patch.object(Writer, "commit", early):
        yield


@contextmanager
def careless() -> Iterator[None]:
    """Every 20th group of a day is dropped as if it had been written."""
    count = 0
    write = Writer._commit_day

    def sometimes(self: Writer, day: int, group: Any) -> None:
        nonlocal count
        count += 1
        if count % 20:
            write(self, day, group)
            return
        for message_id in group:
            del self._pending[message_id]
        self.ids.settle(group)

    with patch.object(Writer, "_commit_day", sometimes):
        yield


BREAKAGES: Final[Mapping[str, Callable[[], AbstractContextManager[None]]]] = {
    "": nullcontext,
    "forgetful": forgetful,
    "hasty": hasty,
    "careless": careless,
}
