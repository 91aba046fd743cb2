"""Filters as texts to a query: the one reading of what the CLI, the API and the page are given.

The names are those of the options of ``posttrail report`` with ``_`` for ``-``; a missing name
and None ask for nothing. Raises UsageError, naming the text
and what may stand there.
"""

import os
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final

from journal import address
from journal.records import REASONS, Direction, Status
from posttrail.errors import UsageError
from query import when
from query.match import Query

Filters = Mapping[str, str | None]

NAMES: Final = (
    "address", "since", "until", "status", "reason", "direction", "sender", "recipient",
    "message_id", "queue_id", "client_ip", "login", "text", "silent_for",
)  # fmt: skip
"""Every filter there is."""
DEFAULT_LIMIT: Final = 50

STATUSES: Final = {status.token: int(status) for status in Status}
DIRECTIONS: Final = {way.token: int(way) for way in Direction}


def parse(filters: Filters, *, now_us: int, delimiters: bytes = address.DELIMITERS) -> Query:
    """The query that the filters spell; relative times count from ``now_us``."""
    for name in filters:
        if name not in NAMES:
            raise UsageError(f"unknown filter {name!r}; known: {', '.join(NAMES)}")

    def given(name: str, meaning: Callable[[str], bytes]) -> bytes | None:
        text = filters.get(name)
        return None if text is None else meaning(text)

    silent, text = filters.get("silent_for"), filters.get("text")
    return Query(
        window=when.window(filters.get("since") or "", filters.get("until") or "", now_us=now_us),
        address=given("address", mailbox),
        sender=given("sender", sender),
        recipient=given("recipient", mailbox),
        login=given("login", mailbox),
        message_id=given("message_id", lambda id: _some(id.strip("<> "), "Message-ID")),
        queue_id=given("queue_id", lambda id: _some(id, "queue id")),
        client_ip=given("client_ip", client_ip),
        text=text.casefold() if text else None,
        statuses=frozenset(_tokens(filters.get("status"), STATUSES, "status").values()),
        reasons=frozenset(_tokens(filters.get("reason"), dict.fromkeys(REASONS, 0), "reason")),
        directions=frozenset(_tokens(filters.get("direction"), DIRECTIONS, "direction").values()),
        silent_for_us=None if silent is None else when.duration(silent),
        now_us=now_us,
        delimiters=delimiters,
    )


def parse_limit(text: str) -> int | None:
    """How many rows; None is all."""
    if text == "all":
        return None
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise UsageError(f"{text!r} is no limit; write a number above 0, or all")
    return int(text)


def _some(text: str, what: str) -> bytes:
    if not text:
        raise UsageError(f"an empty {what} is nobody's")
    return os.fsencode(text)


def mailbox(text: str) -> bytes:
    """A mailbox, folded, or a domain with its "@"."""
    name = sender(text)
    if name in (b"", b"@"):
        raise UsageError(f"{text!r} is no address and no @domain")
    return name


def sender(text: str) -> bytes:
    """A mailbox or domain, or nothing: the null sender."""
    raw = os.fsencode(text.strip())
    return b"@" + address.fold_domain(raw) if raw[:1] == b"@" else address.fold(raw)


def client_ip(text: str) -> bytes:
    """An IP address in its usual spelling (RFC 5952)."""
    try:
        return str(ip_address(text.strip())).encode()
    except ValueError:
        raise UsageError(f"{text!r} is no IP address") from None


def _tokens(text: str | None, known: dict[str, int], what: str) -> dict[str, int]:
    """The tokens of a comma-separated list, each with its number."""
    wanted = [token.strip() for token in (text or "").split(",") if token.strip()]
    for token in wanted:
        if token not in known:
            raise UsageError(f"unknown {what} {token!r}; known: {', '.join(known)}")
    return {token: known[token] for token in wanted}
