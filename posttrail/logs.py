"""The log of our own programs: one line an entry on stderr.

Under systemd the line begins with its priority, ``<4>`` (sd-daemon(3)), and journald adds the
time; elsewhere it begins with the level's name. What mail says is escaped, and an exception is
named on the same line with the places it came through. Raises nothing.
"""

import logging
import os
import sys
import traceback
from typing import Final

from posttrail.text import safe

LEVELS: Final = ("debug", "info", "warning", "error")
PRIORITIES: Final = {10: 7, 20: 6, 30: 4, 40: 3, 50: 2}  # syslog(3)


class OneLine(logging.Formatter):
    """An entry as one harmless line."""

    def __init__(self, *, priorities: bool) -> None:
        super().__init__()
        self._priorities = priorities

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        text = f"{record.name}: {record.getMessage()}"
        if record.exc_info and record.exc_info[1]:
            text += f" exception={record.exc_info[1]!r} at={_places(record.exc_info[1])}"
        if self._priorities:
            return f"<{PRIORITIES.get(record.levelno, 5)}>{safe(text)}"
        return f"{record.levelname.lower()}: {safe(text)}"


def setup(level: str) -> None:
    """Send what is at ``level`` or above to stderr; replaces what was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(priorities=_is_journal()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _is_journal() -> bool:
    """Whether stderr is journald's stream (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _places(error: BaseException) -> str:
    """Where it came through, outermost first."""
    frames = traceback.extract_tb(error.__traceback__)
    return ",".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames)
