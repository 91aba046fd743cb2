"""Which form a log has, told by its first lines, and what splits lines of that form.

Forms: ``syslog`` (RFC 3164 and RFC 3339 headers, milterd.lines.syslog), ``exim`` (Exim's own main
log, milterd.lines.exim_header), ``wire`` (RFC 5424, and lines that kept their ``<PRI>``,
milterd.lines.wire), ``journald`` (``journalctl -o json``, milterd.lines.journald), ``own`` (files
that Dovecot and rspamd write themselves, milterd.lines.own_logs). Raises nothing.
"""

from collections.abc import Sequence
from datetime import tzinfo

from journal.events import Source
from milterd.lines.exim_header import EximParser, looks_like_exim
from milterd.lines.journald import JournalParser
from milterd.lines.own_logs import OwnParser, looks_like_own
from milterd.lines.syslog import Line, LineParser, Splitter
from milterd.lines.wire import WireParser, is_framed
from posttrail.config import JOURNALD_UNITS

MTAS = ("auto", "postfix", "sendmail", "exim")
"""What ``--mta`` may name; Postfix and Sendmail always log through syslog, Exim if told to."""


def sniff(head: Sequence[bytes], mta: str = "auto") -> str:
    """The form of a log that begins with these lines and, where it is named, is of that MTA."""
    if any(line[:1] == b"{" and b'"__REALTIME_TIMESTAMP"' in line for line in head[:3]):
        return "journald"  # else it may be a container's line
    if any(is_framed(line) for line in head[:3]):
        return "wire"
    if mta in ("auto", "exim") and looks_like_exim(head, named=mta == "exim"):
        return "exim"
    return "own" if looks_like_own(head) else "syslog"


def splitter(
    form: str,
    *,
    timezone: tzinfo | None,
    reference_us: int,
    year: int | None = None,
    after_us: int | None = None,
    units: Sequence[str] = JOURNALD_UNITS,
) -> Splitter:
    """What splits the lines of a log of that form; the arguments are LineParser's.

    ``units`` are those whose records of an exported journal are believed.
    """
    if form == "journald":
        return JournalParser(reference_us=reference_us, units=units, bare=True)
    if form == "exim":
        return EximParser(timezone=timezone, reference_us=reference_us, after_us=after_us)
    kind: type[WireParser] | type[LineParser] | type[OwnParser] = LineParser
    if form in ("wire", "own"):
        kind = WireParser if form == "wire" else OwnParser
    return kind(timezone=timezone, reference_us=reference_us, year=year, after_us=after_us)


def source(parser: Splitter) -> int:
    """Who tells what this splits (journal.events.Source)."""
    return int(Source.JOURNALD if isinstance(parser, JournalParser) else Source.LOG)


class Sniffing:
    """Splits the lines of a followed log, whose first lines are not there yet: a ``Splitter``.

    The first line that one of the forms knows decides for all that follow.
    """

    def __init__(
        self, *, timezone: tzinfo | None, reference_us: int, after_us: int | None = None
    ) -> None:
        self._timezone = timezone
        self._splitter = splitter(
            "syslog", timezone=timezone, reference_us=reference_us, after_us=after_us
        )
        self._known = False

    @property
    def reference_us(self) -> int:
        """The newest time that a year-less stamp may have."""
        return self._splitter.reference_us

    @reference_us.setter
    def reference_us(self, at_us: int) -> None:
        self._splitter.reference_us = at_us

    @property
    def year(self) -> int | None:
        """Of the latest year-less stamp."""
        return self._splitter.year

    @property
    def last_us(self) -> int | None:
        """About when the latest line was written."""
        return self._splitter.last_us

    def parse(self, line: bytes) -> Line | None:
        """Split one line."""
        if not self._known:
            form = sniff([line])
            if form in ("exim", "wire", "own"):
                before = self._splitter
                self._splitter = splitter(
                    form,
                    timezone=self._timezone,
                    reference_us=before.reference_us,
                    after_us=before.last_us,
                )
                self._known = True
        found = self._splitter.parse(line)
        # "2026-11-23 18:30:01 mx sshd[7]: ..." may be either; what comes behind it tells.
        self._known = self._known or (found is not None and line[10:11] != b" ")
        return found
