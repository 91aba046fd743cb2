"""Who is not to be known any more, by when a message began: erased addresses, and old days.

``at`` gives what scrubs a message that began then. Pure; raises nothing.
"""

from journal.erased import Erased
from journal.hashed import Hasher
from journal.records import Record
from journal.scrub import Scrubber
from journal.tokens import Hashing


class Forget:
    """The scrubbers of a list, and of the days that are hashed."""

    def __init__(
        self, erased: Erased, *, hashing: Hashing | None = None, hashed_before_us: int = 0
    ) -> None:
        """``hashed_before_us``: what began before is of a day in which tokens stand."""
        self.erased = erased
        self.hashing = hashing
        self.hashed_before_us = hashed_before_us if hashing is not None else 0
        self.until_us = max(erased.until_us, self.hashed_before_us - 1)
        """What is younger concerns nobody."""
        self._scrubbers: dict[tuple[int, bool], Scrubber] = {}

    def at(self, begun_us: int) -> Scrubber | None:
        """What scrubs a message that began then; None: nothing is to be forgotten of it."""
        is_old = begun_us < self.hashed_before_us
        finder = self.erased.finder(begun_us)
        if finder is None and not is_old:
            return None
        place = (0 if finder is None else id(finder), is_old)
        found = self._scrubbers.get(place)
        if found is None:
            found = None if finder is None else Scrubber(finder)
            if is_old and self.hashing is not None:
                found = Hasher(self.hashing, found)
            assert found is not None
            self._scrubbers[place] = found
        return found

    def record(self, record: Record) -> Record:
        """A record as it may be kept."""
        begun = min((event.at_us for event in record.events), default=record.message.time_us)
        scrubber = self.at(min(begun, record.message.time_us))
        return record if scrubber is None else scrubber.record(record)
