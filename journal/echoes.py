"""A line that a log file and journald both told is one event.

Both carry the same text, queue id and pid; the file's stamp is a whole second (RFC 3164) or
when the syslog daemon took it, journald's a microsecond. So a log event is the echo of a
journald event that says the same and lies within two seconds; the journald event stays. Which
ones stay depends on the set alone: the order in which they came does not matter. Raises nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from journal import kinds
from journal.events import Event, Source
from journal.places import SOURCE

LOG: Final = int(Source.LOG)
JOURNALD: Final = int(Source.JOURNALD)
BOTH: Final = 1 << LOG | 1 << JOURNALD

BEFORE_US: Final = 2_000_000
"""A file's stamp is that of the second in which the line was written, and some slack."""
AFTER_US: Final = 2_000_000
"""A syslog daemon that stamps lines itself is behind journald."""

_TLS_AT: Final = {kinds.CLIENT: 5, kinds.DELIVERY: 9}
"""Fields that come from an earlier line of the session, which one of the two may lack."""


def told_twice(events: Iterable[Event]) -> bool:
    """Whether both sources speak in these events."""
    sources = 0
    for event in events:
        sources |= 1 << event[SOURCE]
    return sources & BOTH == BOTH


def without(events: Sequence[Event]) -> list[Event]:
    """The events, which are sorted, without the log's echoes of what journald told."""
    told: dict[tuple[int, bytes, int, tuple[bytes, ...]], list[int]] = {}
    for place, event in enumerate(events):
        if event.source == JOURNALD:
            told.setdefault(said(event), []).append(place)
    kept: list[Event | None] = list(events)
    for place, event in enumerate(events):
        if event.source != LOG:
            continue
        for other in told.get(said(event), ()):
            original = kept[other]
            if original is not None and is_echo(event, original):
                kept[place] = None
                kept[other] = _richer(original, event)
                break
    return [event for event in kept if event is not None]


def same(one: Event, other: Event) -> bool:
    """Whether two events are one line, told by both sources."""
    if one.source == JOURNALD:
        one, other = other, one
    return (
        one.source == LOG
        and other.source == JOURNALD
        and said(one) == said(other)
        and is_echo(one, other)
    )


def free(event: Event, events: Sequence[Event]) -> bool:
    """Whether one of the events is the same line as told by the other source, and has no echo."""
    return any(
        same(event, other) and not any(rival != event and same(rival, other) for rival in events)
        for other in events
    )


def is_echo(logged: Event, told: Event) -> bool:
    """Whether a log event lies near enough to a journald event that says the same."""
    return told.at_us - BEFORE_US <= logged.at_us <= told.at_us + AFTER_US


def said(event: Event) -> tuple[int, bytes, int, tuple[bytes, ...]]:
    """All that both sources have in common."""
    fields = event.fields
    place = _TLS_AT.get(event.kind)
    if place is not None and len(fields) > place:
        fields = (*fields[:place], *fields[place + 1 :])
    return event.kind, event.queue_id, event.pid, fields


def _richer(told: Event, logged: Event) -> Event:
    """journald's event, with the session's TLS where only the log had it."""
    place = _TLS_AT.get(told.kind)
    if place is None or told.fields[place] or not logged.fields[place]:
        return told
    return told._replace(fields=logged.fields)
