"""Ids, index keys and their parts: fixed-width bytes whose order is the order of time.

The layout is docs/journal-format.md, "Keys". All integers are big-endian, so that
LMDB's order of bytes is the order of numbers. Raises nothing but ``ValueError``
on a day name that is not one.
"""

from base64 import b32hexdecode, b32hexencode
from datetime import date, timedelta
from hashlib import blake2b
from typing import Final

from journal.address import fold, mailbox

DAY_US: Final = 86_400_000_000
DAY_MS: Final = 86_400_000
HOUR_US: Final = 3_600_000_000
LAST_DAY: Final = 0xFFFF

ID_BYTES: Final = 8
TERM_BYTES: Final = 7  # kind and term
HASH_BITS: Final = 21
HASH_MASK: Final = (1 << HASH_BITS) - 1

# Index kinds. The byte is on disk.
RECIPIENT: Final = b"r"
SENDER: Final = b"s"
LOGIN: Final = b"l"
RECIPIENT_DOMAIN: Final = b"R"
SENDER_DOMAIN: Final = b"S"
LOGIN_DOMAIN: Final = b"L"
MESSAGE_ID: Final = b"m"
QUEUE_ID: Final = b"q"
CLIENT_IP: Final = b"i"
STATUS: Final = b"t"
DOOR: Final = b"d"
MARK: Final = b"\0+"
"""A day's index says here by which characters subaddresses are also found under their mailbox."""

COUNTED: Final = b"\0#"
"""A day's index says here that records and index went, and only its counters stay."""
HASHED: Final = b"\0h"
"""A day's index says here that tokens stand in its records (``journal.hashed``)."""
DOING, DONE = b"\1", b"\2"
"""Values of both: the work has begun, and has ended."""
MARKS: Final = frozenset((MARK, COUNTED, HASHED))
"""Keys of an index that are of no message."""

_EPOCH: Final = date(1970, 1, 1)
_ID_TEXT_LENGTH: Final = 13


def day_of(at_us: int) -> int:
    """The UTC day of an instant, in days since 1970, clamped to what an id can hold."""
    return min(max(at_us // DAY_US, 0), LAST_DAY)


def day_name(day: int) -> str:
    """``2026-11-23``: the name of the day's directory."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def parse_day(name: str) -> int | None:
    """The day of a directory name; None where it is not one, spelled as ``day_name`` does."""
    if len(name) != 10:
        return None
    try:
        day = (date.fromisoformat(name) - _EPOCH).days
    except ValueError:
        return None
    return day if 0 <= day <= LAST_DAY and day_name(day) == name else None


def suffix_ms(day: int, time_us: int) -> int:
    """Milliseconds of an instant within a day; what lies outside is clamped to its edge."""
    return min(max(time_us // 1000 - day * DAY_MS, 0), DAY_MS - 1)


def make_id(day: int, time_us: int, hash_bits: int) -> bytes:
    """8 bytes: day (16 bits), milliseconds of the day (27), hash (21)."""
    low = suffix_ms(day, time_us) << HASH_BITS | hash_bits & HASH_MASK
    return (day << 48 | low).to_bytes(8, "big")


def id_day(message_id: bytes) -> int:
    """The day whose environment holds the message."""
    return message_id[0] << 8 | message_id[1]


def id_time_us(message_id: bytes) -> int:
    """When the message was first seen, in whole milliseconds."""
    ms = int.from_bytes(message_id[2:], "big") >> HASH_BITS
    return (id_day(message_id) * DAY_MS + ms) * 1000


def id_text(message_id: bytes) -> str:
    """13 characters that sort as the id does (RFC 4648 7, lower case, no padding)."""
    return b32hexencode(message_id)[:_ID_TEXT_LENGTH].decode("ascii").lower()


def parse_id(text: str) -> bytes | None:
    """The id of its text in either case; None where it is not one."""
    if len(text) != _ID_TEXT_LENGTH or not text.isascii():
        return None
    try:
        message_id = b32hexdecode(text.upper() + "===")
    except ValueError:
        return None
    return message_id if id_text(message_id) == text.lower() else None


def suffix(message_id: bytes, time_us: int) -> bytes:
    """The last 6 bytes of an index key: when the message was, and the low bits of its id."""
    ms = suffix_ms(message_id[0] << 8 | message_id[1], time_us)
    low = int.from_bytes(message_id[5:], "big") & HASH_MASK
    return (ms << HASH_BITS | low).to_bytes(6, "big")


def bound(ms: int) -> bytes:
    """The least suffix of a millisecond of a day (0 to 86,400,000)."""
    return (ms << HASH_BITS).to_bytes(6, "big")


def door_port(ip: bytes, port: int, recipient: bytes) -> bytes:
    """The DOOR value by which a refusal's log line and transaction find each other."""
    return b"%b\0%d\0\0%b" % (ip, port, recipient)


def door_rcpt(ip: bytes, sender: bytes, recipient: bytes) -> bytes:
    """The DOOR value where no port is known. Addresses are folded, unknown ones ABSENT."""
    return b"%b\0%b\0%b" % (ip, sender, recipient)


def address_values(
    kind: bytes, domain_kind: bytes, raw: bytes, delimiters: bytes = b""
) -> list[bytes]:
    """The values of an address: itself, folded, its domain, and the mailbox of a subaddress."""
    folded = fold(raw)
    found = [kind + folded]
    name = folded.rpartition(b"@")[2] if b"@" in folded else b""
    if name:
        found.append(domain_kind + name)
    if delimiters and kind != LOGIN:
        whole = mailbox(folded, delimiters)
        if whole != folded:
            found.append(kind + whole)
    return found


class Terms:
    """What becomes of the values that a message is found under: here they stay as they are."""

    def term(self, kind_value: bytes) -> bytes:
        """Of one value: kind byte and folded value."""
        return kind_value

    def address(self, kind: bytes, domain_kind: bytes, raw: bytes) -> list[bytes]:
        """Of an address and of its domain, as it was spelled."""
        return address_values(kind, domain_kind, raw)


class Keyer(Terms):
    """Hashes values into terms under the journal's key; remembers the recent ones."""

    def __init__(self, key: bytes, delimiters: bytes = b"") -> None:
        self._delimiters = delimiters
        # A copy of a hash that has taken the key costs half of a new one (measured).
        self._copy = blake2b(digest_size=6, key=key).copy
        self._copy_bits = blake2b(digest_size=4, key=key).copy
        self._recent: dict[bytes, bytes] = {}
        self._addresses: dict[bytes, list[bytes]] = {}

    def term(self, kind_value: bytes) -> bytes:
        """Kind byte and folded value in, 7 bytes out: kind and 48 bits of BLAKE2b."""
        kind = kind_value[:1]
        if kind in _UNIQUE:
            return kind + self._digest(kind_value)
        found = self._recent.get(kind_value)
        if found is None:
            if len(self._recent) >= _RECENT_TERMS:
                self._recent.clear()
            found = self._recent[kind_value] = kind + self._digest(kind_value)
        return found

    def _digest(self, kind_value: bytes) -> bytes:
        hashed = self._copy()
        hashed.update(kind_value)
        return hashed.digest()

    def address(self, kind: bytes, domain_kind: bytes, raw: bytes) -> list[bytes]:
        """The terms of an address and of its domain, as it was spelled."""
        found = self._addresses.get(kind + raw)
        if found is None:
            if len(self._addresses) >= _RECENT_TERMS:
                self._addresses.clear()
            values = address_values(kind, domain_kind, raw, self._delimiters)
            found = [self.term(value) for value in values]
            self._addresses[kind + raw] = found
        return found

    def bits(self, identity: bytes) -> int:
        """21 bits for the id of a message of that identity."""
        hashed = self._copy_bits()
        hashed.update(identity)
        return int.from_bytes(hashed.digest(), "big") & HASH_MASK


_RECENT_TERMS: Final = 1 << 14
_UNIQUE: Final = frozenset((MESSAGE_ID, QUEUE_ID, DOOR))
"""Kinds whose values hardly come again: to remember them would push out the others."""
