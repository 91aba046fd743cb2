"""How many traces one caller may ask for in a minute: a bucket for each, filled evenly.

A bucket holds a minute's worth, so that a page that asks for ten at once is served at once. Pure,
with a clock of seconds; raises nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

MINUTE_S: Final = 60.0
MOST_CALLERS: Final = 4096
"""Callers that are remembered; the one that asked longest ago is forgotten first."""


class Limits:
    """Who has asked how much lately."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._callers: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: Hashable) -> float:
        """0.0 and one trace is taken; else nothing is, and in so many seconds there will be one."""
        now = self._clock()
        left, since = self._callers.get(caller, (float(self._per_minute), now))
        rate = self._per_minute / MINUTE_S
        left = min(float(self._per_minute), left + max(0.0, now - since) * rate)
        granted = left >= 1.0
        self._callers[caller] = (left - granted, now)
        self._callers.move_to_end(caller)
        while len(self._callers) > MOST_CALLERS:
            self._callers.popitem(last=False)
        if granted:
            return 0.0
        return (1.0 - left) / rate if rate else MINUTE_S
