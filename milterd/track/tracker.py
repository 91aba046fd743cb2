"""The loop of posttrail-trackd: follow spool and log, fold, commit in groups.

A group is committed after 100 ms or 1,000 changed messages, and 10 ms after the
last line when nothing more comes. Positions, coverage and session context are
committed with it, after the messages, so that a crash between replays harmlessly.
An import that was handed over goes on between two groups.

A full disk loses nothing: what was read is kept, nothing more is read, and every few
seconds it is tried again. A log that cannot be read is tried again as well.

Log messages: ``disk full ...`` (error), ``damaged spool line ...`` (warning), ``disk has room
again``, ``dropped day ...`` (info). Raises UnavailableError where the journal is damaged.
"""

import logging
import time
from collections import Counter
from typing import Final

from journal.keys import day_name, day_of
from journal.store import DiskFullError
from journal.writer import Writer
from milterd.track.correlate import Correlator
from milterd.track.handed import Desk
from milterd.track.intake import take_record
from milterd.track.sessions import LIVE
from milterd.track.source import SECOND, Source
from milterd.track.writing import AGE
from posttrail import daemon
from posttrail.metrics import COMMITS_S, Histogram

log = logging.getLogger(__name__)

GROUP_S: Final = 0.1
LINGER_S: Final = 0.01
GROUP_MESSAGES: Final = 1_000
POLL_S: Final = 0.02
TICK_S: Final = 1.0
FULL_S: Final = 5.0  # between two tries while the disk is full
OPEN_MOST: Final = 20_000
OPEN_SLACK: Final = 500  # let go of many at once: all are looked at for it
PRUNE_S: Final = 3600.0
COMPACT_S: Final = 1800.0
"""That the watchdog grants a day's copy, which is one call: tens of gigabytes on a slow disk."""
SILENT_S: Final = 60.0
"""Between two counts of messages of which nothing is heard; five times that while lines come in."""
SILENT_MOST: Final = 2_000
"""Records that such a count reads."""


class Tracker:
    """Ties sources, correlator and writer together; ``turn`` does one round."""

    def __init__(
        self,
        sources: list[Source],
        correlator: Correlator,
        writer: Writer,
        *,
        host: bytes,
        desk: Desk | None = None,
        keep_days: int = 30,
        cap_bytes: int = 0,
        lifetime_days: int = 5,
        silent_us: int = 7_200 * SECOND,
    ) -> None:
        self._sources = sources
        self._correlator = correlator
        self._writer = writer
        self._host = host
        self._desk = desk
        self._keep_days = keep_days
        self._cap_bytes = cap_bytes  # 0: none
        self._lifetime_days = lifetime_days
        self._since: float | None = None  # when the first uncommitted change came
        self._ticked = self._pruned = 0.0
        self._compacted = ""  # the day whose free pages were given back last
        self._full_until: float | None = None
        self._moved = time.monotonic()  # when was last committed, or found that the disk is full
        self._silent_us = silent_us
        self._silent = 0  # accepted, without an outcome, and nothing was heard for silent_us
        self._counted = time.monotonic() - 4 * SILENT_S
        self._commits = Histogram(COMMITS_S)
        self.damaged = 0  # spool lines whose checksum did not fit
        saved = writer.context(LIVE)
        if saved is not None:
            correlator.sessions.load(saved)

    # -- one round --------------------------------------------------------------------

    def turn(self) -> bool:
        """Read what is there, commit what is due; False when there was nothing to do."""
        now = time.monotonic()
        if self._full_until is not None and now < self._full_until:
            return False
        try:
            return self._turn(now)
        except DiskFullError as error:
            self._wait_for_room(error)
            return False

    def _turn(self, now: float) -> bool:
        if self._full_until is not None:  # nothing is read before what waits was written
            self.commit()
        read = sum(self._read(source) for source in self._sources) > 0
        if read and self._since is None:
            self._since = now
        worked = self._desk is not None and self._desk.turn()
        due = self._since is not None and (
            now - self._since >= GROUP_S
            or len(self._correlator) >= OPEN_MOST + GROUP_MESSAGES
            or (not read and now - self._since >= LINGER_S)
        )
        tick = now - self._ticked >= TICK_S
        if due or tick:
            self.commit(tick=tick)
        if now - self._pruned >= PRUNE_S:
            self._tidy()
            self._pruned = now
        if now - self._counted >= (5 * SILENT_S if read else SILENT_S):
            self._counted = now
            self._silent = self._writer.committed.silent(
                _now_us() - self._silent_us, most=SILENT_MOST
            )
        return read or worked

    def stalled_s(self) -> float:
        """Since when nothing was committed: the proof of progress. A full disk is no standstill."""
        return time.monotonic() - self._moved

    def _tidy(self) -> None:
        """Drop the days past retention; give back what is free in yesterday's file, once."""
        dropped = self._writer.prune(_now_us(), self._keep_days)
        if self._cap_bytes:
            protected = day_of(_now_us()) - self._lifetime_days
            dropped += self._writer.shrink(self._cap_bytes, protected)
        for day in dropped:
            log.info("dropped day=%s", day)
        if self._desk is not None and self._desk.ages:
            self._desk.later(AGE)
        yesterday = day_name(day_of(_now_us()) - 1)
        if yesterday != self._compacted:
            self._compacted = yesterday
            with daemon.patience(COMPACT_S):
                self._writer.days.compact(yesterday)

    def _wait_for_room(self, error: DiskFullError) -> None:
        if self._full_until is None:
            log.error("disk full, nothing is lost, trying again every %d s: %s", FULL_S, error)
        self._moved = time.monotonic()
        self._full_until = self._moved + FULL_S

    def _read(self, source: Source) -> bool:
        """Fold the next lines of one source."""
        if not source.read():
            return False
        if source.intake is not None:
            source.intake.clock(_now_us())  # a tick ago may be days ago, where a machine slept
        waiting = source.waiting
        while waiting:
            if source.intake is not None:
                source.intake.take(waiting[0])
            else:
                self._spooled(source, waiting[0])
            waiting.popleft()  # only now: a full disk may have kept it from being folded
        source.folded()
        return True

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
        """Write the group with positions, coverage and context; raises DiskFullError."""
        correlator = self._correlator
        correlator.flush()
        for source in self._sources:
            if tick:
                source.settle()
                source.witness.tick(source.looked_us, caught_up=source.caught_up)
            self._cover(source)
            if source.intake is not None and source.intake.last_us is not None:
                self._writer.set_context(f"stamp/{source.name}", b"%d" % source.intake.last_us)
        if correlator.sessions.changed:
            self._writer.set_context(LIVE, correlator.sessions.dump())
        began = time.monotonic()
        if self._writer.commit({source.name: source.position for source in self._sources}):
            self._commits.observe(time.monotonic() - began)
        if self._full_until is not None:
            log.info("disk has room again")
        self._full_until = self._since = None
        self._moved = time.monotonic()
        if tick:
            self._ticked = self._moved
        if len(correlator) >= OPEN_MOST + OPEN_SLACK:
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
        intakes = [source.intake for source in self._sources if source.intake is not None]
        values: dict[str, float] = {
            "posttrail_trackd_open_messages": len(self._correlator),
            "posttrail_trackd_damaged_spool_lines_total": self.damaged,
            "posttrail_trackd_silent_messages": self._silent,
            "posttrail_trackd_unknown_lines_total": sum(each.tally.unknown for each in intakes),
            "posttrail_trackd_forged_lines_total": sum(each.forged for each in intakes),
            "posttrail_trackd_disk_full": int(self._full_until is not None),
        }
        lines: Counter[str] = Counter()
        lags: dict[str, float] = {}
        for source in self._sources:
            lines[source.stream] += source.lines
            lags[source.stream] = max(lags.get(source.stream, 0.0), source.lag_s(_now_us()))
        values |= {
            f'posttrail_trackd_lines_total{{source="{name}"}}': count
            for name, count in lines.items()
        }
        values |= {
            f'posttrail_trackd_lag_seconds{{source="{name}"}}': lag for name, lag in lags.items()
        }
        return values | self._commits.samples("posttrail_trackd_commit_duration_seconds")

    def stop(self) -> None:
        """The last commit."""
        if self._desk is not None:
            self._desk.stop()
        try:
            self.commit(tick=True)
        except DiskFullError as error:
            log.error("disk full, the last lines are read again at the next start: %s", error)
        for source in self._sources:
            source.follower.close()


def _now_us() -> int:
    return time.time_ns() // 1000
