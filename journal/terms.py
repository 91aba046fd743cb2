"""Under which values a message is found: the index keys of docs/journal-format.md.

Pure functions of a message. The writer puts exactly these entries, the check
recomputes them, and a hit is believed only when the message has its value.
Raises nothing.
"""

from typing import Final

from journal import keys
from journal.address import fold, fold_domain
from journal.events import ABSENT, Source
from journal.keys import Keyer
from journal.records import NO_STATUS, Message, Status

_MILTER: Final = 1 << Source.MILTER
_REFUSED: Final = Status.REJECTED
_ADDRESS_KINDS: Final = frozenset((keys.RECIPIENT, keys.SENDER, keys.LOGIN))
_DOMAIN_KINDS: Final = frozenset((keys.RECIPIENT_DOMAIN, keys.SENDER_DOMAIN, keys.LOGIN_DOMAIN))
NO_ROWS: Final = b"none"
"""The STATUS value of a message without rows."""

STATUS_VALUES: Final[dict[int, bytes]] = {
    **{status: status.token.encode() for status in Status},
    NO_STATUS: NO_ROWS,
}
_STATUS_KEYS: Final = {status: keys.STATUS + value for status, value in STATUS_VALUES.items()}


def value_of(kind: bytes, raw: bytes) -> bytes:
    """Kind byte and folded value: what ``Keyer.term`` takes and ``values`` yields."""
    if kind in _ADDRESS_KINDS:
        return kind + fold(raw)
    if kind in _DOMAIN_KINDS:
        return kind + fold_domain(raw)
    if kind == keys.CLIENT_IP:
        return kind + raw.lower()
    return kind + raw


def values(message: Message) -> set[bytes]:
    """Everything a message is found under, each as kind byte and folded value."""
    found: set[bytes] = set()
    add = found.add
    for row in message.rows:
        for raw in {row.recipient, row.final_recipient}:
            if raw is not None:
                _add_address(found, b"r", b"R", raw)
        add(_STATUS_KEYS[row.status])
    if not message.rows:
        add(_STATUS_KEYS[NO_STATUS])
    if message.sender is not None:
        _add_address(found, b"s", b"S", message.sender)
    if message.login:
        _add_address(found, b"l", b"L", message.login)
    if message.message_id:
        add(b"m" + message.message_id)
    for queue_id in message.queue_ids:
        add(b"q" + queue_id)
    for queue_id in message.next_queue_ids:
        add(b"q" + queue_id)
    if message.client_ip:
        add(b"i" + message.client_ip.lower())
        _add_door(found, message, message.client_ip)
    return found


def entries(message: Message, keyer: Keyer) -> dict[bytes, bytes]:
    """The index entries of a message: 13-byte key to value."""
    message_id = message.id
    suffix = keys.suffix(message_id, message.time_us)
    value = bytes((message.status,))
    if suffix != message_id[2:]:
        value += message_id[2:]
    term = keyer.term
    return {term(kind_value) + suffix: value for kind_value in values(message)}


def _add_address(found: set[bytes], kind: bytes, domain_kind: bytes, raw: bytes) -> None:
    folded = fold(raw)
    found.add(kind + folded)
    name = folded.rpartition(b"@")[2] if b"@" in folded else b""
    if name:
        found.add(domain_kind + name)


def _add_door(found: set[bytes], message: Message, ip: bytes) -> None:
    """Values by which a refusal's two tellers, milter and log, find one another."""
    spoken = bool(message.sources & _MILTER)
    if not message.rows and spoken and message.client_port:
        found.add(keys.DOOR + keys.door_port(ip, message.client_port, ABSENT))
    sender = ABSENT if message.sender is None else fold(message.sender)
    for row in message.rows:
        refused = row.status == _REFUSED
        if not refused and not spoken:
            continue
        recipient = ABSENT if row.recipient is None else fold(row.recipient)
        if message.client_port:
            found.add(keys.DOOR + keys.door_port(ip, message.client_port, recipient))
        if refused:
            found.add(keys.DOOR + keys.door_rcpt(ip, sender, recipient))
