"""The file ``TOUCHING``: the environments whose pages the writer may be touching.

A damaged LMDB page aborts the process that touches it (journal/days.py), so their names stand on
disk before they are opened, and leave when they were closed in order. What is found there
at start is suspect. Raises ``DiskFullError``.
"""

import os
from pathlib import Path

from journal import days, store
from journal.store import DiskFullError


class Touching:
    """The open file; ``suspects`` are what the process before left in it."""

    def __init__(self, directory: Path, gid: int | None) -> None:
        self._path = directory / "TOUCHING"
        self._names: set[str] = set()
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, store.DATA_MODE)
        store.set_owner(self._path, store.DATA_MODE, gid)
        text = os.pread(self._handle, 1 << 20, 0).decode("ascii", "replace")
        named = {name for name in text.split() if days.is_part(name)}
        self.suspects = sorted(named)

    def add(self, name: str) -> None:
        """To be called before an environment is opened."""
        if name not in self._names:
            self._write(self._names | {name})

    def discard(self, names: set[str]) -> None:
        """To be called after environments were closed in order."""
        if self._names & names:
            self._write(self._names - names)

    def _write(self, names: set[str]) -> None:
        # In place: what must survive is the end of this process, not of the machine, and
        # the directory's mtime stays what it is (readers look at it).
        text = "".join(f"{name}\n" for name in sorted(names)).encode()
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, text, 0)
        except OSError as error:
            raise DiskFullError(self._path, error.strerror or "cannot be written") from error
        self._names = names

    def close(self) -> None:
        """What is still named stays named: it was found damaged."""
        os.close(self._handle)
