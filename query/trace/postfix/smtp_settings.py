"""The settings of the smtp(8) or lmtp(8) service that delivers, and the addresses that are ours.

Names are those of postconf(5); lmtp(8) reads ``lmtp_`` where smtp(8) reads ``smtp_``. Which
addresses this machine has is read from /proc/net (fib_trie, if_inet6); where that is not there,
only those that inet_interfaces and proxy_interfaces name are known. Raises nothing.
"""

import ipaddress
import os
import socket
from collections.abc import Iterable
from typing import Final, Protocol

from query.trace.smtp import Smtp
from query.trace.tree import SMTP_PORT

_ALL: Final = ("all",)
_LOOPBACK_ONLY: Final = ("loopback-only",)


class Reads(Protocol):
    """What is needed of ``Settings``."""

    def get(self, name: str, service: str = "") -> str: ...
    def words(self, name: str, service: str = "") -> tuple[str, ...]: ...


def smtp_of(
    settings: Reads, transport: str, *, program: str, addresses: Iterable[str] | None = None
) -> Smtp:
    """The settings of a transport's service; ``addresses`` are the machine's, for tests."""
    service = f"{transport}/unix"
    lmtp = program == "lmtp"
    prefix = "lmtp" if lmtp else "smtp"

    def get(name: str) -> str:
        return settings.get(f"{prefix}_{name}", service).strip()

    protocols = settings.words("inet_protocols", service)
    limit = get("mx_address_limit")
    return Smtp(
        lmtp=lmtp,
        port=port_of(get("tcp_port")),
        inet_protocols=("ipv4", "ipv6") if "all" in protocols or not protocols else protocols,
        host_lookup=settings.words(f"{prefix}_host_lookup", service) or ("dns",),
        dns_support_level=_dns_level(settings, get("dns_support_level"), service),
        ignore_mx_lookup_error=_yes(settings.get("ignore_mx_lookup_error", service)),
        defer_if_no_mx_address_found=_yes(get("defer_if_no_mx_address_found")),
        mx_address_limit=int(limit) if limit.isdigit() else 5,
        address_preference=get("address_preference") or "any",
        randomize_addresses=get("randomize_addresses") != "no",
        balance_inet_protocols=get("balance_inet_protocols") != "no",
        tls_security_level=_tls(settings, prefix, service),
        fallback_relay=settings.words(f"{prefix}_fallback_relay", service),
        relayhost=settings.get("relayhost", service).strip(),
        best_mx_transport=settings.get("best_mx_transport", service).strip(),
        own_addresses=own_addresses(settings, addresses),
    )


def _dns_level(settings: Reads, level: str, service: str) -> str:
    """An empty level asks the older setting (postconf(5), smtp_dns_support_level)."""
    if level:
        return level
    return "disabled" if _yes(settings.get("disable_dns_lookups", service)) else "enabled"


def _tls(settings: Reads, prefix: str, service: str) -> str:
    level = settings.get(f"{prefix}_tls_security_level", service).strip()
    if level:
        return level
    if _yes(settings.get(f"{prefix}_enforce_tls", service)):
        return "encrypt"
    return "may" if _yes(settings.get(f"{prefix}_use_tls", service)) else "none"


def port_of(name: str) -> int:
    """A port by number or by its name in services(5)."""
    if name.isdigit():
        return int(name)
    try:
        return socket.getservbyname(name, "tcp") if name else SMTP_PORT
    except OSError:
        return SMTP_PORT


def own_addresses(settings: Reads, addresses: Iterable[str] | None = None) -> frozenset[str]:
    """inet_interfaces and proxy_interfaces as addresses."""
    named = settings.words("inet_interfaces")
    here = list(machine_addresses() if addresses is None else addresses)
    if not named or named == _ALL:
        own = here
    elif named == _LOOPBACK_ONLY:
        own = [each for each in here if ipaddress.ip_address(each).is_loopback]
    else:
        own = [address for each in named for address in _literal(each)]
    proxied = [address for each in settings.words("proxy_interfaces") for address in _literal(each)]
    return frozenset((*own, *proxied))


def _literal(name: str) -> list[str]:
    """An address, or those of a name in hosts(5); a trace asks no other server for it."""
    text = name.strip("[]").removeprefix("IPv6:")
    try:
        return [str(ipaddress.ip_address(text))]
    except ValueError:
        return _from_hosts_file(text)


def _from_hosts_file(name: str) -> list[str]:
    try:
        with open("/etc/hosts", encoding="utf-8", errors="replace") as stream:
            lines = [line.partition("#")[0].split() for line in stream]
    except OSError:
        return []
    return [line[0] for line in lines if name.lower() in map(str.lower, line[1:])]


def machine_addresses() -> list[str]:
    """The addresses of this machine's interfaces, without those of networks."""
    return [*four(_text("/proc/net/fib_trie")), *six(_text("/proc/net/if_inet6"))]


def _text(path: str) -> str:
    if not os.path.exists(path):
        return ""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def four(fib_trie: str) -> list[str]:
    """IPv4 addresses: an entry ``/32 host LOCAL`` stands under its ``|-- 192.0.2.1``."""
    found: dict[str, None] = {}
    address = ""
    for line in fib_trie.splitlines():
        if "|-- " in line:
            address = line.split("|-- ")[1].strip()
        elif "/32 host LOCAL" in line and address:
            found[address] = None
    return list(found)


def six(if_inet6: str) -> list[str]:
    """IPv6 addresses: 32 hexadecimal digits at the front of a line."""
    words = [line.split()[0] for line in if_inet6.splitlines() if line.strip()]
    return [str(ipaddress.IPv6Address(int(word, 16))) for word in words if len(word) == 32]


def _yes(value: str) -> bool:
    return value.strip().lower() == "yes"
