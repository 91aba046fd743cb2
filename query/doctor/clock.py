"""Is the clock right, and do spool and journal agree with it?

The kernel says whether somebody keeps its clock in time: adjtimex(2), which anybody may ask. Raises
nothing.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from query.doctor.capture import gauges_of
from query.doctor.finding import Finding, Seen
from query.doctor.names import check
from query.doctor.place import Place

UNSYNCHRONISED: Final = 0x40  # STA_UNSYNC of <sys/timex.h>
AHEAD_US: Final = 60_000_000
BEAT_S: Final = 30.0
"""The milter's heartbeat comes every 10 s at most, its gauges are written every 5 s."""


class _Timex(ctypes.Structure):
    """The head of struct timex; the kernel writes 208 bytes, so there is room behind it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the kernel and the milter say."""

    status: int | None  # of the kernel's clock; None: it could not be asked
    error_us: int = 0  # the largest that it may be off
    beat_us: int | None = None  # the newest heartbeat in the spool
    gauges_us: int | None = None  # when the milter last said so


def gather(place: Place) -> Facts:
    """Ask the kernel, and read the milter's gauges."""
    status, error_us = kernel()
    path = place.config.run.directory / "milterd.prom"
    try:
        text, at_us = path.read_text(), path.stat().st_mtime_ns // 1000
    except OSError:
        return Facts(status=status, error_us=error_us)
    beat_s = gauges_of(text).get("posttrail_milter_heartbeat_seconds")
    beat_us = None if beat_s is None else int(beat_s * 1e6)
    return Facts(status=status, error_us=error_us, beat_us=beat_us, gauges_us=at_us)


def kernel() -> tuple[int | None, int]:
    """The status bits of the kernel's clock and its largest error; None where it does not say."""
    asked = _Timex()
    try:
        code = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked))
    except AttributeError:
        return None, 0
    return (None, 0) if code < 0 else (int(asked.status), int(asked.maxerror))


def run(place: Place) -> list[Finding]:
    """The checks of this family."""
    facts = gather(place)
    return [synchronised(facts), beat(facts, place), ahead(place)]


def synchronised(facts: Facts) -> Finding:
    """Does anybody keep it in time?"""
    this = check("clock-synchronised")
    if facts.status is None:
        return this.unchecked("the kernel does not say (adjtimex)")
    seen = Seen(
        "adjtimex", f"status {facts.status:#x}, off by {facts.error_us / 1e6:.3f} s at most"
    )
    if facts.status & UNSYNCHRONISED:
        return this.warning(
            "nobody keeps the clock in time: the feeds of other machines will not fit",
            seen,
            mend=("apt-get install systemd-timesyncd", "timedatectl set-ntp true"),
        )
    return this.ok("the clock is kept in time", seen)


def beat(facts: Facts, place: Place) -> Finding:
    """Is the milter's newest heartbeat of now?"""
    this, restart = check("clock-spool"), place.restart("milterd")
    if facts.beat_us is None or facts.gauges_us is None:
        return this.unchecked("posttrail-milterd has left no gauges")
    if place.now_us - facts.gauges_us > BEAT_S * 1_000_000:
        return this.unchecked("the gauges of posttrail-milterd are old: it does not run")
    age_s = (place.now_us - facts.beat_us) / 1e6
    seen = Seen("posttrail_milter_heartbeat_seconds", f"{age_s:.0f} s ago")
    if age_s < -AHEAD_US / 1e6:
        return this.problem(
            "the spool is in the future: the clock was set back", seen, mend=restart
        )
    if age_s > BEAT_S:
        return this.problem("the milter does not write its spool", seen, mend=restart)
    return this.ok("the spool goes with the clock", seen)


def ahead(place: Place) -> Finding:
    """Is there mail of the future?"""
    this = check("clock-journal")
    if place.seen.why_not:
        return this.unchecked(place.seen.why_not)
    newest = place.seen.newest_us
    if newest is None:
        return this.ok("the journal has no mail yet", Seen(str(place.journal), "no message"))
    age_s = (place.now_us - newest) / 1e6
    seen = Seen(
        "the newest message", f"{age_s:,.0f} s ago" if age_s >= 0 else f"in {-age_s:,.0f} s"
    )
    if newest > place.now_us + AHEAD_US:
        return this.warning(
            "the journal has mail of the future: the clock was ahead, or the log's zone is another",
            seen,
            mend=(place.setting("log.timezone", f'"{_zone()}"'), place.restart("trackd")),
        )
    return this.ok("no mail is of the future", seen)


def _zone() -> str:
    """This machine's zone by its name."""
    try:
        return str(Path("/etc/localtime").readlink()).partition("zoneinfo/")[2] or "UTC"
    except OSError:
        return "UTC"
