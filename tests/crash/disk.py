"""A disk that loses its power: a trace of system calls played up to an instant, and what is left.

The trace is strace(1)'s (``TRACE``); it may hold any mixture of files below one directory.
What was synced is there. Of what was not, each 4 KiB page of each write is kept (40 %), torn
(20 %: some of its 512-byte sectors are kept) or dropped (40 %); a write to a file opened
with O_DSYNC is there when the call has returned. fsync(2) of a file says nothing of its name:
names made, moved or removed in a directory are there when that directory was synced, else
in their order up to a random one. (Journaling file systems keep more; POSIX promises no more.)
What a program writes through a mapping is not traced: LMDB's lock file and SQLite's -shm,
which both are made anew when nobody has them open.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TRACE = (
    "strace", "-f", "-y", "-xx", "-s", "16777216", "-e", "signal=none", "-e",
    "trace=openat,mkdir,rename,renameat2,unlink,unlinkat,rmdir,ftruncate,fallocate,"
    "lseek,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync",
)  # fmt: skip
PAGE = 4096
SECTOR = 512

_LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
_FD = re.compile(r"(\d+|AT_FDCWD)<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_CHANGES = {"mkdir", "rename", "renameat2", "unlink", "unlinkat", "rmdir"}


class Call(NamedTuple):
    """One system call that succeeded."""

    name: str
    path: str  # the file, or the old name
    other: str  # the new name
    fd: int
    data: bytes
    offset: int  # -1: where the descriptor stands
    flags: str


def calls(trace: Path) -> Iterator[Call]:
    """The successful calls of a trace, in their order; raises ValueError for one cut in two."""
    with trace.open() as file:
        for line in file:
            found = _LINE.match(line)
            if found is None:
                if "<unfinished" in line or "resumed>" in line:
                    raise ValueError(f"two threads write at once: {line[:200]}")
                continue
            name, arguments, result = found[1], found[2], int(found[3])
            if result >= 0:
                yield _call(name, arguments, result)


def _call(name: str, arguments: str, result: int) -> Call:
    fd = _FD.match(arguments)
    place = _plain(fd[2]) if fd is not None else ""
    texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(arguments)]
    if name in _CHANGES or name == "openat":
        paths = [os.path.join(place, os.fsdecode(text)) for text in texts]
        return Call(name, paths[0], paths[-1], result, b"", 0, arguments.rpartition('"')[2])
    assert fd is not None, arguments[:100]
    data = b"".join(texts)[:result] if "write" in name else b""
    numbers = arguments.split(", ")
    offset = -1
    if name in ("pwrite64", "pwritev", "ftruncate"):
        offset = int(numbers[-1], 0)
    elif name == "pwritev2":
        offset = int(numbers[-2], 0)
    elif name == "fallocate":
        offset = int(numbers[-2], 0) + int(numbers[-1], 0)
    elif name == "lseek":
        offset = result
    path = "" if "(deleted)" in arguments[:6000].partition('"')[0] else place
    return Call(name, path, "", int(fd[1]), data, offset, "")


def _plain(text: str) -> str:
    """A path as -y prints it: with -xx as escapes, too."""
    if text.startswith("\\x"):
        return os.fsdecode(bytes.fromhex(text.replace("\\x", "")))
    return text


class _File:
    """What is in the page cache, what is on the disk, and what is under way."""

    def __init__(self) -> None:
        self.cached = bytearray()
        self.stored = bytearray()
        self.waiting: list[tuple[int, bytes | None]] = []  # None: cut or grown to this size

    def write(self, offset: int, data: bytes, *, durable: bool) -> None:
        _put(self.cached, offset, data)
        if durable:
            _put(self.stored, offset, data)
        else:
            self.waiting.append((offset, data))

    def resize(self, size: int) -> None:
        _resize(self.cached, size)
        self.waiting.append((size, None))

    def sync(self) -> None:
        self.stored = bytearray(self.cached)
        self.waiting.clear()

    def left(self, chance: random.Random) -> bytes:
        """What is there when the power comes back."""
        found = bytearray(self.stored)
        for offset, data in self.waiting:
            if data is None:
                if chance.random() < 0.5:
                    _resize(found, offset)
                continue
            for begin, piece in _pages(offset, data):
                dice = chance.random()
                if dice < 0.4:
                    _put(found, begin, piece)
                elif dice < 0.6:
                    for at in range(0, len(piece), SECTOR):
                        if chance.random() < 0.5:
                            _put(found, begin + at, piece[at : at + SECTOR])
        return bytes(found)


def _pages(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        length = PAGE - (offset + at) % PAGE
        yield offset + at, data[at : at + length]
        at += length


def _put(into: bytearray, offset: int, data: bytes) -> None:
    if len(into) < offset:
        into.extend(bytes(offset - len(into)))
    into[offset : offset + len(data)] = data


def _resize(into: bytearray, size: int) -> None:
    del into[size:]
    into.extend(bytes(size - len(into)))


class _Folder:
    """Names as they are, as they are on the disk, and the changes under way."""

    def __init__(self) -> None:
        self.cached: dict[str, _File | _Folder] = {}
        self.stored: dict[str, _File | _Folder] = {}
        self.waiting: list[dict[str, _File | _Folder | None]] = []  # None: the name is gone

    def change(self, names: dict[str, _File | _Folder | None]) -> None:
        _name(self.cached, names)
        self.waiting.append(names)

    def sync(self) -> None:
        self.stored = dict(self.cached)
        self.waiting.clear()

    def write_out(self, path: Path, chance: random.Random) -> None:
        """Make what is left when the power comes back."""
        path.mkdir()
        found = dict(self.stored)
        for names in self.waiting[: chance.randrange(len(self.waiting) + 1)]:
            _name(found, names)
        for name, inode in found.items():
            if isinstance(inode, _Folder):
                inode.write_out(path / name, chance)
            else:
                (path / name).write_bytes(inode.left(chance))


def _name(into: dict[str, _File | _Folder], names: dict[str, _File | _Folder | None]) -> None:
    for name, inode in names.items():
        if inode is None:
            into.pop(name, None)
        else:
            into[name] = inode


class _Open:
    """A descriptor: whether its writes are durable, whether they go to the end, where it stands."""

    def __init__(self, durable: bool, appends: bool) -> None:
        self.durable = durable
        self.appends = appends
        self.at = 0


class Disk:
    """All below one directory, which was empty and on the disk when the trace began."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._top = _Folder()
        self._open_files: dict[int, _Open] = {}

    def play(self, call: Call) -> None:
        """One call more."""
        if call.path == self._root and call.name in ("fsync", "fdatasync"):
            self._top.sync()
        if not call.path.startswith(self._root + "/"):
            return
        if call.name == "openat":
            self._open(call)
        elif call.name in _CHANGES:
            self._change(call)
        elif call.name in ("fsync", "fdatasync"):
            found = self._find(call.path)
            if found is not None:
                found.sync()
        else:
            self._write(call)

    def write_out(self, path: Path, chance: random.Random) -> None:
        """The directory as it is found after a power cut now."""
        self._top.write_out(path, chance)

    def _open(self, call: Call) -> None:
        folder, name = self._parent(call.path)
        self._open_files[call.fd] = _Open("SYNC" in call.flags, "O_APPEND" in call.flags)
        found = folder.cached.get(name)
        if found is None and "O_CREAT" in call.flags:
            folder.change({name: _File()})
        elif isinstance(found, _File) and "O_TRUNC" in call.flags:
            found.resize(0)

    def _change(self, call: Call) -> None:
        folder, name = self._parent(call.path)
        if call.name == "mkdir":
            folder.change({name: _Folder()})
        elif call.name in ("rename", "renameat2"):
            other, new = self._parent(call.other)
            assert other is folder, "no program of ours moves a file to another directory"
            back = folder.cached[new] if "RENAME_EXCHANGE" in call.flags else None
            folder.change({name: back, new: folder.cached[name]})
        else:
            folder.change({name: None})

    def _write(self, call: Call) -> None:
        found = self._find(call.path)
        if not isinstance(found, _File):
            return  # it has no name any more
        if call.name in ("ftruncate", "fallocate"):
            if call.name == "ftruncate" or len(found.cached) < call.offset:
                found.resize(call.offset)
            return
        opened = self._open_files[call.fd]
        if call.name == "lseek":
            opened.at = call.offset
            return
        offset = call.offset
        if offset < 0:
            offset = len(found.cached) if opened.appends else opened.at
            opened.at = offset + len(call.data)
        found.write(offset, call.data, durable=opened.durable)

    def _parent(self, path: str) -> tuple[_Folder, str]:
        *folders, name = path[len(self._root) + 1 :].split("/")
        folder = self._top
        for each in folders:
            found = folder.cached[each]
            assert isinstance(found, _Folder)
            folder = found
        return folder, name

    def _find(self, path: str) -> _File | _Folder | None:
        folder, name = self._parent(path)
        return folder.cached.get(name)
