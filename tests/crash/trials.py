"""Trials in processes of their own, some abreast: a damaged page would be the end of its reader."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Generic, TypeVar

from posttrail.errors import PosttrailError

ABREAST = 2

T = TypeVar("T")


class Trials(Generic[T]):
    """Runs ``judge`` for each, which says what is wrong; its death is wrong, too."""

    def __init__(self, judge: Callable[[T], list[str]]) -> None:
        self._judge = judge
        self._running: dict[int, tuple[str, int]] = {}
        self.begun = 0
        self._wrong: list[str] = []

    def begin(self, name: str, trial: T) -> None:
        """Start one; waits while others are under way."""
        while len(self._running) >= ABREAST:
            self._wait()
        child, reading = in_child(lambda: self._judge(trial))
        self._running[child] = (name, reading)
        self.begun += 1

    def end(self) -> list[str]:
        """What was wrong with all of them."""
        while self._running:
            self._wait()
        return self._wrong

    def _wait(self) -> None:
        child = next(iter(self._running))
        name, reading = self._running.pop(child)
        self._wrong += [f"{name}: {word}" for word in answer(child, reading)]


def in_child(work: Callable[[], list[str]]) -> tuple[int, int]:
    """A child that works, and the pipe on which it will answer."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        words = ["it raised what it should not"]
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            words = work()
        except (PosttrailError, OSError, AssertionError, LookupError, ValueError) as error:
            words = [f"raised {error!r}"]
        finally:
            text = json.dumps([word[:2000] for word in words[:10]])
            os.write(writing, text.encode())
            os._exit(0)
    os.close(writing)
    return child, reading


def answer(child: int, reading: int) -> list[str]:
    """What a child said, or the signal that ended it."""
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    found: list[str] = json.loads(text) if text else [f"ended by signal {status & 0x7F}"]
    return found


def said_by_child(work: Callable[[], list[str]]) -> list[str]:
    """The answer of a child, waited for."""
    return answer(*in_child(work))
