"""Under which values a message is found: the index keys of docs/journal-format.md.

Pure functions of a message. The writer puts exactly these entries, the check
recomputes them, and a hit is believed only when the message has its value.
Raises nothing.
"""

from collections.abc import Callable, Sequence
from typing import Final

from journal import keys
from journal.address import fold, fold_domain
from journal.events import ABSENT, Source
from journal.keys import Keyer
from journal.records import NO_STATUS, Message, Status

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
    return set(_found(message, _same, keys.address_values))


def entries(message: Message, keyer: Keyer) -> dict[bytes, bytes]:
    """The index entries of a message: 13-byte key to value."""
    message_id = message.id
    suffix = keys.suffix(message_id, message.time_us)
    value = bytes((message.status,))
    if suffix != message_id[2:]:
        value += message_id[2:]
    terms = _found(message, keyer.term, keyer.address)
    return dict.fromkeys([term + suffix for term in terms], value)


def _same(value: bytes) -> bytes:
    return value


def _found(
    message: Message,
    term: Callable[[bytes], bytes],
    address: Callable[[bytes, bytes, bytes], Sequence[bytes]],
) -> list[bytes]:
    """What ``term`` makes of each value and ``address`` of each address, some more than once."""
    found: list[bytes] = []
    for row in message.rows:
        if row.recipient is not None:
            found += address(b"r", b"R", row.recipient)
        if row.final_recipient is not None and row.final_recipient != row.recipient:
            found += address(b"r", b"R", row.final_recipient)
        found.append(term(_STATUS_KEYS[row.status]))
    if not message.rows:
        found.append(term(_STATUS_KEYS[NO_STATUS]))
    if message.sender is not None:
        found += address(b"s", b"S", message.sender)
    if message.login:
        found += address(b"l", b"L", message.login)
    if message.message_id:
        found.append(term(b"m" + message.message_id))
    for queue_id in message.queue_ids:
        found.append(term(b"q" + queue_id))
    for queue_id in message.next_queue_ids:
        found.append(term(b"q" + queue_id))
    if message.client_ip:
        found.append(term(b"i" + message.client_ip.lower()))
        found += [term(door) for door in _doors(message, message.client_ip)]
    return found


def _doors(message: Message, ip: bytes) -> list[bytes]:
    """Values by which a refusal's two tellers, milter and log, find one another."""
    spoken = bool(message.sources & _MILTER)
    if not spoken and message.status < _REFUSED:
        return []
    found: list[bytes] = []
    port = message.client_port
    if not message.rows and port:
        found.append(keys.DOOR + keys.door_port(ip, port, ABSENT))
    for row in message.rows:
        refused = row.status == _REFUSED
        recipient = ABSENT if row.recipient is None else fold(row.recipient)
        if port and (refused or spoken):
            found.append(keys.DOOR + keys.door_port(ip, port, recipient))
        if refused:
            sender = ABSENT if message.sender is None else fold(message.sender)
            found.append(keys.DOOR + keys.door_rcpt(ip, sender, recipient))
    return found
