"""Read the pieces that Exim's log lines are made of, each at a known place.

Format, by Exim's specification, chapter "Log files", and log lines as built in receive.c and
deliver.c: ``KEY=value`` in a fixed order, a blank between. Values with blanks stand in quotes
with backslashes (``T="..."``, ``C="..."``) or in angle brackets (``F=<...>``); a peer is
``name (HELO) [ip]:port``. What a stranger chose (subject, reply, address) is in quotes or
comes last, so the first of a key counts. Linear in the line; raises nothing.
"""

from typing import Final, NamedTuple

from milterd.lines.scan import address_end, quoted_end

__all__ = ["Items", "Peer", "address", "items", "peer", "seconds", "tls", "unquoted"]

_ESCAPES: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"v": b"\v", b"f": b"\f"}
_UNITS: Final = {b"y": 31_536_000, b"w": 604_800, b"d": 86_400, b"h": 3600, b"m": 60, b"s": 1}
_MAX_KEY: Final = 8
_MAX_FIELDS: Final = 64  # a line that has more was made to be misread, or to take long
_MAX_WORDS: Final = 200  # between them that are no fields
_MAX_SPAN: Final = 40  # bytes of a time span
_MAX_HELO: Final = 1_024
_MAX_IP: Final = 64


class Peer(NamedTuple):
    """A host as Exim names it."""

    name: bytes
    helo: bytes
    ip: bytes
    port: bytes
    end: int


class Items(NamedTuple):
    """The fields of a line, and where the words begin that are none."""

    values: dict[bytes, bytes]
    end: int  # at the blank or colon behind the last field
    word: bytes  # the word that ended them


def peer(text: bytes, begin: int) -> Peer | None:
    """The host at ``begin``: ``[name ][(HELO) ][ip][:port]``; None where it is none."""
    at = begin
    name = helo = b""
    if text[at : at + 1] not in (b"(", b"["):
        blank = text.find(b" ", at)
        if blank < 0:
            return None
        name, at = text[at:blank], blank + 1
        if text[at : at + 3] == b"DS ":  # the answer was signed (DNSSEC)
            at += 3
    if text[at : at + 1] == b"(":
        close = text.find(b") [", at, at + _MAX_HELO)
        if close < 0:
            return None
        helo, at = text[at + 1 : close], close + 2
    close = text.find(b"]", at, at + _MAX_IP)
    if text[at : at + 1] != b"[" or close < 0:
        return None
    ip, end, port = text[at + 1 : close], close + 1, b""
    if text[end : end + 1] == b":" and text[end + 1 : end + 2] not in (b" ", b""):
        last = end + 1
        while text[last : last + 1].isalnum() or text[last : last + 1] == b"_":
            last += 1
        port, end = text[end + 1 : last], last
    if text[end : end + 1] == b"*":  # a connection that was used before
        end += 1
    return Peer(name, helo, ip, port, end)


def items(text: bytes, begin: int, stop: frozenset[bytes]) -> Items:
    """The fields from the blank at ``begin`` to one of the words of ``stop``, or to a colon.

    Words that are no fields (``L``, ``K``, ``PRDR``) are passed over. ``H=`` becomes
    ``host[ip]:port``.
    """
    values: dict[bytes, bytes] = {}
    at, size, left, words = begin, len(text), _MAX_FIELDS, _MAX_WORDS
    while at < size and text[at] == 0x20 and left and words:
        start = at + 1
        blank = text.find(b" ", start)
        if blank < 0:
            blank = size
        if text[start : start + 1] == b":":
            return Items(values, start, b":")
        equals = text.find(b"=", start, min(blank, start + _MAX_KEY))
        if equals < 0:
            word = text[start:blank]
            if word in stop:
                return Items(values, at, word)
            at, words = blank, words - 1
            continue
        key, left = text[start:equals], left - 1
        value, at = _value(text, key, equals + 1, blank)
        values.setdefault(key, value)
        if text[at : at + 1] == b":":
            return Items(values, at, b":")
    return Items(values, at, b"")


def _value(text: bytes, key: bytes, begin: int, blank: int) -> tuple[bytes, int]:
    """The value of a field at ``begin``, and where it ends."""
    first = text[begin : begin + 1]
    if key == b"H":
        found = peer(text, begin)
        if found is not None:
            port = b":" + found.port if found.port else b""
            return found.name + b"[" + found.ip + b"]" + port, found.end
    elif first == b"<":
        end = address_end(text, begin)
        if end >= 0:
            return text[begin + 1 : end], end + 1
    elif first == b'"':
        end = quoted_end(text, begin)
        if key in (b"id", b"id*"):  # a local part in quotes, not a quoted value
            end = text.find(b" ", end) if end >= 0 else -1
            end = end if end >= 0 else len(text)
            return text[begin:end], end
        return (unquoted(text[begin + 1 : end - 1]), end) if end >= 0 else (text[begin:], len(text))
    elif text[blank - 1 : blank] == b":":  # "T=remote_smtp: text", before 4.90
        return text[begin : blank - 1], blank - 1
    return text[begin:blank], blank


def unquoted(value: bytes) -> bytes:
    """What stood in quotes, its backslashes taken away (string_printing in string.c)."""
    if b"\\" not in value:
        return value
    parts: list[bytes] = []
    at = 0
    while True:
        back = value.find(b"\\", at)
        if back < 0 or back + 1 >= len(value):
            parts.append(value[at:])
            return b"".join(parts)
        parts.append(value[at:back])
        octal = value[back + 1 : back + 4]
        if len(octal) == 3 and octal.isdigit() and b"0" <= octal[:1] <= b"3" and max(octal) < 0x38:
            parts.append(bytes((int(octal, 8),)))
            at = back + 4
        else:
            letter = value[back + 1 : back + 2]
            parts.append(_ESCAPES.get(letter, letter))
            at = back + 2


def address(text: bytes, begin: int) -> int:
    """Where an address without brackets ends: at a blank outside of its quotes."""
    at = begin
    if text[begin : begin + 1] == b'"':
        end = quoted_end(text, begin)
        at = end if end >= 0 else begin
    blank = text.find(b" ", at)
    return blank if blank >= 0 else len(text)


def seconds(span: bytes) -> bytes:
    """``1d2h3m4s`` or ``0.104s`` as a number of seconds; b"" where it is none."""
    if len(span) > _MAX_SPAN:
        return b""
    total, whole, number = 0, True, b""
    for place in range(len(span)):
        letter = span[place : place + 1]
        if letter.isdigit() or letter == b".":
            number += letter
            whole = whole and letter != b"."
            continue
        unit = _UNITS.get(letter)
        if unit is None or not number:
            return b""
        if not whole:
            return number if total == 0 and letter == b"s" and number.count(b".") == 1 else b""
        total += int(number[:9]) * unit
        number = b""
    return b"%d" % total if span and not number else b""


def tls(value: bytes) -> bytes:
    """``TLSv1.3 CIPHER`` of ``X=TLS1.3:CIPHER:256``, ``*`` behind it where it was resumed."""
    parts = value.rstrip(b"*").split(b":")
    version = parts[0]
    if version.startswith(b"TLS") and version[3:4].isdigit():
        version = b"TLSv" + version[3:]
    return version + b" " + parts[1] if len(parts) > 1 else version
