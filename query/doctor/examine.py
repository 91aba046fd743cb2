"""The whole examination: facts and checks of each family in a child of its own, within one limit.

Whatever a family meets, the others are told; what did not end in time is not checked. Nothing is
changed. Raises nothing.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from query.doctor import (
    apart,
    capture,
    clock,
    daemons,
    disk,
    limits,
    log,
    message,
    milter,
    mta,
    permissions,
    resolver,
    seen,
    sound,
)
from query.doctor.finding import Finding, Seen, State
from query.doctor.names import FAMILIES, checks
from query.doctor.place import Place
from query.doctor.seen import JournalSeen

RUN: Final[Mapping[str, Callable[[Place], list[Finding]]]] = {
    "milter": milter.run,
    "mta": mta.run,
    "log": log.run,
    "limits": limits.run,
    "disk": disk.run,
    "clock": clock.run,
    "resolver": resolver.run,
    "daemons": daemons.run,
    "capture": capture.run,
    "permissions": permissions.run,
    "journal": sound.run,
    "message": message.run,
}
LOOK_SHARE: Final = 0.5
"""Of the time that is left, for the first look at the mail server, and then into the journal."""
_LOOKERS: Final = frozenset({"log", "limits", "clock", "capture"})
"""Families that need what the journal shows."""


def examine(place: Place, only: Collection[str], *, until: float) -> list[Finding]:
    """The findings of some families, in their order, until a time of the monotonic clock."""
    wanted = [name for name in FAMILIES if name in only]
    if _LOOKERS & set(wanted):
        place = replace(place, seen=look(place.journal, until=share(until)))
    place = replace(place, left_s=lambda: until - time.monotonic())
    works = {name: _work(name, place) for name in wanted}
    ended = apart.together(works, until=until)
    return [finding for name in wanted for finding in _findings(name, ended[name])]


def look(journal: Path, *, until: float) -> JournalSeen:
    """What the journal shows, or why it does not."""
    ended = apart.alone(lambda: asdict(seen.gather(journal)), until=until)
    if ended.why:
        return JournalSeen(why_not=f"the journal cannot be read: {ended.why}")
    return JournalSeen.of(ended.value)


def share(until: float) -> float:
    """The end of the part of the time that a first look may take."""
    now = time.monotonic()
    return now + (until - now) * LOOK_SHARE


def _work(name: str, place: Place) -> apart.Work:
    return lambda: [_packed(finding) for finding in RUN[name](place)]


def _findings(name: str, ended: apart.Ended) -> list[Finding]:
    if ended.why:
        return [each.unchecked(ended.why) for each in checks(name)]
    return list(map(_unpacked, ended.value))


def _packed(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding), "state": finding.state.value}


def _unpacked(told: Mapping[str, Any]) -> Finding:
    return Finding(
        family=told["family"],
        check=told["check"],
        state=State(told["state"]),
        said=told["said"],
        seen=tuple(Seen(*each) for each in told["seen"]),
        mend=tuple(told["mend"]),
    )
