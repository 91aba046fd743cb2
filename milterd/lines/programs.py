"""From a line to what it tells, by the program that wrote it.

The tag names the program (``milterd.lines.syslog``), and the program alone decides what a
line can mean. A tag of several parts is Postfix's; a plain one is another program's, looked
up in ``PROGRAMS``. Lines of programs that are not known tell nothing. Raises nothing.

``message repeated N times: [ TEXT]`` (rsyslogd) stands for N more lines with that text.
"""

from collections.abc import Callable, Mapping
from typing import Final

from milterd.lines import (
    amavis,
    dovecot,
    exim,
    filters,
    losses,
    mailscanner,
    pmg,
    postfix,
    sendmail,
)
from milterd.lines.scan import UNKNOWN, Parsed, Unknown, queue_id_end
from milterd.lines.syslog import Line

__all__ = ["PROGRAMS", "UNKNOWN", "Parsed", "is_mail", "parse"]


def _no_daemon(line: Line) -> Parsed:
    """Postfix without its daemon: rsyslog cuts ``postfix/smtp`` at the slash where it fills in
    %programname%, as in RSYSLOG_SyslogProtocol23Format. What the line says cannot be known."""
    text = line.text
    begins = text.startswith((b"NOQUEUE: ", b"connect from ", b"disconnect from "))
    return UNKNOWN if begins or queue_id_end(text) > 0 else None


PROGRAMS: Final[Mapping[bytes, Callable[[Line], Parsed]]] = {
    **dict.fromkeys(losses.LOGGERS, losses.parse),
    b"dovecot": dovecot.parse,
    **dict.fromkeys((b"amavis", b"amavisd", b"amavisd-new"), amavis.parse),
    mailscanner.PROGRAM: mailscanner.parse,
    pmg.PROGRAM: pmg.parse,
    **filters.PARSERS,
    **dict.fromkeys(sendmail.TAGS, sendmail.parse),
    b"postfix": _no_daemon,
    b"exim": exim.parse,
    b"exim4": exim.parse,
}
"""Programs with a plain tag, each with the function that reads its lines."""

_OTHERS: Final = frozenset({b"cyrus", b"dovecot", b"amavis"})  # cyrus/lmtp is not Postfix's


_REPEATED: Final = b"message repeated "
_MAX_REPEATS: Final = 1_000


def parse(line: Line) -> Parsed:
    """The event or events of a line; None: it tells nothing of mail; UNKNOWN: not understood."""
    if line.instance == line.daemon:
        parser = PROGRAMS.get(line.daemon)
        if parser is None:
            return None
        return _repeats(line) if line.text.startswith(_REPEATED) else parser(line)
    if line.instance in _OTHERS:
        return None
    found = postfix.parse(line)
    if (found is UNKNOWN or found is None) and line.text.startswith(_REPEATED):
        return _repeats(line)
    if found is None and line.daemon in filters.PARSERS:  # "postfix/policy-spf"
        return filters.PARSERS[line.daemon](line)
    return found


def _repeats(line: Line) -> Parsed:
    """What a line tells that stands for several of one text: each a microsecond later."""
    count, found, text = line.text[len(_REPEATED) :].partition(b" times: [")
    if not found or not count.isdigit() or len(count) > 9:
        return UNKNOWN
    inner = line._replace(text=text.removesuffix(b"]").strip(b" "))
    if inner.text.startswith(_REPEATED):
        return UNKNOWN
    told = parse(inner)
    if told is None or isinstance(told, Unknown):
        return told
    events = told if isinstance(told, list) else [told]
    return [
        event._replace(at_us=event.at_us + step)
        for step in range(1, min(int(count), _MAX_REPEATS) + 1)
        for event in events
    ] or None


def is_mail(line: Line) -> bool:
    """Whether a program of the mail system wrote the line: one whose lines we claim to know."""
    if line.instance == line.daemon:
        return line.daemon in PROGRAMS and line.daemon not in losses.LOGGERS
    return line.daemon in postfix.DAEMONS and line.instance not in _OTHERS
