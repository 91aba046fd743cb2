"""Reads spool and mail logs once more, for one day of the journal: the feed of ``rebuild``.

All that the milter and the log say is read of the day, and of what became of its mail in the
queue lifetime behind it. Of what lies outside of the day only that is taken which names a queue
file of the day, so that no other day is touched: for those, what is read twice changes nothing.

Raises NoInputError for a log that cannot be read; whoever drives ``steps`` commits.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from journal import kinds
from journal.events import Event
from journal.keys import DAY_US
from journal.places import AT_US, KIND, QUEUE_ID, SAID
from milterd import spool
from milterd.lines import formats
from milterd.lines.syslog import Splitter, zone
from milterd.track.compressed import LogFile
from milterd.track.generations import older_generations
from milterd.track.intake import Intake
from milterd.track.writing import Bench
from posttrail.errors import DataError

SECOND: Final = 1_000_000
HOUR_US: Final = 3600 * SECOND
EDGE_US: Final = 60 * SECOND
"""So far before midnight a source may have told of a message of the day."""
SESSION_US: Final = HOUR_US
"""So long may a session last in which a message was begun."""
STEP_LINES: Final = 1_000


@dataclass(slots=True)
class Heard:
    """What was read, and how far back it reaches; times are UTC microseconds, 0 for never."""

    records: int = 0
    lines: int = 0
    events: int = 0
    spool_since_us: int = 0
    log_since_us: int = 0
    log_until_us: int = 0
    damaged: list[str] = field(default_factory=list)


class Sieve:
    """Tells what is about mail of the day."""

    def __init__(self, day: int, lifetime_days: int, known: set[int]) -> None:
        """``known``: the hashes of queue ids of the day; grows."""
        self.begin_us = day * DAY_US
        self.end_us = self.begin_us + DAY_US
        self.until_us = self.end_us + lifetime_days * DAY_US
        self.events = 0  # that were wanted
        self._known = known

    def wants(self, event: Event) -> bool:
        """Whether an event may be of the day's mail; remembers the queue ids that it names."""
        at_us, kind, queue_id = event[AT_US], event[KIND], event[QUEUE_ID]
        inside = self.begin_us - EDGE_US <= at_us < self.end_us + EDGE_US
        if not queue_id:
            if kind == kinds.DOOR:
                return self.begin_us <= at_us < self.end_us
            return at_us >= self.begin_us - SESSION_US
        if not inside and (at_us < self.begin_us or hash(queue_id) not in self._known):
            if kind != kinds.PICKUP or at_us < self.begin_us:
                return False
            before = event[SAID][2] if len(event[SAID]) > 2 else b""
            if not before or hash(before) not in self._known:
                return False
        self._known.add(hash(queue_id))
        if kind == kinds.DELIVERY and event[SAID][10]:
            self._known.add(hash(event[SAID][10]))
        elif kind == kinds.NOTICE and event[SAID][1]:
            self._known.add(hash(event[SAID][1]))
        self.events += 1
        return True

    def note(self, events: list[Event]) -> None:
        """A transaction that was wanted."""
        self.events += len(events)
        if events[0].queue_id:
            self._known.add(hash(events[0].queue_id))

    def wants_record(self, record: spool.Body) -> bool:
        """The same of what the milter recorded; notices of failure are wanted at any time."""
        if record.get("t") != "txn":
            return False
        if self.begin_us - HOUR_US <= record["at"] < self.end_us + HOUR_US:
            return bool(record["at"] >= self.begin_us - EDGE_US)
        if not self.begin_us <= record["at"] < self.until_us:
            return False
        own = bool(record["id"]) and hash(record["id"].encode()) in self._known
        return own or record.get("sender") == ""


class Again:
    """One day's spool records and log lines, merged by their times."""

    def __init__(self, bench: Bench, sieve: Sieve, logs: Sequence[LogFile]) -> None:
        self._bench = bench
        self._sieve = sieve
        self._logs = logs
        self._host = bench.settings.mta.hostname.encode()
        self.heard = Heard()
        self._records = self._spooled()
        self._next = next(self._records, None)

    def steps(self) -> Iterator[str]:
        """Do the work; the name of what is being read, every thousand lines."""
        for _, _, log in sorted(self._dated(), key=lambda item: item[:2]):
            try:
                yield from self._one(log)
            except DataError as error:
                self.heard.damaged.append(str(error))
        while self._next is not None:
            self._drain(self._next["at"] + HOUR_US)
            yield "spool"
        self._bench.correlator.adopt_orphans()
        self.heard.events += self._sieve.events

    def _dated(self) -> Iterator[tuple[int, int, LogFile]]:
        """First stamp and place of each log that may have lines of the time."""
        sieve = self._sieve
        for number, log in enumerate(self._logs):
            if log.reference_us < sieve.begin_us - SESSION_US:
                continue  # last written before
            parser = self._parser(log)
            lines = (parser.parse(raw) for raw in log.head())
            first = next((line.at_us for line in lines if line is not None), 0)
            if first and first < sieve.until_us:
                yield first, number, log

    def _parser(self, log: LogFile) -> Splitter:
        settings = self._bench.settings
        return formats.splitter(
            formats.sniff(log.head(), "auto"),
            timezone=zone(settings.log.timezone),
            reference_us=log.reference_us,
            units=settings.log.journald_units,
        )

    def _one(self, log: LogFile) -> Iterator[str]:
        """The lines of one log, each after the records that were spooled before it."""
        parser = self._parser(log)
        intake = Intake(
            parser,
            self._bench.correlator,
            self._bench.writer,
            host=self._host,
            source=formats.source(parser),
            units=self._bench.settings.log.journald_units,
            wanted=self._sieve.wants,
        )
        heard = self.heard
        for count, raw in enumerate(log.lines(), 1):
            intake.take(raw)
            at_us = intake.latest_us
            if self._next is not None:
                self._drain(at_us)
            if count % STEP_LINES == 0:
                heard.lines += STEP_LINES
                yield log.name
                if at_us >= self._sieve.until_us + HOUR_US:
                    break
        heard.lines += intake.tally.lines % STEP_LINES
        first, last = intake.tally.first_us, intake.tally.last_us
        if first:
            heard.log_since_us = min(heard.log_since_us or first, first)
            heard.log_until_us = max(heard.log_until_us, last)

    def close(self) -> None:
        """Let go of the logs."""
        for log in self._logs:
            log.close()

    # -- the spool ---------------------------------------------------------------------------

    def _drain(self, until_us: int) -> None:
        """Take the records that were made before an instant."""
        while self._next is not None and self._next["at"] < until_us:
            record, self._next = self._next, next(self._records, None)
            if self._sieve.wants_record(record):
                events = spool.to_events(record)
                self.heard.records += 1
                self._sieve.note(events)
                self._bench.correlator.take_transaction(events, self._host)

    def _spooled(self) -> Iterator[spool.Body]:
        """The records of mail, in the order in which they were written."""
        directory = self._bench.settings.milter.spool
        for path in [*spool.segments(directory), directory / "current"]:
            if path.suffix == ".seg" and int(path.stem) < self._sieve.begin_us - HOUR_US:
                self.heard.spool_since_us = self.heard.spool_since_us or int(path.stem)
                continue  # finished before
            yield from self._segment(path)

    def _segment(self, path: Path) -> Iterator[spool.Body]:
        try:
            file = path.open("rb")
        except OSError:
            return  # its time was over just now
        with file:
            for raw in file:
                record = spool.parse_line(raw)
                at_us = record.get("at") if record is not None else None
                if record is None or not isinstance(at_us, int):
                    continue
                self.heard.spool_since_us = self.heard.spool_since_us or at_us
                if at_us >= self._sieve.until_us:
                    return
                if record.get("t") == "txn":
                    yield record


def configured(bench: Bench) -> list[Path]:
    """The mail logs of the configuration with their rotated generations, oldest first."""
    settings = bench.settings.log
    files = list(settings.files)
    if settings.syslog_socket or settings.syslog_udp:
        files.append(settings.syslog_spool / "current")
    found: list[Path] = []
    for path in files:
        found += [*older_generations(path)[::-1], path]
    return [path for path in found if path.is_file()]


def opened(bench: Bench, files: Sequence[tuple[str, IO[bytes]]]) -> list[LogFile]:
    """Those logs and the files that were named, open; each once."""
    logs: list[LogFile] = []
    for path in configured(bench):
        try:
            logs.append(LogFile.open(str(path)))
        except OSError:
            continue  # rotated away just now
    for name, raw in files:
        own = os.fdopen(os.dup(raw.fileno()), "rb", 0)  # each day reads it anew
        own.seek(0)
        logs.append(LogFile(name, own))
    identities: set[bytes] = set()
    once: list[LogFile] = []
    for log in logs:
        identity = log.identity()
        if identity and identity in identities:
            log.close()
            continue
        identities.add(identity)
        once.append(log)
    return once
