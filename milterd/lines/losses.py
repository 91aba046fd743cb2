"""Understand what the log says of itself: lines that were lost on their way to it.

Formats: rsyslogd's notices (its runtime/ratelimit.c; imuxsock and imjournal, versions 5 to 8),
systemd-journald's ("Suppressed N messages from UNIT", "Forwarding to syslog missed N messages."),
and our own receiver's (``milterd.track.receive``). Each is a gap, from what was read before it
to itself; where rsyslog says when it began to drop, from there. Raises nothing.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from journal.events import Event
from milterd.lines import scan
from milterd.lines.scan import Parsed, make
from milterd.lines.syslog import Line

JOURNALD: Final = frozenset({b"systemd-journald", b"systemd-journal", b"journal"})
RECEIVER: Final = b"posttrail-syslog"
"""The tag of what our own receiver has to say; whoever else uses it is renamed there."""
LOGGERS: Final[frozenset[bytes]] = JOURNALD | {b"rsyslogd", b"rsyslogd-2177", b"rsyslog", RECEIVER}

RATE_LIMITED: Final = b"rate_limited"
OVERFLOW: Final = b"overflow"
BEGINS: Final = b"begins"
"""Fields of a GAP: source, reason, text, then the number lost, the unit, and ``begins``."""


def parse(line: Line) -> Parsed:
    """A gap where the log lost lines, or begins to, else None."""
    text = line.text
    if line.daemon in JOURNALD:
        return _journald(line, text)
    if line.daemon == RECEIVER:
        return _gap(line, OVERFLOW, text.partition(b" ")[0]) if b" lost: " in text else None
    return _rsyslog(line, text)


def _journald(line: Line, text: bytes) -> Parsed:
    words = text.split(b" ", 4)
    if len(words) == 5 and words[0] == b"Suppressed" and words[2:4] == [b"messages", b"from"]:
        return _gap(line, RATE_LIMITED, words[1], words[4].rpartition(b"/")[2])
    if text.startswith(b"Forwarding to syslog missed ") and text.endswith(b" messages."):
        return _gap(line, OVERFLOW, words[4].partition(b" ")[0])
    return None


def _rsyslog(line: Line, text: bytes) -> Parsed:
    head, found, rest = text.partition(b" due to rate-limiting")
    if not found or (rest and rest[:2] not in (b" (", b" [")):
        return None
    words = head.split()
    if head.endswith(b": begin to drop messages") or b"begins to drop messages" in head:
        return _gap(line, RATE_LIMITED, b"", b"", BEGINS)
    if head.endswith(b" messages lost") and len(words) > 2:  # NAME: N messages lost
        return _gap(line, RATE_LIMITED, words[-3])
    if b"lost" in words[:-1]:  # NAME lost N messages from pid P
        return _gap(line, RATE_LIMITED, words[words.index(b"lost") + 1])
    return None


def _gap(line: Line, reason: bytes, count: bytes, unit: bytes = b"", phase: bytes = b"") -> Parsed:
    lost = count if count.isdigit() and len(count) <= 12 else b""
    return make(line, scan.GAP, b"", (b"log", reason, line.text, lost, unit, phase))


def concerns(event: Event, units: Sequence[str]) -> bool:
    """Whether what was lost may have been the mail system's: another unit's loss is not."""
    unit = event.fields[4].decode("utf-8", "replace")
    return "." not in unit or any(fnmatchcase(unit, pattern) for pattern in units)


def begins(event: Event) -> bool:
    """Whether lines begin to be lost; how many is told when it is over."""
    return event.fields[5] == BEGINS


def count(event: Event) -> int:
    """How many lines were lost; 0 where that is not said."""
    return int(event.fields[3] or 0)
