"""What a connection and a request say of whoever asks, before anybody believes it.

Pure; raises nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Door(Enum):
    """Which of our sockets a request came through; the names are those of LISTEN_FDNAMES."""

    QUERYD = "queryd"  # the Unix socket of this machine's users
    PROXY = "proxy"  # that of a reverse proxy, whose user header is believed
    TCP = "tcp"  # a loopback port: links and tokens only
    METRICS = "metrics"  # a loopback port: /metrics for everybody, and nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The other end of a connection; its uid as the kernel says (SO_PEERCRED, unix(7))."""

    door: Door
    uid: int | None = None  # None: no Unix socket, or not to be found out
    gid: int | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that ``identify`` may look at."""

    peer: Peer | None  # None: the hook is missing; nobody is believed
    method: str
    path: str
    headers: Mapping[str, tuple[str, ...]]  # names in lower case; each value as it was sent
    cookies: Mapping[str, str]

    def header(self, name: str) -> str | None:
        """The one value of a header; None where it is absent or was sent twice."""
        found = self.headers.get(name.lower(), ())
        return found[0] if len(found) == 1 else None
