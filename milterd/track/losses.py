"""Understand what the log says of itself: lines that it lost to a rate limit.

Formats: rsyslogd(8) (imuxsock, imjournal) and systemd-journald(8). Each becomes a gap in the
log's coverage. Raises nothing.
"""

from typing import Final

from milterd.track import scan
from milterd.track.scan import Parsed, make
from milterd.track.syslog import Line

_JOURNALD: Final = frozenset({b"systemd-journald", b"systemd-journal", b"journal"})
LOGGERS: Final = _JOURNALD | {b"rsyslogd"}
_LOSSES: Final = (b"due to rate-limiting",)


def parse(line: Line) -> Parsed:
    """A gap where the log lost lines, else None."""
    text = line.text
    if line.daemon in _JOURNALD:
        lost = text.startswith(b"Suppressed ") and b" messages from " in text
    else:
        lost = any(loss in text for loss in _LOSSES)
    return make(line, scan.GAP, b"", (b"log", b"rate_limited", text)) if lost else None
