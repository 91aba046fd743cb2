"""Mail logs of any age into the journal, as often as one likes: the work behind ``import``.

Files are taken in the order of their first stamps, whatever order they were named
in. Messages are folded in memory and written when they have been quiet for a while,
so that memory stays flat and each is usually written once. Reading a line again
changes nothing: an event is what a line says.

A file that is no mail log, or that ends in the middle of its compression, is told
of in the summary; what can be read of it is imported all the same.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final

from journal.writer import Writer
from milterd.track import formats
from milterd.track.compressed import LogFile
from milterd.track.correlate import Correlator
from milterd.track.intake import Intake, Tally
from milterd.track.syslog import Splitter, year_of_first, zone
from posttrail.config import JOURNALD_UNITS
from posttrail.errors import DataError
from posttrail.text import safe

OPEN_MOST: Final = 3_000
"""Messages held in memory; one is written once when its lines lie closer than this."""

BATCH: Final = 1_500
"""Messages a commit; an index page is written once a commit, so larger is cheaper."""

CONTEXT: Final = "sessions/import"
"""Under which the sessions that the last line left open wait for the next import."""

STEP_LINES: Final = 2_000
"""Lines between two looks at memory and progress."""

RECYCLE_COMMITS: Final = 4
"""Commits after which the journal's pages are unmapped, so that memory stays flat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller of an import may set."""

    host: str = ""
    timezone: str = ""
    year: int | None = None
    mta: str = "auto"
    names: Mapping[bytes, bytes] = field(default_factory=dict)
    units: tuple[str, ...] = JOURNALD_UNITS


@dataclass(slots=True, kw_only=True)
class Summary:
    """What an import did; stamps are UTC microseconds, 0 where no line had one."""

    files: list[str] = field(default_factory=list)
    lines: int = 0
    understood: int = 0
    ignored: int = 0
    unknown: int = 0
    first_unknown: str = ""
    first_us: int = 0
    last_us: int = 0
    messages: int = 0  # new to the journal
    rows: int = 0
    timezone: str = ""
    years: list[int] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def add(self, tally: Tally) -> None:
        """Count one file's lines in."""
        self.lines += tally.lines
        self.understood += tally.understood
        self.ignored += tally.ignored
        self.unknown += tally.unknown
        if not self.first_unknown:
            self.first_unknown = safe(tally.first_unknown)
        if tally.first_us:
            self.first_us = min(self.first_us or tally.first_us, tally.first_us)
        self.last_us = max(self.last_us, tally.last_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an import has come."""

    file: str
    bytes_done: int
    bytes_all: int
    lines: int


class Import:
    """One import; whoever drives ``steps`` decides when it goes on."""

    def __init__(
        self, files: Sequence[LogFile], correlator: Correlator, writer: Writer, options: Options
    ) -> None:
        self._files = files
        self._correlator = correlator
        self._writer = writer
        self._options = options
        self._commits = 0
        self._before = (correlator.messages, correlator.rows)
        self._zone = zone(options.timezone)
        self._years: dict[LogFile, int | None] = {}
        self.summary = Summary(timezone=str(self._zone or "/".join(time.tzname)))

    def first_us(self) -> int:
        """The earliest of the files' first stamps, UTC microseconds; 0 where none has one."""
        return min((first for first, _, _, _ in self._found() if first), default=0)

    def steps(self) -> Iterator[Progress]:
        """Do the work, a few thousand lines at a time; what was wrong is in ``summary.damaged``."""
        saved = self._writer.context(CONTEXT)
        if saved is not None:
            self._correlator.sessions.load(saved)
        sized = sum(file.size for file in self._files)
        done = 0
        for file, parser in self._in_order():
            yield from self._one(file, parser, done, sized)
            done += file.size
        self._correlator.adopt_orphans()
        self._commit(everything=True)
        self._cover()

    def _in_order(self) -> list[tuple[LogFile, Splitter]]:
        """The files by their first stamp, each with a parser of its own."""
        known = sorted(self._found(), key=lambda item: item[:2])
        return [(file, parser) for _, _, file, parser in known]

    def _found(self) -> list[tuple[int, int, LogFile, Splitter]]:
        """First stamp, place on the command line, file and parser of each file."""
        known: list[tuple[int, int, LogFile, Splitter]] = []
        for place, file in enumerate(self._files):
            parser = self._parser(file)
            first = next((at for raw in file.head() if (at := _stamp(parser, raw))), 0)
            known.append((first, place, file, self._parser(file)))
        return known

    def _parser(self, file: LogFile) -> Splitter:
        if file not in self._years:
            year = self._options.year
            self._years[file] = (
                _long_ago(file, self._zone, self._options.mta) if year is None else year
            )
        return formats.splitter(
            formats.sniff(file.head(), self._options.mta),
            timezone=self._zone,
            reference_us=file.reference_us,
            year=self._years[file],
            units=self._options.units,
        )

    def _one(self, file: LogFile, parser: Splitter, done: int, sized: int) -> Iterator[Progress]:
        """One file's lines."""
        options = self._options
        intake = Intake(
            parser,
            self._correlator,
            self._writer,
            host=options.host.encode(),
            names=options.names,
            source=formats.source(parser),
            units=options.units,
        )
        first = file.head()[0]
        take = intake.take
        count = 0
        try:
            for raw in file.lines():
                take(raw)
                count += 1
                if count % STEP_LINES == 0:
                    if len(self._correlator) > OPEN_MOST + BATCH:
                        self._commit(everything=False)
                    yield Progress(
                        file=file.name,
                        bytes_done=done + file.consumed,
                        bytes_all=sized,
                        lines=self.summary.lines + count,
                    )
        except DataError as error:
            self.summary.damaged.append(str(error))
        else:
            if wrong := _no_mail_log(file.name, intake.tally, first):
                self.summary.damaged.append(wrong)
        self._note(file, intake.tally, parser)

    def _note(self, file: LogFile, tally: Tally, parser: Splitter) -> None:
        """One file is through."""
        self.summary.files.append(file.name)
        self.summary.add(tally)
        if parser.year is not None and parser.year not in self.summary.years:
            self.summary.years.append(parser.year)

    def _commit(self, *, everything: bool) -> None:
        """Write the messages that have been quiet longest, or all."""
        self._correlator.flush(None if everything else BATCH)
        if everything or self._correlator.sessions.changed:
            self._writer.set_context(CONTEXT, self._correlator.sessions.dump())
        self._writer.commit()
        self._correlator.evict(OPEN_MOST)
        self.summary.messages = self._correlator.messages - self._before[0]
        self.summary.rows = self._correlator.rows - self._before[1]
        self._commits += 1
        if self._commits % RECYCLE_COMMITS == 0:
            self._writer.recycle()

    def _cover(self) -> None:
        if self.summary.first_us:
            self._writer.extend("import", self.summary.first_us, self.summary.last_us)
            self._writer.commit()


def _long_ago(file: LogFile, timezone: tzinfo | None, mta: str) -> int | None:
    """The first line's year in a log of more than twelve months; None where no year is wanted."""
    newest_us = file.reference_us
    form = formats.sniff(file.head(), mta)
    parser = formats.splitter(form, timezone=timezone, reference_us=newest_us)
    if not any(_stamp(parser, raw) for raw in file.head()):
        return None
    usual = parser.year  # of the first stamp; None: it has a year
    if usual is None:
        return None
    year = year_of_first(file.beforehand(), newest_us=newest_us, timezone=timezone)
    return year if year < usual else None


def _stamp(parser: Splitter, raw: bytes) -> int:
    line = parser.parse(raw)
    return line.at_us if line is not None else 0


def _no_mail_log(name: str, tally: Tally, first: bytes) -> str:
    """Why a file is no mail log: empty, or of other programs alone; "" where it is one."""
    if not tally.lines:
        return f"{name}: empty, not one line of a mail log"
    if tally.unknown + tally.others < tally.lines:
        return ""
    return (
        f"{name}: not a mail log: {tally.lines} of {tally.lines} lines not understood,"
        f" the first: {safe(first[:200])}"
    )
