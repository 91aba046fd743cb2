"""Where smtp(8) and lmtp(8) are told to go: the destinations in a next hop, as written.

``example.com``, ``[mail.example.com]``, ``[192.0.2.1]:587``, ``[ipv6:2001:db8::1]``, ``host:port``,
several of them separated by commas or white space (Postfix 3.5), and for lmtp(8) ``inet:host:port``
and ``unix:/path`` (transport(5), lmtp(8)). Pure, but for services(5). ``destination`` raises
ValueError with the reason; of such a next hop the agent dies and the mail stays in the queue.
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final

from query.trace.dns import a_label

KNOWN_PORTS: Final = {"smtp": 25, "lmtp": 24, "smtps": 465, "submissions": 465, "submission": 587}


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One destination of a next hop."""

    text: str  # as written
    host: str  # without brackets and ``ipv6:``
    port: int
    bracketed: bool  # no MX lookup

    @property
    def address(self) -> str | None:
        """The host, where it is an IP address."""
        return literal(self.host)


def literal(host: str) -> str | None:
    """An IP address in its usual form; None of a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def sites(nexthop: str) -> tuple[str, ...]:
    """The destinations of a next hop, in order."""
    return tuple(filter(None, re.split(r"[,\s]+", nexthop)))


def destination(text: str, *, port: int) -> Destination:
    """One destination, read; ``port`` is what stands for none. ValueError of what is none."""
    host, service = _bracketed(text) if text.startswith("[") else _plain(text)
    if not host:
        raise ValueError("no host in it")
    if literal(host) is None and a_label(host) is None:
        raise ValueError(f"{host} is no host name")
    number = port_number(service) if service else port
    return Destination(text=text, host=host, port=number, bracketed=text.startswith("["))


def _bracketed(text: str) -> tuple[str, str]:
    host, closed, rest = text[1:].partition("]")
    if not closed:
        raise ValueError("] is missing")
    if rest and not rest.startswith(":"):
        raise ValueError(f"{rest} after ]")
    if host.lower().startswith("ipv6:"):
        host = host[5:]
        if ":" not in host or literal(host) is None:
            raise ValueError(f"{host} is no IPv6 address")
    return host, rest[1:]


def _plain(text: str) -> tuple[str, str]:
    host, colon, service = text.rpartition(":")
    return (host, service) if colon else (text, "")


def port_number(service: str) -> int:
    """A number, or the number of a name in services(5). ValueError of neither."""
    if service.isascii() and service.isdecimal():
        if not 0 < int(service) < 65536:
            raise ValueError(f"{service} is no port")
        return int(service)
    if service in KNOWN_PORTS:
        return KNOWN_PORTS[service]
    try:
        return socket.getservbyname(service, "tcp")
    except OSError:
        raise ValueError(f"unknown service {service}") from None
