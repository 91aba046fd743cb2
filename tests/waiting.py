"""How a test waits for what gives no sign of its own."""

import time
from collections.abc import Callable
from typing import Final

WAIT_S: Final = 90.0


def wait_until(
    true: Callable[[], object], limit_s: float = WAIT_S, *, told: Callable[[], object] | None = None
) -> None:
    """Asks again and again; fails at the limit, with what ``told`` then says."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, told() if told else f"waited in vain for {limit_s:g} s"
        time.sleep(0.05)
