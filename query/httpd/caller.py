"""Who asks over HTTP, as the one identification (``identity``) found out.

Made once a request. There is no default caller, and an unknown one is refused. Pure; raises
nothing.
"""

from dataclasses import dataclass
from enum import Enum

from query.scope import Scope


class Role(Enum):
    """What kind of person or program asks."""

    OPERATOR = "operator"
    DOMAIN = "domain"  # one or more domains, perhaps mailboxes too
    MAILBOX = "mailbox"
    LINKER = "linker"  # may make links for mailboxes, and read nothing
    METRICS = "metrics"  # may read metrics, and no mail


class How(Enum):
    """What proved it."""

    PEER = "peer"  # SO_PEERCRED of the socket
    PROXY = "proxy"  # the user header on the proxy's socket
    TOKEN = "token"
    LINK = "link"  # a session that a single-use link opened
    JOURNAL = "journal"  # none over HTTP: a verb that reads the journal's files


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One who asks; ``scope`` goes into every search."""

    name: str  # as the audit has it: "root", "alice", "token:4f2a", "link:alice@example.com"
    role: Role
    how: How
    scope: Scope
