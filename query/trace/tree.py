"""What a trace answers: a tree of steps, each with its source, verdict and reason.

The root is the address that was asked for; a step's children are what became of it, a step
without children is an end. ``document`` is the JSON of docs/schema/trace.json. Words are
those of postconf(5), transport(5) and aliases(5); enhanced status codes those of RFC 3463.
Pure; raises nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Final

SMTP_PORT: Final = 25


class Verdict(Enum):
    """How a way ends; later is worse, and a parent is as bad as its worst child."""

    OK = "ok"
    DISCARDED = "discarded"
    UNKNOWN = "unknown"  # it could not be found out; the node says why
    TEMPORARY = "temporary"  # the MTA would try again
    PERMANENT = "permanent"  # the MTA would return it to the sender
    LOOP = "loop"
    REJECTED_AT_SMTP = "rejected_at_smtp"  # refused before it is accepted


_RANK: Final = {verdict: rank for rank, verdict in enumerate(Verdict)}


class Step(Enum):
    """What a node does with its address."""

    REWRITE = "rewrite"  # trivial-rewrite(8): domain appended, percent hack, bang path
    CANONICAL = "canonical"
    MASQUERADE = "masquerade"
    VIRTUAL_ALIAS = "virtual_alias"
    LOCAL_ALIAS = "local_alias"
    INCLUDE = "include"  # an :include: file of aliases(5)
    FORWARD = "forward"  # a user's .forward
    BCC = "bcc"  # always_bcc, recipient_bcc_maps: a further recipient
    RELOCATED = "relocated"
    ACCESS = "access"  # an access(5) table decides at the door
    CONTENT_FILTER = "content_filter"  # a hop that gives the mail back
    DELIVER = "deliver"  # an end: mailbox, next host, command, file
    DISCARD = "discard"
    REJECT = "reject"  # an end: refused or returned
    SAME = "same"  # this recipient stands elsewhere in the tree already
    UNKNOWN = "unknown"  # an end we could not see


class Source(Enum):
    """Who says so."""

    MTA = "mta"  # the MTA's own resolver or command
    COMPUTED = "computed"  # we walked its tables
    DNS = "dns"
    HISTORY = "history"
    PROBE = "probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host to which the MTA would connect, in the order in which it tries."""

    name: str  # as in DNS, an A-label; an address literal where no name is looked up
    name_unicode: str | None = None  # the U-label form, where it differs
    addresses: tuple[str, ...] = ()
    port: int = SMTP_PORT
    preference: int | None = None  # of its MX record; None: no MX record stands behind it
    fallback: bool = False  # of smtp_fallback_relay: tried when all others have failed
    secure: bool | None = None  # DNSSEC: MX and address validated (RFC 7672); None: not asked
    tlsa: tuple[str, ...] = ()  # "3 1 1 <hex>" (RFC 6698)
    trouble: str | None = None  # why it has no addresses: "NXDOMAIN", "timeout" ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One earlier mail to the same address, from the journal."""

    time: str  # RFC 3339
    status: str
    reason: str
    relay: str | None
    folder: str | None
    id: str  # of the message


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of the way; fields that do not apply are None or empty."""

    address: str  # decoded with surrogateescape
    step: Step
    verdict: Verdict = Verdict.OK  # of this node alone; ``judged`` adds that of the children
    source: Source = Source.COMPUTED
    table: str | None = None  # "hash:/etc/postfix/virtual": the table that fired
    key: str | None = None  # and the key that was found in it
    value: str | None = None  # and what it said
    as_of: str | None = None  # RFC 3339: when the table was asked, where that was not just now
    address_class: str | None = None  # local, virtual_alias, virtual_mailbox, relay, default
    transport: str | None = None
    nexthop: str | None = None
    router: str | None = None  # virtual_user, localuser, lookuphost ...: the model's word
    hosts: tuple[Host, ...] = ()
    mailbox: str | None = None  # a file, a folder or a mailbox server that keeps the mail
    command: str | None = None
    enhanced_status: str | None = None
    text: str = ""  # one line for people
    notes: tuple[str, ...] = ()  # warnings and facts, one sentence each
    children: tuple["Node", ...] = ()
    history: tuple[Outcome, ...] = ()
    differs: str | None = None  # how history and prediction differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a walker."""

    address: str
    sender: str | None = None  # None: not named; "" is the null sender
    entry: str = "smtp"  # smtp, submission, pickup: where the mail comes in


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The answer."""

    question: Question
    mta: str  # "postfix 3.7.11"
    as_of: str  # RFC 3339
    root: Node
    warnings: tuple[str, ...] = ()


def line(host: Host, address: str, router: str = "lookuphost") -> str:
    """``lookuphost via mail.example.com [192.0.2.1] MX=10``; MX only where there is one."""
    port = "" if host.port == SMTP_PORT else f":{host.port}"
    preference = "" if host.preference is None else f" MX={host.preference}"
    return f"{router} via {host.name} [{address}]{port}{preference}"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of them; OK of none."""
    return max(verdicts, key=_RANK.__getitem__, default=Verdict.OK)


def judged(node: Node) -> Node:
    """The tree with each parent as bad as its worst child."""
    children = tuple(map(judged, node.children))
    verdict = worst((node.verdict, *(child.verdict for child in children)))
    return replace(node, children=children, verdict=verdict)


def ends(node: Node) -> Iterator[Node]:
    """The leaves, in the order of the tree."""
    if not node.children:
        yield node
    for child in node.children:
        yield from ends(child)


def rfc3339(at: float) -> str:
    """Seconds since 1970 → ``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
