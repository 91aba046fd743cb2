"""Which days were open when posttrail-queryd died, so that a damaged one cannot kill it for ever.

A damaged LMDB page kills the process that touches it. The file names what is open; what is named
there at start was open when the last process died. A part named at two deaths is read through in
a child process: what kills the child, or LMDB refuses, is left out until its file is another one.
(A kill -9 leaves names too; the child is what tells the two apart.)

Format: lines ``open NAME``, ``died NAME COUNT``, ``bad NAME INODE``; a line that is none of these
is passed over. Raises UnavailableError where the file cannot be written.
"""

import logging
import os
from pathlib import Path
from threading import Lock
from typing import Final

from journal import days
from posttrail.errors import UnavailableError

log = logging.getLogger(__name__)

DEATHS: Final = 2


class Marker:
    """The file; made before the journal is opened, and before there are threads."""

    def __init__(self, path: Path, journal: Path) -> None:
        self._path = path
        self._journal = journal
        self._lock = Lock()
        self._open: set[str] = set()
        self._died: dict[str, int] = {}
        self._bad: dict[str, int] = {}
        self._read()
        self._judge()
        self._write()

    @property
    def bad(self) -> frozenset[str]:
        """The parts that must not be touched."""
        return frozenset(self._bad)

    def touch(self, name: str) -> None:
        """To be called before a part is opened. A bad one is refused."""
        with self._lock:
            if name in self._bad:
                raise UnavailableError(f"journal damaged: {self._journal / name}")
            if name not in self._open:
                self._open.add(name)
                self._write()

    def condemn(self, name: str) -> None:
        """A part that was found damaged without a death."""
        with self._lock:
            self._bad[name] = self._inode(name)
            self._open.discard(name)
            self._write()

    def forgive(self) -> list[str]:
        """The parts whose file is another one by now; they may be touched again."""
        with self._lock:
            changed = [name for name, inode in self._bad.items() if self._inode(name) != inode]
            for name in changed:
                del self._bad[name]
            if changed:
                self._write()
            return changed

    def close(self) -> None:
        """All was closed in order: nothing is open, and nobody is suspected."""
        with self._lock:
            self._open.clear()
            self._died.clear()
            self._write()

    def _judge(self) -> None:
        for name in self._open:
            self._died[name] = self._died.get(name, 0) + 1
        self._open.clear()
        for name in [name for name, count in self._died.items() if count >= DEATHS]:
            del self._died[name]
            there = (self._journal / name).is_dir()
            if there and not days.is_readable(self._journal, name):
                log.error("part of the journal killed us and is left out part=%s", name)
                self._bad[name] = self._inode(name)

    def _read(self) -> None:
        try:
            lines = self._path.read_text("ascii", errors="replace").splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise UnavailableError(f"{self._path}: {error.strerror}") from None
        for line in lines:
            match line.split():
                case ["open", name] if days.is_part(name):
                    self._open.add(name)
                case ["died", name, count] if days.is_part(name) and count.isdecimal():
                    self._died[name] = int(count)
                case ["bad", name, inode] if days.is_part(name) and inode.isdecimal():
                    self._bad[name] = int(inode)

    def _write(self) -> None:
        # Replaced, not synced: it must survive the end of this process, not of the machine.
        lines = [f"open {name}\n" for name in sorted(self._open)]
        lines += [f"died {name} {count}\n" for name, count in sorted(self._died.items())]
        lines += [f"bad {name} {inode}\n" for name, inode in sorted(self._bad.items())]
        new = self._path.with_name(f".{self._path.name}.new")
        try:
            new.write_text("".join(lines), "ascii")
            os.replace(new, self._path)
        except OSError as error:
            raise UnavailableError(f"{self._path}: {error.strerror}") from None

    def _inode(self, name: str) -> int:
        try:
            return (self._journal / name / "data.mdb").stat().st_ino
        except OSError:
            return 0
