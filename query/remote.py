"""Answers from posttrail-queryd over its Unix socket, in the scope that it knows us to have.

HTTP/1.1 (RFC 9112) as query/httpd/api.py serves it; rows come as ndjson, whose last line proves
that nothing was cut off. Raises UnavailableError (nobody answers, or not to the end),
RefusedError, TryAgainError and UsageError, each with what the service said.
"""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from posttrail.errors import (
    PosttrailError,
    RefusedError,
    TryAgainError,
    UnavailableError,
    UsageError,
)
from query import shape, sse, when
from query.answers import Answers, Filters, Page
from query.coverage import Coverage
from query.days import Days
from query.details import Details
from query.never import Never
from query.rows import FIELDS, Row
from query.stats import Stats
from query.summary import Summary

T = TypeVar("T")

TIMEOUT_S: Final = 60.0
NDJSON: Final = "application/x-ndjson"
_TIMES: Final = frozenset({"since", "until"})


class Remote:
    """The form of ``Answers`` that asks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def page(
        self, filters: Filters, *, limit: int | None, cursor: str | None = None, count: bool = True
    ) -> Page:
        """Rows, newest first; limit None is all."""
        asked = {name: value for name, value in _spelled(filters).items() if value}
        asked["limit"] = "all" if limit is None else str(limit)
        if cursor is not None:
            asked["cursor"] = cursor
        answer = self._get("/v1/messages", asked, NDJSON)
        counted, counts = _counts(answer.headers.get("Posttrail-Counts", ""))
        return Page(
            rows=map(row_of, self._lines(answer)),
            next=_next(answer.headers.get("Link", "")),
            counts=counts,
            counted=counted,
        )

    def message(self, name: str) -> list[Details]:
        """The messages with this id or queue id, newest first; empty: none."""
        path = "/v1/messages/" + quote(name, safe="", errors="surrogateescape")
        try:
            answer = self._get(path, {}, NDJSON)
        except _AbsentError:
            return []
        return [_made(Details, each) for each in self._lines(answer)]

    def stats(self, by: str, *, since: str, until: str, limit: int | None) -> Stats:
        """Rows counted by status, domain or hour."""
        asked = _spelled({"since": since or None, "until": until or None})
        asked |= {"by": by, "limit": "all" if limit is None else str(limit)}
        return self.document(Stats, "/v1/stats", asked)

    def days(self, filters: Filters, *, zone: tzinfo | None) -> Days:
        """The rows of a report by day and status; without a zone in UTC."""
        asked = {name: value for name, value in _spelled(filters).items() if value}
        return self.document(Days, "/v1/days", asked | ({"tz": str(zone)} if zone else {}))

    def summary(self, by: str, *, since: str, until: str, limit: int | None) -> Summary:
        """What was sent, by domain, login or sender."""
        asked = _spelled({"since": since or None, "until": until or None})
        asked |= {"by": by, "limit": "all" if limit is None else str(limit)}
        return self.document(Summary, "/v1/summary", asked)

    def never(self, filters: Filters) -> Never:
        """What the journal can say of mail that a report does not find."""
        asked = {name: value for name, value in _spelled(filters).items() if value}
        return self.document(Never, "/v1/never", asked)

    def coverage(self) -> Coverage:
        """When capture was up, and the gaps."""
        return self.document(Coverage, "/v1/coverage", {})

    def document(self, kind: type[T], path: str, asked: Mapping[str, str]) -> T:
        """One JSON document, as its type."""
        return _made(kind, _parsed(self._get(path, asked, "application/json").read()))

    def post(self, kind: type[T], path: str, document: object) -> T:
        """The answer to a JSON document, as its type."""
        return _made(kind, _parsed(self._ask("POST", path, json.dumps(document).encode()).read()))

    def stream(
        self, filters: Filters, *, message: str | None, last_id: str, timeout_s: float
    ) -> HTTPResponse:
        """The live stream behind an event's id, or from now on; a silence times out."""
        asked = {name: value for name, value in _spelled(filters).items() if value}
        if message is not None:
            asked["message"] = message
        more = {"Last-Event-ID": last_id} if last_id else {}
        return self._ask(
            "GET",
            f"/v1/events?{urlencode(asked, errors='surrogateescape')}",
            None,
            sse.MEDIA,
            more=more,
            timeout_s=timeout_s,
        )

    def _get(self, path: str, asked: Mapping[str, str], accept: str) -> HTTPResponse:
        query = urlencode(asked, errors="surrogateescape")
        return self._ask("GET", f"{path}?{query}" if query else path, None, accept)

    def _ask(
        self,
        method: str,
        target: str,
        body: bytes | None,
        accept: str = "application/json",
        *,
        more: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> HTTPResponse:
        headers = (
            _said(accept)
            | dict(more or {})
            | ({} if body is None else {"Content-Type": "application/json"})
        )
        connection = _Connection(self._path, timeout_s)
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            if answer.status not in (200, 201):
                raise _error(answer.status, answer.read())
        except (OSError, HTTPException) as error:
            connection.close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnavailableError(
                f"no answer from posttrail-queryd at {self._path}: {reason};"
                " see that it runs, or read the journal itself with --journal DIR"
            ) from None
        return answer

    def _lines(self, answer: HTTPResponse) -> Iterator[dict[str, Any]]:
        """The documents of an ndjson answer, up to the line that says it is whole."""
        try:
            for line in answer:
                found = _parsed(line)
                if "end" in found:
                    if found["end"] is True:
                        return
                    break
                yield found
        except (OSError, HTTPException):
            pass  # what follows says so
        finally:
            answer.close()
        raise UnavailableError(f"posttrail-queryd at {self._path} broke off in its answer")


class _Connection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("posttrail", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """unix(7)."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _AbsentError(PosttrailError):
    """404."""


def read(path: Path, work: Callable[[Answers], int]) -> int:
    """The exit code of ``work`` on what the service at a socket answers."""
    return work(Remote(path))


def _said(accept: str) -> dict[str, str]:
    return {"Accept": accept, "User-Agent": "posttrail", "Connection": "close"}


def _spelled(filters: Filters) -> dict[str, str]:
    """What is given, its times such as mean the same in another zone."""
    now_us = time.time_ns() // 1000
    given = {name: value for name, value in filters.items() if value is not None}
    if given.get("sender") == "":
        given["sender"] = "<>"
    return {
        name: when.absolute(value, now_us=now_us) if name in _TIMES else value
        for name, value in given.items()
    }


def _error(status: int, body: bytes) -> PosttrailError:
    """Our error for a problem document."""
    try:
        found = json.loads(body)
        detail, kind = str(found["detail"]), str(found["type"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError):
        detail, kind = f"HTTP status {status}", ""
    if status == 404:
        return _AbsentError(detail)
    if status in (401, 403):
        return RefusedError(f"posttrail-queryd refuses: {detail}")
    if status == 429 or kind == "busy":
        return TryAgainError(f"posttrail-queryd: {detail}")
    if status < 500:
        return UsageError(detail)
    return UnavailableError(f"posttrail-queryd: {detail}")


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise UnavailableError("posttrail-queryd answered with what is no JSON") from None


def _made(kind: type[T], found: object) -> T:
    try:
        return shape.made(kind, found)
    except ValueError:
        raise UnavailableError(
            f"posttrail-queryd is of another release: no {kind.__name__} in its answer"
        ) from None


def row_of(found: Mapping[str, Any]) -> Row:
    try:
        return Row(**{name: found[name] for name in FIELDS})
    except KeyError as error:
        raise UnavailableError(
            f"posttrail-queryd is of another release: a row without {error}"
        ) from None


def _counts(header: str) -> tuple[str, dict[str, int]]:
    """What was counted, and the counts, of ``row; delivered=14, error=2``."""
    what, _, rest = header.partition("; ")
    pairs = (part.partition("=") for part in rest.split(", ") if part)
    return what or "row", {status: int(n) for status, _, n in pairs if n.isdecimal()}


def _next(link: str) -> str | None:
    """The cursor in a Link header (RFC 8288)."""
    target, _, relation = link.partition(">; ")
    if relation != 'rel="next"':
        return None
    return next(iter(parse_qs(urlsplit(target.removeprefix("<")).query).get("cursor", ())), None)
