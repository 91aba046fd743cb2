"""Gives out ids that no message has, nor will get: docs/journal-format.md, "Keys".

An id is its day, a millisecond and bits of what makes a message itself; where another one has
the same, the bits are counted on. What was given out and is not committed yet is remembered
(``given``). Raises what journal/store.py raises.
"""

from collections.abc import Iterable

from journal.committed import Committed
from journal.keys import HASH_BITS, HASH_MASK, Keyer, day_of, id_day, make_id
from journal.open_days import OpenDays


class Ids:
    """Those of one journal."""

    def __init__(self, days: OpenDays, committed: Committed, keyer: Keyer) -> None:
        self._days = days
        self._committed = committed
        self._keyer = keyer
        self.given: set[bytes] = set()

    def new(self, time_us: int, identity: bytes) -> bytes:
        """An id that no message has, nor will get from another call."""
        day = day_of(time_us)
        bits = self._keyer.bits(identity)
        message_id = make_id(day, time_us, bits)
        if self._is_newest(day, message_id):
            self.given.add(message_id)
            return message_id
        while True:
            if message_id not in self.given and not self._committed.has(message_id):
                self.given.add(message_id)
                return message_id
            bits = bits + 1 & HASH_MASK
            message_id = make_id(day, time_us, bits)

    def take(self, message_id: bytes) -> None:
        """This id is about to be written, although it was not given out here."""
        self._is_newest(id_day(message_id), message_id)

    def settle(self, written: Iterable[bytes]) -> None:
        """These are committed."""
        self.given.difference_update(written)

    def _is_newest(self, day: int, message_id: bytes) -> bool:
        """Whether an id is of a later millisecond than all of its day: then it is free."""
        newest = self._days.newest.get(day)
        if newest is None:
            opened = self._days.if_present(day)
            last = opened.last_key(b"m") if opened is not None else None
            newest = int.from_bytes(last or b"", "big") >> HASH_BITS
        ms = int.from_bytes(message_id[2:], "big") >> HASH_BITS
        self._days.newest[day] = max(newest, ms)
        return ms > newest
