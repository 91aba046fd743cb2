"""What can still be read of a day that was put aside: its pages one by one, without LMDB.

The file format of LMDB 0.9 (lmdb.h, mdb.c: MDB_page, MDB_node, MDB_meta) and
docs/journal-format.md, "Day". A leaf page names its own nodes, so that a damaged page costs
no other; free pages hold older versions. What a record says is believed where its own checksum
fits, and the newest version counts. Nothing is mapped: damage raises nothing and ends nobody.

Raises OSError where the file cannot be read.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from journal.keys import DOOR, QUEUE_ID

_HEADER: Final = struct.Struct("<QHHHH")  # page number, pad, flags, lower, upper
_NODE: Final = struct.Struct("<HHHH")  # data size low and high, flags, key size
_META: Final = struct.Struct("<IIQQ")  # magic, version, address, map size
_DB: Final = struct.Struct("<IHHQQQQQ")  # pad, flags, depth, three counts, entries, root
_MAGIC: Final = 0xBEEFC0DE
_LEAF: Final = 2
_BIG: Final = 1
_SUB: Final = 2
_PAGES_A_STEP: Final = 2_000
_SIZES: Final = frozenset({512 << power for power in range(8)})
_VERSIONS: Final = frozenset({1, 128})  # of a record body: a record, a tombstone
_BODY_LEAST: Final = 14
_KEY: Final = 6
_NUMBER: Final = 8
_ENTRY: Final = 13
_TERM: Final = 7
TELLING: Final = frozenset({QUEUE_ID, DOOR})
"""Kinds of index entries that (nearly) no two messages have in common."""


class Place(NamedTuple):
    """Where a version of a record is in the file."""

    seq: int
    at: int
    size: int


class Salvage:
    """The records of one file; ``scan`` it to its end before asking for anything."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path / "data.mdb", os.O_RDONLY | os.O_CLOEXEC)
        self._page = _page_size(self._file)
        self.records: dict[bytes, Place] = {}
        """By id without the day: the newest version whose checksum fits."""
        self.named: dict[bytes, int] = {}
        """Ids of the change log, and the greatest change number it has of each."""

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def scan(self) -> Iterator[float]:
        """Read all pages; yields the share that is done, every few thousand of them."""
        whole = max(os.fstat(self._file).st_size // self._page, 1)
        for number in range(0, whole, _PAGES_A_STEP):
            chunk = os.pread(self._file, self._page * _PAGES_A_STEP, number * self._page)
            for at in range(0, len(chunk) - self._page + 1, self._page):
                self._take(chunk, at, number * self._page + at)
            yield min((number + _PAGES_A_STEP) / whole, 1.0)

    def _take(self, chunk: bytes, at: int, place: int) -> None:
        """What one page holds of records and of the change log."""
        for key, big, begin, size in _nodes(chunk, at, self._page):
            if len(key) == _KEY:
                where = place + begin - at
                if big:
                    where = int.from_bytes(chunk[begin : begin + 8], "little") * self._page + 16
                    body = _read(self._file, size, where)
                else:
                    body = chunk[begin : begin + size]
                self._note(key, body, where)
            elif len(key) == _NUMBER and size == _KEY:
                named = chunk[begin : begin + size]
                seq = int.from_bytes(key, "big")
                self.named[named] = max(self.named.get(named, 0), seq)

    def _note(self, key: bytes, body: bytes, where: int) -> None:
        if len(body) < _BODY_LEAST or body[4] not in _VERSIONS:
            return
        if int.from_bytes(body[:4], "big") != zlib.crc32(body[4:]):
            return
        seq = int.from_bytes(body[6:14], "big")
        known = self.records.get(key)
        if known is None or seq > known.seq:
            self.records[key] = Place(seq, where, len(body))

    def body(self, key: bytes) -> bytes:
        """The newest version of a record."""
        place = self.records[key]
        return os.pread(self._file, place.size, place.at)

    def is_newest(self, key: bytes) -> bool:
        """Whether the change log knows of no later version."""
        return self.named.get(key, 0) <= self.records[key].seq

    def ids(self) -> set[bytes]:
        """Every id that is known to have been there, without the day."""
        return self.records.keys() | self.named.keys()

    def terms(self, wanted: set[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """(Term, id without the day) of each entry of the index, for some ids."""
        whole = os.fstat(self._file).st_size // self._page
        for number in range(0, whole, _PAGES_A_STEP):
            chunk = os.pread(self._file, self._page * _PAGES_A_STEP, number * self._page)
            for at in range(0, len(chunk) - self._page + 1, self._page):
                for key, _, begin, size in _nodes(chunk, at, self._page):
                    if len(key) == _ENTRY:
                        rest = chunk[begin + 1 : begin + size] or key[_TERM:]
                        if rest in wanted:
                            yield key[:_TERM], rest

    def entries(self) -> int | None:
        """How many records and tombstones the newest meta page's tree says there are."""
        metas = sorted(filter(None, (_meta(self._file, self._page, n) for n in (0, 1))))
        if not metas:
            return None
        root = metas[-1][1]
        page = _read(self._file, self._page, root * self._page)
        for key, _, begin, size in _nodes(page, 0, self._page, sub=True):
            if key == b"m" and size == _DB.size:
                return int(_DB.unpack_from(page, begin)[6])
        return None


def transaction(path: Path) -> int | None:
    """The number of the last transaction of an environment; None where no meta page says."""
    file = os.open(path / "data.mdb", os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = _page_size(file)
        found = [meta[0] for number in (0, 1) if (meta := _meta(file, size, number)) is not None]
    finally:
        os.close(file)
    return max(found, default=None)


def _read(file: int, size: int, at: int) -> bytes:
    """What a number found in a page leads to; a damaged one may lead anywhere."""
    if at + size > os.fstat(file).st_size:
        return b""
    return os.pread(file, size, at)


def _nodes(
    chunk: bytes, at: int, size: int, *, sub: bool = False
) -> Iterator[tuple[bytes, bool, int, int]]:
    """Key, whether the data is elsewhere, where it begins and its size, of each node of a leaf."""
    if len(chunk) - at < size:
        return
    _, _, flags, lower, upper = _HEADER.unpack_from(chunk, at)
    if not flags & _LEAF or not 16 <= lower <= upper <= size:
        return
    for ptr in range(at + 16, at + lower - 1, 2):
        node = at + int.from_bytes(chunk[ptr : ptr + 2], "little")
        if node + 8 > at + size:
            continue
        low, high, kind, key_size = _NODE.unpack_from(chunk, node)
        begin, data = node + 8 + key_size, low | high << 16
        big = bool(kind & _BIG)
        if begin + (8 if big else data) > at + size or bool(kind & _SUB) != sub:
            continue
        yield chunk[node + 8 : begin], big, begin, data


def _meta(file: int, size: int, number: int) -> tuple[int, int] | None:
    """Transaction number and root page of the main database, as one meta page says."""
    page = os.pread(file, size, number * size)
    if len(page) < 16 + _META.size + 2 * _DB.size + 16:
        return None
    if _META.unpack_from(page, 16)[0] != _MAGIC:
        return None
    root = _DB.unpack_from(page, 16 + _META.size + _DB.size)[7]
    txn = struct.unpack_from("<Q", page, 16 + _META.size + 2 * _DB.size + 8)[0]
    return int(txn), int(root)


def _page_size(file: int) -> int:
    """As a meta page says, else what this machine has."""
    usual = os.sysconf("SC_PAGE_SIZE")
    for place in (0, usual):
        head = os.pread(file, 16 + _META.size + _DB.size, place)
        if len(head) == 16 + _META.size + _DB.size:
            magic = _META.unpack_from(head, 16)[0]
            size = _DB.unpack_from(head, 16 + _META.size)[0]
            if magic == _MAGIC and size in _SIZES:
                return int(size)
    return int(usual)


def spans(times: list[int], apart: int) -> list[tuple[int, int]]:
    """Sorted times as spans with no two times further than ``apart`` from one another."""
    if not times:
        return []
    breaks = [(one, two) for one, two in pairwise(times) if two - one > apart]
    begins = [times[0], *(two for _, two in breaks)]
    ends = [*(one for one, _ in breaks), times[-1]]
    return list(zip(begins, ends, strict=True))
