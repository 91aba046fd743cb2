"""A time limit for work that reads messages: a thread cannot be cancelled, so it asks itself.

Raises TooLongError.
"""

import time
from collections.abc import Callable
from threading import local
from typing import TypeVar

from posttrail.errors import TryAgainError

T = TypeVar("T")


class TooLongError(TryAgainError):
    """The answer took longer than anybody is given."""


class Patience:
    """The limit of each thread; none outside ``within``."""

    def __init__(self) -> None:
        self._of_thread = local()

    def within(self, seconds: float, task: Callable[[], T]) -> Callable[[], T]:
        """The task with a limit of its own, wherever it runs."""

        def limited() -> T:
            self._of_thread.end = time.monotonic() + seconds
            try:
                return task()
            finally:
                self._of_thread.end = None

        return limited

    def check(self) -> None:
        """To be called often by whatever may take long."""
        end = getattr(self._of_thread, "end", None)
        if end is not None and time.monotonic() > end:
            raise TooLongError("the answer takes too long")
