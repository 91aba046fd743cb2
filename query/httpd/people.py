"""The users of this machine: the login and the groups of a uid, asked of the system.

getpwuid(3), getgrouplist(3): supplementary groups as the system has them now, not as some process
got them. The overflow uid (proc(5), /proc/sys/kernel/overflowuid) is nobody: in it meet all users
of other user namespaces. An answer is kept for ``KEEP_S``. Raises
nothing: a user that is unknown is None.
"""

import grp
import os
import pwd
import time
from collections.abc import Callable
from threading import Lock
from typing import Final, NamedTuple

KEEP_S: Final = 10.0
MOST: Final = 10_000
OVERFLOW_UID: Final = 65534


class Person(NamedTuple):
    """A user of this machine."""

    login: str
    groups: frozenset[int]


class People:
    """All of them; safe for use by several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._known: dict[int, tuple[float, Person | None]] = {}

    def person(self, uid: int) -> Person | None:
        """Who has a uid."""
        now = self._clock()
        with self._lock:
            until, found = self._known.get(uid, (0.0, None))
        if now < until:
            return found
        found = _ask(uid)
        with self._lock:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[uid] = now + KEEP_S, found
        return found

    def group(self, name: str) -> int | None:
        """The gid of a group; None: there is none, and nobody is in it."""
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, OSError):
            return None


def _ask(uid: int) -> Person | None:
    if uid == OVERFLOW_UID:
        return None
    try:
        entry = pwd.getpwuid(uid)
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    except (KeyError, OSError, OverflowError):
        return None
    return Person(entry.pw_name, frozenset(groups))
