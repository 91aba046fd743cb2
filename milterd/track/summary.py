"""What an import was asked for, how far it is, and what it did: what callers and trackd exchange.

All of it is plain data, so that it crosses the control socket as JSON. Stamps are UTC
microseconds, 0 where no line had one. Raises nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from journal.coverage import Coverage
from journal.records import Gap
from milterd.track.intake import Tally
from milterd.track.shapes import Kinds
from posttrail import __version__
from posttrail.config import JOURNALD_UNITS
from posttrail.text import rfc3339, safe

KINDS_SHOWN: Final = 20
GAPS_MOST: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller of an import may set."""

    host: str = ""
    timezone: str = ""
    year: int | None = None
    mta: str = "auto"
    names: Mapping[bytes, bytes] = field(default_factory=dict)
    units: tuple[str, ...] = JOURNALD_UNITS
    places: tuple[tuple[str, ...], ...] = ()  # domains, networks, folders that rows depend on
    again: bool = False  # read what earlier imports have read

    def signature(self, timezone: str) -> str:
        """Text that differs where the same lines would be read differently."""
        names = sorted(self.names.items())
        parts = self.host, timezone, self.year, self.mta, names, self.units, self.places
        return repr((__version__, *parts))


class Progress(NamedTuple):
    """How far an import has come."""

    file: str
    number: int  # of the file, from 1
    files: int
    bytes_done: int
    bytes_all: int  # 0 where that is not known
    lines: int
    messages: int


@dataclass(slots=True, kw_only=True)
class Summary:
    """What an import did (docs/schema/import.json)."""

    files: list[str] = field(default_factory=list)
    per_file: list[dict[str, Any]] = field(default_factory=list)
    lines: int = 0
    understood: int = 0
    ignored: int = 0
    unknown: int = 0
    forged: int = 0  # of those ignored: records of other units that spoke as mail programs
    bare: int = 0  # records that name no unit, and were believed
    first_unknown: str = ""
    unknown_kinds: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    first_us: int = 0  # of the lines read now
    last_us: int = 0
    oldest_us: int = 0  # of all files named, those read before included
    newest_us: int = 0
    messages: int = 0  # new to the journal
    rows: int = 0
    statuses: dict[str, int] = field(default_factory=dict)  # rows of the period, in the journal
    timezone: str = ""
    years: list[int] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    interrupted: bool = False
    _kinds: Kinds = field(default_factory=Kinds, repr=False)
    _gaps: Coverage = field(default_factory=Coverage, repr=False)

    def note(self, name: str, how: str, tally: Tally, *, skipped: int) -> None:
        """Count one file's lines in."""
        self.files.append(name)
        self.per_file.append(
            {
                "file": name,
                "how": how,
                "lines": tally.lines,
                "skipped": skipped,
                "understood": tally.understood,
                "ignored": tally.ignored,
                "unknown": tally.unknown,
            }
        )
        self.lines += tally.lines
        self.understood += tally.understood
        self.ignored += tally.ignored
        self.unknown += tally.unknown
        if not self.first_unknown:
            self.first_unknown = safe(tally.first_unknown)
        if tally.first_us:
            self.first_us = min(self.first_us or tally.first_us, tally.first_us)
            self.widen(tally.first_us, tally.last_us)
        self.last_us = max(self.last_us, tally.last_us)
        self._kinds.merge(tally.kinds)
        self.unknown_kinds = [
            {
                "program": safe(kind.program),
                "shape": safe(kind.shape),
                "lines": kind.lines,
                "example": safe(kind.example),
            }
            for kind in self._kinds.most()[:KINDS_SHOWN]
        ]
        for gap in tally.gaps:
            self._gaps.gap(gap)
        found = [each for each in self._gaps.intervals() if isinstance(each, Gap)]
        self.gaps = [_gap(each) for each in found[:GAPS_MOST]]

    def widen(self, first_us: int, last_us: int) -> None:
        """A file covers this period, whenever it was read."""
        self.oldest_us = min(self.oldest_us or first_us, first_us)
        self.newest_us = max(self.newest_us, last_us)

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        names = [name for name in self.__dataclass_fields__ if not name.startswith("_")]
        return {name: getattr(self, name) for name in names}


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "source": gap.source,
        "begin": rfc3339(gap.begin_us),
        "end": rfc3339(gap.end_us),
        "reason": gap.reason,
        "lines_lost": gap.lost or None,
    }
