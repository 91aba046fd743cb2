"""A row in the making: whom it is for, and what was said of it. Raises nothing."""

from typing import Final

from journal import address, kinds
from journal.events import Event
from journal.legs import D_OUTCOME, Leg

TERMINAL: Final = frozenset({b"sent", b"bounced"})
DISCARDS: Final = frozenset({b"discard", b"milter-discard"})


class Draft:
    """One recipient of one leg; ``journal.recipients`` makes a ``Recipient`` of it."""

    __slots__ = ("attempts", "before", "door", "filed", "final", "late", "leg", "recipient")

    def __init__(self, recipient: bytes | None, final: bytes | None, leg: Leg) -> None:
        self.recipient = recipient
        self.final = final
        self.leg = leg
        self.attempts: list[Event] = []
        self.before = 0  # attempts in the queue files that it came through, without the hops
        self.door: Event | None = None
        self.filed: list[Event] = []  # what the final agent did with it
        self.late: Event | None = None  # the notice that came back after delivery

    @property
    def terminal(self) -> Event | None:
        """The last attempt that ended the row's way, None while none did.

        Of one instant a failure counts more than a copy that was delivered.
        """
        last: Event | None = None
        for event in reversed(self.attempts):
            outcome = event.fields[D_OUTCOME]
            if outcome not in TERMINAL:
                continue
            if last is None or (event.at_us == last.at_us and outcome == b"bounced"):
                last = event
            elif event.at_us < last.at_us:
                break
        return None if last is not None and self._is_a_copy(last) else last

    def _is_a_copy(self, sent: Event) -> bool:
        """Whether Exim delivered for an ``unseen`` router, and goes on trying for the address."""
        if sent.queue_id[6:7] != b"-" or kinds.REMOVED in self.leg.by_kind:
            return False
        if sent.fields[D_OUTCOME] != b"sent":
            return False
        for event in self.attempts:
            if event.fields[D_OUTCOME] == b"deferred" and event.at_us >= sent.at_us:
                return True
        return False

    def is_for(self, name: bytes) -> bool:
        """Whether a name is this row's: an address, or a local part alone (a user of this host)."""
        wanted = address.fold(name)
        for own in (self.final, self.recipient):
            if own is not None:
                folded = address.fold(own)
                if wanted == folded:
                    return True
                if b"@" not in wanted and wanted == folded.rpartition(b"@")[0]:
                    return True
        return False
