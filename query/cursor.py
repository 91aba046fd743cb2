"""Opaque cursors: where the next page begins, signed for one query and one scope.

Format: base64url (RFC 4648 5, no padding) of version, window, position and a
16-byte BLAKE2b MAC under a key derived from the journal's. The window and the
time of the first page travel with the cursor, so that "30d" means the same on every page.
Raises UsageError for a cursor that was not made for this search.
"""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import fields, replace
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

from posttrail.errors import UsageError
from query.match import Query
from query.scope import Scope
from query.search import Position

_VERSION: Final = 1
_BODY: Final = struct.Struct(">BqqqqI8s")  # version, since, until, now, time, row, id
_MAC_BYTES: Final = 16


class Signer:
    """Makes and reads the cursors of one journal."""

    def __init__(self, journal_key: bytes) -> None:
        self._key = blake2b(journal_key, digest_size=32, person=b"posttrail cursor").digest()

    def sign(self, query: Query, scope: Scope, position: Position) -> str:
        """The cursor behind ``position``."""
        body = _BODY.pack(
            _VERSION,
            query.window.since_us,
            query.window.until_us,
            query.now_us,
            position.time_ms,
            position.row,
            position.id,
        )
        mac = self._mac(body, query, scope)
        return urlsafe_b64encode(body + mac).rstrip(b"=").decode("ascii")

    def resume(self, cursor: str, query: Query, scope: Scope) -> tuple[Query, Position]:
        """The query with the window of its first page, and the position it got to."""
        try:
            raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except ValueError:
            raise UsageError("the cursor is damaged") from None
        body, mac = raw[: _BODY.size], raw[_BODY.size :]
        if len(mac) != _MAC_BYTES or not compare_digest(mac, self._mac(body, query, scope)):
            raise UsageError("the cursor was made for another search or is damaged")
        _version, since_us, until_us, now_us, time_ms, row, id = _BODY.unpack(body)
        window = replace(query.window, since_us=since_us, until_us=until_us)
        return replace(query, window=window, now_us=now_us), Position(time_ms, id, row)

    def _mac(self, body: bytes, query: Query, scope: Scope) -> bytes:
        said = spelled(query) + spelled(scope)
        return blake2b(body + said, digest_size=_MAC_BYTES, key=self._key).digest()


def spelled(value: Query | Scope) -> bytes:
    """All that was asked, in one order, without what the clock made of it."""
    parts = []
    for part in (one for one in fields(value) if one.compare):
        found = getattr(value, part.name)
        if part.name == "now_us":
            continue
        if part.name == "window":
            found = found.spelled
        elif isinstance(found, frozenset):
            found = sorted(found)
        parts.append((part.name, found))
    return repr(parts).encode("utf-8", "surrogatepass")
