"""Looks for an address in everything that posttrail keeps: the scan that an erasure is held against.

Every record of every day is decoded, every value of ``state`` read, every file below some folders
searched as bytes, in the forms in which an address is written into other text (letter case,
percent, quoted-printable, xtext, base64 at its three places, hexadecimal, UTF-16, VERP and SRS),
and what is packed inside of a file (zlib, gzip, zstd) is unpacked and searched as well.
"""

import base64
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import zstandard

from journal import days, store
from journal.codec import decode, merged_into
from journal.keys import parse_day
from journal.store import Store

_PACKED = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08|\x28\xb5\x2f\xfd", re.DOTALL)
_MOST = 64 << 20


def forms(address: str) -> set[bytes]:
    """What an address may look like inside other bytes, in lower case where that is possible."""
    local, _, domain = address.lower().partition("@")
    raw = address.lower().encode()
    found = {raw, local.encode() + b"%40" + domain.encode(), local.encode() + b"=40"}
    found |= {f"{local}={domain}".encode(), f"{domain}={local}".encode(), raw.hex().encode()}
    found |= {f"{local}%{domain}".encode(), f"{domain}!{local}".encode(), local.encode()}
    found.add(raw.decode().encode("utf-16-le"))
    return found


def in_base64(address: str) -> set[bytes]:
    """The middle of its base64, for each place at which it may begin; case counts."""
    found = set()
    for spelled in (address, address.lower(), address.upper()):
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + spelled.encode()).rstrip(b"=")
            found.add(coded[4 if shift else 0 : -2])
    return found


def holds(data: bytes, address: str) -> bool:
    """Whether bytes, or what is packed in them, have the address."""
    if _plain(data, address):
        return True
    return any(_plain(inner, address) for inner in unpacked(data))


def _plain(data: bytes, address: str) -> bool:
    low = data.lower()
    return any(form in low for form in forms(address)) or any(
        form in data for form in in_base64(address)
    )


def unpacked(data: bytes) -> Iterator[bytes]:
    """Everything in some bytes that can be inflated."""
    for match in _PACKED.finditer(data):
        part = data[match.start() :]
        if match[0][:1] == b"\x28":
            try:
                yield zstandard.ZstdDecompressor().decompressobj().decompress(part)
            except zstandard.ZstdError:
                continue
            continue
        try:
            inflater = zlib.decompressobj(31 if match[0][:1] == b"\x1f" else 15)
            inner = inflater.decompress(part, _MOST)
        except zlib.error:
            continue
        if inner:
            yield inner


def holders(address: str, *folders: Path) -> dict[str, str]:
    """Where an address is found: path (or day and record) → how."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and holds(path.read_bytes(), address):
                found[str(path)] = "bytes"
            if path.is_dir() and parse_day(path.name) is not None and not path.is_symlink():
                found |= {f"{path}/{key}": "record" for key in _records(path, address)}
            if path.name == days.STATE and path.is_dir():
                found |= {f"{path}/{key}": "state" for key in _state(path, address)}
    return found


def _records(path: Path, address: str) -> Iterator[str]:
    """The records of a day that have the address, decoded."""
    prefix = (parse_day(path.name) or 0).to_bytes(2, "big")
    with Store(path, store.DAY_DATABASES, writable=False) as day:
        for key, body in day.up(b"m", b"", limit=1 << 30):
            if merged_into(prefix + key, body) is not None:
                continue
            record = decode(prefix + key, body)
            texts = [field for event in record.events for field in event.fields]
            said = b"\n".join([*texts, repr(record.message).encode()])
            if holds(said, address):
                yield key.hex()


def _state(path: Path, address: str) -> Iterator[str]:
    with Store(path, store.STATE_DATABASES, writable=False) as state:
        for database in store.STATE_DATABASES:
            for key, value in state.up(database, b"", limit=1 << 30):
                if holds(key + b"\0" + value, address):
                    yield f"{database.decode()} {key!r}"
