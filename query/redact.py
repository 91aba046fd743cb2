"""What of a message a caller may see: one pure function from the record to the part that is shown.

Whoever is no operator gets a message made anew: the rows of their scope only, and of each what
is theirs. Filters are held against that message too, so that no search tells what no row shows.
Every field has its class below; a field that has none is an error at import.

Who sent the message (by login or uid) sees every recipient they named, their own client, and what
hosts of others replied. Who received it sees how it came in where it came from another server.
Neither sees: where an alias or a ``.forward`` outside of their scope leads (``final_recipient``
is null, and so is all that the next host said; see ``is_forwarded``), another's login, client and
folder, hosts with addresses of inside networks, paths and tables, spam symbols, process ids,
settings of the mail system, and how many recipients and events others have.

A text is shown where nothing in it names an address, a host or a path but the caller's own, and
is null otherwise: words are not rewritten. Raises nothing.
"""

import re
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import Any, Final

from journal import address, status
from journal.events import ABSENT, FIELDS, Event, Kind, named
from journal.records import Direction, Message, Recipient, Status
from query.rows import Row
from query.scope import Scope


class For(Enum):
    """Whom a field is for, beside the operator."""

    ALL = "who sent it, and who received it"
    CLIENT = "who sent it; who received it from another server"
    SENDER = "who sent it"
    NAME = "addresses that the caller named or owns"
    OWNER = "whose mailbox it is"
    RELAY = "who sent it, where the next host is another's"
    REPLY = "as RELAY; else the reply, where it names nothing"
    OPERATOR = "nobody else"


MESSAGE: Final[dict[str, For]] = {
    "id": For.ALL, "time_us": For.ALL, "host": For.ALL, "instance": For.OPERATOR,
    "queue_ids": For.ALL, "sender": For.ALL, "size_bytes": For.ALL, "message_id": For.ALL,
    "subject": For.ALL, "client_ip": For.CLIENT, "client_name": For.CLIENT,
    "client_port": For.CLIENT, "helo": For.CLIENT, "login": For.SENDER, "tls": For.CLIENT,
    "spam_score": For.ALL, "sources": For.ALL, "flags": For.ALL, "next_queue_ids": For.SENDER,
    "rows": For.ALL,
}  # fmt: skip
"""Of ``Message``; of its rows those of the scope."""

RECIPIENT: Final[dict[str, For]] = {
    "recipient": For.ALL, "final_recipient": For.NAME, "status": For.ALL, "reason": For.ALL,
    "folder": For.OWNER, "reply": For.REPLY, "reply_code": For.ALL, "enhanced_status": For.ALL,
    "relay": For.RELAY, "attempts": For.ALL, "attempts_capped": For.ALL, "done_at_us": For.ALL,
    "delay_ms": For.ALL, "direction": For.ALL,
}  # fmt: skip
"""Of ``Recipient``."""

_A, _C, _S, _N, _O = For.ALL, For.CLIENT, For.SENDER, For.NAME, For.OPERATOR
EVENT: Final[dict[Kind, tuple[For, ...]]] = {
    Kind.TRANSACTION: (_C, _C, _C, _C, _C, _S, _S, _A, _O, _A, _A, _A, _A, _A, _A, _A, _O),
    Kind.RCPT: (_N, _O, _O, _A, _A, For.REPLY, _O),
    Kind.CLIENT: (_C, _C, _C, _S, _S, _C, _O, _O, _C),
    Kind.PICKUP: (_S, _A, _O),
    Kind.PARENT: (_O, _A),
    Kind.VERDICT: (_A, _A, _O, _A, _O, _N, _A, _C, _A),
    Kind.MESSAGE_ID: (_A, _O, _A),
    Kind.DOOR: (_A, _A, _A, _A, For.REPLY, _A, _N, _C, _C, _C, _A, _C, _O),
    Kind.QUEUED: (_A, _A, _O, _O),
    Kind.HELD: (_O, _O),
    Kind.RELEASED: (_O,),
    Kind.REQUEUED: (_O,),
    Kind.DELIVERY: (
        _O, _N, _N, For.RELAY, _A, _A, _A, _A, For.REPLY, For.RELAY, For.RELAY, _O, _O, _O,
    ),
    Kind.EXPIRED: (_A, _A),
    Kind.NOTICE: (_A, _O),
    Kind.DELETED: (_O,),
    Kind.REMOVED: (),
    Kind.FILED: (_O, For.OWNER, _N, For.OWNER, _A, _O),
    Kind.LATE_BOUNCE: (_N, _O, _O, _O),
    Kind.REPORT: (_O, _O, _O, _O, _O),
}  # fmt: skip
"""Of the events in a timeline, in the order of ``journal.events.FIELDS``."""

_INSIDE: Final = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
            "127.0.0.0/8", "0.0.0.0/8", "::/127", "fc00::/7", "fe80::/10",
        ),
    )
)  # fmt: skip
"""Addresses that no other network routes to (RFC 6890)."""
_BRACKETS: Final = re.compile(rb"\[([^\[\]]*)\]")
_URL: Final = re.compile(rb"https?://[^\s@\[\]]+", re.IGNORECASE)
_PATH: Final = re.compile(rb"(?<![\w/:.])/\w|\bprivate/")
_EMPTY: Final[dict[str, object]] = {"instance": b"", "next_queue_ids": ()}  # others are None


def _check() -> None:
    lacking = {*Message._fields} ^ MESSAGE.keys(), {*Recipient._fields} ^ RECIPIENT.keys()
    kinds = {kind for kind in Kind if kind < Kind.CONNECT}
    lengths = [kind for kind in kinds if len(EVENT.get(kind, ())) != len(FIELDS[kind])]
    if any(lacking) or lengths or kinds ^ EVENT.keys():
        raise AssertionError(f"whom are these for? {lacking} {lengths}")


_check()


def seen(message: Message, scope: Scope) -> Message:
    """The message as the scope sees it; without rows where it sees none of them."""
    if scope.operator:
        return message
    whole = scope.sent(message)
    rows = [row for _, row in scope.rows(message)]
    outside = whole or _came_from_outside(message, rows)
    hidden: dict[str, Any] = {
        name: _EMPTY.get(name)
        for name, who in MESSAGE.items()
        if who is For.OPERATOR
        or (who is For.SENDER and not whole)
        or (who is For.CLIENT and not outside)
    }
    shown = tuple(_row(message, row, scope, whole=whole, outside=outside) for row in rows)
    return message._replace(rows=shown, **hidden)


def is_forwarded(row: Row) -> bool:
    """Whether a row of ``seen`` went on to an address that is not shown."""
    tried = row.attempts > 0 and row.status != Status.REJECTED.token
    return tried and row.recipient is not None and row.final_recipient is None


def fields(event: Event, message: Message, scope: Scope) -> dict[str, bytes]:
    """What an event of the message says to the caller; all for an operator."""
    said = named(event)
    if scope.operator:
        return said
    whole = scope.sent(message)
    rows = [row for _, row in scope.rows(message)]
    outside = whole or _came_from_outside(message, rows)
    visible = {address.fold(name) for row in rows for name in _names(row, scope)}
    row = _row_of(said, rows)
    shown: dict[str, bytes] = {}
    for (name, raw), who in zip(said.items(), EVENT[Kind(event.kind)], strict=False):
        value: bytes | None = raw
        if who is For.NAME:
            value = raw if address.fold(raw) in visible or scope.owns(raw) else None
        elif who is For.OWNER:
            value = raw if row is not None and _is_mine(row, scope) else None
        elif who is For.RELAY:
            public = row is not None and whole and _is_public(row, said.get("relay"), scope)
            value = raw if public else None
        elif who is For.REPLY and raw:
            about = (
                None if row is None else row._replace(relay=said.get("relay") or None, reply=raw)
            )
            value = about and _reply(message, about, scope, whole=whole, outside=outside)
        elif who is For.CLIENT:
            value = raw if outside else None
        elif who is For.SENDER:
            value = raw if whole else None
        elif who is For.OPERATOR:
            value = None
        if value is not None and value != ABSENT:
            shown[name] = value
    return shown


def _row(
    message: Message, row: Recipient, scope: Scope, *, whole: bool, outside: bool
) -> Recipient:
    return row._replace(
        final_recipient=None if _is_hidden(row, scope) else row.final_recipient,
        folder=row.folder if _is_mine(row, scope) else None,
        reply=_reply(message, row, scope, whole=whole, outside=outside),
        relay=row.relay if whole and _is_public(row, row.relay, scope) else None,
    )


def _came_from_outside(message: Message, rows: list[Recipient]) -> bool:
    """Whether another server sent it: what it said of itself stands in the header anyway."""
    return message.login is None and all(row.direction == Direction.INBOUND for row in rows)


def _is_hidden(row: Recipient, scope: Scope) -> bool:
    """Whether the mail went on to an address that is none of the caller's."""
    final = row.final_recipient
    if not final or scope.owns(final):
        return False
    return address.fold(final) != address.fold(row.recipient or b"")


def _is_mine(row: Recipient, scope: Scope) -> bool:
    """Whether the mailbox at the end is the caller's."""
    return scope.owns(row.final_recipient if row.final_recipient else row.recipient)


def _names(row: Recipient, scope: Scope) -> list[bytes]:
    """The addresses of a row that are shown."""
    final = None if _is_hidden(row, scope) else row.final_recipient
    return [name for name in (row.recipient, final) if name]


def _row_of(said: dict[str, bytes], rows: list[Recipient]) -> Recipient | None:
    """The row that an event is about: by its final recipient, else by what the client said."""
    for key in ("final_recipient", "recipient", "user"):
        name = said.get(key)
        if name:
            folded = address.fold(name)
            for place in (1, 0):
                for row in rows:
                    own = (row.recipient, row.final_recipient)[place]
                    if own and address.fold(own) == folded:
                        return row
            if len(rows) == 1 and b"@" not in folded:  # Dovecot's user by the local part alone
                own = rows[0].final_recipient or rows[0].recipient or b""
                return rows[0] if address.fold(own).rpartition(b"@")[0] == folded else None
    nameless = not any(said.get(key) for key in ("final_recipient", "recipient", "user"))
    return rows[0] if nameless and len(rows) == 1 else None


def _is_public(row: Recipient, relay: bytes | None, scope: Scope) -> bool:
    """Whether a relay of the row is a host of others: ``host[ip]:port``, outside."""
    if not relay or row.direction != Direction.OUTBOUND or _is_hidden(row, scope):
        return False
    found = _BRACKETS.search(relay)
    return found is not None and _is_outside(found[1])


def _is_outside(raw: bytes) -> bool:
    try:
        ip = ip_address(raw.decode("ascii", "replace").removeprefix("IPv6:"))
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = ip if mapped is None else mapped
    return not any(ip in network for network in _INSIDE if network.version == ip.version)


def _is_inside(raw: bytes) -> bool:
    """Whether what stands in brackets is an address of an inside network, or a socket's path."""
    try:
        ip_address(raw.decode("ascii", "replace").removeprefix("IPv6:"))
    except ValueError:
        return b"/" in raw
    return not _is_outside(raw)


def _reply(
    message: Message, row: Recipient, scope: Scope, *, whole: bool, outside: bool
) -> bytes | None:
    """The text that set the status, or as much of it as names nothing of others."""
    text = row.reply
    if not text or _is_hidden(row, scope):
        return None
    told = message.rows if whole else (row,)
    names = [name for each in told for name in _names(each, scope)]
    names += [message.sender] if message.sender else []
    if row.status == Status.REJECTED:
        if not outside:
            return None
        client = [message.client_ip] if message.client_ip else []
        return text if _is_clean(text, names, hosts=client, paths=True) else None
    public = row.relay is None or _is_public(row, row.relay, scope)
    if whole and row.direction == Direction.OUTBOUND and public:
        hosts = [said for said in _BRACKETS.findall(text) if not _is_inside(said)]
        clean = _is_clean(text, names, hosts=hosts, paths=True) and not _PATH.search(text)
        return text if clean else None
    begin = status.reply_at(text)
    said = text[begin:] if begin >= 0 else b""
    return said if said and _is_clean(said, names, hosts=[], paths=False) else None


def _is_clean(text: bytes, names: list[bytes], *, hosts: list[bytes], paths: bool) -> bool:
    """Whether nothing is left that looks like an address, a host or a path but those."""
    rest = text.lower()
    for name in sorted({name.lower() for name in names if b"@" in name}, key=len, reverse=True):
        rest = re.sub(rb"(?<![^\s<\"'(:=])" + re.escape(name) + rb"(?![^\s>\"'),;:.])", b"", rest)
    for host in hosts:
        rest = rest.replace(b"[" + host.lower() + b"]", b"")
    rest = _URL.sub(b"", rest)
    return not (b"@" in rest or b"[" in rest or (b"/" in rest and not paths))
