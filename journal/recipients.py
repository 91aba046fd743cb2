"""Makes the rows of a report from the legs of a message.

A row is a pair of recipient and final recipient. A leg whose delivery ended in
a queue file of this host (content filter, alias, ``.forward``) says nothing
final: the row goes on in the next leg, and what that leg says counts.
"""

from typing import Final

from journal import address, agents, kinds
from journal.draft import DISCARDS, Draft
from journal.events import Event
from journal.finish import LetGo, finished
from journal.legs import (
    D_CONTROLLER,
    D_FINAL,
    D_NEXT,
    D_OUTCOME,
    D_RECIPIENT,
    HOLD_ACTIONS,
    O_ACTION,
    O_CODE,
    O_RECIPIENT,
    O_STAGE,
    Leg,
)
from journal.locality import Locality
from journal.places import SAID
from journal.records import Recipient

PROBES: Final = frozenset({b"deliverable", b"undeliverable"})
REJECTS: Final = frozenset({b"reject", b"milter-reject", b"proxy-reject", b"too-large"})
WHOLE_STAGES: Final = frozenset(
    b"DATA,DATA content,BDAT,BDAT content,END-OF-MESSAGE,END-OF-DATA,EOM"  # smtpd.h
    b",header,body,content,mime-error".split(b",")  # cleanup_message.c
)


def rows_of(
    legs: dict[bytes, Leg], *, origin: bool | None, locality: Locality, let_go: LetGo
) -> tuple[Recipient, ...]:
    """The rows of a message, in the order in which its legs first spoke of them."""
    rows: list[Draft] = []
    passed: dict[bytes, list[Draft]] = {}
    sessions: list[Leg] = []
    lates: list[Event] = []
    for leg in legs.values():
        if leg.filed:
            sessions.append(leg)
            if leg.is_agents:
                continue
        lates += leg.lates
        if _probes(leg):
            continue
        arrivals = passed.get(leg.queue_id, [])
        for row in _delivered(leg, arrivals):
            onward = _onward(row, legs) if len(legs) > 1 else None
            if onward is None:
                rows.append(row)
            else:
                hop = row.terminal is not None
                row.before += len(row.attempts) - hop
                passed.setdefault(onward, []).append(row)
        for row in _spoken(leg, rows, passed):
            onward = _onward(row, legs) if row.door is None and len(legs) > 1 else None
            if onward is None:
                rows.append(row)
            else:
                passed.setdefault(onward, []).append(row)
    rows = _expanded(rows)
    if sessions:
        rows = agents.filed(rows, sessions)
    for event in lates:
        for row in rows:
            if row.late is None and row.is_for(event.fields[0]):
                row.late = event
    return tuple([finished(row, origin=origin, locality=locality, let_go=let_go) for row in rows])


def _expanded(rows: list[Draft]) -> list[Draft]:
    """Sendmail does not say which alias a recipient is of: where only one can be, it is that one.

    An alias is a recipient that the client spoke of, and no delivery did. A list with an owner
    goes on in another leg.
    """
    if len(rows) == 1:
        return rows
    parents = {id(row.leg.previous) for row in rows if row.attempts}
    rows = [row for row in rows if row.recipient or row.door or id(row.leg) not in parents]
    aliases = [row for row in rows if not row.attempts and row.door is None and row.leg.whole]
    if len(aliases) != 1:
        return rows
    alias = aliases[0]
    spoken = {address.fold(event.fields[0]) for event in alias.leg.rcpts}
    made = [
        row
        for row in rows
        if row.attempts
        and _is_sendmails(row.attempts[0].fields)
        and row.recipient == row.final
        and address.fold(row.recipient or b"") not in spoken
    ]
    if not made or not spoken:
        return rows
    for row in made:
        row.recipient = alias.recipient
    return [row for row in rows if row is not alias]


def _is_sendmails(fields: tuple[bytes, ...]) -> bool:
    """Whether an attempt may name a controller; a TLS policy behind it is Postfix's."""
    if len(fields) <= D_CONTROLLER:
        return False
    return len(fields) == D_CONTROLLER + 1 or not fields[D_CONTROLLER + 1]


def _probes(leg: Leg) -> bool:
    """Whether this is Postfix verifying an address: not mail."""
    for event in leg.deliveries:  # noqa: SIM110 - this runs for every message
        if event[SAID][D_OUTCOME] in PROBES:
            return True
    return False


def _delivered(leg: Leg, arrivals: list[Draft]) -> list[Draft]:
    """The rows that delivery agents spoke of, and those that arrived and still wait."""
    found: dict[tuple[bytes, bytes], list[Draft]] = {}
    arrived: dict[bytes, list[Draft]] = {}
    for row in arrivals:
        arrived.setdefault(address.fold(row.final or row.recipient or b""), []).append(row)
    heard: set[int] = set()
    turn: dict[tuple[bytes, bytes], int] = {}
    for event in leg.deliveries:
        final = event[SAID][D_FINAL]
        spoken = leg.spoken(event)
        key = (spoken, final)
        rows = found.get(key)
        if rows is None:
            sources = _sources(spoken, arrived, arrivals, leg) if arrivals else []
            heard.update(map(id, sources))
            rows = [_moved(source, leg, final) for source in sources] or [Draft(spoken, final, leg)]
            found[key] = rows
        # Several that arrived for one address are named in turn, at each try.
        number = turn[key] = turn.get(key, -1) + 1
        rows[number % len(rows)].attempts.append(event)
    for rows in found.values():
        for row in rows:
            row.attempts = row.attempts or rows[0].attempts  # named once: duplicates were dropped
    waiting = [_moved(row, leg, row.final) for row in arrivals if id(row) not in heard]
    return _folded([row for rows in found.values() for row in rows]) + waiting


def _sources(
    spoken: bytes, arrived: dict[bytes, list[Draft]], arrivals: list[Draft], leg: Leg
) -> list[Draft]:
    """The rows of the leg before that a recipient of this leg comes from."""
    sources = arrived.get(address.fold(spoken))
    if sources is not None:
        return sources
    if len(arrivals) != 1:
        return []
    # The only one that arrived is what this one was made of, unless this leg names it as well.
    alone = next(iter(arrived))
    named = any(address.fold(leg.spoken(event)) == alone for event in leg.deliveries)
    return [] if named else arrivals


def _moved(row: Draft, leg: Leg, final: bytes | None) -> Draft:
    """A row that goes on in another leg."""
    moved = Draft(row.recipient, final, leg)
    moved.before = row.before
    return moved


def _folded(rows: list[Draft]) -> list[Draft]:
    """Rows that differ by spelling only (RFC 5321 2.4: domains; Postfix: case) become one.

    Exim logs a local delivery's final recipient without its domain, a failed try with it.
    """
    if len(rows) < 2:
        return rows
    found: dict[tuple[bytes, bytes], Draft] = {}
    bare: list[tuple[tuple[bytes, bytes], Draft]] = []
    for row in rows:
        key = (address.fold(row.recipient or b""), address.fold(row.final or b""))
        if key[1] and b"@" not in key[1]:
            bare.append((key, row))
        else:
            _joined(found, key, row)
    if bare:
        whole = {(key[0], key[1].rpartition(b"@")[0]): key for key in found}
        for key, row in bare:
            _joined(found, whole.get(key, key), row)
    return list(found.values())


def _joined(found: dict[tuple[bytes, bytes], Draft], key: tuple[bytes, bytes], row: Draft) -> None:
    """Add a row, or its attempts to the one that is there."""
    known = found.setdefault(key, row)
    if known is not row:
        known.attempts.extend(row.attempts)
        known.attempts.sort()


def _onward(row: Draft, legs: dict[bytes, Leg]) -> bytes | None:
    """The queue id under which this row goes on, None where it ends here."""
    for event in row.attempts:
        if event.fields[D_OUTCOME] == b"sent":
            after = legs.get(event.fields[D_NEXT]) or _given_back(row, legs)
            if after is not None and after.previous is row.leg and not after.is_agents:
                return after.queue_id
    if kinds.REQUEUED in row.leg.by_kind and not row.terminal:
        for leg in legs.values():
            if leg.previous is row.leg and leg.field(kinds.PICKUP, 2) == row.leg.queue_id:
                return leg.queue_id
    return None


def _given_back(row: Draft, legs: dict[bytes, Leg]) -> Leg | None:
    """The leg in which a program gave this row's mail back: the one that names its recipient."""
    final = address.fold(row.final or b"")
    silent: Leg | None = None
    for leg in legs.values():
        if leg.previous is not row.leg or not leg.given_back:
            continue
        if not leg.deliveries:
            silent = silent or leg
        for event in leg.deliveries:
            if address.fold(event.fields[D_RECIPIENT] or event.fields[D_FINAL]) == final:
                return leg
    return silent


def _spoken(leg: Leg, rows: list[Draft], passed: dict[bytes, list[Draft]]) -> list[Draft]:
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
    found: dict[bytes, Draft] = {}
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
    rest = [
        _refused(door.fields[O_RECIPIENT] or None, leg, door)
        for key, door in refused.items()
        # Without a code it may be what Sendmail tells the sender later, in a notice.
        if door.fields[O_CODE] or not key or key not in covered
    ]
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


def _refused(recipient: bytes | None, leg: Leg, event: Event) -> Draft:
    row = Draft(recipient, None, leg)
    row.door = event
    return row


def _waiting(recipient: bytes | None, leg: Leg, door: Event | None) -> Draft:
    refused = door is not None and door.fields[O_ACTION] in REJECTS
    row = Draft(recipient, None if refused else recipient, leg)
    row.door = door
    return row
