"""What the tests of this folder counted and measured, printed behind the last of them."""

from __future__ import annotations

import time

_told: list[str] = []


def tell(sentence: str) -> None:
    """One line for the summary."""
    _told.append(sentence)


def told() -> list[str]:
    """The lines so far."""
    return list(_told)


class Clock:
    """Seconds since it was made, as text."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __str__(self) -> str:
        return f"{time.monotonic() - self._began:.0f} s"
