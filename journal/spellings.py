"""Finds addresses in text, in the ways in which mail systems write them, and puts others there.

RFC 5321 4.1.2 (mailboxes), RFC 3461 4 (xtext), RFC 3986 2.1 and RFC 2045 6.7 (``%40``, ``=40``),
and what is only custom: VERP (``list-user=example.com@``), SRS (``SRS0=xx=yy=example.com=user@``),
BATV (``prvs=tag=user@``), ``user%example.com@``, ``example.com!user``, ``example.com/user/``. A
domain is looked for first, since few are wanted; then what stands to its left and right. Each run
is looked at once, cut to 320 bytes. Raises nothing.
"""

import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final, NamedTuple

from journal.address import fold
from journal.placeholders import is_placeholder

_WORD: Final = rb"[A-Za-z0-9_\x80-\xff](?:[A-Za-z0-9_\x80-\xff-]*[A-Za-z0-9_\x80-\xff])?"
_AT: Final = rb"@|%40|=40|\\x40|\\u0040|\\100|\\@|&\#0{0,4}64;|&\#[xX]0{0,4}40;"
_DOMAIN: Final = re.compile(rb"(%b)?(%b(?:\.%b)*|\[[0-9A-Za-z:.]{3,80}\])" % (_AT, _WORD, _WORD))
_ATEXT: Final = (
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~."
    + bytes(range(0x80, 0x100))
)
_NAME: Final = bytes(c for c in _ATEXT if c not in b"!#$%&'*/=?^`{|}~")
_LONGEST: Final = 320  # bytes of a local part that is looked at
_MOST_PASSES: Final = 8
_MOST_TRIES: Final = 24
_ESCAPED: Final = {
    b"%": re.compile(rb"%([0-9A-Fa-f]{2})"),
    b"+": re.compile(rb"\+([0-9A-F]{2})"),  # xtext
    b"=": re.compile(rb"=([0-9A-F]{2})"),  # quoted-printable
}
_BACKSLASHED: Final = re.compile(rb"\\([^0-9A-Za-z])")


class Where(Enum):
    """What the text is: it decides what may stand before an address."""

    NAME = b"="  # an address itself, maybe one that encodes another
    TEXT = b"!#$%&'*/=?^`{|}~"  # words of a program
    ID = b"!#$%&'*/=?^`{|}~.-+_"  # a Message-ID


class Wanted(NamedTuple):
    """Whom to put away: both are asked with what was found, as it is spelled."""

    domain: Callable[[bytes], bool]
    local: Callable[[bytes, bytes], bytes | None]  # local part, domain → what stands for the local
    is_exact: bool = False  # only what has its own "@"
    stays: Callable[[bytes], object] = is_placeholder  # a local part that stands for another


def replaced(text: bytes, wanted: Wanted, where: Where) -> bytes:
    """The text with something else for the local part of every wanted address.

    Looked through again while something is found: spellings that overlap show one after the other.
    """
    for _ in range(_MOST_PASSES):
        new = _replaced_once(text, wanted, where)
        if new == text:
            break
        text = new
    return text


def _replaced_once(text: bytes, wanted: Wanted, where: Where) -> bytes:
    parts: list[bytes] = []
    done = 0
    for begin, end, other in _found(text, wanted, where):
        if begin >= done:
            parts += (text[done:begin], other)
            done = end
    return text if not done else b"".join((*parts, text[done:]))


def _found(text: bytes, wanted: Wanted, where: Where) -> Iterator[tuple[int, int, bytes]]:
    """Begin and end of local parts in the order of their domains, with what stands for them."""
    for match in _DOMAIN.finditer(text):
        at, domain = match[1], match[2]
        if (at is None and b"." not in domain) or not wanted.domain(domain):
            continue
        if wanted.stays(domain):  # what stands for a local part, behind another "@"
            continue
        begin, end = match.start(2), match.end(2)
        if at is None and wanted.is_exact:
            continue
        if at is not None:
            hit = _left(text, match.start(1), domain, wanted, where.value)
        elif text[begin - 1 : begin] in (b"=", b"%") and begin:
            hit = _left(text, begin - 1, domain, wanted, Where.ID.value)
        else:
            hit = None
        if hit is not None:
            yield hit
        elif text[end : end + 1] in (b"=", b"!", b"/"):
            hit = _right(text, end + 1, domain, wanted)
            if hit is not None:
                yield hit


def _left(
    text: bytes, end: int, domain: bytes, wanted: Wanted, bounds: bytes
) -> tuple[int, int, bytes] | None:
    """The local part that ends there; what may part it from what stands before is tried, too."""
    head = text[max(end - _LONGEST, 0) : end]
    run = _quoted(head) if head.endswith(b'"') else head[len(head.rstrip(_ATEXT + b"\\")) :]
    places = [0, *(at + 1 for at, byte in enumerate(run) if byte in bounds)]
    if run[:1] == b"." or b"\\" in run:
        places += [len(run) - len(run.lstrip(b".\\"))]
    if run[:1] == b'"':
        places = [0]
    if wanted.stays(run):
        return None
    for at in places[:_MOST_TRIES]:
        other = _stands_for(run[at:], domain, wanted)
        if other is not None:
            return end - len(run) + at, end, other
    return None


def _quoted(head: bytes) -> bytes:
    """The quoted string at the end of a text, with its quotes; b"" where none begins."""
    begin = len(head) - 1
    while (begin := head.rfind(b'"', 0, begin)) >= 0:
        slashes = begin - len(head[:begin].rstrip(b"\\"))
        if slashes % 2 == 0:
            return head[begin - (slashes > 0 and head[begin - 1 : begin] == b"\\") :]
        begin -= slashes
    return b""


def _right(text: bytes, begin: int, domain: bytes, wanted: Wanted) -> tuple[int, int, bytes] | None:
    """The local part that stands behind its domain."""
    tail = text[begin : begin + _LONGEST]
    run = tail[: len(tail) - len(tail.lstrip(_NAME))]
    for local in dict.fromkeys((run, run.rstrip(b"."))):
        other = _stands_for(local, domain, wanted)
        if other is not None:
            return begin, begin + len(local), other
    return None


def _stands_for(local: bytes, domain: bytes, wanted: Wanted) -> bytes | None:
    """What is put for a local part, in whichever encoding it is; None: it stays."""
    if not local or wanted.stays(local):
        return None
    for spelled in _decoded(local):
        other = wanted.local(spelled, domain)
        if other is not None:
            return other
    return None


def _decoded(local: bytes) -> Iterator[bytes]:
    yield local
    if b"\\" in local and local[:1] != b'"':
        yield _BACKSLASHED.sub(rb"\1", local)
    for sign, pattern in _ESCAPED.items():
        if sign in local and pattern.search(local):
            yield pattern.sub(lambda match: bytes.fromhex(match[1].decode()), local)


def split(raw: bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
    """An address as it is spelled: what opens it, local part, domain, what closes it.

    None where there is no domain.
    """
    text = raw.strip()
    opens, closes = b"", b""
    if text.startswith(b"<") and text.endswith(b">"):
        text, opens, closes = text[1:-1], b"<", b">"
    local, at, domain = text.rpartition(b"@")
    if not at or not fold(raw).rpartition(b"@")[1]:
        return None
    return opens, local, domain, closes
