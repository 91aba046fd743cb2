"""Links that open one mailbox's page once, and the sessions that they open.

A link ends in base64url (RFC 4648 5) of version, expiry, nonce and address, with their HMAC-SHA256
(RFC 2104) under a key of the state. Its nonce is written down when it is used, so it opens one
session; a session's cookie is 256 random bits, the state has their SHA-256. A session ends after
15 minutes without a request, and 8 hours after its begin. Raises StateError.
"""

import hashlib
import hmac
import secrets
import sqlite3
import struct
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from query.httpd.caller import Caller, How, Role
from query.httpd.state import State, StateError
from query.scope import Scope

LIFETIME_S: Final = 300
IDLE_S: Final = 15 * 60
SESSION_S: Final = 8 * 3600
SEEN_S: Final = 60
"""A session's last request is kept to the minute."""
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BQ16s")  # version, expiry in seconds since 1970, nonce
_MAC_BYTES: Final = 32


class Link(NamedTuple):
    """What a link says, once its signature was found right and its time not over."""

    address: bytes
    expires_s: int
    nonce: bytes


class Links:
    """The links and sessions of a state."""

    def __init__(
        self, state: State, *, delimiters: bytes, clock: Callable[[], float] = time.time
    ) -> None:
        self._state = state
        self._delimiters = delimiters
        self._clock = clock
        self._key = b""

    def mint(self, address: bytes) -> tuple[str, int]:
        """The token of a new link to a folded address, and when it expires."""
        expires_s = int(self._clock()) + LIFETIME_S
        body = _HEAD.pack(_VERSION, expires_s, secrets.token_bytes(16)) + address
        token = urlsafe_b64encode(body + self._mac(body))
        return token.rstrip(b"=").decode("ascii"), expires_s

    def read(self, token: str) -> Link | None:
        """What a link says; None: not ours, changed or expired. Reading uses nothing up."""
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            return None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(body) <= _HEAD.size or not hmac.compare_digest(mac, self._mac(body)):
            return None
        version, expires_s, nonce = _HEAD.unpack_from(body)
        if version != _VERSION or self._clock() >= expires_s:
            return None
        return Link(body[_HEAD.size :], expires_s, nonce)

    def unused(self, link: Link) -> bool:
        """Whether a link may still be used."""
        return not self._state.read(
            lambda db: db.execute("SELECT 1 FROM nonce WHERE value = ?", (link.nonce,)).fetchone()
        )

    def use(self, link: Link) -> str | None:
        """The secret of a new session for its cookie; None where the link was used before."""
        secret, now = secrets.token_urlsafe(32), int(self._clock())

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM nonce WHERE expires_s < ?", (now - LIFETIME_S,))
            db.execute(
                "DELETE FROM session WHERE seen_s < ? OR created_s < ?",
                (now - IDLE_S - SEEN_S, now - SESSION_S),
            )
            db.execute("INSERT INTO nonce VALUES (?, ?)", (link.nonce, link.expires_s))
            db.execute(
                "INSERT INTO session VALUES (?, ?, ?, ?)", (_hash(secret), link.address, now, now)
            )

        try:
            self._state.write(work)
        except sqlite3.IntegrityError:
            return None
        return secret

    def caller(self, secret: str, *, is_use: bool = True) -> Caller | None:
        """Whose session it is; None: ended, or never begun. A look that is no use keeps it not."""
        key, now = _hash(secret), int(self._clock())
        found = self._state.read(
            lambda db: db.execute(
                "SELECT address, created_s, seen_s FROM session WHERE hash = ?", (key,)
            ).fetchone()
        )
        if found is None:
            return None
        address, created_s, seen_s = found
        if now - seen_s >= IDLE_S or now - created_s >= SESSION_S:
            return None
        if is_use and now - seen_s >= SEEN_S:
            self._seen(key, now)
        name = "link:" + address.decode("utf-8", "backslashreplace")
        scope = Scope.of(mailboxes=[address], delimiters=self._delimiters)
        return Caller(name=name, role=Role.MAILBOX, how=How.LINK, scope=scope)

    def end(self, secret: str) -> None:
        """The session is over."""
        key = _hash(secret)
        self._state.write(lambda db: db.execute("DELETE FROM session WHERE hash = ?", (key,)))

    def _seen(self, key: bytes, now: int) -> None:
        with suppress(StateError):  # no answer waits for it
            self._state.write(
                lambda db: db.execute("UPDATE session SET seen_s = ? WHERE hash = ?", (now, key)),
                patience_s=0,
                durable=False,
            )

    def _mac(self, body: bytes) -> bytes:
        self._key = self._key or self._secret()
        return hmac.digest(self._key, body, "sha256")

    def _secret(self) -> bytes:
        """The key; made on first use."""
        found = self._state.read(_key_of)
        if found is None:

            def work(db: sqlite3.Connection) -> bytes | None:
                made = secrets.token_bytes(32)
                db.execute("INSERT OR IGNORE INTO secret VALUES ('link', ?)", (made,))
                return _key_of(db)

            found = self._state.write(work)
        assert found is not None
        return found


def _key_of(db: sqlite3.Connection) -> bytes | None:
    found = db.execute("SELECT value FROM secret WHERE name = 'link'").fetchone()
    return found[0] if found else None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
