"""One LMDB environment: the only module that knows lmdb.

A day's environment or ``state/``; what is in them is docs/journal-format.md. Writes go
through ``apply``, one durable transaction a batch (sync, no WRITEMAP: a full
disk would be SIGBUS). A writable store keeps one read transaction and renews it
after each batch; a read-only one begins a transaction a call, so that no reader
pins pages (unless it asks for one ``snapshot``). Never used across fork: the child opens its own.

Raises ``DiskFullError`` (the batch is lost, all before it is kept), ``NotPermittedError``,
and ``DamagedStoreError`` where LMDB finds a page that is not its own. Other damage
kills the process (SIGABRT, SIGBUS): see journal/days.py.
"""

import errno
import grp
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import lmdb

from posttrail.errors import NotPermittedError, TryAgainError, UnavailableError

log = logging.getLogger(__name__)

MAP_SIZE: Final = 64 << 30  # address space only; a limit on it (LimitAS=) makes us take less
_LEAST_MAP: Final = 1 << 20
_MAX_READERS: Final = 510
_LOCK_BYTES: Final = 40 << 10  # what LMDB takes for so many, and a page
_RETRIES: Final = 16
DATA_MODE: Final = 0o640
LOCK_MODE: Final = 0o660  # readers take a slot in it
DIRECTORY_MODE: Final = 0o750
DEFAULT_GROUP: Final = "posttrail-query"

DAY_DATABASES: Final = (b"m", b"x", b"l", b"c")
STATE_DATABASES: Final = (b"p", b"k", b"v", b"c", b"g")
Pair = tuple[bytes, bytes]
Pairs = Sequence[Pair]
Look = Callable[[bytes, Pairs], None]
"""Is shown the pairs of a database; raises DamagedStoreError where they are not as written."""


class DiskFullError(TryAgainError):
    """The file system takes no more; what was to be written is still with the caller."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot write {path}: {reason}")


class DamagedStoreError(UnavailableError):
    """LMDB says that a file is not what it wrote."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"journal damaged: {path}: {what}")
        self.path = path


class Change(NamedTuple):
    """What one batch does to one database. Keys are sorted and distinct."""

    deletes: Sequence[bytes]
    puts: Pairs


class Store:
    """An open environment."""

    def __init__(
        self,
        path: Path,
        databases: tuple[bytes, ...],
        *,
        writable: bool,
        snapshot: bool = False,
        gid: int | None = None,
        map_size: int = MAP_SIZE,
    ) -> None:
        self.path = path
        self._keeps = writable or snapshot
        self._pid = os.getpid()
        self._writable = writable
        self._env = _open(path, len(databases), writable=writable, map_size=map_size)
        self._kept: Any = None
        self._cursors: dict[bytes, Any] = {}  # of the kept snapshot
        self._inode = (path / "data.mdb").stat().st_ino
        try:
            if writable:
                set_owner(path / "data.mdb", DATA_MODE, gid)
                set_owner(path / "lock.mdb", LOCK_MODE, gid)
            self._dbs = {name: self._open_db(name) for name in databases}
        except BaseException:
            self.close()
            raise

    def _open_db(self, name: bytes) -> Any:
        try:
            return self._env.open_db(name, create=self._writable)
        except lmdb.Error as error:
            raise _translated(self.path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the file. Closing twice is harmless."""
        self._release()
        self._env.close()

    def is_replaced(self) -> bool:
        """Whether the path now names another file than the one that is open."""
        try:
            return (self.path / "data.mdb").stat().st_ino != self._inode
        except OSError:
            return True

    # Reading

    def get(self, name: bytes, key: bytes) -> bytes | None:
        """The value of a key."""
        try:
            txn = self._begin()
            found: bytes | None = txn.get(key, db=self._dbs[name])
            self._end(txn)
        except lmdb.Error as error:
            raise _translated(self.path, error) from error
        return found

    def begins(self, name: bytes, prefix: bytes) -> bool:
        """Whether any key begins with these bytes: asked for every new message."""
        try:
            txn = self._begin()
            cursor = self._cursors.get(name)
            if cursor is None:
                cursor = txn.cursor(self._dbs[name])
                if txn is self._kept:
                    self._cursors[name] = cursor
            found = cursor.set_range(prefix) and cursor.key().startswith(prefix)
            self._end(txn)
        except lmdb.Error as error:
            raise _translated(self.path, error) from error
        return bool(found)

    def last_key(self, name: bytes) -> bytes | None:
        """The greatest key of a database."""
        pairs = self.down(name, b"", None, limit=1)
        return pairs[0][0] if pairs else None

    def down(self, name: bytes, low: bytes, high: bytes | None, *, limit: int) -> Pairs:
        """At most ``limit`` pairs with low <= key < high, greatest first."""
        found: list[tuple[bytes, bytes]] = []
        try:
            txn = self._begin()
            cursor = txn.cursor(self._dbs[name])
            if high is not None and cursor.set_range(high):
                there = cursor.prev()
            else:
                there = cursor.last()
            if there:
                for pair in cursor.iterprev():
                    if pair[0] < low or len(found) >= limit:
                        break
                    found.append(pair)
            cursor.close()
            self._end(txn)
        except lmdb.Error as error:
            raise _translated(self.path, error) from error
        return found

    def up(self, name: bytes, low: bytes, *, limit: int) -> Pairs:
        """At most ``limit`` pairs with low <= key, least first."""
        return self._range(name, low, lambda pairs: islice(pairs, limit))

    def chunks(self, name: bytes, low: bytes = b"", *, size: int = 4096) -> Iterator[Pairs]:
        """All pairs from ``low`` on, least first, some at a time and each time by a new look.

        A damaged branch page may lead in a circle: keys that do not grow are an error.
        """
        while pairs := self.up(name, low, limit=size):
            last = pairs[-1][0]
            if last < low:
                raise DamagedStoreError(self.path, "keys in disorder")
            yield pairs
            low = last + b"\0"

    def every(self, name: bytes) -> Pairs:
        """All pairs of a small database."""
        return [pair for pairs in self.chunks(name, size=1 << 16) for pair in pairs]

    def span(self, name: bytes, low: bytes, high: bytes) -> Pairs:
        """All pairs with low <= key < high, least first."""
        return self._range(name, low, lambda pairs: takewhile((high,).__gt__, pairs))

    def _range(
        self, name: bytes, low: bytes, some: Callable[[Iterable[Pair]], Iterable[Pair]]
    ) -> Pairs:
        """Those of the pairs from ``low`` on that ``some`` lets through."""
        found: list[Pair] = []
        try:
            txn = self._begin()
            cursor = txn.cursor(self._dbs[name])
            if cursor.set_range(low):
                found = list(some(cursor.iternext()))
            cursor.close()
            self._end(txn)
        except lmdb.Error as error:
            raise _translated(self.path, error) from error
        return found

    # Writing

    def apply(self, changes: dict[bytes, Change]) -> None:
        """Carry out one batch durably, or not at all."""
        self._check_pid()
        self._release()
        for _ in range(_RETRIES):
            try:
                with self._env.begin(write=True) as txn:
                    for name, change in changes.items():
                        _apply(txn, self._dbs[name], change)
                break
            except lmdb.MapFullError:
                self._grow()
            except lmdb.Error as error:
                raise _translated(self.path, error) from error
        else:
            raise DiskFullError(self.path, "the map cannot grow")

    def _grow(self) -> None:
        size = self._env.info()["map_size"] * 2
        log.warning("journal map grows path=%s bytes=%d", self.path, size)
        self._env.set_mapsize(size)

    def copy_to(self, path: Path) -> None:
        """A durable copy without free pages, into an empty directory."""
        self._check_pid()
        try:
            self._env.copy(os.fspath(path), compact=True)
        except lmdb.Error as error:
            raise _translated(path, error) from error
        with (path / "data.mdb").open("rb") as file:
            os.fsync(file.fileno())

    def clean_readers(self) -> int:
        """Free the slots of readers that died; their snapshots would pin pages for ever."""
        return int(self._env.reader_check())

    def exercise(self, look: Look | None = None) -> None:
        """Touch every page that serving this store may touch: damage kills here, or raises."""
        self.read_through(look)
        self._release()
        try:
            self._walk()
            with self._env.begin(write=True) as txn:
                db = next(iter(self._dbs.values()))
                for number in range(16):  # takes pages from the free list
                    txn.put(b"\xff exercise %d" % number, bytes(8000), db=db)
                txn.abort()
        except lmdb.Error as error:
            raise _translated(self.path, error) from error

    def _walk(self) -> None:
        """Follow the list of free pages, too, as compaction does; the copy goes nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self._env.copyfd(nowhere, compact=True)
        finally:
            os.close(nowhere)

    def read_through(self, look: Look | None = None) -> None:
        """Touch every page that reading may touch, and have a look at what is there."""
        for name in self._dbs:
            for pairs in self.chunks(name):
                if look is not None:
                    look(name, pairs)

    # Transactions

    def _begin(self) -> Any:
        if self._kept is not None:
            return self._kept
        self._check_pid()
        for _ in range(_RETRIES):
            try:
                txn = self._env.begin()
                break
            except lmdb.MapResizedError:  # another process grew it
                self._env.set_mapsize(0)
        else:
            raise UnavailableError(f"the map of {self.path} keeps changing its size")
        if self._keeps:
            self._kept = txn
        return txn

    def _release(self) -> None:
        """Let go of the kept snapshot; lmdb keeps its slot for the next one."""
        if self._kept is not None:
            self._cursors.clear()
            self._kept.abort()
            self._kept = None

    def _end(self, txn: Any) -> None:
        if txn is not self._kept:
            txn.abort()

    def _check_pid(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("an LMDB environment was carried across fork")


def _apply(txn: Any, db: Any, change: Change) -> None:
    for key in change.deletes:
        txn.delete(key, db=db)
    if not change.puts:
        return
    with txn.cursor(db) as cursor:
        fresh = not cursor.last() or cursor.key() < change.puts[0][0]
        cursor.putmulti(change.puts, append=fresh)


def _reserve_lock(path: Path) -> None:
    """Give the lock file its blocks: LMDB maps it, and a hole on a full disk would be SIGBUS."""
    with suppress(OSError):  # LMDB will say it better
        lock = os.open(path / "lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, LOCK_MODE)
        try:
            os.posix_fallocate(lock, 0, _LOCK_BYTES)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError(path, "no space left") from error
        finally:
            os.close(lock)


def _open(path: Path, databases: int, *, writable: bool, map_size: int) -> Any:
    if writable:
        _reserve_lock(path)
    while True:
        try:
            return lmdb.open(
                os.fspath(path),
                map_size=map_size,
                readonly=not writable,
                create=writable,
                mode=DATA_MODE,
                max_dbs=databases,
                max_readers=_MAX_READERS,
                max_spare_txns=4,
            )
        except (lmdb.MemoryError, MemoryError):
            map_size //= 4
            if map_size < _LEAST_MAP:
                raise
        except lmdb.Error as error:
            raise _translated(path, error) from error


def _translated(path: Path, error: lmdb.Error) -> Exception:
    """Our error for one of LMDB's."""
    code = getattr(error, "code", 0)
    if isinstance(error, lmdb.ReadonlyError) or code in (errno.EACCES, errno.EPERM):
        return NotPermittedError(os.fspath(path), group_of(path))
    if code == errno.EROFS:
        return DiskFullError(path, "the file system is read-only")
    if isinstance(error, lmdb.DiskError) or code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(path, "no space left")
    if code == errno.EIO:  # so LMDB reports a short write; reading is by mapping, never EIO
        return DiskFullError(path, "no space left, or an input/output error")
    if isinstance(error, lmdb.ReadersFullError):
        return TryAgainError(f"too many readers of {path}")
    if code == errno.ENOENT:
        return UnavailableError(f"no journal at {path}")
    return DamagedStoreError(path, str(error))


def group_of(path: Path) -> str:
    """The group that may read ``path``, or the usual one where that cannot be seen."""
    with suppress(OSError, KeyError):
        gid = path.stat().st_gid
        if gid:
            return grp.getgrgid(gid).gr_name
    return DEFAULT_GROUP


def set_owner(path: Path, mode: int, gid: int | None) -> None:
    """Give a file or directory of ours its mode and group, whatever the umask is."""
    stat = path.stat()
    if stat.st_mode & 0o7777 != mode:
        path.chmod(mode)
    if gid is not None and stat.st_gid != gid:
        try:
            os.chown(path, -1, gid)
        except OSError as error:  # EPERM: not our group; EINVAL: none of this user namespace
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise
            log.warning("journal cannot be given to its group path=%s gid=%d", path, gid)
