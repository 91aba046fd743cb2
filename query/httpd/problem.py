"""What goes wrong, as ``application/problem+json`` (RFC 9457).

A handler raises ``Problem``; ``of`` makes one of our other errors. What is out of scope and what
is absent are the same problem, word for word. Pure.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from posttrail.errors import (
    JournalFormatError,
    NotPermittedError,
    PosttrailError,
    TryAgainError,
    UnavailableError,
    UsageError,
)
from query.httpd.state import StateError

MEDIA: Final = "application/problem+json"
NOTHING: Final = "nothing is known under this address"
OUR_LOG: Final = "see our log"
URN: Final = "urn:posttrail:problem:"


class _About(NamedTuple):
    status: int
    title: str


class Kind(Enum):
    """Every problem there is; the name is the end of its URN."""

    BAD_FILTER = _About(400, "A parameter means nothing")
    BAD_REQUEST = _About(400, "The request cannot be read")
    NO_PROOF = _About(401, "Nobody is known to ask")
    FORBIDDEN = _About(403, "Not for this caller")
    NOT_FOUND = _About(404, "Nothing here")
    METHOD = _About(405, "Not with this method")
    NOT_ACCEPTABLE = _About(406, "Not in such a form")
    TOO_SLOW = _About(408, "The request took too long to come")
    TOO_LARGE = _About(413, "The request is too large")
    TOO_LONG = _About(414, "The address is too long")
    UNPROCESSABLE = _About(422, "The content means nothing")
    TOO_MANY = _About(429, "Too many requests")
    HEADERS = _About(431, "The header is too large")
    FAULT = _About(500, "A fault of ours")
    UNAVAILABLE = _About(503, "Not available now")
    STATE = _About(503, "The service's own state is unavailable")
    BUSY = _About(503, "It takes too long now")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value.status

    @property
    def title(self) -> str:
        """The same for every problem of the kind."""
        return self.value.title

    @property
    def token(self) -> str:
        """The kind's name in its URN."""
        return self.name.lower().replace("_", "-")


class Problem(PosttrailError):
    """A request that is answered with an error."""

    def __init__(self, kind: Kind, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})

    def document(self, *, instance: str, request_id: str) -> dict[str, object]:
        """The members of RFC 9457 3.1, and the id under which our log has the request."""
        return {
            "type": URN + self.kind.token,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
        }


def not_found() -> Problem:
    """Absent, or out of scope."""
    return Problem(Kind.NOT_FOUND, NOTHING)


def of(error: PosttrailError) -> Problem:
    """The problem that one of our errors is; paths of this machine stay out of it."""
    match error:
        case Problem():
            return error
        case UsageError():
            return Problem(Kind.BAD_FILTER, str(error))
        case TryAgainError():
            return Problem(Kind.BUSY, "ask again later, or for less", {"Retry-After": "5"})
        case StateError():
            return Problem(
                Kind.STATE, "who asks cannot be looked up or recorded now", {"Retry-After": "5"}
            )
        case UnavailableError() | NotPermittedError() | JournalFormatError():
            return Problem(Kind.UNAVAILABLE, "the journal cannot be read now", {"Retry-After": "5"})
    return Problem(Kind.FAULT, "the request could not be answered")


def sentences() -> list[str]:
    """What a page of a problem says, for the catalogue."""
    return [*(kind.title for kind in Kind), NOTHING, OUR_LOG]
