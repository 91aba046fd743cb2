"""Does the mail log reach us whole: is it there, readable, growing, and how is it rotated?

Raises nothing.
"""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from query.doctor import access, logrotate
from query.doctor.access import Account, Entry
from query.doctor.finding import Finding, Seen
from query.doctor.holders import holder
from query.doctor.logrotate import Rotation
from query.doctor.names import check
from query.doctor.place import Place
from query.doctor.seen import JournalSeen

TAIL: Final = 256 << 10
"""Bytes at a log's end in which a mail program should have spoken."""
BEHIND_US: Final = 600_000_000
"""Mail so much newer than the log's last line: the log stands still."""
JOURNAL_GROUPS: Final = ("systemd-journal", "adm", "wheel")
_NOBODY: Final = "trackd's user is not known: it does not run, and no user posttrail is here"
_MAIL: Final = re.compile(
    rb"postfix[\w-]*/[\w/-]+\[\d+\]:|(?:sendmail|sm-mta|exim4?)\[\d+\]:"
    rb"|^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d.*?(?:<=|=>|->|\*\*|==|Completed)"
    rb"|\"SYSLOG_IDENTIFIER\"\s*:\s*\"postfix",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One configured log."""

    entry: Entry
    folders: tuple[Entry, ...]
    is_mail: bool | None  # None: it could not be read, or is empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was seen of the logs."""

    files: tuple[File, ...]
    journald: bool
    syslog: bool  # a socket on which syslog messages are taken
    maillog: str  # Postfix's maillog_file
    reader: Account | None  # trackd's user
    rotations: tuple[Rotation, ...]
    journal_gids: frozenset[int] = frozenset()  # groups that may read systemd's journal


def gather(place: Place) -> Facts:
    """Look at the files, and at logrotate's."""
    log = place.config.log
    return Facts(
        journal_gids=frozenset(
            gid for name in JOURNAL_GROUPS if (gid := access.gid(name)) is not None
        ),
        files=tuple(map(_file, log.files)),
        journald=log.journald,
        syslog=bool(log.syslog_socket or log.syslog_udp),
        maillog=place.postfix.get("maillog_file") if place.postfix else "",
        reader=reader_of(place),
        rotations=tuple(
            logrotate.read(place.file("/etc/logrotate.conf"), place.file("/etc/logrotate.d"))
        ),
    )


def reader_of(place: Place) -> Account | None:
    """Whom trackd runs as: the holder of the journal's lock, else the user of its unit."""
    pid = holder(place.journal / "LOCK")
    found = access.running(pid) if pid else None
    return found or access.account("posttrail", ("adm", "systemd-journal", "posttrail-query"))


def _file(path: Path) -> File:
    return File(entry=access.entry(path), folders=access.way(path), is_mail=is_mail(path))


def is_mail(path: Path) -> bool | None:
    """Has a mail program spoken at the end of this log?"""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            tail = file.read(TAIL)
    except OSError:
        return None
    return bool(_MAIL.search(tail)) if tail else None


def run(place: Place) -> list[Finding]:
    """The checks of this family."""
    facts = gather(place)
    again = place.restart("trackd")
    findings = [source(facts, place, again), *readable(facts, again)]
    findings += lines(facts, place.seen, again)
    lifetime = place.config.mta.queue_lifetime_days
    for file in facts.files:
        findings += rotated(file.entry.path, facts.rotations, lifetime)
    return findings


def source(facts: Facts, place: Place, again: str) -> Finding:
    """Is there a log at all, and is it the one that is written?"""
    this = check("log-source")
    names = [file.entry.path for file in facts.files]
    written = facts.maillog
    seen = [Seen("log.files", ", ".join(names) or "none")]
    if facts.journald:
        seen.append(Seen("log.journald", "true"))
    if written and written != "/dev/stdout":
        seen.append(Seen("maillog_file", written))
        if not any(_same(written, name) for name in names):
            return this.problem(
                f"Postfix writes its log to {written}, which is not followed",
                *seen,
                mend=(place.setting("log.files", f'["{written}"]'), again),
            )
    if not names and not facts.journald and not facts.syslog:
        value, key = ("true", "log.journald") if written else ('["/var/log/mail.log"]', "log.files")
        return this.problem(
            "no log is followed: what becomes of mail is not seen",
            *seen,
            mend=(place.setting(key, value), again),
        )
    return this.ok("a log is followed", *seen)


def _same(one: str, other: str) -> bool:
    return one == other or Path(one).resolve() == Path(other).resolve()


def readable(facts: Facts, again: str) -> Iterator[Finding]:
    """Is each file there, and may trackd read it?"""
    if facts.journald:
        yield _journal_readable(facts, again)
    elif not facts.files:
        yield check("log-readable").ok("no file is followed", Seen("log.files", "none"))
    for file in facts.files:
        yield _readable(file, facts, again)


def _journal_readable(facts: Facts, again: str) -> Finding:
    """journalctl(1): all of it for root and some groups, else nothing but one's own."""
    this, reader = check("log-readable"), facts.reader
    if reader is None:
        return this.unchecked(_NOBODY)
    seen = Seen("groups", ", ".join(sorted(map(access.group, reader.gids))))
    if reader.uid == 0 or reader.gids & facts.journal_gids:
        return this.ok(f"{reader.name} may read systemd's journal", seen)
    return this.problem(
        f"{reader.name} may not read systemd's journal",
        seen,
        mend=(f"usermod -aG {JOURNAL_GROUPS[0]} {reader.name}", again),
    )


def _readable(file: File, facts: Facts, again: str) -> Finding:
    this, seen = check("log-readable"), Seen(file.entry.path, str(file.entry))
    path = shlex.quote(file.entry.path)
    if file.entry.kind == "missing":
        said = f"{file.entry.path} is not there"
        if facts.journald or facts.syslog:
            return this.warning(said, seen, mend=f"install -o root -g adm -m 640 /dev/null {path}")
        write = "apt-get install rsyslog" if not facts.maillog else "postfix reload"
        return this.problem(f"{said}: nothing writes it", seen, mend=write)
    if file.entry.kind == "hidden":
        return this.unchecked(f"{file.entry.path} may not be looked at: run as root", seen)
    if facts.reader is None:
        return this.unchecked(_NOBODY)
    name = facts.reader.name
    closed = access.barred(file.folders, facts.reader)
    if closed is not None:
        return this.problem(
            f"{name} may not enter a folder on the way to {file.entry.path}",
            Seen(closed.path, str(closed)),
            mend=f"chmod o+x {shlex.quote(closed.path)}",
        )
    allowed = access.may(file.entry, facts.reader, access.READ)
    if allowed is None:
        return this.unchecked("an access control list decides (getfacl)", seen)
    if allowed:
        return this.ok(f"{name} may read {file.entry.path}", seen)
    return this.problem(
        f"{name} may not read {file.entry.path}", seen, mend=(*_let_read(file.entry, name), again)
    )


def _let_read(seen: Entry, name: str) -> tuple[str, ...]:
    """By its group where that may read it, else by giving it to one."""
    path = shlex.quote(seen.path)
    if seen.mode & 0o040 and seen.gid != 0:
        return (f"usermod -aG {access.group(seen.gid)} {name}",)
    return (f"chgrp adm {path}", f"chmod g+r {path}")


def lines(facts: Facts, seen: JournalSeen, again: str) -> Iterator[Finding]:
    """Do the files hold lines of a mail program, and grow while mail flows?"""
    this = check("log-lines")
    if not facts.files:
        yield this.unchecked("no file is followed")
    for file in facts.files:
        path, at_us = file.entry.path, file.entry.mtime_us
        what = Seen(path, f"{file.entry.size:,} bytes")
        if not file.entry.there:
            yield this.unchecked(f"{path} is {file.entry.kind}")
        elif file.is_mail is None:
            why = (
                "nothing is in it yet"
                if file.entry.size == 0
                else "it may not be read: run as root"
            )
            yield this.unchecked(f"{path}: {why}", what)
        elif not file.is_mail:
            yield this.warning(
                f"no mail program has spoken at the end of {path}",
                what,
                mend=_written(path),
            )
        elif (
            not facts.journald
            and not facts.syslog
            and seen.newest_us is not None
            and seen.newest_us - at_us > BEHIND_US
        ):
            yield this.problem(
                f"mail flows, and {path} does not grow",
                what,
                Seen("the newest mail", f"{(seen.newest_us - at_us) // 60_000_000} min newer"),
                mend="systemctl restart rsyslog",
            )
        else:
            yield this.ok(f"{path} holds lines of a mail program", what)


def _written(path: str) -> str:
    """The command by which rsyslog writes mail's lines, and its own, there."""
    rule = shlex.quote(f"mail.*;syslog.info -{path}")
    return f"echo {rule} > /etc/rsyslog.d/50-posttrail.conf && systemctl restart rsyslog"


def rotated(path: str, rotations: Iterable[Rotation], lifetime: int) -> Iterator[Finding]:
    """How is a log rotated, and for how long can it be walked back?"""
    mode, kept = check("log-rotation"), check("log-generations")
    found = next((each for each in rotations if each.rotates(path)), None)
    if found is None:
        why = f"logrotate has nothing for {path}: whoever rotates it should rename it"
        yield mode.unchecked(why)
        yield kept.unchecked(f"logrotate has nothing for {path}")
        return
    source = shlex.quote(found.source)
    if found.copytruncate:
        yield mode.problem(
            f"{path} is rotated by copytruncate: lines written meanwhile are lost to everybody",
            Seen(found.source, "copytruncate"),
            mend=f"sed -i 's/^\\([[:space:]]*\\)copytruncate/\\1create/' {source}",
        )
    else:
        yield mode.ok(
            f"{path} is renamed when it is rotated", Seen(found.source, "no copytruncate")
        )
    yield _generations(path, found, lifetime)


def _generations(path: str, found: Rotation, lifetime: int) -> Finding:
    this, source = check("log-generations"), shlex.quote(found.source)
    told = Seen(found.source, f"rotate {found.generations}, " + (
        f"every {found.days:g} days" if found.days else "by size"))  # fmt: skip
    if found.generations == 0:
        return this.problem(
            f"{path} is thrown away when it is rotated",
            told,
            mend=f"sed -i 's/^\\([[:space:]]*\\)rotate .*/\\1rotate 7/' {source}",
        )
    if found.days is None:
        return this.ok(f"{path} is rotated by size, {found.generations} are kept", told)
    days = found.generations * found.days
    if days < lifetime:
        most = -(-lifetime // found.days)
        return this.warning(
            f"{path} can be walked back {days:g} days, less than mail may wait ({lifetime} days)",
            told,
            mend=f"sed -i 's/^\\([[:space:]]*\\)rotate .*/\\1rotate {most:g}/' {source}",
        )
    return this.ok(f"{path} can be walked back {days:g} days", told)
