"""Mail logs of any age into the journal, as often as one likes: the work behind ``import``.

Files are taken in the order of their first stamps, whatever order they were named
in. Messages are folded in memory and written when they have been quiet for a while,
so that memory stays flat and each is usually written once. Reading a line again
changes nothing: an event is what a line says.

How far each file was read is committed with what it said (``ledger``): an import that was
ended goes on where it was, and what was read to its end is not read again.

A file that is no mail log, or that ends in the middle of its compression, is told
of in the summary; what can be read of it is imported all the same.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import Final

from journal.records import Status
from journal.writer import Writer
from milterd.lines import formats
from milterd.lines.journald import JournalParser
from milterd.lines.syslog import Splitter, year_of_first, zone
from milterd.track.compressed import LogFile
from milterd.track.correlate import Correlator
from milterd.track.intake import Intake, Tally
from milterd.track.ledger import Ledger, Place
from milterd.track.sessions import IMPORTED
from milterd.track.summary import Options, Progress, Summary
from posttrail.errors import DataError
from posttrail.text import safe

__all__ = ["Import", "Options", "Progress", "Summary"]

OPEN_MOST: Final = 3_000
"""Messages held in memory; one is written once when its lines lie closer than this."""

BATCH: Final = 1_500
"""Messages a commit; an index page is written once a commit, so larger is cheaper."""

"""Under which the sessions that the last line left open wait for the next import."""

STEP_LINES: Final = 2_000
"""Lines between two looks at memory and progress."""

RECYCLE_COMMITS: Final = 4
"""Commits after which the journal's pages are unmapped, so that memory stays flat."""

CHECKPOINT_S: Final = 10.0
"""After so long all is written, and how far the file was read: what a kill costs."""


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
        self._stopping = False
        self._saved = time.monotonic()
        self.summary = Summary(timezone=str(self._zone or "/".join(dict.fromkeys(time.tzname))))
        signature = options.signature(self.summary.timezone)
        self._ledger = Ledger(writer, signature, again=options.again)

    def first_us(self) -> int:
        """The earliest of the files' first stamps, UTC microseconds; 0 where none has one."""
        return min((first for first, _, _ in self._found() if first), default=0)

    def stop(self) -> None:
        """End at the next step; what was read by then is committed, with the place."""
        self._stopping = True

    def steps(self) -> Iterator[Progress]:
        """Do the work, a few thousand lines at a time; what was wrong is in ``summary.damaged``."""
        saved = self._writer.context(IMPORTED)
        if saved is not None:
            self._correlator.sessions.load(saved)
        sized = sum(file.size for file in self._files)
        done = 0
        for number, (_, _, file) in enumerate(sorted(self._found(), key=lambda item: item[:2])):
            if not self._read_before(file):
                begun = Progress(
                    file=file.name,
                    number=number + 1,
                    files=len(self._files),
                    bytes_done=done,
                    bytes_all=sized,
                    lines=self.summary.lines,
                    messages=self.summary.messages,
                )
                yield from self._one(file, begun)
            done += file.size
            if self._stopping:
                break
        if not self._stopping:
            self._correlator.adopt_orphans()
        self._commit(everything=True)
        self._cover()
        self.summary.interrupted = self._stopping
        self._count_rows()

    # -- which files, and from where ---------------------------------------------------------

    def _found(self) -> list[tuple[int, int, LogFile]]:
        """First stamp and place on the command line of each file."""
        known: list[tuple[int, int, LogFile]] = []
        for number, file in enumerate(self._files):
            place = self._ledger.place(file)
            if place is not None:
                first = place.first_us
            else:
                parser = self._parser(file, None)
                first = next((at for raw in file.head() if (at := _stamp(parser, raw))), 0)
            known.append((first, number, file))
        return known

    def _read_before(self, file: LogFile) -> bool:
        """Whether the file was read to its end and has not changed: nothing to do."""
        place = self._ledger.place(file)
        if place is None or file.size not in place.sizes:
            return False
        self._note_file(file, place, "the same as" if self._ledger.is_own(file) else "read before")
        return True

    def _parser(self, file: LogFile, place: Place | None) -> Splitter:
        if place is None and file not in self._years:
            year = self._options.year
            self._years[file] = (
                _long_ago(file, self._zone, self._options.mta) if year is None else year
            )
        return formats.splitter(
            formats.sniff(file.head(), self._options.mta),
            timezone=self._zone,
            reference_us=file.reference_us,
            year=self._years[file] if place is None else place.year,
            after_us=None if place is None else place.last_us,
            units=self._options.units,
        )

    # -- reading -----------------------------------------------------------------------------

    def _one(self, file: LogFile, begun: Progress) -> Iterator[Progress]:
        """The lines of one file that were not read before."""
        place = self._ledger.place(file)
        own = place is not None and self._ledger.is_own(file)
        parser, skip = self._parser(file, place), 0 if place is None else place.lines
        intake = self._intake(parser)
        first = file.head()[0]
        take = intake.take
        count, ended = 0, True
        try:
            for raw in file.lines(skip):
                take(raw)
                count += 1
                if count % STEP_LINES == 0:
                    if self._stopping:
                        ended = False
                        break
                    self._save_now_and_then(file, parser, intake.tally, skip + count, place)
                    yield begun._replace(
                        bytes_done=begun.bytes_done + file.consumed,
                        lines=self.summary.lines + count,
                        messages=self.summary.messages,
                    )
        except DataError as error:
            self.summary.damaged.append(str(error))
            ended = False
        wrong = "" if skip or not ended else _no_mail_log(file.name, intake.tally, first)
        if wrong:
            self.summary.damaged.append(wrong)
        else:
            count -= file.unterminated and ended  # the next import may find the whole line
            self._keep(file, parser, intake.tally, skip + count, place, ended=ended)
        how = "the same as" if own and not intake.tally.lines else "read on" if skip else "read"
        self._note_file(file, place, how, intake.tally)
        if isinstance(parser, JournalParser):
            self.summary.forged += parser.forged
            self.summary.bare += parser.bare
        if parser.year is not None and parser.year not in self.summary.years:
            self.summary.years.append(parser.year)

    def _intake(self, parser: Splitter) -> Intake:
        options = self._options
        return Intake(
            parser,
            self._correlator,
            self._writer,
            host=options.host.encode(),
            names=options.names,
            source=formats.source(parser),
            units=options.units,
        )

    def _keep(
        self,
        file: LogFile,
        parser: Splitter,
        tally: Tally,
        lines: int,
        before: Place | None,
        *,
        ended: bool,
    ) -> None:
        """Have the place of a file committed with the next commit of everything."""
        first = (
            tally.first_us if before is None else min(before.first_us, tally.first_us or 1 << 62)
        )
        dated = self._years.get(file) is not None or (
            before is not None and before.year is not None
        )
        sizes = list(before.sizes) if before is not None and before.lines == lines else []
        self._ledger.note(
            file,
            Place(
                name=file.name,
                lines=lines,
                sizes=[*sizes, file.size] if ended else [],
                year=parser.year if dated else None,
                last_us=parser.last_us,
                first_us=first,
                newest_us=max(tally.last_us, 0 if before is None else before.newest_us),
            ),
        )

    def _save_now_and_then(
        self, file: LogFile, parser: Splitter, tally: Tally, lines: int, before: Place | None
    ) -> None:
        """Write what is due; every few seconds everything, with the place of the file."""
        if time.monotonic() - self._saved >= CHECKPOINT_S:
            self._keep(file, parser, tally, lines, before, ended=False)
            self._commit(everything=True)
        elif len(self._correlator) > OPEN_MOST + BATCH:
            self._commit(everything=False)

    # -- writing -----------------------------------------------------------------------------

    def _commit(self, *, everything: bool) -> None:
        """Write the messages that have been quiet longest, or all."""
        self._correlator.flush(None if everything else BATCH)
        if everything:  # else lines that were read may still be in memory alone
            self._ledger.save()
        if everything or self._correlator.sessions.changed:
            self._writer.set_context(IMPORTED, self._correlator.sessions.dump())
        self._writer.commit()
        if everything:
            self._saved = time.monotonic()
        self._correlator.evict(OPEN_MOST)
        self.summary.messages = self._correlator.messages - self._before[0]
        self.summary.rows = self._correlator.rows - self._before[1]
        self._commits += 1
        if self._commits % RECYCLE_COMMITS == 0:
            self._writer.days.recycle()

    def _cover(self) -> None:
        if self.summary.first_us:
            self._writer.extend("import", self.summary.first_us, self.summary.last_us)
            self._writer.commit()

    # -- telling -----------------------------------------------------------------------------

    def _note_file(
        self, file: LogFile, place: Place | None, how: str, tally: Tally | None = None
    ) -> None:
        """One file is through; ``place`` is how far it was read before."""
        self.summary.note(
            file.name,
            f"{how} {place.name}" if place is not None and how == "the same as" else how,
            tally or Tally(),
            skipped=0 if place is None else place.lines,
        )
        if place is not None and place.newest_us:
            self.summary.widen(place.first_us, place.newest_us)

    def _count_rows(self) -> None:
        """The rows of the period, by status, as the journal has them now."""
        summary = self.summary
        if summary.newest_us:
            counted = self._writer.committed.rows(summary.oldest_us, summary.newest_us)
            summary.statuses = {
                status.token: counted[status] for status in Status if counted.get(status)
            }


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
