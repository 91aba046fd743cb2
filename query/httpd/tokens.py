"""Tokens for programs: ``pt_ID_SECRET`` in the Authorization header (RFC 6750 2.1), nowhere else.

The secret is 256 random bits, shown once; the state has its SHA-256 (so much chance needs no slow
hash), the grant, a label, the expiry and the last use. Raises StateError; UsageError for a grant
that means nothing.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from query.httpd import grants
from query.httpd.caller import Caller, How
from query.httpd.state import State, StateError

PREFIX: Final = "pt_"
LIFETIME_S: Final = 90 * 86400
USE_S: Final = 60
"""The last use is kept to the minute: a write a minute, not one a request."""
_COLUMNS: Final = "id, grants, label, created_s, expires_s, used_s, revoked_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """All that is known of a token but its secret; times in seconds since 1970."""

    id: str
    scope: str  # as grants.parse reads it
    label: str
    created_s: int
    expires_s: int
    used_s: int | None
    revoked_s: int | None


class Tokens:
    """The tokens in a state."""

    def __init__(
        self, state: State, *, delimiters: bytes, clock: Callable[[], float] = time.time
    ) -> None:
        self._state = state
        self._delimiters = delimiters
        self._clock = clock

    def add(self, scope: str, *, label: str = "", lifetime_s: int = LIFETIME_S) -> tuple[str, str]:
        """The id of a new token, and the token itself: nothing can tell it again."""
        grants.parse(scope, self._delimiters)
        id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        now = int(self._clock())
        row = (id, _hash(secret), scope, label, now, now + lifetime_s)
        self._state.write(
            lambda db: db.execute("INSERT INTO token VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)", row)
        )
        return id, f"{PREFIX}{id}_{secret}"

    def all(self) -> list[Token]:
        """Every token, the oldest first; also the expired and revoked ones."""
        return self._state.read(
            lambda db: [
                _token(row)
                for row in db.execute(f"SELECT {_COLUMNS} FROM token ORDER BY created_s, id")
            ]
        )

    def revoke(self, id: str) -> bool:
        """Whether there was such a token that was not revoked before."""
        now = int(self._clock())
        return self._state.write(
            lambda db: (
                db.execute(
                    "UPDATE token SET revoked_s = ? WHERE id = ? AND revoked_s IS NULL", (now, id)
                ).rowcount
                > 0
            )
        )

    def caller(self, text: str) -> Caller | None:
        """Whom a token is for; None: unknown, wrong, revoked or expired, all the same."""
        id, _, secret = text.removeprefix(PREFIX).partition("_")
        found = self._state.read(
            lambda db: db.execute(f"SELECT {_COLUMNS}, hash FROM token WHERE id = ?", (id,))
            .fetchone()
        )  # fmt: skip
        right = hmac.compare_digest(_hash(secret), found[-1] if found else bytes(32))
        if not found or not right:
            return None
        token, now = _token(found[:-1]), int(self._clock())
        if token.revoked_s is not None or now >= token.expires_s:
            return None
        if token.used_s is None or now - token.used_s >= USE_S:
            self._used(id, now)
        grant = grants.parse(token.scope, self._delimiters)
        return Caller(name=f"token:{id}", role=grant.role, how=How.TOKEN, scope=grant.scope)

    def _used(self, id: str, now: int) -> None:
        with suppress(StateError):  # no answer waits for it
            self._state.write(
                lambda db: db.execute("UPDATE token SET used_s = ? WHERE id = ?", (now, id)),
                patience_s=0,
                durable=False,
            )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _token(row: tuple[Any, ...]) -> Token:
    id, scope, label, created_s, expires_s, used_s, revoked_s = row
    return Token(
        id=id,
        scope=scope,
        label=label,
        created_s=created_s,
        expires_s=expires_s,
        used_s=used_s,
        revoked_s=revoked_s,
    )
