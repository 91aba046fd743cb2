"""Who may do what with a file: owner, group, mode, and every folder on the way.

Follows path_resolution(7). Facts are taken by ``entry`` and ``way``; ``may`` and ``barred`` are
pure. An access control list (acl(5)) is not read: where one could decide, the answer is None.
"""

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

READ: Final = 4
WRITE: Final = 2
ENTER: Final = 1  # of a folder; of a file: run it
_ACL: Final = "system.posix_acl_access"


class Account(NamedTuple):
    """Whom the kernel takes a process for."""

    name: str
    uid: int
    gids: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A name in the file system, as lstat(2) or stat(2) saw it."""

    path: str
    kind: str  # "file", "folder", "socket", "other", "missing", "hidden" (we may not look)
    mode: int = 0  # permission bits
    uid: int = 0
    gid: int = 0
    size: int = 0  # bytes
    mtime_us: int = 0
    acl: bool = False

    @property
    def there(self) -> bool:
        """Was it seen?"""
        return self.kind not in ("missing", "hidden")

    def __str__(self) -> str:
        if not self.there:
            return self.kind
        return f"{self.kind} {owner(self.uid)}:{group(self.gid)} {self.mode:04o}"


def entry(path: Path) -> Entry:
    """What is at a path, links followed."""
    try:
        seen = path.stat()
    except PermissionError:
        return Entry(path=str(path), kind="hidden")
    except OSError:
        return Entry(path=str(path), kind="missing")
    return Entry(
        path=str(path),
        kind=_kind(seen.st_mode),
        mode=stat.S_IMODE(seen.st_mode),
        uid=seen.st_uid,
        gid=seen.st_gid,
        size=seen.st_size,
        mtime_us=seen.st_mtime_ns // 1000,
        acl=_has_acl(path),
    )


def way(path: Path, *, top: Path = Path("/")) -> tuple[Entry, ...]:
    """The folders that lead to a path, from ``top`` down, without the path itself."""
    folders = [each for each in reversed(path.parents) if each == top or top in each.parents]
    return tuple(map(entry, folders))


def may(seen: Entry, account: Account, want: int) -> bool | None:
    """May the account do all of ``want`` here? None where an ACL could allow it."""
    if account.uid == 0:
        return True
    if seen.uid == account.uid:
        return (seen.mode >> 6) & want == want
    bits = seen.mode >> 3 if seen.gid in account.gids else seen.mode
    if bits & want == want and not (seen.acl and seen.gid in account.gids):
        return True
    return None if seen.acl else False


def barred(folders: Iterable[Entry], account: Account) -> Entry | None:
    """The first folder that the account may not enter."""
    return next(
        (each for each in folders if each.there and may(each, account, ENTER) is False), None
    )


def account(name: str, further: Iterable[str] = ()) -> Account | None:
    """A user of this machine with the groups it has, and further ones; None: no such user."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        return None
    gids = set(os.getgrouplist(name, user.pw_gid))
    gids.update(found for each in further if (found := gid(each)) is not None)
    return Account(name, user.pw_uid, frozenset(gids))


def running(pid: int, proc: Path = Path("/proc")) -> Account | None:
    """The account of a process; None where it is gone."""
    try:
        text = (proc / str(pid) / "status").read_text(errors="replace")
    except OSError:
        return None
    return account_of(text)


def account_of(status: str) -> Account | None:
    """The account in the text of /proc/PID/status (proc(5)): the file system ids."""
    lines = dict(line.partition(":")[::2] for line in status.splitlines())
    try:
        uid = int(lines["Uid"].split()[3])
        gids = {int(lines["Gid"].split()[3]), *map(int, lines.get("Groups", "").split())}
    except (KeyError, IndexError, ValueError):
        return None
    return Account(owner(uid), uid, frozenset(gids))


def gid(name: str) -> int | None:
    """A group's number; None where this machine has no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def owner(uid: int) -> str:
    """A user's name, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group(gid: int) -> str:
    """A group's name, else the number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "socket" if stat.S_ISSOCK(mode) else "other"


def _has_acl(path: Path) -> bool:
    try:
        return _ACL in os.listxattr(path)
    except OSError:
        return False
