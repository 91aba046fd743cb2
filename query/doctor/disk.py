"""Is there room for the journal's days, for the spool, and in LMDB's map?

statvfs(3). Raises nothing.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from journal import store
from journal.keys import day_name, day_of
from query.doctor.finding import Finding, Seen
from query.doctor.holders import holder
from query.doctor.names import check
from query.doctor.place import Place
from query.doctor.seen import sizes

LEAST: Final = 256 << 20
"""Bytes below which a disk is as good as full."""
LEAST_INODES: Final = 1000
SOON_DAYS: Final = 3
_RECENT: Final = 7
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A file system as a path has it."""

    path: str
    free: int  # bytes, for who is not root
    total: int
    inodes_free: int
    inodes: int  # 0: it does not count them


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was seen of disks and files."""

    rooms: tuple[Room, ...]  # the journal's, and the spool's where that is another
    days: Mapping[str, int] = field(default_factory=dict)  # day to bytes
    today: str = ""
    retention_days: int = 30
    map_limit: int = store.MAP_SIZE  # bytes of address space that trackd may map for a day
    spool_days: int = 7
    spool: tuple[tuple[str, int, int], ...] | None = ()  # segment: name, bytes, age in s
    spool_path: str = ""


def gather(place: Place) -> Facts:
    """Look at the disks and the spool."""
    spool = place.config.milter.spool
    rooms: dict[int, Room] = {}
    for path in (place.journal, spool):
        found = _room(path)
        if found is not None:
            rooms.setdefault(found[0], found[1])
    return Facts(
        rooms=tuple(rooms.values()),
        days=sizes(place.journal),
        today=day_name(day_of(place.now_us)),
        retention_days=place.config.journal.retention_days,
        map_limit=_map_limit(place.journal),
        spool_days=place.config.milter.spool_days,
        spool=_segments(spool, place.now_us),
        spool_path=str(spool),
    )


def _room(path: Path) -> tuple[int, Room] | None:
    there = next((each for each in (path, *path.parents) if each.exists()), None)
    if there is None:
        return None
    try:
        seen, device = os.statvfs(there), there.stat().st_dev
    except OSError:
        return None
    return device, Room(
        path=str(path),
        free=seen.f_bavail * seen.f_frsize,
        total=seen.f_blocks * seen.f_frsize,
        inodes_free=seen.f_favail,
        inodes=seen.f_files,
    )


def _map_limit(journal: Path) -> int:
    """The address space that trackd may have, where it runs and has a limit (LimitAS=)."""
    pid = holder(journal / "LOCK")
    try:
        text = Path(f"/proc/{pid}/limits").read_text() if pid else ""
    except OSError:
        text = ""
    return min(store.MAP_SIZE, address_space(text) or store.MAP_SIZE)


def address_space(limits: str) -> int | None:
    """The soft limit in the text of /proc/PID/limits (proc(5)); None: there is none."""
    for line in limits.splitlines():
        if line.startswith("Max address space"):
            word = line.split()[3]
            return int(word) if word.isdecimal() else None
    return None


def _segments(spool: Path, now_us: int) -> tuple[tuple[str, int, int], ...] | None:
    found = []
    try:
        for path in spool.iterdir():
            if path.name == "current" or path.suffix == ".seg":
                seen = path.stat()
                found.append((path.name, seen.st_size, now_us // 1_000_000 - int(seen.st_mtime)))
    except PermissionError:
        return None
    except OSError:
        return ()  # it is not there yet, or a segment went meanwhile
    return tuple(sorted(found))


def run(place: Place) -> list[Finding]:
    """The checks of this family."""
    facts = gather(place)
    return [*free(facts, place), *inodes(facts, place), headroom(facts), depth(facts, place)]


def growth(facts: Facts) -> int | None:
    """Bytes of a whole day: the mean of the newest ones; None while there is none."""
    whole = [size for day, size in sorted(facts.days.items()) if day < facts.today][-_RECENT:]
    return sum(whole) // len(whole) if whole else None


def free(facts: Facts, place: Place) -> list[Finding]:
    """Does what is kept fit?"""
    this = check("disk-free")
    if not facts.rooms:
        return [this.unchecked("the folders of journal and spool cannot be looked at")]
    return [_free(facts, place, room) for room in facts.rooms]


def _free(facts: Facts, place: Place, room: Room) -> Finding:
    this = check("disk-free")
    seen = [Seen(room.path, f"{_size(room.free)} free of {_size(room.total)}")]
    fewer = (place.setting("journal.retention_days", str(max(1, facts.retention_days // 2))),
             place.restart("trackd"))  # fmt: skip
    a_day = growth(facts) if room.path == str(place.journal) else None
    to_come = 0
    if a_day is not None:
        missing = max(0, facts.retention_days - len(facts.days))
        to_come = a_day * missing
        seen.append(
            Seen("the journal", f"{_size(a_day)} a day, {missing} days until the first goes")
        )
    if room.free < max(LEAST, SOON_DAYS * min(a_day or 0, to_come)):
        return this.problem(f"the disk of {room.path} is about to be full", *seen, mend=fewer)
    if room.free < to_come:
        return this.warning(
            f"the disk of {room.path} is too small for {facts.retention_days} days",
            *seen,
            mend=fewer,
        )
    return this.ok(f"there is room on the disk of {room.path}", *seen)


def inodes(facts: Facts, place: Place) -> list[Finding]:
    """Are there names to be had?"""
    this = check("disk-inodes")
    found = []
    for room in facts.rooms:
        seen = Seen(room.path, f"{room.inodes_free:,} inodes free of {room.inodes:,}")
        if room.inodes == 0:
            found.append(this.ok(f"the disk of {room.path} does not run out of inodes", seen))
        elif room.inodes_free < LEAST_INODES:
            mend = f"du --inodes -x -d 3 {_mount(Path(room.path))} | sort -n | tail"
            found.append(
                this.problem(f"the disk of {room.path} has no inodes left", seen, mend=mend)
            )
        else:
            found.append(this.ok(f"there are inodes on the disk of {room.path}", seen))
    return found or [this.unchecked("the folders of journal and spool cannot be looked at")]


def headroom(facts: Facts) -> Finding:
    """Does the largest day fit into the map?"""
    this = check("map-headroom")
    if not facts.days:
        return this.unchecked("there is no day yet, or the journal cannot be read")
    day, size = max(facts.days.items(), key=lambda each: each[1])
    seen = Seen(day, f"{_size(size)}, the map of a day has {_size(facts.map_limit)}")
    if size * 2 > facts.map_limit:
        return this.warning(
            "a day fills more than half of its map",
            seen,
            mend=(
                "mkdir -p /etc/systemd/system/posttrail-trackd.service.d",
                "printf '[Service]\\nLimitAS=infinity\\n'"
                " > /etc/systemd/system/posttrail-trackd.service.d/map.conf",
                "systemctl daemon-reload && systemctl restart posttrail-trackd",
            ),
        )
    return this.ok("the largest day leaves its map room", seen)


def depth(facts: Facts, place: Place) -> Finding:
    """Is the spool tidied?"""
    this = check("spool-depth")
    if facts.spool is None:
        return this.unchecked(f"{facts.spool_path} cannot be looked at: run as root")
    total = sum(size for _, size, _ in facts.spool)
    seen = Seen(facts.spool_path, f"{len(facts.spool)} segments, {_size(total)}")
    old = [name for name, _, age in facts.spool if age > (facts.spool_days + 2) * 86_400]
    if any(name != "current" for name in old):
        return this.warning(
            f"segments of the spool are older than {facts.spool_days} days, and were not removed",
            seen,
            mend=place.restart("milterd"),
        )
    return this.ok("the spool is tidied", seen)


def _mount(path: Path) -> Path:
    return next((each for each in (path, *path.parents) if os.path.ismount(each)), Path("/"))


def _size(count: int) -> str:
    """Bytes for people."""
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.1f} MiB"
