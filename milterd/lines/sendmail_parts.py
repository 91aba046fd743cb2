"""Read the pieces that Sendmail's log lines are made of, each at a known place.

Formats (Sendmail source: assign_queueid() of queue.c, getauthinfo() of daemon.c, pintvl() of
convtime.c, sm_syslog() of conf.c)::

    queue id   YMDhmsNN and the pid: l5QI4nYq012345; before 8.12 g8U2LVi03161, FAA01234
    client     [IDENT:USER@]NAME [IP][ (may be forged)]  or  [IP]  or  USER@localhost
    delay      [D+]HH:MM:SS
    addresses  <a@b>,<c@d>,alice,"|/bin/prog -x",/var/mail/file: commas without blanks between

Every function is linear in the line and raises nothing: -1 or ``None`` is "not here".
"""

import re
from typing import Final, NamedTuple

from milterd.lines.scan import address_end, after_colon, quoted_end

_ESCAPES: Final = ((b"n", b"\n"), (b"r", b"\r"), (b"t", b"\t"), (b"f", b"\f"))
_OCTAL: Final = re.compile(rb"\\[0-3][0-7][0-7]")
_MOST_QUOTES: Final = 16  # that touch one another in an address
_MOST_ADDRESSES: Final = 500
"""A line of Sendmail has a thousand bytes of addresses at most; more is nobody's list."""


class Peer(NamedTuple):
    """Who is at the other end of a connection."""

    name: bytes = b""
    ip: bytes = b""
    login: bytes = b""  # the local user of a submission by the sendmail command


NOBODY: Final = Peer()


def unescape(text: bytes) -> bytes:
    """A line as it was before Sendmail made it printable (str2prt() of util.c)."""
    if b"\\" not in text:
        return text
    # Between two backslashes that stand for one, each backslash begins an escape.
    if b"\0" not in text and b"\\000" not in text:  # a NUL can stand for these two meanwhile
        return _unescape(text.replace(b"\\\\", b"\0")).replace(b"\0", b"\\")
    parts = text.split(b"\\\\")
    return b"\\".join([_unescape(part) if b"\\" in part else part for part in parts])


def _unescape(text: bytes) -> bytes:
    """The same where no backslash stands for itself; a whole text is searched for each escape."""
    for letter, meant in _ESCAPES:
        text = text.replace(b"\\" + letter, meant)
    for escape in set(_OCTAL.findall(text)):  # \134, a backslash, may make new ones: it is last
        if escape != b"\\134":
            text = text.replace(escape, bytes((int(escape[1:], 8),)))
    return text.replace(b"\\134", b"\\")


def id_end(text: bytes) -> int:
    """Behind the queue id that begins the text; -1 where none does.

    A line that is too long is logged in parts, ``ID[1]: ``, ``ID[2]: ``: see ``part``.
    """
    end = 0
    most = min(len(text), 24)
    while end < most and text[end : end + 1].isalnum():
        end += 1
    if end < 8 or text[end : end + 1] not in (b":", b"["):
        return -1
    return end if text[end - 5 : end].isdigit() else -1


def part(text: bytes, end: int) -> tuple[int, int]:
    """Which part of a line this is (0: all of it) and where its words begin; -1: no part."""
    number = 0
    if text[end : end + 1] == b"[":
        close = text.find(b"]:", end, end + 6)
        digits = text[end + 1 : close]
        if close < 0 or not digits.isdigit():
            return -1, -1
        number, end = int(digits), close + 1
    return number, after_colon(text, end)


def peer(text: bytes) -> Peer:
    """The client or relay that ``relay=`` names."""
    text = text.removesuffix(b" (may be forged)").rstrip(b" ")
    ip = b""
    if text[-1:] == b"]" and (bracket := text.rfind(b"[")) >= 0:
        ip = text[bracket + 1 : -1].removeprefix(b"IPv6:")
        text = text[:bracket].rstrip(b" ")
    user, _, name = text.rpartition(b"@")
    if ip:
        return Peer(host(name) or b"unknown", ip)
    if user and name.startswith(b"localhost"):
        return Peer(b"", b"", user)
    return Peer(host(name))


def host(name: bytes) -> bytes:
    """A host's name without the final dot, an address without its brackets."""
    if name[:1] == b"[" and name[-1:] == b"]":
        return name[1:-1].removeprefix(b"IPv6:")
    return name[:-1] if name[-1:] == b"." else name


def relay(text: bytes) -> bytes:
    """``mx.example.com. [192.0.2.1]`` as ``mx.example.com[192.0.2.1]``."""
    found = peer(text)
    if not found.ip:
        return found.name
    name = found.ip if found.name == b"unknown" else found.name
    return name + b"[" + found.ip + b"]"


def bare(address: bytes) -> bytes:
    """An address without its brackets, and without the name or comment of a header field."""
    if address[-1:] == b")" and b"@" in address and (comment := address.rfind(b" (")) > 0:
        address = address[:comment]
    if address[-1:] != b">":
        return address
    if address[:1] == b"<":
        return address[1:-1]
    begin = address.rfind(b" <")
    return address[begin + 2 : -1] if begin > 0 else address


def one_end(text: bytes, begin: int) -> int:
    """Behind the address at ``begin``; -1 where it is cut.

    An address ends at its bracket; one without brackets at a comma outside of quotes.
    """
    if text[begin : begin + 1] == b"<":
        end = address_end(text, begin)
        return end + 1 if end >= 0 else -1
    at = begin
    for _ in range(_MOST_QUOTES):
        if text[at : at + 1] != b'"':
            break
        at = quoted_end(text, at)
        if at < 0:
            return -1
    comma = _comma(text, at)
    for opens, closes in ((b" <", b">"), (b" (", b")")):  # a name before, a comment behind
        begin = text.find(opens, at, comma)
        end = text.find(closes, begin) if begin >= 0 else -1
        if end > comma:
            comma = _comma(text, end)
    return comma


def _comma(text: bytes, at: int) -> int:
    """The next comma, or the end."""
    comma = text.find(b",", at)
    return comma if comma >= 0 else len(text)


def addresses(text: bytes, begin: int) -> tuple[list[bytes], int]:
    """The addresses of a list without their brackets, and where it ends; -1 where it is cut."""
    found: list[bytes] = []
    while True:
        end = one_end(text, begin)
        if end < 0 or len(found) >= _MOST_ADDRESSES:
            return found, -1
        if end > begin:
            found.append(bare(text[begin:end].lstrip(b"\\")))  # \alice: not aliased again
        after = text[end + 1 : end + 2]
        if text[end : end + 1] != b"," or after in (b" ", b""):
            break
        begin = end + 1
    if text.startswith(b", [more]", end):  # a list that is too long goes on in another line
        end += 8
    return found, end


def seconds(delay: bytes) -> bytes:
    """A delay in seconds; b"" where it is none."""
    days, plus, clock = delay.rpartition(b"+")
    parts = clock.split(b":")
    if len(delay) > 40 or len(parts) != 3 or not all(one.isdigit() for one in parts):
        return b""
    if plus and not days.isdigit():
        return b""
    hours, minutes, rest = parts
    total = int(hours) * 3600 + int(minutes) * 60 + int(rest) + (int(days) * 86400 if plus else 0)
    return b"%d" % total
