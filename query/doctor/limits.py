"""Do journald and rsyslog drop lines of a busy mail server before anybody reads them?

A limit matters when the busiest moment that the journal saw comes near it. Lines are estimated from
messages: eight each, as measured (docs/architecture.md). Raises nothing.
"""

import shlex
from dataclasses import dataclass
from typing import Final

from query.doctor import journald_conf, rsyslog_conf
from query.doctor.finding import Finding, Seen
from query.doctor.names import check
from query.doctor.place import Place
from query.doctor.seen import WINDOWS_S, JournalSeen

LINES: Final = 8
"""Log lines of one message."""
NEAR: Final = 0.5
"""Of a limit: from here on a busier day would lose lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the configurations say."""

    journald: journald_conf.Limit | None  # None: journald does not run here
    rsyslog: tuple[rsyslog_conf.Limit, ...]
    maillog: str  # Postfix's maillog_file: then neither sees a line


def gather(place: Place) -> Facts:
    """Read the files."""
    here = place.file("/run/systemd/journal").exists()
    return Facts(
        journald=journald_conf.read(place.root) if here else None,
        rsyslog=tuple(rsyslog_conf.read(place.root)),
        maillog=place.postfix.get("maillog_file") if place.postfix else "",
    )


def run(place: Place) -> list[Finding]:
    """The checks of this family."""
    facts = gather(place)
    return [journald(facts, place.seen), *rsyslog(facts, place.seen)]


def expected(seen: JournalSeen, interval_s: float) -> int | None:
    """Lines in the busiest interval of that length; None where nothing was counted."""
    if not seen.counted:
        return None
    window = min(WINDOWS_S, key=lambda each: abs(each - interval_s))
    return round(seen.peaks.get(window, 0) * LINES * max(1.0, interval_s / window))


def journald(facts: Facts, seen: JournalSeen) -> Finding:
    """journald's limit counts the lines of a unit: all of Postfix."""
    this = check("journald-limit")
    if facts.maillog:
        return this.ok("Postfix writes its log itself", Seen("maillog_file", facts.maillog))
    if facts.journald is None:
        return this.unchecked("systemd's journal does not run here")
    limit = facts.journald
    told = Seen(limit.source, f"{limit.burst:,} lines in {limit.interval_s:g} s")
    if limit.off:
        return this.ok("journald drops no lines", told)
    most = expected(seen, limit.interval_s)
    if most is None:
        return this.ok("the limit of journald is far as long as there is no mail", told)
    busy = Seen("the busiest moment", f"some {most:,} lines in {limit.interval_s:g} s")
    if most < limit.burst * NEAR:
        return this.ok("the limit of journald is far from the busiest moment", told, busy)
    text = shlex.quote("[Journal]\\nRateLimitIntervalSec=0\\n")
    return this.warning(
        "journald drops lines of a busy mail server, and the busiest moment came near its limit",
        told,
        busy,
        mend=(
            "mkdir -p /etc/systemd/journald.conf.d",
            f"printf {text} > /etc/systemd/journald.conf.d/zz-posttrail.conf",
            "systemctl restart systemd-journald",
        ),
    )


def rsyslog(facts: Facts, seen: JournalSeen) -> list[Finding]:
    """rsyslog's limits, one for each module that brings lines."""
    this = check("rsyslog-limit")
    if facts.maillog:
        return [this.ok("Postfix writes its log itself", Seen("maillog_file", facts.maillog))]
    if not facts.rsyslog:
        return [this.unchecked("there is no configuration of rsyslog that takes local lines")]
    return [_rsyslog(limit, seen) for limit in facts.rsyslog]


def _rsyslog(limit: rsyslog_conf.Limit, seen: JournalSeen) -> Finding:
    this = check("rsyslog-limit")
    told = Seen(limit.source, f"{limit.module}: {limit.burst:,} lines in {limit.interval_s} s")
    if limit.off:
        return this.ok(f"rsyslog's {limit.module} drops no lines",
                       Seen(limit.source, f"{limit.module}: interval 0"))  # fmt: skip
    most = expected(seen, limit.interval_s)
    if most is None:
        return this.ok(f"the limit of {limit.module} is far as long as there is no mail", told)
    busy = Seen("the busiest moment", f"some {most:,} lines in {limit.interval_s} s")
    if most < limit.burst * NEAR:
        return this.ok(f"the limit of {limit.module} is far from the busiest moment", told, busy)
    return this.warning(
        f"rsyslog's {limit.module} drops lines above a rate, and the busiest moment came near it",
        told,
        busy,
        mend=_mend(limit),
    )


def _mend(limit: rsyslog_conf.Limit) -> tuple[str, ...]:
    """Commands that take the limit away, in either form."""
    file = "/etc/rsyslog.conf" if limit.source == "default" else shlex.quote(limit.source)
    name = "SysSock.RateLimit.Interval" if limit.module == "imuxsock" else "Ratelimit.Interval"
    old = (
        "SystemLogRateLimitInterval" if limit.module == "imuxsock" else "imjournalRatelimitInterval"
    )
    return (
        f'sed -i -E \'s/({name}=)"[0-9]+"/\\1"0"/I; s/^(\\${old}) .*/\\1 0/I\' {file}'
        if limit.source != "default"
        else f'sed -i -E \'s/(module\\(load="{limit.module}")/\\1 {name}="0"/\' {file}',
        "systemctl restart rsyslog",
    )
