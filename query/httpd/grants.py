"""What a login, a token or a proxy's user may see, spelled as in [users] of posttrail.toml.

A grant is a list of addresses and @domains. A token may also have ``operator``, ``links`` or
``metrics``. Pure.
Raises UsageError for a spelling that means nothing.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from journal import address
from posttrail.errors import UsageError
from query.httpd.caller import Role
from query.scope import Scope

OPERATOR: Final = "operator"
LINKS: Final = "links"
METRICS: Final = "metrics"
MOST: Final = 320
"""Letters of an address: 64 and 255 octets, and the "@" (RFC 5321 4.5.3.1)."""


class Grant(NamedTuple):
    """A role, and what it sees."""

    role: Role
    scope: Scope


def nothing(delimiters: bytes) -> Scope:
    """The scope that sees nothing: of a caller that may make links."""
    return Scope.of(delimiters=delimiters)


def parse(text: str, delimiters: bytes) -> Grant:
    """The grant of ``operator``, ``links``, ``metrics`` or ``alice@example.com,@example.net``."""
    if text == OPERATOR:
        return Grant(Role.OPERATOR, Scope.all(delimiters=delimiters))
    if text == LINKS:
        return Grant(Role.LINKER, nothing(delimiters))
    if text == METRICS:
        return Grant(Role.METRICS, nothing(delimiters))
    return of([part.strip() for part in text.split(",")], delimiters=delimiters)


def of(
    names: Iterable[str], *, delimiters: bytes, logins: Iterable[str] = (), what: str = "scope"
) -> Grant:
    """The grant of addresses and @domains, and of login names that are the same person."""
    mailboxes, domains = [], []
    for name in names:
        local, at, domain = name.rpartition("@")
        if not at or not domain or not name.isprintable() or " " in name:
            raise UsageError(f"{what}: {name!r} is no address and no @domain")
        if local:
            mailboxes.append(name.encode())
        else:
            domains.append(domain.encode())
    try:
        scope = Scope.of(
            domains=domains,
            mailboxes=mailboxes,
            logins=[name.encode() for name in logins],
            delimiters=delimiters,
        )
    except ValueError as error:
        raise UsageError(f"{what}: {error}") from None
    return Grant(Role.DOMAIN if scope.domains else Role.MAILBOX, scope)


def mailbox(text: str) -> bytes:
    """The folded address of one mailbox."""
    folded = address.fold(text.encode("utf-8", "surrogateescape"))
    if len(text) > MOST or not text.isprintable() or not address.domain(folded):
        raise UsageError(f"{text[:MOST]!r} is no address of a mailbox")
    return folded
