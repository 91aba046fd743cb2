"""Split the lines of log files that Dovecot and rspamd write themselves, without syslog.

Formats: Dovecot's ``log_path`` or ``info_log_path`` (log_timestamp ``%b %d %H:%M:%S `` where it is
not set), rspamd's ``type = "file"``: a stamp, then no host and no tag but at once::

    lmtp(bob@example.com)<4242><SESSION>: Info: ...
    #4242(rspamd_proxy) <a1b2c3>; task; ...

So the host is b"" and the tag ``dovecot`` or ``rspamd``. Lines with a host and a tag of their own
are split as syslog's. Raises nothing.
"""

import re
from collections.abc import Sequence
from typing import Final

from milterd.lines.framed import Framed
from milterd.lines.syslog import Line

_STAMP: Final = re.compile(
    rb"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S*) (?=\S)"
)
_DOVECOT: Final = re.compile(
    rb"[a-z][a-z0-9-]{1,30}(?:\(|: (?:Debug|Info|Warning|Error|Fatal|Panic): )"
)
_RSPAMD: Final = re.compile(rb"#\d+\([\w-]+\) <\w*>; ")


def looks_like_own(head: Sequence[bytes]) -> bool:
    """Whether one of the first lines of a log is in one of these forms."""
    return any(_begin(line)[0] > 0 for line in head[:3])


def _begin(line: bytes) -> tuple[int, bytes]:
    """Where the program's words begin, and what stands for host and tag; 0 where none do."""
    stamp = _STAMP.match(line)
    if stamp is None:
        return 0, b""
    end = stamp.end()
    if _DOVECOT.match(line, end):
        return end, b"- dovecot: "
    return (end, b"- rspamd: ") if _RSPAMD.match(line, end) else (0, b"")


class OwnParser(Framed):
    """Splits the lines of one file, in the file's order: a ``Splitter``."""

    def parse(self, line: bytes, /) -> Line | None:
        """Split one line, given without its newline; None where it has no header."""
        begin, tag = _begin(line)
        if not begin:
            return self._lines.parse(line)
        told = self._lines.parse(line[:begin] + tag + line[begin:])
        if told is None:
            return None
        return Line(told.at_us, b"", told.instance, b"", told.daemon, 0, told.text)
