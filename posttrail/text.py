"""Wire bytes to text, once, at the edge: what mail says must not speak to a terminal.

Everything inward of this module is bytes. ``safe`` is for eyes (terminals, CSV
cells, log lines), ``json_text`` and ``json_dump`` are for programs: there every
character survives, and those that could move a cursor or turn the writing
direction (Unicode 9.0 UAX #9) are written as JSON escapes.

Raises nothing.
"""

import json
import re
from functools import lru_cache
from time import gmtime, strftime
from typing import Final

HOSTILE: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi marks, embeddings, isolates
    "\u2028\u2029"  # line and paragraph separator
    "\ud800-\udfff"  # lone surrogates; U+DC80 to U+DCFF stand for bytes (PEP 383)
    "]"
)


def decode(raw: bytes) -> str:
    """Text of wire bytes; bytes that are not UTF-8 become lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def safe(text: str | bytes) -> str:
    """The text with every character escaped that a terminal could act on."""
    if isinstance(text, bytes):
        text = decode(text)
    if text.isprintable():  # false for all of HOSTILE: they are Cc, Cf, Cs, Zl or Zp
        return text
    return HOSTILE.sub(lambda found: _escape(ord(found[0])), text)


def json_text(raw: bytes) -> str:
    """Text for a JSON string: only bytes that are not UTF-8 are rewritten, as ``\\xNN``."""
    return raw.decode("utf-8", "backslashreplace")


def json_dump(value: object, *, ascii_only: bool = False) -> str:
    """One line of JSON that is lossless, readable and harmless on a terminal."""
    line = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))
    return line if line.isprintable() else HOSTILE.sub(_json_escape, line)


def rfc3339(at_us: int) -> str:
    """A UTC time as RFC 3339 text with milliseconds, always."""
    seconds, rest_us = divmod(at_us, 1_000_000)
    return f"{_utc(seconds)}.{rest_us // 1000:03d}Z"


@lru_cache(maxsize=4096)
def _utc(seconds: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{{{code:04x}}}"


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
