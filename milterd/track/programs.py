"""From a line to what it tells, by the program that wrote it.

The tag names the program (``milterd.track.syslog``), and the program alone decides what a
line can mean. A tag of several parts is Postfix's; a plain one is another program's, looked
up in ``PROGRAMS``. Lines of programs that are not known tell nothing. Raises nothing.
"""

from collections.abc import Callable, Mapping
from typing import Final

from milterd.track import dovecot, losses, postfix
from milterd.track.scan import UNKNOWN, Parsed
from milterd.track.syslog import Line

__all__ = ["PROGRAMS", "UNKNOWN", "Parsed", "is_mail", "parse"]

PROGRAMS: Final[Mapping[bytes, Callable[[Line], Parsed]]] = {
    **dict.fromkeys(losses.LOGGERS, losses.parse),
    b"dovecot": dovecot.parse,
}
"""Programs with a plain tag, each with the function that reads its lines."""

_OTHERS: Final = frozenset({b"cyrus", b"dovecot", b"amavis"})  # cyrus/lmtp is not Postfix's


def parse(line: Line) -> Parsed:
    """The event or events of a line; None: it tells nothing of mail; UNKNOWN: not understood."""
    if line.instance == line.daemon:
        parser = PROGRAMS.get(line.daemon)
        return None if parser is None else parser(line)
    if line.instance in _OTHERS:
        return None
    return postfix.parse(line)


def is_mail(line: Line) -> bool:
    """Whether a program of the mail system wrote the line: one whose lines we claim to know."""
    if line.instance == line.daemon:
        return line.daemon in PROGRAMS and line.daemon not in losses.LOGGERS
    return line.daemon in postfix.DAEMONS and line.instance not in _OTHERS
