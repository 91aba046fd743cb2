"""What one source's silence means: nothing to say, or nobody there to say it.

The milter proves itself by a beat in the spool every ten seconds. A followed log
covers log time up to its newest line, and up to now once the follower has caught
up. What lies between is a gap, with its reason.
"""

from typing import Any, Final

from journal.records import Gap

SECOND: Final = 1_000_000
BEAT_US: Final = 15 * SECOND
"""Beats come every 10 s at most; a longer pause means that the milter was not running."""


class Witness:
    """Collects the covered intervals and the gaps of one source, until they are taken."""

    def __init__(self, source: str, *, beat_us: int = BEAT_US) -> None:
        self.source = source
        self._beat_us = beat_us
        self._covered: list[tuple[int, int]] = []
        self._gaps: list[Gap] = []
        self.last_us = 0
        self._lost: str | None = None

    def resume(self, covered_until_us: int) -> None:
        """Go on where coverage of an earlier process ended."""
        self.last_us = covered_until_us

    def covered(self) -> list[tuple[int, int]]:
        """The intervals since the last call."""
        taken, self._covered = self._covered, []
        return taken

    def gaps(self) -> list[Gap]:
        """The gaps since the last call."""
        taken, self._gaps = self._gaps, []
        return taken

    # -- the log ----------------------------------------------------------------------

    def seen(self, newest_us: int) -> None:
        """The log was read up to this stamp (0: no line yet)."""
        if newest_us <= self.last_us:
            return
        if self.last_us:
            self._interval(self.last_us, newest_us)
        self.last_us = newest_us

    def lost(self, reason: str, at_us: int) -> None:
        """Lines are missing between the last one seen and the next."""
        if not self.last_us or self.last_us > at_us:
            self.last_us = at_us  # a clock that was ahead must not put it into the future
        self._lost = reason
        self._gap(self.last_us, self.last_us + SECOND, reason)  # more when the next one is seen

    def _gap(self, begin_us: int, end_us: int, reason: str) -> None:
        """A gap of the log; its stamps are whole seconds, so it began up to one before."""
        self._gaps.append(Gap(self.source, begin_us - SECOND, end_us, reason))

    def _interval(self, begin_us: int, end_us: int) -> None:
        if self._lost is not None:
            self._gap(begin_us, end_us, self._lost)
            self._lost = None
        else:
            self._covered.append((begin_us, end_us))

    # -- the milter -------------------------------------------------------------------

    def spooled(self, record: dict[str, Any]) -> None:
        """A record of the spool: beats, starts and stops prove, and so does mail."""
        at_us = record.get("end") or record.get("at") or 0
        if record.get("t") == "start":
            if self.last_us and at_us > self.last_us:
                self._gaps.append(Gap(self.source, self.last_us, at_us, "not_running"))
        elif record.get("t") == "lost":
            # Told when there was room again: the lost ones came after what is before it here.
            begin_us = min(self.last_us or at_us, at_us)
            self._gaps.append(Gap(self.source, begin_us, at_us + SECOND, "overflow"))
        elif self.last_us and at_us > self.last_us:
            if at_us - self.last_us <= self._beat_us:
                self._covered.append((self.last_us, at_us))
            else:
                self._gaps.append(Gap(self.source, self.last_us, at_us, "not_running"))
        self.last_us = max(self.last_us, at_us)

    # -- time -------------------------------------------------------------------------

    def tick(self, now_us: int, *, caught_up: bool) -> None:
        """A second passed, and the source said what it said."""
        if not caught_up or not self.last_us:
            return
        if self.source != "milter":
            self.last_us = min(self.last_us, now_us)  # it is after now where the clock was set back
            self.seen(now_us)
        elif now_us - self.last_us > self._beat_us:
            self._gaps.append(Gap(self.source, self.last_us, now_us, "not_running"))
