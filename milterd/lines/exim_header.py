"""Split one line of Exim's own main log, which has no syslog header; tell such a log by its lines.

Format, by Exim's specification, chapter "Log files" (log.c)::

    YYYY-MM-DD HH:MM:SS[.mmm][ +zzzz] [[PID] ]TEXT        log_selector: +millisec, +pid
    [N/M] or [N\\M], then the same                          a long line, cut for syslog

Stamps are local time, or have an offset (``log_timezone``); they name no host, and so a
line's host is ``b""``. Through syslog the same text comes behind a header: ``inner`` takes off
what Exim repeats of it. A line without such a stamp is ``None``. Raises nothing.
"""

from collections.abc import Sequence
from datetime import tzinfo
from typing import Final

from milterd.lines.stamps import date_of, digits_end
from milterd.lines.syslog import MAX_LINE, Line, LineParser

__all__ = ["EximParser", "id_end", "inner", "looks_like_exim"]

_DIGITS: Final = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18)
_BEGINNINGS: Final = (
    b"H=", b"U=", b"F=", b"SMTP ", b"TLS error on ", b"Start queue run", b"End queue run",
    b"no host name found for ", b"no IP address found for ", b"unexpected disconnection while ",
    b"refused connection from ", b"Connection from [", b"cwd=", b"rejected ", b"temporarily ",
    b"no MAIL in ", b"exim 4.", b"exim 5.", b"SIGHUP received", b"Warning: ", b"unqualified ",
    b"too many ", b"ident connection to ",
)  # fmt: skip
"""How lines without a message id begin that no other program writes."""


class EximParser:
    """Splits the lines of one main log, in the file's order; a ``Splitter``."""

    __slots__ = ("_at_us", "_head", "_lines", "reference_us", "year")

    def __init__(
        self, *, timezone: tzinfo | None, reference_us: int, after_us: int | None = None
    ) -> None:
        """Begin a file; see LineParser, which reads the stamps."""
        self.reference_us = reference_us
        self.year: int | None = None  # every stamp has its own
        self._lines = LineParser(timezone=timezone, reference_us=reference_us, after_us=after_us)
        self._head = b""
        self._at_us = 0

    @property
    def last_us(self) -> int | None:
        """About when the latest line was written; hand it to the next parser of the file."""
        return self._lines.last_us

    def parse(self, line: bytes) -> Line | None:
        """Split one line, given without its newline; None where it has no stamp."""
        if line[:1] == b"\0":
            line = line.lstrip(b"\0")
        if len(line) > MAX_LINE:
            line = line[:MAX_LINE]
        end = _stamp_end(line)
        zone = _zone_end(line, end) if end >= 0 else -1
        if zone < 0:
            return None
        head = line[:zone]
        if head != self._head:
            self._lines.reference_us = self.reference_us
            stamp = line[:10] + b"T" + line[11:end] + line[end + 1 : zone]
            found = self._lines.parse(stamp + b" - exim: -")
            if found is None:
                return None
            self._head, self._at_us = head, found.at_us
        pid, begin = _pid(line, zone + 1)
        return Line(self._at_us, b"", b"exim", b"", b"exim", pid, line[begin:].rstrip(b" \r\0"))


def _stamp_end(line: bytes) -> int:
    """Behind ``YYYY-MM-DD HH:MM:SS[.mmm]``; -1 where no such stamp begins the line."""
    if (
        len(line) < 20
        or line[4:5] + line[7:8] + line[10:11] + line[13:14] + line[16:17] != b"-- ::"
    ):
        return -1
    for place in _DIGITS:
        if not 0x30 <= line[place] <= 0x39:
            return -1
    return digits_end(line, 20) if line[19:20] == b"." else 19


def _zone_end(line: bytes, begin: int) -> int:
    """Behind `` +hhmm`` where there is one, else ``begin``; -1 where no blank follows."""
    end = begin
    if line[begin + 1 : begin + 2] in (b"+", b"-") and line[begin + 2 : begin + 6].isdigit():
        end = begin + 6
    return end if line[end : end + 1] == b" " else -1


def _pid(line: bytes, begin: int) -> tuple[int, int]:
    """The process in ``[PID] ``, 0 where it is not logged, and where the text begins."""
    if line[begin : begin + 1] == b"[":
        close = line.find(b"] ", begin, begin + 13)
        number = line[begin + 1 : close]
        if close > 0 and number.isdigit():
            return int(number), close + 2
    return 0, begin


def inner(text: bytes) -> bytes | None:
    """The text behind a syslog header, without Exim's own stamp; None: the rest of a cut line."""
    if text[:1] == b"[":
        close = text.find(b"] ", 0, 16)
        first, slash, last = text[1:close].replace(b"\\", b"/").partition(b"/")
        if close > 0 and slash and first.isdigit() and last.isdigit():
            if first != b"1":
                return None
            text = text[close + 2 :]
    if text[:1].isdigit():
        end = _stamp_end(text)
        zone = _zone_end(text, end) if end >= 0 else -1
        if zone >= 0:
            return text[_pid(text, zone + 1)[1] :]
    return text


def id_end(text: bytes) -> int:
    """Behind a message id that begins the text; -1 where none does.

    ``tttttt-pppppp-ss``, since Exim 4.97 ``tttttt-ppppppppppp-ssss``, in base 62 (or 36).
    """
    if text[6:7] != b"-" or not text[:6].isalnum():
        return -1
    if text[13:14] == b"-" and text[7:13].isalnum() and text[14:16].isalnum():
        end = 16
    elif text[18:19] == b"-" and text[7:18].isalnum() and text[19:23].isalnum():
        end = 23
    else:
        return -1
    return end if text[end : end + 1] in (b" ", b"") and len(text) >= end else -1


def looks_like_exim(head: Sequence[bytes], *, named: bool = False) -> bool:
    """Whether a log that begins with these lines is Exim's own; ``named``: the user says so.

    ``2026-11-23 18:30:01 mx postfix/smtpd[7]: ...`` has such a stamp, too: only a message id, or
    what Exim alone writes, tells. A syslog header before that says that it is none.
    """
    for raw in head:
        line = raw.lstrip(b"\0")
        end = _stamp_end(line)
        zone = _zone_end(line, end) if end >= 0 else -1
        if zone < 0:
            if date_of(line) is not None or (line[10:11] in b"Tt" and line[:4].isdigit()):
                return False  # a syslog header
            continue
        text = line[_pid(line, zone + 1)[1] :]
        if named or id_end(text) > 0 or text.startswith(_BEGINNINGS):
            return True
        if b" authenticator failed for " in text[:60]:
            return True
    return False
