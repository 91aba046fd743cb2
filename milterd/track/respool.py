"""Takes erased addresses out of the milter's spool: a segment with other lines takes its place.

A segment that nobody writes to is rewritten whole and renamed over (modes, owner and time stay); a
line that is damaged goes. Where a kept position of the follower lies in it, the position is moved
along with its lines. ``current`` is the milter's: it is asked to begin another one, by a file
``rotate`` beside it, and where no milter holds the spool's lock, it is rewritten as the others.
What was received by syslog is kept as lines, of which nothing tells whom they concern: a segment
that names the address, and was read, is removed. Raises OSError.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from journal.forget import Forget
from milterd import spool
from milterd.track.generations import HEAD, Kept, fingerprint, older_generations, parse_position
from posttrail import daemon
from posttrail.durable import sync_directory
from posttrail.errors import TryAgainError

_NEW: Final = ".erasing"


@contextmanager
def unmilked(directory: Path) -> Iterator[bool]:
    """Whether no milter writes to a spool, and none can begin to before the end of this."""
    try:
        lock = daemon.lock_file(directory / "LOCK")
    except TryAgainError:
        yield False
        return
    try:
        yield True
    finally:
        lock.close()


def ask(directory: Path) -> Path:
    """Have whoever writes to a spool begin a new segment; the file that is gone when that is done.

    Raises OSError.
    """
    path = directory / spool.ROTATE
    path.touch(mode=0o640)
    return path


def turn(directory: Path, now_us: int) -> None:
    """The same where nobody writes; the new segment has a record that says nothing.

    A follower lets go of a file only where the next one has a beginning.
    """
    if not (directory / "current").exists():
        return
    owner = directory.stat()
    writer = spool.SpoolWriter(directory)
    try:
        writer.turn([spool.encode_body({"v": spool.VERSION, "t": "turned", "at": 0})], now_us)
    finally:
        writer.close()
    if os.geteuid() == 0:
        os.chown(directory / "current", owner.st_uid, owner.st_gid)


def waiting(path: Path, position: bytes | None) -> Kept | None:
    """Where a follower is in a file; None: it is through, or has not come to it."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    return next((one for one in parse_position(position).files if one.is_head_of(head)), None)


def rewrite(path: Path, forget: Forget, position: bytes | None) -> tuple[int, bytes | None]:
    """Rewrite a segment; how many records changed, and the position where it moved.

    The position must be durable before ``finish`` lets the new file take its name.
    """
    kept = waiting(path, position)
    at = kept.at if kept else 0
    changed, before, after = 0, 0, 0
    lines: list[bytes] = []
    with path.open("rb") as file:
        for raw in file:
            new = _scrubbed(raw, forget)
            changed += new != raw
            lines.append(new)
            before += len(raw)
            if before <= at:
                after += len(new)
    if not changed:
        return 0, None
    _write(path, b"".join(lines))
    if kept is None:
        return changed, None
    head = b"".join(lines)[:HEAD]
    head = head if len(head) == HEAD else head[: head.rfind(b"\n") + 1]
    moved = kept._replace(head_size=len(head), head=fingerprint(head), at=after, inode=0)
    return changed, _with(position, kept, moved)


def finish(path: Path) -> None:
    """The new file takes the name of the old one."""
    _new_of(path).rename(path)
    sync_directory(path.parent)


def names_any(path: Path, forget: Forget, until_us: int) -> bool:
    """Whether a segment of received lines names somebody who is to be forgotten."""
    scrubber = forget.at(until_us)
    if scrubber is None:
        return False
    with path.open("rb") as file:
        return any(scrubber.text(raw) != raw for raw in file)


def leftovers(directory: Path) -> list[Path]:
    """What a crash left of an earlier rewriting."""
    return sorted(directory.glob("*" + _NEW))


received = older_generations


def _scrubbed(raw: bytes, forget: Forget) -> bytes:
    record = spool.parse_line(raw)
    if record is None:
        return b"\n" if raw.endswith(b"\n") else b""
    events = spool.to_events(record)
    scrubber = forget.at(record["at"]) if events else None
    if scrubber is None:
        return raw
    new = scrubber.events(events)
    if new == events:
        return raw
    return spool.format_line(spool.encode_body(spool.with_events(record, new)))


def _write(path: Path, data: bytes) -> None:
    """The new file beside the old one, durable, with its owner, mode and time."""
    status = path.stat()
    new = _new_of(path)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
        os.fchmod(file.fileno(), status.st_mode & 0o7777)
        file.flush()
        os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(file.fileno())


def _new_of(path: Path) -> Path:
    return path.with_name(path.name + _NEW)


def _with(position: bytes | None, kept: Kept, moved: Kept) -> bytes | None:
    if position is None:
        return None
    known = parse_position(position)
    files = [moved if one == kept else one for one in known.files]
    return json.dumps({"v": 1, **known._replace(files=files)._asdict()}).encode()
