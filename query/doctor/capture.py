"""What was captured of late: how far behind the followers are, what was lost, what was damaged.

Raises nothing.
"""

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from journal.days import BAD, REBUILT
from journal.keys import DAY_US, parse_day
from journal.records import Gap
from posttrail.text import rfc3339
from query.doctor.finding import Finding, Seen
from query.doctor.holders import holder
from query.doctor.limits import LINES
from query.doctor.names import check
from query.doctor.place import Place
from query.doctor.seen import JournalSeen

FAR: Final = 1 << 20
"""Bytes that a follower may be behind: a second or two of a busy log."""
MANY_UNKNOWN: Final = 100
SHARE: Final = 0.01
LATE_S: Final = 60.0
"""Of the newest line that was read, where there is more to read."""
_GAUGE: Final = re.compile(r"^(posttrail_\w+(?:\{[^}\n]*\})?) (\S+)$", re.MULTILINE)
_LINES: Final = "posttrail_trackd_lines_total{"
_SHOWN: Final = 5
_LOSSES: Final = frozenset({"rate_limited", "truncated", "rotated_away", "overflow"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Files and gauges as they are now."""

    runs: bool  # trackd
    behind: Mapping[str, int] = field(default_factory=dict)  # source to bytes
    gauges: Mapping[str, float] = field(default_factory=dict)


def gather(place: Place) -> Facts:
    """Compare positions with files, and read the gauges."""
    watched = {f"log {path}": path for path in place.config.log.files}
    watched["spool"] = place.config.milter.spool / "current"
    behind = {}
    for name, path in watched.items():
        try:
            seen = path.stat()
        except OSError:
            continue
        if name in place.seen.positions:
            behind[name] = lag(place.seen.positions[name], seen.st_ino, seen.st_size)
    gauges: dict[str, float] = {}
    for program in ("milterd", "trackd"):
        try:
            text = (place.config.run.directory / f"{program}.prom").read_text()
        except OSError:
            continue
        gauges |= gauges_of(text)
    return Facts(runs=holder(place.journal / "LOCK") is not None, behind=behind, gauges=gauges)


def lag(files: Iterable[tuple[int, int]], inode: int, size: int) -> int:
    """Bytes of a file that a follower with this position has not read."""
    return size - max((offset for number, offset in files if number == inode), default=0)


def gauges_of(text: str) -> dict[str, float]:
    """The gauges of a NAME.prom, those with labels under their whole name."""
    return {name: float(value) for name, value in _GAUGE.findall(text)}


def run(place: Place) -> list[Finding]:
    """The checks of this family."""
    facts = gather(place)
    return [
        behind(facts, place),
        unknown(facts, place.seen),
        lost(facts, place),
        gaps(place.seen, place),
        aside(place.journal),
    ]


def behind(facts: Facts, place: Place) -> Finding:
    """Is trackd up with what is written?"""
    this = check("log-lag")
    if place.seen.why_not:
        return this.unchecked(place.seen.why_not)
    if not facts.runs:
        return this.unchecked("posttrail-trackd does not run")
    if not facts.behind:
        return this.unchecked("no file is followed that can be looked at")
    told = [Seen(name, f"{size:,} bytes behind") for name, size in facts.behind.items()]
    late = {name: age for name, age in facts.gauges.items()
            if name.startswith("posttrail_trackd_lag_seconds") and age > LATE_S}  # fmt: skip
    told += [Seen(name, f"{age:,.0f} s") for name, age in late.items()]
    if facts.gauges.get("posttrail_trackd_disk_full"):
        df = f"df -h {shlex.quote(str(place.journal))}"
        return this.problem("posttrail-trackd waits for room on its disk", *told, mend=df)
    if late or max(facts.behind.values()) > FAR:
        return this.warning(
            "posttrail-trackd is behind what is written", *told, mend=place.restart("trackd")
        )
    return this.ok("posttrail-trackd has read what was written", *told)


def unknown(facts: Facts, seen: JournalSeen) -> Finding:
    """Does it understand the log?"""
    this = check("unknown-lines")
    count = facts.gauges.get("posttrail_trackd_unknown_lines_total")
    if count is None:
        return this.unchecked("posttrail-trackd has left no gauges")
    of_log = (name for name in facts.gauges if name.startswith(_LINES) and "spool" not in name)
    lines = sum(facts.gauges[name] for name in of_log)
    read = f" of {lines:,.0f}" if lines else ""
    told = Seen("posttrail_trackd_unknown_lines_total", f"{count:,.0f}{read} since its start")
    if count > MANY_UNKNOWN and count > SHARE * (lines or LINES * seen.counted):
        return this.warning(
            "many lines of the mail log are not understood",
            told,
            mend="tail -n 20000 /var/log/mail.log | posttrail explain-line | grep -B2 -A2 unknown",
        )
    return this.ok("the lines of the mail log are understood", told)


def lost(facts: Facts, place: Place) -> Finding:
    """Was anything seen and not kept?"""
    this = check("lost-records")
    names = (
        "posttrail_milter_lost_records_total", "posttrail_milter_spool_failing",
        "posttrail_milter_callback_failures_total", "posttrail_trackd_dropped_lines_total",
        "posttrail_trackd_damaged_spool_lines_total",
    )  # fmt: skip
    known = {name: facts.gauges[name] for name in names if name in facts.gauges}
    if not known:
        return this.unchecked("the programs have left no gauges")
    told = [Seen(name, f"{value:,.0f}") for name, value in known.items() if value]
    if known.get("posttrail_milter_spool_failing"):
        spool = shlex.quote(str(place.config.milter.spool))
        return this.problem(
            "the spool cannot be written", *told, mend=(f"df -h {spool}", f"ls -ld {spool}")
        )
    if told:
        return this.warning(
            "something that was seen could not be kept; the log tells the fate of that mail",
            *told,
            mend=(
                place.setting("milter.queue_records", str(2 * place.config.milter.queue_records)),
                place.restart("milterd"),
            ),
        )
    return this.ok("nothing that was seen was lost", *(Seen(name, "0") for name in known))


def gaps(seen: JournalSeen, place: Place) -> Finding:
    """Was capture without a gap for a day?"""
    this = check("coverage")
    if seen.why_not:
        return this.unchecked(seen.why_not)
    recent = [gap for gap in seen.gaps if gap.end_us > place.now_us - DAY_US]
    if not recent:
        ends = (
            Seen(name, f"recorded until {rfc3339(end)}") for name, end in seen.covered_us.items()
        )
        said = "no source had a gap in the last day"
        return this.ok(said, *ends, Seen(str(place.journal), f"{len(seen.gaps)} older gaps"))
    told = [Seen(gap.source, _gap(gap)) for gap in recent[-_SHOWN:]]
    if len(recent) > _SHOWN:
        told.append(Seen("and before", f"{len(recent) - _SHOWN} more"))
    said = f"{len(recent)} gaps in the last day" if len(recent) > 1 else "a gap in the last day"
    files = " ".join(shlex.quote(f"{path}") + "*" for path in place.config.log.files)
    again = f"posttrail import --again {files or '/var/log/mail.log*'}"
    if any(gap.reason in _LOSSES for gap in recent):
        return this.problem(f"{said}: lines were lost", *told, mend=again)
    return this.warning(said, *told, mend=again)


def _gap(gap: Gap) -> str:
    lines = f", {gap.lost:,} lines" if gap.lost else ""
    seconds = (gap.end_us - gap.begin_us) / 1e6
    return (
        f"{gap.reason.replace('_', ' ')} for {seconds:,.0f} s from {rfc3339(gap.begin_us)}{lines}"
    )


def aside(journal: Path) -> Finding:
    """Was a day put aside as damaged?"""
    this = check("damaged-days")
    try:
        names = sorted(name for name in os.listdir(journal) if name.startswith(BAD))
    except PermissionError:
        return this.unchecked(f"{journal} may not be looked at: run as root")
    except OSError:
        return this.unchecked(f"there is no journal at {journal}")
    if not names:
        return this.ok("no day was put aside as damaged", Seen(str(journal), f"no {BAD}*"))
    told = tuple(Seen(str(journal), name) for name in names)
    if any(not (journal / name / REBUILT).exists() for name in names):
        again = "posttrail rebuild --bad"
        return this.problem("days were put aside as damaged", *told, mend=again)
    # only what is a day goes into a command: whoever writes the journal chose these names
    days = [day for name in names if parse_day(day := name.removeprefix(BAD)[:10]) is not None]
    return this.warning(
        "days were rebuilt, and not all of them came back (REBUILT says what is missing)",
        *told,
        mend=[f"posttrail rebuild {day} --remove" for day in days] or "posttrail rebuild --bad",
    )
