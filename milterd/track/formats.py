"""Which form a log has, told by its first lines, and what splits lines of that form.

Forms: ``syslog`` (RFC 3164 and RFC 3339 headers, milterd.track.syslog). Raises nothing.
"""

from collections.abc import Sequence
from datetime import tzinfo

from milterd.track.syslog import LineParser, Splitter

MTAS = ("auto", "postfix", "sendmail", "exim")
"""What ``--mta`` may name; Postfix and Sendmail always log through syslog."""


def sniff(head: Sequence[bytes], mta: str = "auto") -> str:
    """The form of a log that begins with these lines and, where it is named, is of that MTA."""
    return "syslog"


def splitter(
    form: str,
    *,
    timezone: tzinfo | None,
    reference_us: int,
    year: int | None = None,
    after_us: int | None = None,
) -> Splitter:
    """What splits the lines of a log of that form; the arguments are LineParser's."""
    return LineParser(timezone=timezone, reference_us=reference_us, year=year, after_us=after_us)
