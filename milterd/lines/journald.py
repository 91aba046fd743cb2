"""Split a record of systemd's journal, as ``journalctl -o json`` prints it, into a ``Line``.

Format: systemd.journal-fields(7), journalctl(1), one JSON object a line; a field that is no
UTF-8 text is a list of bytes, one that was set several times is a list of these. Fields whose
names begin with an underscore were set by journald, all others by whoever logged, so only
lines of the MTA's own units are believed; the others are split into lines of a program that
has the unit's name, which tells nothing. Raises nothing.
"""

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from milterd.lines import losses, programs
from milterd.lines.syslog import MAX_LINE, Line
from posttrail.config import JOURNALD_UNITS

FIELDS: Final = (
    "MESSAGE", "SYSLOG_IDENTIFIER", "SYSLOG_PID", "_PID", "_COMM", "_UID", "_HOSTNAME",
    "_SYSTEMD_UNIT", "_TRANSPORT", "_SOURCE_REALTIME_TIMESTAMP",
)  # fmt: skip
"""All that is asked of journalctl, beside what it always prints."""

SYSTEM_UIDS: Final = 1000
"""Users from here on are people. What Postfix runs for them (pipe, .forward) is in its unit, too,
and may not speak as one of its daemons, which have a tag of several parts."""

_OPERATOR: Final = frozenset({b"postsuper"})
"""Tools that root runs from a shell, which is in no unit of the MTA: root is believed there."""


class Entry(NamedTuple):
    """A record's fields that matter; b"" where it has none."""

    at_us: int
    host: bytes
    tag: bytes
    pid: int
    unit: bytes
    uid: bytes
    transport: bytes
    text: bytes


class JournalParser:
    """Splits records in the journal's order."""

    def __init__(
        self, *, reference_us: int = 0, units: Sequence[str] = JOURNALD_UNITS, bare: bool = False
    ) -> None:
        """``units`` are believed; ``bare``: so are records that name no unit (an export of which
        somebody left the field out, taken by an import as a log file would be)."""
        self.reference_us = reference_us
        self.year: int | None = None  # stamps here are whole
        self.last_us: int | None = None
        self.forged = 0
        """Records of other units that claimed to be a mail program's."""
        self.bare = 0
        """Records of mail programs without a unit, that were believed all the same."""
        self._units = tuple(units)
        self._take_bare = bare
        self._known: dict[bytes, bool] = {}

    def parse(self, line: bytes) -> Line | None:
        """Split one record, given without its newline; None where it is none."""
        entry = entry_of(line)
        if entry is None:
            return None
        self.last_us = entry.at_us
        instance, _, rest = entry.tag.partition(b"/")
        service, _, daemon = rest.rpartition(b"/")
        told = Line(
            entry.at_us, entry.host, instance, service, daemon or instance, entry.pid, entry.text
        )
        if self._believed(entry, told):
            return told
        name = entry.unit or b"-"
        return Line(entry.at_us, entry.host, name, b"", name, entry.pid, entry.text)

    def _believed(self, entry: Entry, line: Line) -> bool:
        """Whether the record comes from whom it says it does."""
        if line.instance == line.daemon and line.daemon in losses.JOURNALD:
            return entry.transport == b"driver" or (self._take_bare and not entry.unit)
        if self._of_ours(entry.unit):
            if line.instance == line.daemon or self._is_system(entry.uid):
                return True
        elif entry.uid == b"0" and line.daemon in _OPERATOR:
            return True
        mail = programs.is_mail(line)
        if self._take_bare and not entry.unit:
            self.bare += mail
            return True
        self.forged += mail
        return False

    def _is_system(self, uid: bytes) -> bool:
        return int(uid) < SYSTEM_UIDS if uid.isdigit() and len(uid) < 11 else self._take_bare

    def _of_ours(self, unit: bytes) -> bool:
        known = self._known.get(unit)
        if known is None:
            if len(self._known) > 1000:
                self._known.clear()
            name = unit.decode("utf-8", "replace")
            known = any(fnmatchcase(name, pattern) for pattern in self._units)
            self._known[unit] = known
        return known


def entry_of(line: bytes) -> Entry | None:
    """The fields of a record; None where the line is no record with time and text."""
    if line[:1] != b"{":
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text = _bytes(fields.get("MESSAGE"))
    at_us = _number(fields.get("_SOURCE_REALTIME_TIMESTAMP")) or _number(
        fields.get("__REALTIME_TIMESTAMP")
    )
    if not at_us:
        return None
    tag = _bytes(fields.get("SYSLOG_IDENTIFIER")) or _bytes(fields.get("_COMM"))
    pid = _number(fields.get("SYSLOG_PID")) or _number(fields.get("_PID"))
    return Entry(
        at_us,
        _bytes(fields.get("_HOSTNAME")),
        tag or b"-",
        pid,
        _bytes(fields.get("_SYSTEMD_UNIT")),
        _bytes(fields.get("_UID")),
        _bytes(fields.get("_TRANSPORT")),
        text[:MAX_LINE].strip(b" \r\n\0").replace(b"\n", b"#012"),
    )


def cursor_of(line: bytes) -> tuple[str, int] | None:
    """A record's cursor and when the journal took it; None where the line is no record."""
    try:
        fields = json.loads(line)
        return str(fields["__CURSOR"]), int(fields["__REALTIME_TIMESTAMP"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _bytes(value: object) -> bytes:
    """A field: text, a list of bytes, or a list of these, of which the first counts."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not isinstance(value, list) or not value:
        return b""
    if isinstance(value[0], int):
        try:
            return bytes(value)
        except (ValueError, TypeError):
            return b""
    return _bytes(value[0])


def _number(value: object) -> int:
    text = _bytes(value)
    return int(text) if text.isdigit() and len(text) <= 17 else 0
