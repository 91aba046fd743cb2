"""Which form a log has, told by its first lines, and what splits lines of that form.

Forms: ``syslog`` (RFC 3164 and RFC 3339 headers, milterd.track.syslog), ``wire`` (RFC 5424, and
lines that kept their ``<PRI>``, milterd.track.wire), ``journald`` (``journalctl -o json``,
milterd.track.journald). Raises nothing.
"""

from collections.abc import Sequence
from datetime import tzinfo

from journal.events import Source
from milterd.track.journald import JournalParser
from milterd.track.syslog import LineParser, Splitter
from milterd.track.wire import WireParser, is_framed
from posttrail.config import JOURNALD_UNITS

MTAS = ("auto", "postfix", "sendmail", "exim")
"""What ``--mta`` may name; Postfix and Sendmail always log through syslog."""


def sniff(head: Sequence[bytes], mta: str = "auto") -> str:
    """The form of a log that begins with these lines and, where it is named, is of that MTA."""
    if any(line[:1] == b"{" for line in head[:3]):
        return "journald"
    if any(is_framed(line) for line in head[:3]):
        return "wire"
    return "syslog"


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
    kind: type[WireParser] | type[LineParser] = WireParser if form == "wire" else LineParser
    return kind(timezone=timezone, reference_us=reference_us, year=year, after_us=after_us)


def source(parser: Splitter) -> int:
    """Who tells what this splits (journal.events.Source)."""
    return int(Source.JOURNALD if isinstance(parser, JournalParser) else Source.LOG)
