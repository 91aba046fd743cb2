"""Checksums of what ``state/`` keeps for others: positions (``p``) and contexts (``k``).

A flipped bit in a position would have lines skipped, and LMDB has no checksums. In ``k``, under
NUL, the database's name and the name: CRC-32 (as in zlib), 4 bytes. A value without one, of an
older release, is taken as it is. Under NUL, ``key``: that of the key in ``KEY``, a flipped bit of
which would have everything looked for in the wrong place. Raises ``DamagedStoreError``.
"""

from collections.abc import Mapping
from typing import Final
from zlib import crc32

from journal.store import DamagedStoreError, Pairs, Store

_OF_KEY: Final = b"\0key"


def of(positions: Mapping[bytes, bytes], contexts: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The checksums to be written with positions and contexts."""
    return {
        _key(database, name): crc32(value).to_bytes(4, "big")
        for database, values in ((b"p", positions), (b"k", contexts))
        for name, value in values.items()
    }


def key_is_known(state: Store, key: bytes) -> bool:
    """Whether the journal was written with this key; where nothing says so, it is taken for it."""
    kept = state.get(b"k", _OF_KEY)
    return kept is None or int.from_bytes(kept, "big") == crc32(key)


def of_key(key: bytes) -> tuple[bytes, bytes]:
    """By which a key is known again."""
    return _OF_KEY, crc32(key).to_bytes(4, "big")


def get(state: Store, database: bytes, name: bytes) -> bytes | None:
    """A value that is what was written."""
    value = state.get(database, name)
    if value is not None:
        look(state, database, [(name, value)])
    return value


def look(state: Store, database: bytes, pairs: Pairs) -> None:
    """Refuse values that are not what was written."""
    for name, value in pairs:
        kept = None if name.startswith(b"\0") else state.get(b"k", _key(database, name))
        if kept is not None and int.from_bytes(kept, "big") != crc32(value):
            raise DamagedStoreError(state.path, f"the checksum of {name!r} is wrong")


def _key(database: bytes, name: bytes) -> bytes:
    return b"\0" + database + name
