"""One stream that trackd follows: what was read of it, what was folded, and what that proves.

Lines wait here until the correlator has them; a position is that of what was folded. What the
stream shows of its own coverage is the work of its witness. A file that cannot be read is tried
again with each ``read``.

Log messages: ``cannot be read ...`` (error). Raises what its follower raises, but OSError.
"""

import logging
import time
from collections import deque
from typing import Final, Protocol

from journal.writer import Writer
from milterd.track.follow import FollowGap
from milterd.track.intake import Intake
from milterd.track.witness import BEAT_US, Witness

log = logging.getLogger(__name__)

READ_BYTES: Final = 1 << 18
SECOND: Final = 1_000_000


class Follows(Protocol):
    """What hands out the lines of a source, each once: ``Follower``, ``JournalFollower``."""

    @property
    def caught_up(self) -> bool: ...
    @property
    def position(self) -> bytes: ...
    def read(self, limit_bytes: int = ..., /) -> tuple[list[bytes], bytes]: ...
    def gaps(self) -> list[FollowGap]: ...
    def close(self) -> None: ...


class Source:
    """One followed stream: the spool, a mail log, the system's journal."""

    def __init__(
        self,
        name: str,
        follower: Follows,
        intake: Intake | None,
        *,
        kind: str = "log",
        beat_us: int = BEAT_US,
    ) -> None:
        self.name = name
        self.intake = intake  # None: the spool
        self.follower = follower
        self.position = follower.position  # all before it was folded
        self.waiting: deque[bytes] = deque()  # read, and not folded yet
        self.witness = Witness("milter" if intake is None else kind, beat_us=beat_us)
        self._readable = True
        self.looked_us = 0  # when the last read began: what was written later is not in it
        self.stream = name.partition(" ")[0]  # "log" of "log /var/log/mail.log"
        self.lines = 0  # read
        self._begun_us = _now_us()

    def resume(self, writer: Writer) -> None:
        """Take up coverage where an earlier process left it."""
        until = writer.context(f"covered/{self.name}")
        if until is not None:
            self.witness.resume(int(until))

    def read(self) -> bool:
        """Have the next lines wait; False where there are none. A file may be unreadable."""
        if self.waiting:
            return True
        self.looked_us = _now_us()
        try:
            lines, _ = self.follower.read(READ_BYTES)
        except OSError as error:
            if self._readable:
                log.error("cannot be read, trying again source=%s error=%s", self.name, error)
            self._readable = False
            return False
        self._readable = True
        self.waiting.extend(lines)
        self.lines += len(lines)
        for gap in self.follower.gaps():
            self.witness.lost(gap.reason, gap.at_us)
        return bool(lines)

    def folded(self) -> None:
        """All that was read is in the correlator now."""
        self.position = self.follower.position
        if self.intake is not None:
            self.witness.seen(min(self.intake.latest_us, self.looked_us))  # no stamp in the future

    def settle(self) -> None:
        """A finished file may have been let go without a line that came after it."""
        if not self.waiting:
            self.position = self.follower.position

    @property
    def caught_up(self) -> bool:
        """Whether nothing is left to read, as far as can be known."""
        return self._readable and not self.waiting and self.follower.caught_up

    def lag_s(self, now_us: int) -> float:
        """How old the newest line read is, where there is more to read; else 0."""
        if self.caught_up:
            return 0.0
        newest_us = self.witness.last_us if self.intake is None else self.intake.latest_us
        return max(0, now_us - (newest_us or self._begun_us)) / SECOND


def _now_us() -> int:
    return time.time_ns() // 1000
