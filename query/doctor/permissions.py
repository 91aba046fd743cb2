"""Who may read and write what is ours: as docs/operating.md says, neither more nor less.

Raises nothing.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from journal import days
from query.doctor import access
from query.doctor.access import Entry
from query.doctor.finding import Finding, Seen
from query.doctor.names import check
from query.doctor.place import Place
from query.doctor.seen import sizes

OTHERS: Final = 0o007
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What may be on a name."""

    mode: int  # what it should be
    most: int  # bits that do no harm
    group_reads: bool = False  # its group must be able to read, for else nobody does
    gid: int | None = None  # the group it should have


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A name that breaks its rule."""

    entry: Entry
    why: str
    mend: str


def judged(seen: Entry, rule: Rule) -> list[Wrong]:
    """What is wrong with one."""
    if not seen.there:
        return []
    path, found = shlex.quote(seen.path), []
    if seen.mode & 0o777 & ~rule.most:
        found.append(Wrong(entry=seen, why="too open", mend=f"chmod {rule.mode:o} {path}"))
    elif rule.group_reads and not seen.mode & 0o040:
        found.append(
            Wrong(entry=seen, why="closed to its group", mend=f"chmod {rule.mode:o} {path}")
        )
    if rule.gid is not None and seen.gid != rule.gid:
        named = access.group(rule.gid)
        found.append(
            Wrong(entry=seen, why=f"not of the group {named}", mend=f"chgrp {named} {path}")
        )
    return found


def journal_rules(place: Place) -> list[tuple[Path, Rule]]:
    """The names of the journal."""
    gid = access.gid(place.config.journal.group)
    folder = Rule(mode=0o750, most=0o750, group_reads=True, gid=gid)
    data = Rule(mode=0o640, most=0o640, group_reads=True, gid=gid)
    lock = Rule(mode=0o660, most=0o660, group_reads=True, gid=gid)
    found = [
        (place.journal, folder),
        (place.journal / "KEY", data),
        (place.journal / "FORMAT", data),
        (place.journal / "ERASED", data),
    ]
    for name in (days.STATE, *sorted(sizes(place.journal))[-2:]):
        found.append((place.journal / name, folder))
        found.append((place.journal / name / "data.mdb", data))
        found.append((place.journal / name / "lock.mdb", lock))
    return found


def spool_rules(place: Place) -> list[tuple[Path, Rule]]:
    """The names of the spool."""
    spool = place.config.milter.spool
    return [
        (spool, Rule(mode=0o750, most=0o750)),
        (spool / "KEY", Rule(mode=0o600, most=0o640)),
        (spool / "current", Rule(mode=0o640, most=0o660)),
    ]


def run(place: Place) -> list[Finding]:
    """The checks of this family."""
    state = place.config.query.state
    return [
        _of("journal-permissions", "the journal", journal_rules(place), place.journal),
        _of("spool-permissions", "the spool", spool_rules(place), place.config.milter.spool),
        _of("state-permissions", "the state of posttrail-queryd",
            [(state, Rule(mode=0o600, most=0o600))], state),
        configuration(access.entry(place.config_file)),
    ]  # fmt: skip


def _of(name: str, what: str, rules: list[tuple[Path, Rule]], main: Path) -> Finding:
    first = access.entry(main)
    if not first.there:
        why = "is not there" if first.kind == "missing" else "may not be looked at: run as root"
        return check(name).unchecked(f"{what} {why}", Seen(str(main), first.kind))
    entries = [(access.entry(path), rule) for path, rule in rules]
    wrong = [each for entry, rule in entries for each in judged(entry, rule)]
    if not wrong and any(entry.kind == "hidden" for entry, _ in entries):
        return check(name).unchecked(
            f"{what} may not be looked at: run as root", Seen(str(main), "hidden")
        )
    return decided(name, what, wrong, first)


def decided(name: str, what: str, wrong: list[Wrong], first: Entry) -> Finding:
    """The finding over what is wrong."""
    this = check(name)
    if not wrong:
        return this.ok(f"{what} is open to whom it should be", Seen(first.path, str(first)))
    told = [Seen(each.entry.path, f"{each.entry}: {each.why}") for each in wrong[:_SHOWN]]
    mend = [each.mend for each in wrong]
    if any(each.entry.mode & OTHERS and each.why == "too open" for each in wrong):
        return this.problem(f"{what} is open to every user of this machine", *told, mend=mend)
    if any(each.why == "too open" for each in wrong):
        return this.warning(f"{what} is open to more than it should be", *told, mend=mend)
    return this.problem(f"{what} is closed to who should read it", *told, mend=mend)


def configuration(seen: Entry) -> Finding:
    """posttrail.toml: everybody may read it, only root may write."""
    this, told = check("config-file"), Seen(seen.path, str(seen))
    path = shlex.quote(seen.path)
    if seen.kind == "missing":
        return this.ok("there is no configuration file: the defaults hold", told)
    if seen.mode & 0o022:
        return this.problem(
            "the configuration can be written by others than its owner",
            told,
            mend=f"chmod 644 {path}",
        )
    if not seen.mode & 0o004:
        return this.problem(
            "posttrail-traced, which runs as no user of its own, cannot read the configuration",
            told,
            mend=f"chmod 644 {path}",
        )
    return this.ok("everybody may read the configuration, its owner alone may write it", told)
