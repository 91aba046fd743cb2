"""Understand the lines of Postfix's delivery agents: one attempt for one recipient.

Format, by the field order of Postfix's log_adhoc.c::

    QID: to=<A>[, orig_to=<A>], relay=R[, conn_use=N], delay=D[, delays=a/b/c/d]
        [, tls=T][, dsn=X.Y.Z], status=WORD (TEXT)

Postfix before 2.3 has neither delays= nor dsn=; tls= (3.11) tells of the policy, not of the
session, which a line before it does. Addresses are read by their quotes,
and from there to the first ``, status=`` everything is Postfix's own; behind the word
comes one ``(``, and all up to the last ``)`` is the other side's text. Nothing is
searched in it but the queue id that a host gave the message ("queued as").
Raises nothing.
"""

from typing import Final

from journal.events import Event
from journal.texts import holds
from milterd.lines import scan
from milterd.lines.scan import (
    UNKNOWN,
    Parsed,
    Unknown,
    address_end,
    after_colon,
    is_session,
    make,
    queue_id_end,
    tls,
)
from milterd.lines.syslog import Line

DELIVERY_AGENTS: Final = frozenset(
    {b"smtp", b"lmtp", b"local", b"virtual", b"pipe", b"error", b"retry", b"discard", b"relay"}
)
"""Programs whose ``status=`` is believed; qmgr and cleanup defer and bounce by themselves."""

_OUTCOMES: Final = {
    word: word
    for word in (b"sent", b"deferred", b"bounced", b"deliverable", b"undeliverable", b"expired")
} | {
    b"SOFTBOUNCE": b"deferred",  # soft_bounce = yes: a bounce that is kept for later
    b"expanded": b"deliverable",  # sendmail -bv of an alias
    b"undeliverable-but-not-cached": b"undeliverable",  # address_verify_negative_cache = no
    b"deliverable-but-not-cached": b"deliverable",
}

_AGENTS_ONLY: Final = frozenset((b"sent", b"deliverable"))
"""What qmgr and cleanup cannot say: they deliver nothing."""

_ABSORBED: Final = b"undeliverable postmaster notification discarded)"
"""But for this: qmgr itself throws away what is for the local double_bounce_sender."""

_STATUS: Final = b"status="


def parse(line: Line) -> Parsed:
    """One line of a delivery agent."""
    text = line.text
    colon = queue_id_end(text)
    if colon < 0:
        return _session(line)
    begin = after_colon(text, colon)
    if text[begin : begin + 3] == b"to=":
        return delivery(line, text[:colon], begin)
    # smtp_trouble.c and others: why one host was no good, a header check, a remark.
    return None if _STATUS not in text or _is_remark(text, begin) else UNKNOWN


def _is_remark(text: bytes, begin: int) -> bool:
    """What a host said, or that a notice failed: nothing of a recipient, whatever is in it."""
    return text.startswith((b"host ", b"status=deferred (", b"warning: "), begin)


def _session(line: Line) -> Parsed:
    """A line without a queue id is of no recipient; one kind tells of TLS before a delivery."""
    text = line.text
    mark = text.find(b"TLS connection established to ", 0, 42)
    if mark >= 0:  # "Trusted TLS connection established to HOST[IP]:PORT: TLSv1.3 with ..."
        relay, _, session = text[mark + 30 :].partition(b": ")
        return make(line, scan.TLS_OUT, b"", (relay, tls(session)))
    return UNKNOWN if text.startswith(b"to=") else None


def delivery(line: Line, queue_id: bytes, begin: int) -> Event | Unknown:
    """The attempt whose ``to=`` is at ``begin``."""
    text = line.text
    final, end = _address(text, begin + 3)
    original = b""
    if end >= 0 and text[end : end + 10] == b", orig_to=":
        original, end = _address(text, end + 10)
    if end < 0 or text[end : end + 8] != b", relay=":
        return UNKNOWN
    trailer, _, told = text[end + 2 :].partition(b", status=")
    word, found, reply = told.partition(b" (")
    if not found:
        return UNKNOWN
    outcome = _OUTCOMES.get(word)
    fields = _trailer(trailer)
    if outcome is None or fields is None:
        return UNKNOWN
    if outcome in _AGENTS_ONLY and line.daemon not in DELIVERY_AGENTS and reply != _ABSORBED:
        return UNKNOWN
    relay, delay, delays, policy, enhanced = fields
    if reply.endswith(b")"):
        reply = reply[:-1]
    next_id = next_hop = b""
    if outcome == b"sent":
        next_id, next_hop = _next(line.daemon, relay, reply)
    attempt = (
        line.daemon, original, final, relay, delay, delays,
        enhanced, outcome, reply, b"", next_id, next_hop,
    )  # fmt: skip
    return make(line, scan.DELIVERY, queue_id, (*attempt, b"", policy) if policy else attempt)


def _address(text: bytes, begin: int) -> tuple[bytes, int]:
    """An address with or without brackets and the comma behind it; -1 where none ends."""
    if text[begin : begin + 1] == b"<":
        end = address_end(text, begin)
        return (text[begin + 1 : end], end + 1) if end >= 0 else (b"", -1)
    # Some relays' patches leave the brackets out; such an address has no quotes either.
    relay, original = text.find(b", relay=", begin), text.find(b", orig_to=", begin)
    end = original if 0 <= original < relay else relay
    return (text[begin:end], end) if end >= 0 else (b"", -1)


def _trailer(text: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes] | None:
    """Relay, delay, delays, tls and dsn of ``relay=R, delay=D, ...``; None: not these."""
    parts = text.split(b", ")
    if len(parts) == 4:
        relay, delay, delays, dsn = parts
        if delay[:6] == b"delay=" and delays[:7] == b"delays=" and dsn[:4] == b"dsn=":
            return relay[6:], delay[6:], delays[7:], b"", dsn[4:]
    values = {
        b"relay": b"",
        b"delay": b"",
        b"delays": b"",
        b"tls": b"",
        b"dsn": b"",
        b"conn_use": b"",
    }
    for part in parts:
        key, found, value = part.partition(b"=")
        if not found or key not in values:
            return None
        values[key] = value
    relay, delay, delays, session, dsn, _ = values.values()
    return relay, delay, delays, session, dsn


def _next(daemon: bytes, relay: bytes, reply: bytes) -> tuple[bytes, bytes]:
    """The queue id that the message goes on under, and how it got there."""
    if daemon == b"local":
        if reply.startswith(b"forwarded as "):
            queue_id = reply[13:]
            return (queue_id, b"forwarded") if _is_id(queue_id) else (b"", b"")
        return b"", b""
    if reply.endswith(b" Saved"):  # Dovecot's LMTP: "250 2.0.0 <bob@example.com> SESSION Saved"
        session = reply[:-6].rpartition(b"> ")[2]
        return (session, b"lmtp") if is_session(session) else (b"", b"")
    mark = reply.rfind(b"queued as ")
    if mark < 0:
        here = holds(relay, b"[127.") or holds(relay, b"[::1]")
        return _filters(reply) if here else (b"", b"")
    words = reply[mark + 10 : mark + 80].split(None, 1)
    queue_id = words[0].rstrip(b").,;") if words else b""
    return (queue_id, b"queued") if _is_id(queue_id) else (b"", b"")


def _filters(reply: bytes) -> tuple[bytes, bytes]:
    """The id that Proxmox's filter on this host gave the message: ``250 2.5.0 OK (ID)``."""
    for words in (b"250 2.5.0 OK (", b"250 2.7.0 BLOCKED ("):
        if reply.startswith(words) and reply[-1:] == b")" and reply[len(words) : -1].isalnum():
            return reply[len(words) : -1], b"queued"
    return b"", b""


def _is_id(word: bytes) -> bool:
    """Could a queue manager have made it?"""
    return len(word) <= 64 and word.replace(b"_", b"0").replace(b"-", b"0").isalnum()
