"""Read the pieces that Postfix's log lines are made of, each at a known place.

Formats: Postfix logs addresses as ``<...>`` in external form (RFC 5321 4.1.2; since
3.5, see info_log_addr_form in postconf(5)): a local part with blanks, commas or
``>`` stands in quotes. So a ``>`` ends an address only outside of quotes, and what a
sender wrote inside can never pass for what Postfix wrote behind it. Clients are
``name[ip]``, with ``:port`` where the port is logged.

Every function is linear in the line and raises nothing: -1 or ``None`` is "not here".
"""

from enum import Enum
from typing import Final

from journal.events import Event, Kind, Source
from milterd.lines.syslog import Line


class Unknown(Enum):
    """The type of UNKNOWN, so that type checkers can tell it from None."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
"""A line of a Postfix daemon that is not understood. None is understood, but empty."""

Parsed = Event | list[Event] | None | Unknown
"""What a line tells: one event, several (never an empty list), nothing, or it is not understood."""

NOT_QUEUE_IDS: Final = frozenset(
    b"warning fatal error panic info debug statistics NOQUEUE"
    b" Unverified Verified Untrusted Trusted Anonymous".split()
)
"""Words that stand where a queue id would."""

_NO_IPS: Final = frozenset({b"unknown", b"unix"})
_LOG: Final = int(Source.LOG)
_SESSION_BYTES: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=:._-"
)
_new = tuple.__new__

# Plain ints: an IntEnum's member costs a look-up and a conversion each time.
CLIENT: Final = int(Kind.CLIENT)
CONNECT: Final = int(Kind.CONNECT)
DELETED: Final = int(Kind.DELETED)
DELIVERY: Final = int(Kind.DELIVERY)
DISCONNECT: Final = int(Kind.DISCONNECT)
DOOR: Final = int(Kind.DOOR)
EXPIRED: Final = int(Kind.EXPIRED)
FILED: Final = int(Kind.FILED)
GAP: Final = int(Kind.GAP)
HELD: Final = int(Kind.HELD)
LOGIN: Final = int(Kind.LOGIN)
MESSAGE_ID: Final = int(Kind.MESSAGE_ID)
NOTICE: Final = int(Kind.NOTICE)
PICKUP: Final = int(Kind.PICKUP)
QUEUED: Final = int(Kind.QUEUED)
RCPT: Final = int(Kind.RCPT)
RELEASED: Final = int(Kind.RELEASED)
REMOVED: Final = int(Kind.REMOVED)
REQUEUED: Final = int(Kind.REQUEUED)
TLS_IN: Final = int(Kind.TLS_IN)
TLS_OUT: Final = int(Kind.TLS_OUT)
VERDICT: Final = int(Kind.VERDICT)


def make(line: Line, kind: int, queue_id: bytes, fields: tuple[bytes, ...]) -> Event:
    """An event that the log told."""
    # As Event(...) does it, without the call between; kind is a plain int, as stored.
    return _new(Event, (line.at_us, kind, _LOG, line.pid, queue_id, fields))


def queue_id_end(text: bytes) -> int:
    """The colon behind a queue id that begins the text; -1 where none does.

    Short ids are hexadecimal, long ones base 52 and others' made up, so all that is
    asked is what Postfix's own mail_queue_id_ok() asks: letters, digits, underscore.
    """
    word = text.partition(b":")[0]  # half the time of find, as it is called for every line
    colon = len(word)
    if not 1 <= colon <= 64 or colon == len(text):
        return -1
    if word.isalnum():
        return -1 if word in NOT_QUEUE_IDS else colon
    return colon if word.replace(b"_", b"0").isalnum() else -1


def after_colon(text: bytes, colon: int) -> int:
    """Where the words behind ``QID:`` begin; the blank may be missing or repeated."""
    begin = colon + 1
    if text[begin : begin + 1] == b" ":
        begin += 1
        if text[begin : begin + 1] == b" ":
            return len(text) - len(text[begin:].lstrip(b" "))
    return begin


def address_end(text: bytes, begin: int) -> int:
    """The ``>`` that ends the address whose ``<`` is at ``begin``; -1 where it is cut."""
    if text[begin + 1 : begin + 2] != b'"':
        rest = text[begin:]
        inside = len(rest.partition(b">")[0])
        return begin + inside if inside < len(rest) else -1
    at = quoted_end(text, begin + 1)
    if at < 0 or text[at : at + 1] not in (b"@", b">"):
        return -1
    return text.find(b">", at)


def quoted_end(text: bytes, begin: int) -> int:
    """Behind the closing quote of the Quoted-string at ``begin`` (RFC 5321 4.1.2), or -1."""
    at = begin + 1
    while True:
        quote = text.find(b'"', at)
        if quote < 0:
            return -1
        if text[quote - 1] != 0x5C:
            return quote + 1
        before = text[at:quote]
        if not (len(before) - len(before.rstrip(b"\\"))) % 2:  # none of them is this quote's
            return quote + 1
        at = quote + 1


def client(text: bytes, begin: int) -> tuple[bytes, bytes, bytes, int] | None:
    """Name, address, port and end of ``name[ip]:port``; None where it is none."""
    name, opened, rest = text[begin:].partition(b"[")
    ip, closed, rest = rest.partition(b"]")
    if not opened or not closed:
        return None
    end = begin + len(name) + len(ip) + 2
    port = b""
    if rest[:1] == b":":
        last = end + 1
        while last < end + 6 and text[last : last + 1].isdigit():
            last += 1
        if last > end + 1:
            port, end = text[end + 1 : last], last
    return name, client_ip(ip), port, end


def client_ip(ip: bytes) -> bytes:
    """An address as it is; b"" where the client has none (a local socket)."""
    if ip in _NO_IPS:
        return b""
    return ip[5:] if ip[:5] == b"IPv6:" else ip


def tls(text: bytes) -> bytes:
    """``TLSv1.3 CIPHER`` of ``TLSv1.3 with cipher CIPHER (256/256 bits) ...``."""
    protocol, found, rest = text.partition(b" with cipher ")
    return protocol + b" " + rest.partition(b" ")[0] if found else protocol


def codes(reply: bytes) -> tuple[bytes, bytes]:
    """Reply code (RFC 5321 4.2) and enhanced status (RFC 3463) that begin a reply."""
    code = b""
    if reply[:3].isdigit() and reply[3:4] in (b" ", b"-", b""):
        code = reply[:3]
        reply = reply[4:16]
    word = reply[:12].partition(b" ")[0]
    return code, word if is_enhanced(word) else b""


def is_enhanced(word: bytes) -> bool:
    """Is it a status like 5.7.1 (RFC 3463 2)?"""
    return word.count(b".") == 2 and word.replace(b".", b"").isdigit() and word[:1] in b"245"


def is_session(word: bytes) -> bool:
    """Could it be the id of a Dovecot LMTP session, of any recipient (``:2``, ``:R2``)?"""
    return 16 <= len(word) <= 80 and _SESSION_BYTES.issuperset(word)
