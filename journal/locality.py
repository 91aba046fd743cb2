"""What is this server's own: its clients, its domains, and its folders for junk.

Decides the direction of a row (inbound, outbound, internal) from the operator's
``local_domains`` and ``inside_networks``, and whether a folder is an inbox or a
junk folder from ``junk_folders``. Raises ValueError for a network that is none.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

from journal import address
from journal.records import Direction

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")

STORING: Final = frozenset({b"local", b"virtual", b"lmtp", b"pipe"})
"""Delivery agents behind which lies a mailbox or program of this server."""

_INBOUND: Final = int(Direction.INBOUND)
_OUTBOUND: Final = int(Direction.OUTBOUND)
_INTERNAL: Final = int(Direction.INTERNAL)

JUNK_FOLDERS: Final = ("Junk", "Spam", "Junk E-mail", "Junk Email", "Junk Mail", "Bulk Mail")
"""Where mail programs and providers file spam; RFC 6154 2 has the attribute \\Junk."""

REMOTE: Final = frozenset({b"smtp", b"relay"})


class Locality:
    """Answers, for one configuration, what is inside and what is junk."""

    def __init__(
        self,
        *,
        local_domains: Iterable[str] = (),
        inside_networks: Iterable[str] = LOOPBACK,
        junk_folders: Iterable[str] = JUNK_FOLDERS,
    ) -> None:
        self._junk = frozenset(folder.casefold() for folder in junk_folders)
        self.local_domains = frozenset(
            address.fold_domain(domain.encode()) for domain in local_domains
        )
        networks = [ip_network(network, strict=False) for network in inside_networks]

        @lru_cache(maxsize=4096)
        def inside(ip: bytes) -> bool:
            try:
                client = ip_address(ip.decode("ascii"))
            except ValueError:
                return False
            return any(client in network for network in networks)

        self.inside_client = inside

    def is_junk(self, folder: bytes) -> bool:
        """Whether a folder is for junk; below INBOX, with either separator, it is the same."""
        name = folder.decode("utf-8", "replace").casefold()
        if name.startswith(("inbox/", "inbox.")):
            name = name[6:]
        return name in self._junk

    def inside_domain(self, recipient: bytes | None, daemon: bytes) -> bool | None:
        """Whether a recipient's mail ends on this server; None where nobody said."""
        if self.local_domains and recipient is not None:
            domain = address.domain(recipient)
            return not domain or domain in self.local_domains
        if daemon in STORING:
            return True
        return False if daemon in REMOTE else None


def direction(origin: bool | None, destination: bool | None) -> int | None:
    """In to in is internal, in to out is outbound, all else inbound; unknown is None."""
    if origin is None:
        return None
    if not origin:
        return _INBOUND
    if destination is None:
        return None
    return _INTERNAL if destination else _OUTBOUND
