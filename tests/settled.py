"""One Postfix with posttrail beside it whose mails have all met their fate."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posttrail.demo import mails
from posttrail.demo.main import flush_greylisted, unsettled
from posttrail.demo.stage import Stage, stage
from tests.waiting import wait_until


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
