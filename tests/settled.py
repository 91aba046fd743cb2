"""One Postfix with posttrail beside it whose mails have all met their fate; and how to wait."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from posttrail.demo import mails
from posttrail.demo.main import flush_greylisted, unsettled
from posttrail.demo.stage import Stage, stage

SETTLE_S = 90.0


def wait_until(true: Callable[[], bool], limit_s: float = SETTLE_S) -> None:
    """Asks again and again, for what gives no sign of its own; fails at the limit."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@contextmanager
def settled_stage(directory: Path) -> Iterator[Stage]:
    """A private Postfix, milter and tracker below a directory; the demonstration's mails settled."""
    with stage(directory) as running:
        mails.send_all(running.lab)
        wait_until(lambda: _settled(running))
        yield running


def _settled(running: Stage) -> bool:
    rows = running.rows()
    flush_greylisted(running.lab, rows)
    return not unsettled(rows)
