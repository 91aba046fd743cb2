"""What became of one call, and when it is made again. Pure. Raises nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST_S: Final = 5.0
FACTOR: Final = 3.0
LONGEST_S: Final = 7200.0
SPREAD: Final = 0.25
"""A wait is shorter or longer by so much at random, so that calls do not come all at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call ended."""

    ok: bool = False
    gone: bool = False  # the receiver wants nothing of this hook any more
    said: str = ""  # why not; for eyes
    after_s: float | None = None  # when the receiver would be asked again


def wait_s(attempts: int, outcome: Outcome, random: Callable[[], float]) -> float:
    """How long until the next try, after so many; ``random`` gives 0 to 1."""
    longer = FACTOR ** min(attempts - 1, 20)
    wait = min(FIRST_S * longer, LONGEST_S) * (1 - SPREAD + 2 * SPREAD * random())
    return max(wait, min(outcome.after_s or 0.0, LONGEST_S))
