"""One queue file's part of a message: its events, sorted by what they tell.

A message has a leg for each queue file it went through: content filters
re-inject, aliases forward, ``postsuper -r`` starts anew. ``split_legs`` takes
the events of one message apart; ``fold`` makes rows of the legs.
"""

from collections.abc import Iterable
from typing import Final

from journal import kinds
from journal.events import Event
from journal.places import AT_US, KIND, QUEUE_ID, SAID

_NEWEST: Final = frozenset({kinds.HELD, kinds.RELEASED})

HOLD_ACTIONS: Final = frozenset({b"hold", b"milter-hold"})

# Positions in Event.fields, see journal.events.FIELDS.
D_DAEMON, D_RECIPIENT, D_FINAL, D_RELAY, D_DELAY = 0, 1, 2, 3, 4
D_ENHANCED, D_OUTCOME, D_TEXT, D_NEXT, D_CONTROLLER = 6, 7, 8, 10, 12
O_ACTION, O_STAGE, O_CODE, O_ENHANCED, O_TEXT, O_SENDER, O_RECIPIENT = 0, 1, 2, 3, 4, 5, 6
O_NAME, O_IP, O_PORT, O_HELO = 7, 8, 9, 11
F_ACTION, F_USER, F_FOLDER, F_MESSAGE_ID = 1, 2, 3, 4

LOOPBACK: Final = (b"127.", b"::1")


class Leg:
    """The events of one queue id of a message (b"": refusals without one)."""

    __slots__ = (
        "begin_us", "by_kind", "deliveries", "doors", "filed", "given_back", "lates", "previous",
        "queue_id", "rcpts", "verdicts",
    )  # fmt: skip

    def __init__(self, queue_id: bytes, begin_us: int) -> None:
        self.queue_id = queue_id
        self.begin_us = begin_us
        self.by_kind: dict[int, Event] = {}  # the first of a kind; of hold and release the newest
        self.deliveries: list[Event] = []
        self.doors: list[Event] = []
        self.rcpts: list[Event] = []
        self.filed: list[Event] = []
        self.verdicts: list[Event] = []
        self.lates: list[Event] = []
        self.given_back = False  # it came from ``previous`` without being named there
        self.previous: Leg | None = None

    def add(self, event: Event) -> None:
        """Take one event; they come in their sorted order."""
        kind = event[KIND]
        if kind == kinds.DELIVERY:
            self.deliveries.append(event)
        elif kind == kinds.DOOR:
            self.doors.append(event)
        elif kind == kinds.RCPT:
            self.rcpts.append(event)
        elif kind == kinds.FILED:
            self.filed.append(event)
        elif kind == kinds.VERDICT:
            self.verdicts.append(event)
        elif kind == kinds.LATE_BOUNCE:
            self.lates.append(event)
        elif kind not in self.by_kind or kind in _NEWEST:
            self.by_kind[kind] = event

    def field(self, kind: int, position: int) -> bytes:
        """A field of the first event of a kind; b"" where there is none."""
        event = self.by_kind.get(kind)
        if event is None:
            return b""
        said = event[SAID]
        return said[position] if position < len(said) else b""

    def next_ids(self) -> list[tuple[Event, bytes]]:
        """Each delivery that was taken under another queue id, with that id."""
        found: list[tuple[Event, bytes]] = []
        for event in self.deliveries:
            said = event[SAID]
            if said[D_NEXT] and said[D_OUTCOME] == b"sent":
                found.append((event, said[D_NEXT]))
        return found

    @property
    def is_agents(self) -> bool:
        """Whether this is no queue file but a session of the final agent (Dovecot)."""
        return bool(self.filed) and not self.by_kind and not self.deliveries

    @property
    def pipes(self) -> bool:
        """Whether a program got the message that may have given it back (pipe(8))."""
        for event in self.deliveries:
            if event.fields[D_DAEMON] == b"pipe" and event.fields[D_OUTCOME] == b"sent":
                return True
        return False

    def spoken(self, delivery: Event) -> bytes:
        """Whom the sender spoke of, as far as a delivery says; else its final recipient.

        Sendmail names who controls a delivery: the sender, or the alias or user it is for.
        """
        fields = delivery.fields
        if fields[D_RECIPIENT] or len(fields) <= D_CONTROLLER or not fields[D_CONTROLLER]:
            return fields[D_RECIPIENT] or fields[D_FINAL]
        senders = (self.field(kinds.QUEUED, 0), self.field(kinds.PICKUP, 1))
        return fields[D_FINAL] if fields[D_CONTROLLER] in senders else fields[D_CONTROLLER]

    @property
    def from_here(self) -> bool:
        """Whether a program of this host began the queue file."""
        return kinds.PICKUP in self.by_kind or self.field(kinds.CLIENT, 1).startswith(LOOPBACK)

    @property
    def whole(self) -> bool:
        """Somebody saw the whole message enter the queue."""
        told = self.by_kind
        if any(door.fields[O_ACTION] == b"lost" for door in self.doors):
            return False  # the client left in the middle
        queued = told.get(kinds.QUEUED)
        # Sendmail says ``from=`` of what it did not take, too: without recipients, or without data.
        if queued is not None and queued.fields[1] != b"0" and queued.fields[2] != b"0":
            return True
        if kinds.PICKUP in told or kinds.EXPIRED in told or kinds.DELETED in told:
            return True  # the latter two are of what has been in the queue
        if kinds.TRANSACTION in told and self.field(kinds.TRANSACTION, 14) == b"eom":
            return True
        return bool(self.doors) and any(
            door.fields[O_ACTION] in HOLD_ACTIONS for door in self.doors
        )


def split_legs(events: Iterable[Event]) -> dict[bytes, Leg]:
    """The legs of a message in the order in which it went through them.

    What has no queue id (refusals, and all of a session before a proxy filter) is of
    the transaction that began the message: it is put to the first leg there is.
    """
    legs: dict[bytes, Leg] = {}
    loose: list[Event] = []
    for event in events:
        queue_id = event[QUEUE_ID]
        if not queue_id:
            loose.append(event)
            continue
        leg = legs.get(queue_id)
        if leg is None:
            leg = legs[queue_id] = Leg(queue_id, event[AT_US])
        leg.add(event)
    if len(legs) > 1:
        legs = _chain(legs)
    if loose:
        if not legs:
            legs[b""] = Leg(b"", loose[0].at_us)
        first = next(iter(legs.values()))
        for event in loose:
            first.add(event)
    return legs


def _chain(legs: dict[bytes, Leg]) -> dict[bytes, Leg]:
    """Tie each leg to the one it came from, and order them along these ties."""
    for leg in legs.values():
        for _, next_id in leg.next_ids():
            after = legs.get(next_id)
            if after is not None and after is not leg and not _comes_from(leg, after):
                after.previous = after.previous or leg
        _tie_back(leg, legs.get(leg.field(kinds.PICKUP, 2)))
        _tie_back(leg, legs.get(leg.field(kinds.CLIENT, 7)), given_back=True)
    for leg in legs.values():
        if leg.previous is None and leg.from_here:
            _tie_back(leg, _giver(leg, legs), given_back=True)
    return dict(sorted(legs.items(), key=lambda item: _depth(item[1])))


def _tie_back(leg: Leg, origin: Leg | None, *, given_back: bool = False) -> None:
    """Tie a leg to the one that it says it came from, where it has no tie yet."""
    if origin is None or origin is leg or leg.previous is not None or _comes_from(origin, leg):
        return
    leg.previous = origin
    leg.given_back = given_back


def _giver(leg: Leg, legs: dict[bytes, Leg]) -> Leg | None:
    """The leg whose pipe(8) delivery gave the same message back, under a new queue id."""
    message_id = leg.field(kinds.MESSAGE_ID, 0)
    if not message_id:
        return None
    for other in legs.values():
        if other is not leg and other.pipes and other.field(kinds.MESSAGE_ID, 0) == message_id:
            return other
    return None


def _comes_from(leg: Leg, ancestor: Leg) -> bool:
    """Whether a leg descends from another; a loop in a log must not make one here."""
    step: Leg | None = leg
    while step is not None:
        if step is ancestor:
            return True
        step = step.previous
    return False


def _depth(leg: Leg) -> tuple[int, int, bytes]:
    """Sort key of a leg: how many legs came before it, then time."""
    depth = 0
    step = leg.previous
    while step is not None:
        depth += 1
        step = step.previous
    return depth, leg.begin_us, leg.queue_id
