"""Find a log file's rotated generations, and tell whose content is whose.

Names as logrotate makes them: ``NAME.1``, ``NAME.2.gz``, ``NAME-20261123``. A file is
known by device, inode and its first bytes: inodes are used again, names move on, and a
compressed or copied generation has only its content in common with what was followed.

Raises ValueError for a position that no follower made, OSError for a file that vanishes
while it is opened; a generation whose compressed data is damaged ends where that begins.
"""

import json
import os
import re
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple

from milterd.track.compressed import broken, decompressed

HEAD: Final = 1024
"""So many first bytes tell a file from another."""

_SUFFIX: Final = re.compile(r"(?:\.(\d{1,5})|[.-](\d{6,}[\d-]*))(\.(?:gz|bz2|xz|zst))?\Z")


def fingerprint(head: bytes) -> str:
    """What stands for the first bytes where they are stored."""
    return blake2b(head, digest_size=16).hexdigest()


def older_generations(path: Path) -> list[Path]:
    """The rotated files of ``path``, newest first; one a generation, plain before packed.

    Their names tell the order; where two rotations name them in two ways, their times do.
    """
    numbered: dict[int, Path] = {}
    dated: dict[str, Path] = {}
    try:
        names = sorted(os.listdir(path.parent))  # "x.1" comes before "x.1.gz"
    except FileNotFoundError:
        return []
    for name in names:
        match = _SUFFIX.fullmatch(name[len(path.name) :]) if name.startswith(path.name) else None
        if match is None:
            continue
        if match[1]:
            numbered.setdefault(int(match[1]), path.parent / name)
        else:
            dated.setdefault(match[2], path.parent / name)
    if numbered and dated:
        return sorted([*numbered.values(), *dated.values()], key=_written, reverse=True)
    return [numbered[key] for key in sorted(numbered)] + [
        dated[key] for key in sorted(dated, reverse=True)
    ]


def _written(path: Path) -> int:
    """When a file was last written, in nanoseconds; packing keeps that. 0: it is gone."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


class Content:
    """An open generation, readable at any place of its (unpacked) content."""

    __slots__ = ("_at", "_fd", "_reader", "device", "inode", "packed")

    def __init__(self, path: Path) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # kept: the name moves on
        status = os.fstat(self._fd)
        self.device, self.inode = status.st_dev, status.st_ino
        self.packed = path.suffix in (".gz", ".bz2", ".xz", ".zst")
        self._rewind()

    def _rewind(self) -> None:
        self._at = 0
        if self.packed:
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._reader, _ = decompressed(FileIO(self._fd, closefd=False))

    def read_at(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``at`` on, fewer only at the end."""
        if not self.packed:
            return os.pread(self._fd, size, at)
        if at < self._at:
            self._rewind()
        while self._at < at:
            if not self._unpack(min(at - self._at, 1 << 18)):
                return b""
        return self._unpack(size)

    def _unpack(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            try:
                part = self._reader.read1(size)
            except broken():
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
            self._at += len(part)
        return b"".join(parts)

    @property
    def key(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode

    @property
    def head(self) -> bytes:
        """The first whole lines: the beginning of a line is like that of many others."""
        data = self.read_at(0, HEAD)
        return data if len(data) == HEAD else data[: data.rfind(b"\n") + 1]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return os.fstat(self._fd).st_size

    @property
    def mtime_us(self) -> int:
        """When it was last written."""
        return os.fstat(self._fd).st_mtime_ns // 1000

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    __del__ = close


class Kept(NamedTuple):
    """One file as a position has it; a file without a whole line is not in it."""

    head_size: int
    head: str
    at: int
    skipping: bool
    mtime_us: int
    inode: int = 0  # 0: a position of an earlier release
    torn: bool = False

    def is_head_of(self, head: bytes) -> bool:
        """Do these first bytes belong to the file, or to a copy of it?"""
        return len(head) >= self.head_size and fingerprint(head[: self.head_size]) == self.head


class Generation:
    """One generation that is being read."""

    __slots__ = (
        "at", "content", "ended", "head", "mtime_us", "skipping", "torn", "touched", "unsure",
    )  # fmt: skip

    def __init__(self, content: Content) -> None:
        self.content = content
        self.at = 0
        self.skipping = False  # in a line whose beginning was too long
        self.head = content.head
        self.mtime_us = content.mtime_us
        self.unsure = not self.head
        self.torn = False  # a copy: the file was cut after it was made, and lines may lie between
        self.ended = False
        self.touched = 0.0

    @property
    def key(self) -> tuple[int, int]:
        """Device and inode."""
        return self.content.key

    def close(self) -> None:
        """Let go of the file."""
        self.content.close()

    def kept(self) -> Kept:
        size, head = len(self.head), fingerprint(self.head)
        inode = self.content.inode
        return Kept(size, head, self.at, self.skipping, self.mtime_us, inode, self.torn)

    def is_copy_of(self, kept: Kept, path: tuple[int, int] | None) -> bool:
        """May this be a copy of a file that was cut then? ``path``: what has its name now.

        A renamed file keeps its inode. A packed one has another in any case; then it may be a
        copy where the file with the name has the old inode (inodes are used again, too).
        """
        if not kept.inode:
            return False
        if self.content.packed:
            return path is not None and path[1] == kept.inode
        return self.content.inode != kept.inode

    def is_twin(self, other: "Generation") -> bool:
        """Have both the same content, as far as both have any (copytruncate at work)?"""
        size = min(len(self.head), len(other.head))
        return size > 0 and self.head[:size] == other.head[:size]

    def intact(self) -> bool:
        """Is what was read still there? Learns more of a head that was short."""
        if self.content.packed:
            return True
        head = self.content.head
        if self.content.size < self.at or not head.startswith(self.head):
            return False
        self.head = head
        self.mtime_us = self.content.mtime_us
        return True


class Position(NamedTuple):
    """What a follower's position says."""

    files: list[Kept]
    since: int | None = None  # from when on rotated files count, where no file is known yet
    cuts: bool = False  # the last rotation that was told apart was a copytruncate
    inode: int = 0  # of the file that had the name when following began


def parse_position(position: bytes | None) -> Position:
    """A position as ``Follower.position`` gives it; None: nothing is known."""
    if position is None:
        return Position([])
    try:
        known = json.loads(position)
        files = [Kept(*one) for one in known["files"]]
        return Position(files, known.get("since"), known.get("cuts", False), known.get("inode", 0))
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a follower's position: {position!r}") from error
