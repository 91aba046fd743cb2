"""Read syslog messages as they are on the wire, and make lines of a log file of them.

Formats: RFC 5424 (``<PRI>1 STAMP HOST APP PROCID MSGID SD MSG``; PRI may be missing, as in a
file; ``-`` is nothing; a BOM before the text is dropped) and RFC 3164 (``<PRI>Mmm dd hh:mm:ss
[HOST] TAG: MSG``, from a local socket without host, from some programs without a stamp). The
line made of it is ``RFC3339 HOST TAG[PID]: MSG``. Line feeds within become ``#012``, so that
one message is one line whatever it holds. Raises nothing.
"""

from typing import Final, NamedTuple

from milterd.lines.framed import Framed
from milterd.lines.scan import quoted_end
from milterd.lines.stamps import date_of
from milterd.lines.syslog import MAX_LINE, Line

_PRI_MOST: Final = 191  # RFC 3164 4.1.1: facility 23, severity 7
_BOM: Final = b"\xef\xbb\xbf"


class Parts(NamedTuple):
    """A message: the stamp as it was spoken, b"" where nothing was."""

    stamp: bytes
    host: bytes
    head: bytes  # tag and pid, without the colon
    text: bytes


class WireParser(Framed):
    """Splits the lines of a file whose writer kept the form of the wire."""

    def parse(self, line: bytes) -> Line | None:
        """Split one line, given without its newline; None where it has no stamp."""
        bare = without_pri(line)
        parts = structured(bare)
        if parts is None:
            return self._lines.parse(bare)
        if not parts.stamp:
            return None
        return self._lines.parse(
            b"%b %b %b: %b" % (parts.stamp, parts.host or b"-", parts.head, parts.text)
        )


def is_framed(line: bytes) -> bool:
    """Whether a line has the form of the wire: a PRI, or RFC 5424's version."""
    return without_pri(line) is not line or (line[:2] == b"1 " and structured(line) is not None)


def without_pri(message: bytes) -> bytes:
    """The message behind ``<PRI>``; itself where it has none."""
    end = message.find(b">", 1, 5)
    number = message[1:end]
    if message[:1] != b"<" or end < 2 or not number.isdigit() or int(number) > _PRI_MOST:
        return message
    return message[end + 1 :]


def structured(bare: bytes) -> Parts | None:
    """The parts of RFC 5424's form; None where it is another one."""
    if bare[:2] != b"1 ":
        return None
    words = bare.split(b" ", 6)
    if len(words) < 7:
        return None
    _, stamp, host, app, procid, _msgid, rest = words
    end = _data_end(rest)
    if end < 0 or not (stamp == b"-" or stamp[:4].isdigit()):
        return None
    text = rest[end + 1 :].removeprefix(_BOM)
    head = b"-" if app == b"-" else app
    if procid.isdigit():
        head += b"[%b]" % procid
    return Parts(_nil(stamp), _nil(host), head, text)


def _nil(word: bytes) -> bytes:
    return b"" if word == b"-" else word


def _data_end(rest: bytes) -> int:
    """Where STRUCTURED-DATA ends; -1 where it is none."""
    if rest[:1] == b"-":
        return 1 if rest[1:2] in (b"", b" ") else -1
    if rest[:1] != b"[":
        return -1
    close, quote = rest.find(b"]"), rest.find(b'"')
    while close >= 0:
        if 0 <= quote < close:
            at = quoted_end(rest, quote)
            if at < 0:
                return -1
            quote = rest.find(b'"', at)
            if close < at:
                close = rest.find(b"]", at)
        elif rest[close + 1 : close + 2] != b"[":
            return close + 1
        else:
            close = rest.find(b"]", close + 1)
    return -1


def line_of(message: bytes, *, host: bytes, stamp: bytes) -> bytes:
    """A log file's line of a datagram; ``host`` and ``stamp`` where it names none itself."""
    bare = without_pri(message[:MAX_LINE]).strip(b"\r\n\0 ")
    parts = structured(bare) or _plain(bare)
    text = parts.text.replace(b"\r", b"#015").replace(b"\n", b"#012").replace(b"\0", b"#000")
    head = parts.head.replace(b"\n", b"?").replace(b" ", b"?")
    if head.startswith(b"posttrail-"):  # our own voice in the spool is not for others to use
        head = b"-" + head
    return b"%b %b %b: %b" % (parts.stamp or stamp, parts.host or host, head, text)


def _plain(bare: bytes) -> Parts:
    """The parts of RFC 3164's form, as much of it as is there."""
    stamp, rest = _stamp(bare)
    host, blank, behind = rest.partition(b" ")
    if stamp and blank and b":" not in host and b"[" not in host and _tag_end(behind) >= 0:
        rest = behind
    else:
        host = b""
    end = _tag_end(rest)
    if end < 0:
        return Parts(stamp, host, b"-", rest)
    return Parts(stamp, host, rest[:end], rest[end + 1 :].lstrip(b" "))


def _stamp(bare: bytes) -> tuple[bytes, bytes]:
    """A stamp (RFC 3164 or RFC 3339) and what is behind it."""
    if date_of(bare) is not None and bare[9:10] == b":" and bare[15:16] == b" ":
        return bare[:15], bare[16:]
    word, _, rest = bare.partition(b" ")
    if word[4:5] == b"-" and word[10:11] == b"T" and word[:4].isdigit():
        return word, rest
    return b"", bare


def _tag_end(text: bytes) -> int:
    """The colon behind a tag that begins a text; -1 where there is none."""
    blank = text.find(b" ")
    word = text if blank < 0 else text[:blank]
    close = word.find(b"]:")
    if close >= 0 and b"[" in word[:close]:
        return close + 1
    colon = word.find(b":")
    return colon if colon > 0 and b"[" not in word[:colon] else -1
