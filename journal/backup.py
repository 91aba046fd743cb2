"""Copy a journal while it is written, so that the copy is one that a crash could have left.

``state`` is copied first: its positions are then never newer than the days, and what lies
between is read again, which changes nothing. Each environment is copied within one read
transaction (LMDB's compacting copy), in a child process, since a damaged page kills who reads it.

    DIR/20261125T143000.123Z/MANIFEST.json    written last: what is whole
                            /journal/...      FORMAT, KEY, data.mdb of state and of each day
                            /queryd.sqlite    where it can be read

What has not changed since the backup before (inode and transaction number) is a hard link to it.
A backup is made as ``.partial-NAME`` and renamed. Raises UnavailableError (no journal, or a
damaged part), NotPermittedError, TryAgainError (no room, another backup at work).
"""

import fcntl
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from journal import days, manifest, store
from journal.child_copy import in_child
from journal.keys import day_name
from journal.manifest import sum_of
from journal.salvage import transaction
from journal.store import DiskFullError
from posttrail import __version__
from posttrail.durable import sync_directory
from posttrail.errors import NotPermittedError, PosttrailError, TryAgainError
from posttrail.text import rfc3339

PARTIAL: Final = ".partial-"
SMALL: Final = ("FORMAT", "KEY")
LAST: Final = ("ERASED",)
"""Copied behind all else, so that whoever was erased meanwhile is known."""
_TRIES: Final = 3
_RESERVE: Final = 64 << 20  # bytes that are to stay free


@dataclass(slots=True, kw_only=True)
class Done:
    """What a backup came to (docs/schema/backup.json)."""

    directory: str
    copied: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # sentences
    bytes: int = 0
    removed: list[str] = field(default_factory=list)  # older backups


class _VanishedError(TryAgainError):
    """A day was dropped in the middle."""


def backup(
    journal: Path, directory: Path, *, queryd: Path | None, keep: int
) -> Iterator[tuple[str, float | None] | Done]:
    """Make one; yields what is being copied and the share of it, last what was done.

    ``keep``: so many backups stay in ``directory``, this one included.
    """
    days.check_format(journal)
    lock = _locked(directory)
    try:
        for number in range(_TRIES):
            try:
                yield from _Backup(journal, directory, queryd, keep).steps()
                break
            except _VanishedError:
                if number + 1 == _TRIES:
                    raise
    finally:
        os.close(lock)


def _locked(directory: Path) -> int:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot(directory, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise TryAgainError(f"another backup is being made in {directory}") from None
    return lock


class _Backup:
    """One attempt."""

    def __init__(self, journal: Path, directory: Path, queryd: Path | None, keep: int) -> None:
        self._journal = journal
        self._directory = directory
        self._queryd = queryd
        self._keep = keep
        made = manifest.whole(directory)
        self._before = made[-1] if made else None
        self._known = manifest.read(self._before)["files"] if self._before is not None else {}
        self._files: dict[str, dict[str, Any]] = {}
        name = _name(made[-1].name if made else "")
        self._final = directory / name
        self._new = directory / (PARTIAL + name)
        self.done = Done(directory=str(self._final))

    def steps(self) -> Iterator[tuple[str, float | None] | Done]:
        try:
            for left in self._directory.glob(PARTIAL + "*"):
                shutil.rmtree(left)
            (self._new / "journal").mkdir(mode=0o700, parents=True)
            yield from self._copied()
            self._finish()
        except (OSError, sqlite3.Error) as error:
            shutil.rmtree(self._new, ignore_errors=True)
            raise _cannot(self._directory, error) from error
        except BaseException:
            shutil.rmtree(self._new, ignore_errors=True)
            raise
        yield self.done

    def _copied(self) -> Iterator[tuple[str, float | None]]:
        present = days.present(self._journal)
        names = [days.STATE, *map(day_name, present)]
        self._check_room(names)
        for name in SMALL:
            self._small(name)
        for name in names:
            if (self._journal / name).is_dir():
                yield from self._environment(name)
        missing = set(present) - set(days.present(self._journal))
        if missing:
            raise _VanishedError("a day was dropped while the backup was made; try again")
        for bad in sorted(self._journal.glob(days.BAD + "*")):
            self.done.left_out.append(f"{bad.name} is damaged and was left out")
        if self._queryd is not None:
            self._sqlite(self._queryd)
        for name in LAST:
            if (self._journal / name).exists():
                self._small(name)

    def _check_room(self, names: list[str]) -> None:
        """Before anything is written: is there room for what has changed?"""
        wanted = 0
        for name in names:
            data = self._journal / name / "data.mdb"
            if data.exists() and not self._is_unchanged(name, _source(data)):
                wanted += data.stat().st_blocks * 512
        found = os.statvfs(self._directory)
        free = found.f_bavail * found.f_frsize
        if free < wanted + _RESERVE:
            raise DiskFullError(
                self._directory, f"up to {wanted:,} bytes are needed, {free:,} are free"
            )

    def _is_unchanged(self, name: str, source: list[int] | None) -> bool:
        known = self._known.get(f"journal/{name}/data.mdb")
        return bool(source and known and known.get("source") == source and self._before)

    def _environment(self, name: str) -> Iterator[tuple[str, float | None]]:
        """state, or a day: linked, or copied by a child process."""
        data = self._journal / name / "data.mdb"
        source = _source(data)  # before it is copied: what is written meanwhile counts as new
        relative = f"journal/{name}/data.mdb"
        target = self._new / "journal" / name
        target.mkdir(mode=0o700)
        if self._is_unchanged(name, source) and self._before is not None:
            before = self._before / relative
            if before.is_file() and before.stat().st_size == self._known[relative]["bytes"]:
                try:
                    os.link(before, self._new / relative)
                except OSError:
                    shutil.copyfile(before, self._new / relative)
                self._files[relative] = self._known[relative]
                self.done.linked.append(name)
                yield name, 1.0
                return
        size = max(data.stat().st_size, 1)
        databases = store.STATE_DATABASES if name == days.STATE else store.DAY_DATABASES
        yield name, 0.0
        for copied in in_child(self._journal / name, databases, target):
            yield name, min(copied / size, 1.0)
        self._files[relative] = {**sum_of(self._new / relative), "source": source}
        self.done.copied.append(name)
        self.done.bytes += self._files[relative]["bytes"]

    def _small(self, name: str) -> None:
        relative = f"journal/{name}"
        try:
            data = (self._journal / name).read_bytes()
        except PermissionError as error:
            group = store.group_of(self._journal)
            raise NotPermittedError(str(self._journal / name), group) from error
        _write(self._new / relative, data)
        self._files[relative] = sum_of(self._new / relative)

    def _sqlite(self, path: Path) -> None:
        """queryd's own state: tokens, and who looked at whose mail."""
        if not path.exists():
            return
        target = self._new / manifest.QUERYD
        try:
            with (
                closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(target)) as copy,
            ):
                source.backup(copy, pages=1000)
        except sqlite3.OperationalError as error:
            target.unlink(missing_ok=True)
            self.done.left_out.append(f"{path} was left out: {error}")
            return
        _sync(target)
        self._files[manifest.QUERYD] = sum_of(target)

    def _finish(self) -> None:
        """The manifest, the name, and then the backups that are too old."""
        text = json.dumps(
            {
                "format": manifest.VERSION,
                "journal_format": days.FORMAT,
                "made": rfc3339(time.time_ns() // 1000),
                "posttrail": __version__,
                "files": self._files,
                "left_out": self.done.left_out,
            },
            indent=1,
        )
        for path in sorted(self._new.rglob("*")):
            if path.is_dir():
                sync_directory(path)
        _write(self._new / manifest.MANIFEST, text.encode() + b"\n")
        sync_directory(self._new)
        self._new.rename(self._final)
        sync_directory(self._directory)
        for old in manifest.whole(self._directory)[: -self._keep]:
            hidden = old.with_name(PARTIAL + old.name)
            old.rename(hidden)
            shutil.rmtree(hidden)
            self.done.removed.append(old.name)


def _name(newest: str) -> str:
    """That of a backup made now: greater than all before, even where the clock was set back."""
    at = datetime.now(UTC)
    while (name := f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z") <= newest:
        at = max(at, datetime.strptime(newest[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC))
        at += timedelta(milliseconds=1)
    return name


def _source(data: Path) -> list[int] | None:
    """What changes whenever an environment does."""
    try:
        number = transaction(data.parent)
        return None if number is None else [data.stat().st_ino, number]
    except OSError:
        return None


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _cannot(directory: Path, error: Exception) -> PosttrailError:
    if isinstance(error, PermissionError):
        return NotPermittedError(str(directory), store.group_of(directory))
    reason = getattr(error, "strerror", None) or str(error)
    return DiskFullError(directory, reason)
