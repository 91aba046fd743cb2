"""The string table of a record: each string once, named by a number where it is used.

The layout is docs/journal-format.md, "Strings". Raises ``ValueError`` on refs that
are cut short.
"""

from array import array
from collections.abc import Iterable, Sequence
from sys import byteorder
from typing import Any, Final

_FORMATS: Final = ("B", "H", "I")


def width(count: int) -> int:
    """Which of 1, 2 and 4 bytes a ref needs, as the exponent of two."""
    return 0 if count <= 0x100 else 1 if count <= 0x10000 else 2


def pack_refs(numbers: Iterable[int], width: int) -> bytes:
    """Refs of ``1 << width`` bytes each."""
    if width == 0:
        return bytes(numbers)
    packed = array(_FORMATS[width], list(numbers))
    if byteorder == "little":
        packed.byteswap()
    return packed.tobytes()


def join(strings: list[Any]) -> tuple[bytes, bool]:
    """All strings with NUL between; where one holds a NUL itself, all are escaped."""
    joined = b"\0".join(strings)
    if joined.count(0) == len(strings) - 1 or not strings:
        return joined, False
    return b"\0".join(
        [text.replace(b"\1", b"\1\2").replace(b"\0", b"\1\1") for text in strings]
    ), True


def split(joined: bytes, *, escaped: bool) -> list[Any]:
    """What was joined."""
    strings = joined.split(b"\0")
    if not escaped:
        return strings
    return [text.replace(b"\1\1", b"\0").replace(b"\1\2", b"\1") for text in strings]


def unpack_refs(packed: bytes, width: int, count: int) -> Sequence[int]:
    """The first ``count`` refs."""
    if width == 0:
        return packed[:count]
    numbers = array(_FORMATS[width])
    numbers.frombytes(packed[: count << width])
    if byteorder == "little":
        numbers.byteswap()
    return numbers
