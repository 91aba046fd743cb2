"""From a source's raw lines to the correlator, and a tally of what was understood.

One ``Intake`` serves one stream of mail log lines in their file's order, live or
imported; ``take_record`` serves the spool. A line that is not understood is data:
it is counted and the first one kept.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from journal import kinds
from journal.events import Event, Source
from journal.places import KIND
from journal.records import Gap
from journal.writer import Writer
from milterd import spool
from milterd.lines import losses, programs
from milterd.lines.journald import JournalParser
from milterd.lines.syslog import Line, Splitter
from milterd.track.correlate import Correlator
from milterd.track.shapes import Kinds
from posttrail.config import JOURNALD_UNITS

log = logging.getLogger(__name__)

SECOND: Final = 1_000_000
LOG: Final = int(Source.LOG)
_SOURCES: Final = {int(Source.LOG): "log", int(Source.JOURNALD): "journald"}
"""What coverage calls who tells."""


class Tally:
    """What became of the lines of a log; stamps are UTC microseconds, 0 before the first."""

    def __init__(self) -> None:
        self.lines = 0
        self.understood = 0  # told of a message or a session
        self.ignored = 0  # understood, tells nothing of mail; or another program's
        self.unknown = 0
        self.kinds = Kinds()  # of those unknown
        self.others = 0  # of those ignored, lines that no program of the mail system wrote
        self.first_unknown = b""
        self.first_us = 0
        self.last_us = 0
        self.gaps: list[Gap] = []  # what the log says it lost; the newest thousand


class Intake:
    """Takes log lines, resolves their stamps and hosts, and gives events to the correlator.

    Every message gets ``host``, or else the name its line prints, mapped by ``names``. ``source``
    is who tells: the log, or journald. ``units`` are those whose suppressed lines are a loss.
    ``wanted`` says which events to give to the correlator; None: all.
    """

    def __init__(
        self,
        parser: Splitter,
        correlator: Correlator,
        writer: Writer,
        *,
        host: bytes = b"",
        names: Mapping[bytes, bytes] | None = None,
        source: int = 1,
        units: Sequence[str] = JOURNALD_UNITS,
        wanted: Callable[[Event], bool] | None = None,
    ) -> None:
        self._wanted = wanted
        self._parser = parser
        self._correlator = correlator
        self._writer = writer
        self._host = host
        self._names = names or {}
        self._source = source
        self._units = units
        self._losing_us = 0  # since when lines are being dropped, as far as the log said
        self.tally = Tally()
        self.latest_us = 0
        """The stamp of the latest line that has one."""

    def take(self, raw: bytes) -> None:
        """One line without its newline. Never raises on what a line says."""
        tally = self.tally
        tally.lines += 1
        line = self._parser.parse(raw)
        if line is None:
            self._unknown(raw, None)
            return
        before_us, at_us = self.latest_us, line.at_us
        self.latest_us = at_us
        if at_us > tally.last_us:
            tally.last_us = at_us
        if not tally.first_us or at_us < tally.first_us:
            tally.first_us = at_us
        event = programs.parse(line)
        if event is None:
            tally.ignored += 1
            if not programs.is_mail(line):
                tally.others += 1
        elif isinstance(event, Event):
            tally.understood += 1
            self._take(event, line, before_us)
        elif isinstance(event, list):
            tally.understood += 1
            for one in event:
                self._take(one, line, before_us)
        else:
            self._unknown(raw, line)

    def _take(self, event: Event, line: Line, before_us: int) -> None:
        if event[KIND] == kinds.GAP:
            self._gap(event, before_us)
            return
        if self._wanted is not None and not self._wanted(event):
            return
        if self._source != LOG:
            event = event._replace(source=self._source)
        host = self._host or (self._names.get(line.host, line.host) if self._names else line.host)
        instance = b"" if line.instance == line.daemon else line.instance  # Postfix's tags alone
        self._correlator.take(event, host, instance)

    def clock(self, now_us: int) -> None:
        """A followed log: year-less stamps are near now."""
        self._parser.reference_us = now_us

    @property
    def last_us(self) -> int | None:
        """What the next parser of the same file is to be given as ``after_us``."""
        return self._parser.last_us

    @property
    def forged(self) -> int:
        """Lines that claimed to be a mail program's and were not believed."""
        return self._parser.forged if isinstance(self._parser, JournalParser) else 0

    def _unknown(self, raw: bytes, line: Line | None) -> None:
        self.tally.unknown += 1
        self.tally.kinds.add(line, raw)
        if not self.tally.first_unknown:
            self.tally.first_unknown = raw[:1000]

    def _gap(self, event: Event, before_us: int) -> None:
        """Lines are missing: the milter's around a moment, the log's since the line before."""
        source, reason = event.fields[0].decode(), event.fields[1].decode()
        begin_us, end_us, lost = event.at_us, event.at_us + SECOND, 0
        if source == "log":
            if not losses.concerns(event, self._units):
                return
            source = _SOURCES[self._source]
            if losses.begins(event):
                self._losing_us = event.at_us
            else:
                begin_us = min(self._losing_us or before_us or begin_us, begin_us)
                end_us, lost = max(event.at_us, begin_us + 1), losses.count(event)
                self._losing_us = 0
        gap = Gap(source, begin_us, end_us, reason, lost)
        self._writer.gap(gap)
        self.tally.gaps = [*self.tally.gaps[-999:], gap]


def take_record(raw: bytes, correlator: Correlator, host: bytes) -> spool.Body | None:
    """One line of the spool; gives its record back, None where the line is damaged."""
    record = spool.parse_line(raw)
    if record is None:
        return None
    events = spool.to_events(record)
    if events:
        correlator.take_transaction(events, host)
    return record
