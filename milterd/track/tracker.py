"""The loop of posttrail-trackd: follow spool and log, fold, commit in groups.

A group is committed after 100 ms or 1,000 changed messages, and 10 ms after the
last line when nothing more comes. Positions, coverage and session context are
committed with it, after the messages, so that a crash between replays harmlessly.
An import that was handed over goes on between two groups.
"""

import logging
import time
from collections.abc import Iterator
from typing import Final

from journal.store import DiskFullError
from journal.writer import Writer
from milterd.track.bulk import Import, Progress
from milterd.track.control import Caller, Door, plain
from milterd.track.correlate import Correlator
from milterd.track.follow import Follower
from milterd.track.intake import Intake, take_record
from milterd.track.witness import Witness

log = logging.getLogger(__name__)

GROUP_S: Final = 0.1
LINGER_S: Final = 0.01
GROUP_MESSAGES: Final = 1_000
POLL_S: Final = 0.02
TICK_S: Final = 1.0
FULL_S: Final = 5.0  # between two tries while the disk is full
OPEN_MOST: Final = 20_000
READ_BYTES: Final = 1 << 18
PRUNE_S: Final = 3600.0
CONTEXT: Final = "sessions/live"

SECOND: Final = 1_000_000


class Source:
    """One followed file chain: the spool, or a mail log."""

    def __init__(self, name: str, follower: Follower, intake: Intake | None) -> None:
        self.name = name
        self.follower = follower
        self.intake = intake  # None: the spool
        self.position = b""
        self.witness = Witness("milter" if intake is None else "log")

    def resume(self, writer: Writer) -> None:
        """Take up coverage where an earlier process left it."""
        until = writer.context(f"covered/{self.name}")
        if until is not None:
            self.witness.resume(int(until))


class Tracker:
    """Ties sources, correlator and writer together; ``turn`` does one round."""

    def __init__(
        self,
        sources: list[Source],
        correlator: Correlator,
        writer: Writer,
        *,
        host: bytes,
        door: Door | None = None,
        keep_days: int = 30,
    ) -> None:
        self._sources = sources
        self._correlator = correlator
        self._writer = writer
        self._host = host
        self._door = door
        self._keep_days = keep_days
        self._since: float | None = None  # when the first uncommitted change came
        self._ticked = self._pruned = self._full_until = 0.0
        self._work: tuple[Caller, Import, Iterator[Progress]] | None = None
        self.damaged = 0  # spool lines whose checksum did not fit
        saved = writer.context(CONTEXT)
        if saved is not None:
            correlator.sessions.load(saved)

    # -- one round --------------------------------------------------------------------

    def turn(self) -> bool:
        """Read what is there, commit what is due; False when there was nothing to do."""
        now = time.monotonic()
        if now < self._full_until:
            return False
        read = sum(self._read(source) for source in self._sources) > 0
        if read and self._since is None:
            self._since = now
        worked = self._work_on()
        due = self._since is not None and (
            now - self._since >= GROUP_S
            or len(self._correlator) >= OPEN_MOST + GROUP_MESSAGES
            or (not read and now - self._since >= LINGER_S)
        )
        tick = now - self._ticked >= TICK_S
        if due or tick:
            self.commit(tick=tick)
        if now - self._pruned >= PRUNE_S:
            self._pruned = now
            for day in self._writer.prune(_now_us(), self._keep_days):
                log.info("dropped day=%s", day)
        return read or worked

    def _read(self, source: Source) -> bool:
        """Fold the next lines of one source."""
        lines, position = source.follower.read(READ_BYTES)
        for raw in lines:
            if source.intake is not None:
                source.intake.take(raw)
            else:
                self._spooled(source, raw)
        for gap in source.follower.gaps():
            source.witness.lost(gap.reason, gap.at_us)
        if lines:
            source.position = position
        if source.intake is not None:
            source.witness.seen(source.intake.tally.last_us)
        return bool(lines)

    def _spooled(self, source: Source, raw: bytes) -> None:
        record = take_record(raw, self._correlator, self._host)
        if record is None:
            if raw:
                self.damaged += 1
                log.warning("damaged spool line bytes=%d", len(raw))
            return
        source.witness.spooled(record)

    # -- committing -------------------------------------------------------------------

    def commit(self, *, tick: bool = False) -> None:
        """Write the group with positions, coverage and context; waits out a full disk."""
        correlator = self._correlator
        correlator.flush()
        positions = {source.name: source.position for source in self._sources if source.position}
        for source in self._sources:
            if tick:
                source.witness.tick(_now_us(), caught_up=source.follower.caught_up)
                if source.intake is not None:
                    source.intake.clock(_now_us())
            self._cover(source)
        if correlator.sessions.changed:
            self._writer.set_context(CONTEXT, correlator.sessions.dump())
        try:
            self._writer.commit(positions)
        except DiskFullError as error:
            log.error("disk full, nothing lost, trying again in %d s: %s", FULL_S, error)
            self._full_until = time.monotonic() + FULL_S
            return
        self._since = None
        if tick:
            self._ticked = time.monotonic()
        correlator.evict(OPEN_MOST)

    def _cover(self, source: Source) -> None:
        """Buffer what a source's witness says, and how far it got."""
        witness = source.witness
        intervals = witness.covered()
        gaps = witness.gaps()
        for begin_us, end_us in intervals:
            self._writer.extend(witness.source, begin_us, end_us)
        for gap in gaps:
            self._writer.gap(gap)
        if intervals or gaps:
            self._writer.set_context(f"covered/{source.name}", b"%d" % witness.last_us)

    def gauges(self) -> dict[str, float]:
        """What Prometheus is told of this process."""
        values: dict[str, float] = {
            "posttrail_trackd_open_messages": len(self._correlator),
            "posttrail_trackd_damaged_spool_lines": self.damaged,
        }
        for source in self._sources:
            if source.intake is not None:
                values["posttrail_trackd_unknown_lines"] = source.intake.tally.unknown
        return values

    # -- handed-over imports ----------------------------------------------------------

    def _work_on(self) -> bool:
        """Take the next step of an import, or the next caller."""
        if self._work is None:
            caller = self._door.accept() if self._door is not None else None
            if caller is None:
                return False
            self._begin(caller)
            return True
        caller, job, steps = self._work
        step = next(steps, None)
        if step is not None:
            caller.tell(progress=plain(step))
            return True
        caller.tell(done=plain(job.summary))
        caller.close()
        self._work = None
        return True

    def _begin(self, caller: Caller) -> None:
        from milterd.track.handed import begin  # compressed formats load only when asked for

        job = begin(caller, self._correlator, self._writer, keep_days=self._keep_days)
        if job is None:
            caller.close()
        else:
            self._work = (caller, job, job.steps())

    def stop(self) -> None:
        """The last commit."""
        if self._work is not None:
            self._work[0].tell(error="posttrail-trackd was stopped; import again", exit=75)
            self._work[0].close()
        self.commit(tick=True)
        for source in self._sources:
            source.follower.close()
        if self._door is not None:
            self._door.close()


def _now_us() -> int:
    return time.time_ns() // 1000
