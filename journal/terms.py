"""Under which values a message is found: the index keys of docs/journal-format.md.

Pure functions of a message. The writer puts exactly these entries, the check
recomputes them, and a hit is believed only when the message has its value.
Raises nothing.
"""

from typing import Final

from journal import keys
from journal.address import fold, fold_domain
from journal.events import ABSENT, Source
from journal.keys import Keyer, Terms
from journal.records import FLAG_PROXIED, NO_STATUS, Message, Recipient, Status

_MILTER: Final = 1 << Source.MILTER
_REFUSED: Final = int(Status.REJECTED)
_ADDRESS_KINDS: Final = frozenset((keys.RECIPIENT, keys.SENDER, keys.LOGIN))
_DOMAIN_KINDS: Final = frozenset((keys.RECIPIENT_DOMAIN, keys.SENDER_DOMAIN, keys.LOGIN_DOMAIN))
NO_ROWS: Final = b"none"
"""The STATUS value of a message without rows."""

STATUS_VALUES: Final[dict[int, bytes]] = {
    **{status: status.token.encode() for status in Status},
    NO_STATUS: NO_ROWS,
}
_STATUS_BYTES: Final = {status: bytes((status,)) for status in STATUS_VALUES}
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


def worst(rows: tuple[Recipient, ...]) -> int:
    """The worst status of the rows, NO_STATUS without rows: ``Message.status``, compiled."""
    if not rows:
        return NO_STATUS
    found = 0
    for row in rows:
        if row.status > found:
            found = row.status
    return found


def values(message: Message) -> set[bytes]:
    """Everything a message is found under, each as kind byte and folded value."""
    return set(_found(message, _AS_IT_IS))


_AS_IT_IS: Final = Terms()


def entries(message: Message, keyer: Keyer) -> dict[bytes, bytes]:
    """The index entries of a message: 13-byte key to value."""
    message_id = message.id
    suffix = keys.suffix(message_id, message.time_us)
    value = _STATUS_BYTES[worst(message.rows)]
    if suffix != message_id[2:]:
        value += message_id[2:]
    return dict.fromkeys([term + suffix for term in _found(message, keyer)], value)


def _found(message: Message, terms: Terms) -> list[bytes]:
    """What ``terms`` makes of each value and address, some more than once."""
    found: list[bytes] = []
    rows = message.rows
    for row in rows:
        recipient, final = row.recipient, row.final_recipient
        if recipient is not None:
            found += terms.address(b"r", b"R", recipient)
        if final is not None and final != recipient:
            found += terms.address(b"r", b"R", final)
        found.append(terms.term(_STATUS_KEYS[row.status]))
    if not rows:
        found.append(terms.term(_STATUS_KEYS[NO_STATUS]))
    sender, login, ip = message.sender, message.login, message.client_ip
    if sender is not None:
        found += terms.address(b"s", b"S", sender)
    if login:
        found += terms.address(b"l", b"L", login)
    if message.message_id:
        found.append(terms.term(b"m" + message.message_id))
    for queue_id in message.queue_ids:
        found.append(terms.term(b"q" + queue_id))
    for queue_id in message.next_queue_ids:
        found.append(terms.term(b"q" + queue_id))
    if ip:
        found.append(terms.term(b"i" + ip.lower()))
        for door in _doors(message, ip):
            found.append(terms.term(door))
    return found


def _doors(message: Message, ip: bytes) -> list[bytes]:
    """Values by which a refusal's two tellers, milter and log, find one another."""
    spoken = bool(message.sources & _MILTER or message.flags & FLAG_PROXIED)
    behind = message.flags & FLAG_PROXIED or not message.queue_ids
    if not spoken and not behind and worst(message.rows) < _REFUSED:
        return []
    found: list[bytes] = []
    port = message.client_port
    if not message.rows and port:
        found.append(keys.DOOR + keys.door_port(ip, port, ABSENT))
    for row in message.rows:
        refused = row.status == _REFUSED
        recipient = ABSENT if row.recipient is None else fold(row.recipient)
        if port and (refused or spoken or behind):
            found.append(keys.DOOR + keys.door_port(ip, port, recipient))
        if refused or behind:
            sender = ABSENT if message.sender is None else fold(message.sender)
            found.append(keys.DOOR + keys.door_rcpt(ip, sender, recipient))
    return found
