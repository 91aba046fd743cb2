"""The addresses of one host, as smtp(8) would use them, and which of many it uses.

smtp_host_lookup (DNS, or the system's way), inet_protocols, smtp_address_preference, DANE
(RFC 7672: only where MX, address and TLSA are all secure) and smtp_mx_address_limit. A host without
addresses says why in ``trouble``. Decides only; DNS answers through ``Names``. Raises nothing.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from query.trace.dns import Answer, Lookup, a_label, u_label
from query.trace.nexthop import literal
from query.trace.smtp import Smtp
from query.trace.tree import Host

KINDS: Final = {"ipv4": "A", "ipv6": "AAAA"}
DANE: Final = frozenset({"dane", "dane-only", "half-dane"})


class Names(Protocol):
    """Whoever answers: ``dns.Lookups``, or a test."""

    def ask(self, name: str, kind: str) -> Answer: ...

    def hosts_file(self, name: str) -> tuple[str, ...]: ...


@dataclass(slots=True)
class Addresses:
    """Looks up hosts, and notes what people should know."""

    how: Smtp
    names: Names
    notes: list[str] = field(default_factory=list)
    _ends: dict[str, str] = field(default_factory=dict)  # name -> where its CNAMEs end

    def host(
        self, name: str, port: int, *, preference: int | None = None, known: Answer | None = None
    ) -> tuple[Host, Lookup]:
        """A host with its addresses, or with its trouble and what kind of trouble that is."""
        label = a_label(name) or name
        host = Host(name=label, name_unicode=u_label(label), port=port, preference=preference)
        address = literal(name)
        if address is not None:
            return self._numeric(host, address)
        if self.how.dns_support_level == "disabled" or "dns" not in self.how.host_lookup:
            return self._native(host)
        found: tuple[Host, Lookup]
        if known is not None and known.lookup is Lookup.NXDOMAIN:
            found = replace(host, trouble=known.trouble), known.lookup
        else:
            found = self._by_dns(host)
        if found[1].absent and "native" in self.how.host_lookup:
            return self._from_file(host) or found
        return found

    def _numeric(self, host: Host, address: str) -> tuple[Host, Lookup]:
        if host.preference is not None:
            self.notes.append(f"the MX record names the address {address}, against RFC 5321 5.1")
        host = replace(host, name=address, name_unicode=None)
        if _protocol(address) in self.how.inet_protocols:
            return replace(host, addresses=(address,)), Lookup.FOUND
        return replace(
            host, trouble=f"{_protocol(address)} is not in inet_protocols"
        ), Lookup.NODATA

    def _native(self, host: Host) -> tuple[Host, Lookup]:
        """getaddrinfo(3) as it is set up nearly everywhere: hosts(5), then DNS."""
        self.notes.append(
            f"{host.name} is looked up by the system's way: hosts(5) and DNS were asked,"
            " no other source of nsswitch.conf(5)"
        )
        return self._from_file(host) or self._by_dns(host)

    def _from_file(self, host: Host) -> tuple[Host, Lookup] | None:
        inside = self._ordered(self.names.hosts_file(host.name))
        return (replace(host, addresses=inside, trouble=None), Lookup.FOUND) if inside else None

    def _by_dns(self, host: Host) -> tuple[Host, Lookup]:
        answers = []
        for protocol in self.how.inet_protocols:
            answers.append(self.names.ask(host.name, KINDS[protocol]))
            if answers[-1].lookup in (Lookup.NXDOMAIN, Lookup.INVALID):
                break
        self.alias(answers[0], "the mail host" if host.preference is not None else "the host")
        found = [answer for answer in answers if answer.lookup is Lookup.FOUND]
        if not found:
            worst = min(answers, key=lambda answer: _CERTAINTY[answer.lookup])
            return replace(host, trouble=worst.trouble), worst.lookup
        self._ends[host.name] = found[0].canonical or host.name
        addresses = self._ordered([record for answer in found for record in answer.records])
        secure = None if found[0].secure is None else all(answer.secure for answer in found)
        return replace(host, addresses=addresses, secure=secure), Lookup.FOUND

    def _ordered(self, addresses: Iterable[str]) -> tuple[str, ...]:
        usable = [one for one in addresses if _protocol(one) in self.how.inet_protocols]
        if self.how.address_preference in KINDS:
            usable.sort(key=lambda one: _protocol(one) != self.how.address_preference)
        return tuple(usable)

    def alias(self, answer: Answer, what: str) -> None:
        """Notes a CNAME."""
        if not answer.canonical or answer.canonical == answer.name:
            return
        against = ", against RFC 5321 5.1" if what == "the mail host" else ""
        self.notes.append(
            f"{what} {answer.name} is an alias (CNAME) of {answer.canonical}{against}"
        )

    def tlsa(self, host: Host, *, mx_secure: bool | None) -> Host:
        """Adds what DANE needs, and takes the addresses away where DANE is wanted and fails."""
        if host.secure is None or not host.addresses:
            return host
        host = replace(host, secure=bool(host.secure and mx_secure))
        level = self.how.tls_security_level
        answer = None
        if host.secure:
            answer = self._tlsa_records(host)
            if answer.lookup is Lookup.FOUND and answer.secure:
                host = replace(host, tlsa=answer.records)
        if level not in DANE:
            return host
        if self.how.dns_support_level != "dnssec":
            self.notes.append(
                f"smtp_tls_security_level is {level} without smtp_dns_support_level = dnssec"
            )
        if answer is not None and answer.lookup.temporary:
            return replace(host, addresses=(), trouble=f"TLSA: {answer.trouble}")
        if level == "dane-only" and not host.tlsa:
            return replace(
                host, addresses=(), trouble="no secure TLSA record, and dane-only wants one"
            )
        return host

    def _tlsa_records(self, host: Host) -> Answer:
        """At the end of a secure alias first, then at the name itself (RFC 7672 2.2.2)."""
        end = self._ends.get(host.name, host.name)
        answer = self.names.ask(f"_{host.port}._tcp.{end}", "TLSA")
        if end != host.name and answer.lookup.absent:
            return self.names.ask(f"_{host.port}._tcp.{host.name}", "TLSA")
        return answer

    def limited(self, hosts: Sequence[Host]) -> tuple[Host, ...]:
        """smtp_mx_address_limit, fair to both protocols (smtp_balance_inet_protocols)."""
        limit = self.how.mx_address_limit
        every = [(place, one) for place, host in enumerate(hosts) for one in host.addresses]
        if not 0 < limit < len(every):
            return tuple(hosts)
        shares = _shares([_protocol(one) for _, one in every], limit)
        if not self.how.balance_inet_protocols:
            shares = {"ipv4": limit, "ipv6": limit}
        kept: list[list[str]] = [[] for _ in hosts]
        for place, one in every:
            if shares[_protocol(one)] > 0 and sum(map(len, kept)) < limit:
                shares[_protocol(one)] -= 1
                kept[place].append(one)
        self.notes.append(
            f"{len(every)} addresses, of which {limit} are tried (smtp_mx_address_limit)"
        )
        pairs = zip(hosts, kept, strict=True)
        return tuple(
            replace(host, addresses=tuple(some))
            for host, some in pairs
            if some or not host.addresses
        )


_CERTAINTY: Final = {
    lookup: place
    for place, lookup in enumerate(
        (
            *(Lookup.DOWN, Lookup.TIMEOUT, Lookup.SERVFAIL, Lookup.REFUSED, Lookup.LIMIT),
            *(Lookup.NODATA, Lookup.NXDOMAIN, Lookup.INVALID, Lookup.FOUND),
        )
    )
}


def _protocol(address: str) -> str:
    return f"ipv{ipaddress.ip_address(address).version}"


def _shares(protocols: Sequence[str], limit: int) -> dict[str, int]:
    """How many addresses of each protocol are kept: neither crowds out the other."""
    v4, v6 = protocols.count("ipv4"), protocols.count("ipv6")
    if not v4 or not v6:
        return {"ipv4": limit, "ipv6": limit}
    half = limit // 2
    if v6 <= half:
        return {"ipv4": limit - v6, "ipv6": v6}
    if v4 <= half:
        return {"ipv4": v4, "ipv6": limit - v4}
    first = (limit + 1) // 2  # the odd one goes to the protocol of the best address
    return (
        {"ipv4": first, "ipv6": limit - first}
        if protocols[0] == "ipv4"
        else {"ipv4": limit - first, "ipv6": first}
    )
