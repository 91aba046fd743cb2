"""Settings of an SMTP or LMTP client: what decides where it connects.

Names and defaults are those of postconf(5). Pure; raises nothing.
"""

from dataclasses import dataclass

from query.trace.tree import SMTP_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp:
    """The settings of the smtp(8) or lmtp(8) service that will deliver; defaults are Postfix's."""

    lmtp: bool = False  # no MX lookup; next hops unix:/path and inet:host
    port: int = SMTP_PORT  # smtp_tcp_port, lmtp_tcp_port
    inet_protocols: tuple[str, ...] = ("ipv4", "ipv6")
    host_lookup: tuple[str, ...] = ("dns",)  # smtp_host_lookup: dns, native
    dns_support_level: str = "enabled"  # disabled, enabled, dnssec
    ignore_mx_lookup_error: bool = False
    defer_if_no_mx_address_found: bool = False
    mx_address_limit: int = 5  # 0: no limit
    address_preference: str = "any"  # ipv4, ipv6, any
    randomize_addresses: bool = True
    balance_inet_protocols: bool = True
    tls_security_level: str = "may"
    fallback_relay: tuple[str, ...] = ()
    relayhost: str = ""  # as written: a next hop equal to it is never a reason to return mail
    best_mx_transport: str = ""
    own_addresses: frozenset[str] = frozenset()  # inet_interfaces and proxy_interfaces
    own_names: frozenset[str] = frozenset()  # for an MTA that knows itself by name, as Sendmail
