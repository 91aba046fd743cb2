"""Folds the events of one message into its record: a pure function without a clock.

``fold`` takes the events in any order and any number of times and gives the
same record: equal events are one, what is kept of many retries depends on the
set of them only, and rows are made afresh from that set. The rules of a row's
status stand in ``status``; a message's way through several queue files in ``legs``.
Nothing here raises on what a log may say.
"""

from collections.abc import Iterable
from hashlib import blake2b
from math import isfinite
from typing import Any, Final

from journal import echoes, kinds
from journal.events import ABSENT, Event
from journal.legs import (
    D_FINAL,
    D_RECIPIENT,
    Leg,
    split_legs,
)
from journal.locality import Locality
from journal.placeholders import is_placeholder
from journal.places import AT_US, KIND, QUEUE_ID, SAID, SOURCE
from journal.recipients import rows_of
from journal.records import FLAG_ECHOED, FLAG_PROXIED, Message, Record

_PORT_MOST: Final = 0xFFFF
_SIZE_MOST: Final = (1 << 53) - 1  # what JSON readers take for an integer
KEPT_FIRST: Final = 3
KEPT_LAST: Final = 7
KEYS_DROPPED: Final = 200 - KEPT_FIRST - KEPT_LAST
"""A row counts at most 200 attempts: ten are kept whole, of the others a key."""

_new: Final[Any] = tuple.__new__  # what a NamedTuple's own calls, without the call between
_SESSION_AT: Final = {kinds.CLIENT: (3, 6), kinds.DELIVERY: (9, 10)}
"""Where an event has login and TLS of its session: told by earlier lines, maybe not read."""


def fold(
    events: Iterable[Event],
    dropped: Iterable[bytes] = (),
    *,
    id: bytes,
    host: bytes,
    locality: Locality,
    flags: int = 0,
) -> Record:
    """The record of a message: ``events`` (and the keys of attempts let go earlier), folded."""
    events = list(events)
    if echoes.told_twice(events):
        heard = echoes.without(sorted(set(events)))
        flags |= FLAG_ECHOED if len(heard) < len(set(events)) else 0
        events = heard
    kept, keys = canonical(events, dropped)
    legs = split_legs(kept)
    message = _message(kept, keys, legs, id, host, locality, flags)
    record: Record = _new(Record, (message, kept, keys))
    return record


def canonical(
    events: Iterable[Event], dropped: Iterable[bytes]
) -> tuple[tuple[Event, ...], tuple[bytes, ...]]:
    """The events worth keeping, sorted, and the sorted keys of attempts let go.

    Kept is a function of the set alone: the first ``QUEUED`` of a queue id (qmgr
    repeats it at every retry), and of each recipient's attempts the first three
    and the last seven.
    """
    ordered = sorted(events)
    before: Event | None = None
    seen: set[bytes] = set()
    attempts: dict[tuple[bytes, bytes, bytes], int] = {}
    kept: list[Event] = []
    crowded = False
    for event in ordered:
        if event == before:
            continue
        kind = event[KIND]
        if before is not None and kind == before[KIND] and _tells_session(before, event):
            before = kept[-1] = event
            continue
        before = event
        if kind == kinds.QUEUED:
            queue_id = event[QUEUE_ID]
            if queue_id in seen:
                continue
            seen.add(queue_id)
        elif kind == kinds.DELIVERY:
            row = attempt_row(event)
            count = attempts[row] = attempts.get(row, 0) + 1
            crowded = crowded or count > KEPT_FIRST + KEPT_LAST
        kept.append(event)
    keys = tuple(dropped)
    if crowded:
        kept, keys = _thin(kept, set(keys))
    return tuple(kept), keys


def _tells_session(before: Event, event: Event) -> bool:
    """Whether two events are one line, and only the later was read with all of its session."""
    place = _SESSION_AT.get(event[KIND])
    if place is None or before[AT_US] != event[AT_US] or before[QUEUE_ID] != event[QUEUE_ID]:
        return False
    begin, end = place
    poor, rich = before.fields, event.fields
    if before.pid != event.pid or len(poor) < end or poor[:begin] != rich[:begin]:
        return False
    if poor[end:] != rich[end:]:
        return False
    return all(
        one in (b"", other) for one, other in zip(poor[begin:end], rich[begin:end], strict=True)
    )


def attempt_row(event: Event) -> tuple[bytes, bytes, bytes]:
    """Which recipient of which queue file an attempt was for."""
    said = event[SAID]
    return event[QUEUE_ID], said[D_RECIPIENT], said[D_FINAL]


def _thin(events: list[Event], keys: set[bytes]) -> tuple[list[Event], tuple[bytes, ...]]:
    """Let go of the middle attempts of every recipient that has more than ten."""
    by_row: dict[tuple[bytes, bytes, bytes], list[Event]] = {}
    for event in events:
        if event.kind == kinds.DELIVERY:
            by_row.setdefault(attempt_row(event), []).append(event)
    gone: set[Event] = set()
    for attempts in by_row.values():
        middle = attempts[KEPT_FIRST:-KEPT_LAST]
        gone.update(middle)
        keys.update(attempt_key(event) for event in middle)
    by_prefix: dict[bytes, list[bytes]] = {}
    for key in sorted(keys):
        by_prefix.setdefault(key[:2], []).append(key)
    # One key more than counts tells that there were more.
    capped = tuple(key for row in by_prefix.values() for key in row[: KEYS_DROPPED + 1])
    return [event for event in events if event not in gone], capped


def attempt_key(event: Event) -> bytes:
    """8 bytes that stand for an attempt: 2 of its recipient, 4 of its second, 2 of all it says."""
    second = (event.at_us // 1_000_000).to_bytes(4, "big")
    said = blake2b(repr(event).encode(), digest_size=2).digest()
    if is_placeholder(event[SAID][D_FINAL]):  # what was said before the erasure is not known
        said = b"\0\0"
    return row_prefix(attempt_row(event)) + second + said


def row_prefix(row: tuple[bytes, bytes, bytes]) -> bytes:
    """The first 2 bytes of every attempt key of one recipient of one queue file."""
    return blake2b(b"\0".join(row), digest_size=2).digest()


def _message(
    events: tuple[Event, ...],
    keys: tuple[bytes, ...],
    legs: dict[bytes, Leg],
    id: bytes,
    host: bytes,
    locality: Locality,
    flags: int,
) -> Message:
    """The view of a message: its envelope from the first leg, its rows from all."""
    first = next(iter(legs.values()))
    sources = 0
    for event in events:
        sources |= 1 << event[SOURCE]
    if flags & FLAG_ECHOED:
        sources |= 1 << echoes.LOG
    client = _client(first)
    sender = _sender(legs)
    login = _login(first)
    size = first.field(kinds.QUEUED, 1) or first.field(kinds.TRANSACTION, 13)
    message_id = b""
    for leg in legs.values():
        message_id = message_id or leg.field(kinds.MESSAGE_ID, 0)
    attempts_let_go: dict[bytes, int] = {}
    for key in keys:
        attempts_let_go[key[:2]] = attempts_let_go.get(key[:2], 0) + 1
    rows = rows_of(
        legs,
        origin=_origin(first, login, client[1], sender, locality),
        locality=locality,
        let_go=lambda event: (
            attempts_let_go.get(row_prefix(attempt_row(event)), 0) if attempts_let_go else 0
        ),
    )
    message: Message = _new(Message, (
        id,
        _begun(events),
        host,
        _instance(legs),
        tuple([queue_id for queue_id, leg in legs.items() if queue_id and not leg.is_agents]),
        sender,
        _number(size, _SIZE_MOST),
        (message_id or first.field(kinds.TRANSACTION, 9)) or None,
        _subject(legs) or None,
        client[1] or None,
        client[0] or None,
        _number(client[2], _PORT_MOST),
        client[3] or None,
        login or None,
        first.field(kinds.TRANSACTION, 4) or first.field(kinds.CLIENT, 5) or None,
        _spam_score(events),
        sources,
        flags | FLAG_PROXIED if _is_proxied(first) else flags & ~FLAG_PROXIED,
        _elsewhere(legs),
        rows,
    ))  # fmt: skip
    return message


def _subject(legs: dict[bytes, Leg]) -> bytes:
    """The first one there is: where the sendmail command submits, the daemon's milter sees it."""
    for kind, place in ((kinds.TRANSACTION, 10), (kinds.MESSAGE_ID, 2)):  # Exim's log has it
        for leg in legs.values():
            found = leg.field(kind, place)
            if found:
                return found
    return b""


def _elsewhere(legs: dict[bytes, Leg]) -> tuple[bytes, ...]:
    """The queue ids that other hosts gave the message, and the sessions of final agents."""
    found: list[bytes] = []
    for leg in legs.values():
        for _, next_id in leg.next_ids():
            if next_id not in legs and next_id not in found:
                found.append(next_id)
    for leg in legs.values():
        if leg.is_agents and leg.queue_id:
            found.append(leg.queue_id)
    return tuple(found)


def _begun(events: tuple[Event, ...]) -> int:
    """When the message began: a policy daemon may speak of its client before there is one."""
    for event in events:
        if event.kind != kinds.VERDICT:
            return event.at_us
    return events[0].at_us


def _is_proxied(first: Leg) -> bool:
    """Whether a before-queue filter gave the message on."""
    return any(door.fields[0] == b"proxy-accept" for door in first.doors)


def _client(first: Leg) -> tuple[bytes, bytes, bytes, bytes]:
    """Name, IP, port and HELO of the client; what the milter saw beats what was logged."""
    door = first.doors[0].fields if first.doors else None
    if kinds.TRANSACTION in first.by_kind:
        fields = first.by_kind[kinds.TRANSACTION].fields
        name, ip, port, helo = fields[0], fields[1], fields[2], fields[3]
        if port in (b"", b"0") and name == b"localhost":  # cleanup's voice for local mail
            return b"", b"", b"", b""
        return name, ip, port, helo
    if kinds.CLIENT in first.by_kind:
        fields = first.by_kind[kinds.CLIENT].fields
        if len(fields) > 6 and fields[6]:  # XFORWARD: a proxy filter stands between
            return *forwarded(fields[6]), door[11] if door else b""
        helo = first.field(kinds.CLIENT, 8) or (door[11] if door else b"")
        return fields[0], fields[1], fields[2], helo
    if door:
        return door[7], door[8], door[9], door[11]
    return b"", b"", b"", b""


def forwarded(client: bytes) -> tuple[bytes, bytes, bytes]:
    """Name, IP and port of a client that XFORWARD names: ``NAME[IP]`` or ``NAME[IP]:PORT``."""
    name, _, rest = client.partition(b"[")
    ip, _, port = rest.partition(b"]")
    return name, ip.removeprefix(b"IPv6:"), port[1:]


def _sender(legs: dict[bytes, Leg]) -> bytes | None:
    """The reverse-path of the first queue file that tells it: a log may begin in the middle."""
    for leg in legs.values():
        sender = _sender_of(leg)
        if sender is not None:
            return sender
    return None


def _sender_of(leg: Leg) -> bytes | None:
    """The reverse-path as the client spoke it, else as the queue manager has it."""
    told = leg.by_kind
    if kinds.TRANSACTION in told and told[kinds.TRANSACTION].fields[7] != ABSENT:
        return told[kinds.TRANSACTION].fields[7]
    if kinds.QUEUED in told:
        return told[kinds.QUEUED].fields[0]
    for door in leg.doors:
        if door.fields[5] != ABSENT:
            return door.fields[5]
    if kinds.PICKUP in told:
        return told[kinds.PICKUP].fields[1]
    if kinds.EXPIRED in told and len(told[kinds.EXPIRED].fields) > 1:
        return told[kinds.EXPIRED].fields[1]
    return b"" if kinds.PARENT in told else None  # a notice: Sendmail logs no from=


def _login(first: Leg) -> bytes:
    """The SASL name, or ``uid=N`` for local submission."""
    login = first.field(kinds.TRANSACTION, 5) or first.field(kinds.CLIENT, 3)
    if not login and (uid := first.field(kinds.PICKUP, 0)):
        return b"uid=" + uid
    return login


def _origin(
    first: Leg, login: bytes, client_ip: bytes, sender: bytes | None, locality: Locality
) -> bool | None:
    """Whether the message came from inside; None where the evidence does not reach."""
    if login or kinds.PARENT in first.by_kind:
        return True
    if client_ip:
        return locality.inside_client(client_ip)
    if kinds.TRANSACTION in first.by_kind:
        return True  # through cleanup: local mail
    return None


def _instance(legs: dict[bytes, Leg]) -> bytes:
    """The MTA instance, told by its queue manager or cleanup."""
    for leg in legs.values():
        instance = leg.field(kinds.QUEUED, 3) or leg.field(kinds.MESSAGE_ID, 1)
        if instance:
            return instance
    return b""


def _spam_score(events: tuple[Event, ...]) -> float | None:
    """The first score that a filter gave."""
    for event in events:
        if event[KIND] == kinds.VERDICT and event.fields[3]:
            try:
                score = float(event.fields[3])
            except ValueError:
                continue
            if isfinite(score):
                return score
    return None


def _number(digits: bytes, most: int) -> int | None:
    """The number; None where the text is none, or none that this can have."""
    if not digits.isdigit() or len(digits) > 18:
        return None
    number = int(digits)
    return number if number <= most else None
