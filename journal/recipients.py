"""Makes the rows of a report from the legs of a message.

A row is a pair of recipient and final recipient. A leg whose delivery ended in
a queue file of this host (content filter, alias, ``.forward``) says nothing
final: the row goes on in the next leg, and what that leg says counts.
"""

from collections.abc import Callable
from typing import Final

from journal import address, kinds, status
from journal.events import Event
from journal.legs import (
    D_DAEMON,
    D_DELAY,
    D_ENHANCED,
    D_FINAL,
    D_NEXT,
    D_OUTCOME,
    D_RECIPIENT,
    D_RELAY,
    D_TEXT,
    HOLD_ACTIONS,
    O_ACTION,
    O_CODE,
    O_ENHANCED,
    O_RECIPIENT,
    O_STAGE,
    O_TEXT,
    Leg,
)
from journal.locality import Locality, direction
from journal.records import Recipient, Status

TERMINAL: Final = frozenset({b"sent", b"bounced"})
PROBES: Final = frozenset({b"deliverable", b"undeliverable"})
REJECTS: Final = frozenset({b"reject", b"milter-reject", b"proxy-reject", b"too-large"})
DISCARDS: Final = frozenset({b"discard", b"milter-discard"})
WHOLE_STAGES: Final = frozenset(
    {b"DATA", b"END-OF-MESSAGE", b"END-OF-DATA", b"BDAT", b"header", b"body", b"EOM"}
)

REJECTED: Final = int(Status.REJECTED)

LetGo = Callable[[Event], int]


class _Row:
    """A row in the making: whom it is for, and what was said of it."""

    __slots__ = ("attempts", "before", "door", "final", "leg", "recipient")

    def __init__(self, recipient: bytes | None, final: bytes | None, leg: Leg) -> None:
        self.recipient = recipient
        self.final = final
        self.leg = leg
        self.attempts: list[Event] = []
        self.before = 0  # attempts in the queue files that it came through, without the hops
        self.door: Event | None = None


def rows_of(
    legs: dict[bytes, Leg], *, origin: bool | None, locality: Locality, let_go: LetGo
) -> tuple[Recipient, ...]:
    """The rows of a message, in the order in which its legs first spoke of them."""
    rows: list[_Row] = []
    passed: dict[bytes, list[_Row]] = {}
    for leg in legs.values():
        if _probes(leg):
            continue
        arrivals = passed.get(leg.queue_id, [])
        for row in _delivered(leg, arrivals):
            onward = _onward(row, legs) if len(legs) > 1 else None
            if onward is None:
                rows.append(row)
            else:
                hop = _terminal(row.attempts) is not None
                row.before += len(row.attempts) - hop
                passed.setdefault(onward, []).append(row)
        rows.extend(_spoken(leg, rows, passed))
    return tuple(_finished(row, origin=origin, locality=locality, let_go=let_go) for row in rows)


def _probes(leg: Leg) -> bool:
    """Whether this is Postfix verifying an address: not mail."""
    for event in leg.deliveries:  # noqa: SIM110 - this runs for every message
        if event.fields[D_OUTCOME] in PROBES:
            return True
    return False


def _delivered(leg: Leg, arrivals: list[_Row]) -> list[_Row]:
    """The rows that delivery agents spoke of, and those that arrived and still wait."""
    found: dict[tuple[bytes, bytes], list[_Row]] = {}
    arrived: dict[bytes, list[_Row]] = {}
    for row in arrivals:
        arrived.setdefault(address.fold(row.final or row.recipient or b""), []).append(row)
    heard: set[int] = set()
    turn: dict[tuple[bytes, bytes], int] = {}
    for event in leg.deliveries:
        fields = event.fields
        final = fields[D_FINAL]
        spoken = fields[D_RECIPIENT] or final
        key = (spoken, final)
        rows = found.get(key)
        if rows is None:
            sources = _sources(spoken, arrived, arrivals) if arrivals else []
            heard.update(map(id, sources))
            rows = [_moved(source, leg, final) for source in sources] or [_Row(spoken, final, leg)]
            found[key] = rows
        # Several that arrived for one address are named in turn, at each try.
        number = turn[key] = turn.get(key, -1) + 1
        rows[number % len(rows)].attempts.append(event)
    for rows in found.values():
        for row in rows:
            row.attempts = row.attempts or rows[0].attempts  # named once: duplicates were dropped
    waiting = [_moved(row, leg, row.final) for row in arrivals if id(row) not in heard]
    return _folded([row for rows in found.values() for row in rows]) + waiting


def _sources(spoken: bytes, arrived: dict[bytes, list[_Row]], arrivals: list[_Row]) -> list[_Row]:
    """The rows of the leg before that a recipient of this leg comes from."""
    sources = arrived.get(address.fold(spoken))
    if sources is None:
        return arrivals if len(arrivals) == 1 else []
    return sources


def _moved(row: _Row, leg: Leg, final: bytes | None) -> _Row:
    """A row that goes on in another leg."""
    moved = _Row(row.recipient, final, leg)
    moved.before = row.before
    return moved


def _folded(rows: list[_Row]) -> list[_Row]:
    """Rows that differ by spelling only (RFC 5321 2.4: domains; Postfix: case) become one."""
    if len(rows) < 2:
        return rows
    found: dict[tuple[bytes, bytes], _Row] = {}
    for row in rows:
        key = (address.fold(row.recipient or b""), address.fold(row.final or b""))
        known = found.setdefault(key, row)
        if known is not row:
            known.attempts.extend(row.attempts)
            known.attempts.sort()
    return list(found.values())


def _onward(row: _Row, legs: dict[bytes, Leg]) -> bytes | None:
    """The queue id under which this row goes on, None where it ends here."""
    for event in row.attempts:
        if event.fields[D_OUTCOME] == b"sent":
            after = legs.get(event.fields[D_NEXT])
            if after is not None and after.previous is row.leg:
                return after.queue_id
    if kinds.REQUEUED in row.leg.by_kind and not _terminal(row.attempts):
        for leg in legs.values():
            if leg.previous is row.leg and leg.field(kinds.PICKUP, 2) == row.leg.queue_id:
                return leg.queue_id
    return None


def _spoken(leg: Leg, rows: list[_Row], passed: dict[bytes, list[_Row]]) -> list[_Row]:
    """Rows that the client spoke of and no delivery agent did: refused, waiting, or unknown."""
    known = rows if not passed else [*rows, *(row for some in passed.values() for row in some)]
    if not leg.rcpts and not leg.doors and (known or leg.previous is not None or not leg.whole):
        return []
    covered: set[bytes] = set()
    for row in known:
        covered.add(address.fold(row.recipient or b""))
        covered.add(address.fold(row.final or b""))
    refused = _refusals(leg)
    whole_door = _whole_door(leg)
    found: dict[bytes, _Row] = {}
    for event in leg.rcpts:
        key = address.fold(event.fields[0])
        if key in refused:
            continue
        if event.fields[3] == b"1":
            found[key] = _refused(event.fields[0], leg, event)
        elif key not in covered and key not in found and (leg.whole or whole_door):
            found[key] = _waiting(event.fields[0], leg, whole_door)
    if whole_door is not None or leg.whole:
        for recipient in _named_at_door(leg):
            key = address.fold(recipient)
            if key not in covered and key not in found:
                found[key] = _waiting(recipient, leg, whole_door)
    rest = [_refused(door.fields[O_RECIPIENT] or None, leg, door) for door in refused.values()]
    made = [*rest, *found.values()]
    if not made and not known and (whole_door is not None or leg.whole):
        made = [_waiting(None, leg, whole_door)]
    return made


def _refusals(leg: Leg) -> dict[bytes, Event]:
    """What was refused before DATA, by recipient; b"" where it came to no recipient.

    A later refusal of the same recipient in one transaction is the same row.
    """
    found: dict[bytes, Event] = {}
    for door in leg.doors:
        fields = door.fields
        if fields[O_ACTION] in REJECTS and fields[O_STAGE] not in WHOLE_STAGES:
            found.setdefault(address.fold(fields[O_RECIPIENT]), door)
    return found


def _whole_door(leg: Leg) -> Event | None:
    """What was said at the door of the whole message, None where nothing was."""
    for door in leg.doors:
        fields = door.fields
        if fields[O_ACTION] in DISCARDS:
            return door
        if fields[O_ACTION] in REJECTS and fields[O_STAGE] in WHOLE_STAGES:
            return door
    return None


def _named_at_door(leg: Leg) -> list[bytes]:
    """Recipients that a hold, discard or late refusal names (Postfix names the last one only)."""
    return [
        door.fields[O_RECIPIENT]
        for door in leg.doors
        if door.fields[O_RECIPIENT]
        and (
            door.fields[O_ACTION] in HOLD_ACTIONS
            or door.fields[O_ACTION] in DISCARDS
            or (door.fields[O_ACTION] in REJECTS and door.fields[O_STAGE] in WHOLE_STAGES)
        )
    ]


def _refused(recipient: bytes | None, leg: Leg, event: Event) -> _Row:
    row = _Row(recipient, None, leg)
    row.door = event
    return row


def _waiting(recipient: bytes | None, leg: Leg, door: Event | None) -> _Row:
    refused = door is not None and door.fields[O_ACTION] in REJECTS
    row = _Row(recipient, None if refused else recipient, leg)
    row.door = door
    return row


def _terminal(attempts: list[Event]) -> Event | None:
    """The last attempt that ended the row's way, None while none did."""
    for event in reversed(attempts):
        if event.fields[D_OUTCOME] in TERMINAL:
            return event
    return None


def _finished(row: _Row, *, origin: bool | None, locality: Locality, let_go: LetGo) -> Recipient:
    """The row as it is reported."""
    attempt = _terminal(row.attempts) or (row.attempts[-1] if row.attempts else None)
    fate = status.decide(_facts(row, attempt))
    gone = let_go(row.attempts[0]) if row.attempts else 0
    total = row.before + len(row.attempts) + gone
    daemon = attempt.fields[D_DAEMON] if attempt else b""
    code, enhanced, text = _reply(row, attempt)
    final = row.final if fate.status != REJECTED else None
    return Recipient(
        row.recipient,
        final,
        fate.status,
        fate.reason,
        None,
        text or None,
        code,
        enhanced or None,
        _relay(attempt),
        min(total, 200),
        total > 200,
        _done_at(row, attempt, fate),
        _milliseconds(attempt.fields[D_DELAY]) if attempt else None,
        direction(origin, locality.inside_domain(final or row.recipient, daemon)),
    )


def _facts(row: _Row, attempt: Event | None) -> status.Facts:
    """What the rule table may look at."""
    leg = row.leg
    told = leg.by_kind
    held = _held(leg, row.attempts)
    daemon = enhanced = text = outcome = b""
    if attempt is not None:
        fields = attempt.fields
        daemon, enhanced, text = fields[D_DAEMON], fields[D_ENHANCED], fields[D_TEXT]
        outcome = fields[D_OUTCOME]
    door = code = b""
    if row.door is not None and outcome not in TERMINAL:
        code, enhanced, text, door = _door(row.door)
    return status.Facts(
        outcome,
        daemon,
        enhanced,
        text,
        door,
        code,
        kinds.DELETED in told,
        kinds.EXPIRED in told,
        held,
        leg.whole,
        kinds.REMOVED in told,
    )


def _door(event: Event) -> tuple[bytes, bytes, bytes, bytes]:
    """Reply code, enhanced status, text and kind of a refusal, by whoever told of it."""
    fields = event.fields
    if event.kind == kinds.RCPT:
        return b"", fields[4], fields[5], b"reject"
    kind = b"discard" if fields[O_ACTION] in DISCARDS else b"reject"
    return fields[O_CODE], fields[O_ENHANCED], fields[O_TEXT], kind


def _held(leg: Leg, attempts: list[Event]) -> bytes:
    """Who holds the message now; b"" where nobody does."""
    hold = leg.by_kind.get(kinds.HELD)
    by, since = (hold.fields[0], hold.at_us) if hold else (b"", 0)
    for door in leg.doors:
        if door.fields[O_ACTION] in HOLD_ACTIONS and door.at_us >= since:
            since = door.at_us
            by = b"milter" if door.fields[O_ACTION] == b"milter-hold" else b"smtpd"
    if not by:
        return b""
    release = leg.by_kind.get(kinds.RELEASED)
    if release is not None and release.at_us >= since:
        return b""
    if attempts and attempts[-1].at_us > since:
        return b""
    return by


def _reply(row: _Row, attempt: Event | None) -> tuple[int | None, bytes, bytes]:
    """Reply code, enhanced status and text of what set the status."""
    if row.door is not None and (attempt is None or attempt.fields[D_OUTCOME] not in TERMINAL):
        code, enhanced, text, _ = _door(row.door)
        return (int(code) if code.isdigit() else None), enhanced, text
    if attempt is None:
        return None, b"", b""
    text = attempt.fields[D_TEXT]
    return reply_code(text), attempt.fields[D_ENHANCED], text


def reply_code(text: bytes) -> int | None:
    """The three digits of the SMTP reply inside a delivery text (RFC 5321 4.2), if one is there."""
    if not text[:3].isdigit():
        said = text.find(b" said: ")
        if said < 0:
            return None
        text = text[said + 7 :]
    code = text[:3]
    if len(code) == 3 and code.isdigit() and b"2" <= code[:1] <= b"5" and text[3:4] in b" -":
        return int(code)
    return None


def _relay(attempt: Event | None) -> bytes | None:
    relay = attempt.fields[D_RELAY] if attempt else b""
    return None if relay in (b"", b"none") else relay


def _done_at(row: _Row, attempt: Event | None, fate: status.Fate) -> int | None:
    """When the status became final, None while it is not."""
    if fate.status not in status.FINAL:
        return None
    if attempt is not None and attempt.fields[D_OUTCOME] in TERMINAL:
        return attempt.at_us
    if row.door is not None:
        return row.door.at_us
    for kind in (kinds.DELETED, kinds.EXPIRED):
        event = row.leg.by_kind.get(kind)
        if event is not None:
            return event.at_us
    return None


def _milliseconds(delay: bytes) -> int | None:
    """Postfix writes a delay in seconds with up to two decimals."""
    try:
        return round(float(delay) * 1000)
    except ValueError:
        return None
