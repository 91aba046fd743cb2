"""The journal's directory: format, key, permissions, its days, and days that kill.

Layout and modes: docs/journal-format.md, "Directory". A damaged LMDB page aborts the
process that touches it, so the writer keeps the names of the days it has open in
``TOUCHING``, and ``state``. What is found there at start is read through in a child process:
what kills the child, or LMDB refuses, is renamed ``bad-NAME``; a day can be rebuilt.
(A kill -9 leaves names there as well; the child is what tells the two apart.)

Raises ``JournalFormatError`` before anything is touched, ``UnavailableError``,
``NotPermittedError``, and ``DiskFullError`` where a day cannot be made.
"""

import ctypes
import errno
import faulthandler
import fcntl
import logging
import os
import re
import resource
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from journal import codec, store, sums
from journal.keys import parse_day
from journal.store import Change, DamagedStoreError, DiskFullError, Pairs, Store
from posttrail.durable import make_directory, sync_directory
from posttrail.errors import JournalFormatError, NotPermittedError, UnavailableError

log = logging.getLogger(__name__)

FORMAT: Final = 1
STATE: Final = "state"
BAD: Final = "bad-"
REBUILT: Final = "REBUILT"
"""A file in ``bad-DAY`` that says what a rebuild of it gave."""
GONE: Final = ".gone-"
NEW: Final = ".new-"
_FORMAT_TEXT: Final = re.compile(r"posttrail-journal (\d{1,9})\n")
_KEY_BYTES: Final = 32


class WrongKeyError(UnavailableError):
    """The journal was written with another key than the one in KEY."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"journal damaged: {directory}/KEY is not the key of this journal; bring back that file"
        )


def create(directory: Path, gid: int | None) -> None:
    """Make what a journal needs where it is missing; leave alone what is there."""
    with writing(directory):
        for leftover in directory.glob(NEW + "*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
        # An empty directory, or one whose making was cut short, has no FORMAT yet.
        if not (directory / "FORMAT").exists():
            store.set_owner(directory, store.DIRECTORY_MODE, gid)
            _write_new(directory / "KEY", secrets.token_hex(_KEY_BYTES) + "\n", gid)
            _write_new(directory / "FORMAT", f"posttrail-journal {FORMAT}\n", gid)


def take_lock(directory: Path, gid: int | None) -> int | None:
    """A descriptor that holds the writer's lock; None where another process has it."""
    with writing(directory):
        make_directory(directory)
        path = directory / "LOCK"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, store.DATA_MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        store.set_owner(path, store.DATA_MODE, gid)
    return lock


def check_format(directory: Path) -> None:
    """Refuse what is not a journal this release can read."""
    found = _FORMAT_TEXT.fullmatch(_read(directory, "FORMAT"))
    if found is None:
        raise UnavailableError(f"journal damaged: {directory}/FORMAT says no format")
    if int(found[1]) < 1:
        raise UnavailableError(f"journal damaged: {directory}/FORMAT says no format")
    if int(found[1]) > FORMAT:
        raise JournalFormatError(int(found[1]), FORMAT)


def read_key(directory: Path) -> bytes:
    """The key of the journal's term hashes."""
    try:
        key = bytes.fromhex(_read(directory, "KEY"))
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise UnavailableError(f"journal damaged: {directory}/KEY holds no key")
    return key


def present(directory: Path) -> list[int]:
    """The days that the journal has, oldest first."""
    try:
        names = os.listdir(directory)
    except PermissionError as error:
        raise NotPermittedError(os.fspath(directory), store.group_of(directory)) from error
    except OSError as error:
        raise UnavailableError(f"no journal at {directory}") from error
    return sorted(day for day in map(parse_day, names) if day is not None)


def create_store(
    directory: Path,
    name: str,
    databases: tuple[bytes, ...],
    gid: int | None,
    map_size: int = store.MAP_SIZE,
    *,
    first: Mapping[bytes, Change] | None = None,
) -> None:
    """Make an environment that holds ``first``; it appears under its name when it is whole."""
    new = directory / (NEW + name)
    with writing(directory):
        shutil.rmtree(new, ignore_errors=True)  # of an attempt that a full disk ended
        new.mkdir(mode=store.DIRECTORY_MODE)
        store.set_owner(new, store.DIRECTORY_MODE, gid)
        with Store(new, databases, writable=True, gid=gid, map_size=map_size) as opened:
            if first:
                opened.apply(dict(first))
        sync_directory(new)
        new.rename(directory / name)
        sync_directory(directory)


def compact(
    directory: Path,
    name: str,
    opened: Store,
    gid: int | None,
    *,
    databases: tuple[bytes, ...] = store.DAY_DATABASES,
) -> bool:
    """Replace a day, or the state, by a copy without free pages: at once or not at all.

    Commits of large groups leave a third of a file free. False where the file system
    cannot exchange two names.
    """
    new = directory / (NEW + name)
    with writing(directory):
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=store.DIRECTORY_MODE)
        store.set_owner(new, store.DIRECTORY_MODE, gid)
        opened.copy_to(new)
        Store(new, databases, writable=True, gid=gid).close()
        sync_directory(new)
        exchanged = exchange(new, directory / name)
        sync_directory(directory)
        shutil.rmtree(new)
    return exchanged


def exchange(one: Path, other: Path) -> bool:
    """renameat2(2): a reader finds one or the other under the name, never nothing."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    at_cwd, exchange = -100, 2
    if rename is None:
        return False
    return bool(rename(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange) == 0)


def quarantine(directory: Path, name: str) -> None:
    """Put a damaged environment aside."""
    bad = BAD + name
    number = 1
    while (directory / bad).exists():
        number += 1
        bad = f"{BAD}{name}.{number}"
    (directory / name).rename(directory / bad)
    sync_directory(directory)
    log.error("journal is damaged, a part was put aside part=%s as=%s", name, bad)


def survives(work: Callable[[], object]) -> bool:
    """Whether a child process comes through ``work`` alive and without damage found."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        expect_death()
        code = 1
        try:
            work()
            code = 0
        except (UnavailableError, OSError):
            pass
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return status == 0


def expect_death() -> None:
    """For a child that may die of a damaged page: without a traceback, without a core."""
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def is_sound(directory: Path, name: str) -> bool:
    """Whether every page of an environment can be read, found out in a child process.

    And whether each record, position and context has the checksum it was written with.
    """

    def read_through() -> None:
        databases = store.STATE_DATABASES if name == STATE else store.DAY_DATABASES
        with Store(directory / name, databases, writable=True) as opened:
            opened.exercise(partial(_look, opened))

    return survives(read_through)


def _look(opened: Store, database: bytes, pairs: Pairs) -> None:
    if database == b"m" and not all(codec.is_whole(body) for _, body in pairs):
        raise DamagedStoreError(opened.path, "a record's checksum is wrong")
    if database in (b"p", b"k"):
        sums.look(opened, database, pairs)


def is_readable(directory: Path, name: str) -> bool:
    """The same for whoever may only read, save for the pages that writing would touch."""

    def read_through() -> None:
        databases = store.STATE_DATABASES if name == STATE else store.DAY_DATABASES
        with Store(directory / name, databases, writable=False) as opened:
            opened.read_through()

    return survives(read_through)


def is_part(name: str) -> bool:
    """Whether a journal may have an environment of this name."""
    return name == STATE or parse_day(name) is not None


def put_aside_damaged(directory: Path, suspects: list[str]) -> list[str]:
    """Rename the suspects that are damaged; returns their names."""
    damaged = []
    for name in suspects:
        if (directory / name).is_dir() and not is_sound(directory, name):
            quarantine(directory, name)
            damaged.append(name)
    return damaged


def _read(directory: Path, name: str) -> str:
    try:
        return (directory / name).read_text("ascii")
    except PermissionError as error:
        path = directory / name
        raise NotPermittedError(os.fspath(path), store.group_of(directory)) from error
    except (OSError, UnicodeError) as error:
        raise UnavailableError(f"no journal at {directory}") from error


def _write_new(path: Path, text: str, gid: int | None) -> None:
    """A whole file appears, or none."""
    new = path.with_name(NEW + path.name)
    with new.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    store.set_owner(new, store.DATA_MODE, gid)
    new.rename(path)
    sync_directory(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell why a directory of ours cannot be written."""
    try:
        yield
    except PermissionError as error:
        raise NotPermittedError(os.fspath(path), store.group_of(path)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise DiskFullError(path, error.strerror or "no space left") from error
        raise UnavailableError(f"no journal at {path}: {error.strerror}") from error
