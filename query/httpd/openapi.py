"""/openapi.json: what the API takes and gives, made of the types that it takes and gives.

OpenAPI 3.1.0, with JSON Schema 2020-12. Raises nothing.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from journal.records import REASONS
from posttrail import __version__
from query import shape, stats, summary
from query.audit_verb import Entries
from query.coverage import Coverage
from query.days import Days
from query.details import Details
from query.explain import Explanation
from query.filters import DEFAULT_LIMIT, DIRECTIONS, NAMES, STATUSES
from query.httpd import accept, api, audit_routes, params, problem
from query.httpd.accept import Form
from query.httpd.problem import Kind
from query.link_verb import Made
from query.never import Never
from query.rows import Row
from query.stats import Stats
from query.summary import Summary
from query.trace.asked import ENTRIES

Document = dict[str, Any]

VERSION: Final = "3.1.0"
TEXT: Final[Document] = {"type": "string"}

ABOUT: Final = {
    "address": "To or from it: an address, or @domain.",
    "since": "Not older: 30d, 2026-11-23, an RFC 3339 time.",
    "until": "Older than this.",
    "status": f"Any of {', '.join(STATUSES)}, parted by commas.",
    "reason": f"Any of {', '.join(REASONS)}.",
    "direction": f"Any of {', '.join(DIRECTIONS)}.",
    "sender": "Sent by it: an address, @domain, or <> for the null sender.",
    "recipient": "For it, before or after aliases.",
    "message_id": "With this Message-ID.",
    "queue_id": "With this queue id, here or at the next host.",
    "client_ip": "From this client.",
    "login": "Sent under this login, or @domain.",
    "text": "Words in a subject, an address, a reply.",
    "silent_for": "Not final, and nothing heard for so long: 2h.",
    "limit": f"Rows of a page; {DEFAULT_LIMIT} without it.",
    "cursor": "The page behind this: the next of the one before.",
    "message": "This message alone: its id or a queue id.",
    "after": "As Last-Event-ID, which beats it.",
    "tz": "A time zone of the tz database; UTC without one.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A page of a report."""

    rows: list[Row]
    next: str | None
    counts: dict[str, int]
    counted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """That there is an answer."""

    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemDocument:
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [Route("/openapi.json", served)]


async def served(request: Request) -> Response:
    """The document."""
    params.of(request, ())
    return accept.document(document())


@cache
def document() -> Document:
    """The whole of it."""
    known: dict[str, shape.Schema] = {}
    paths = {
        "/v1/messages": _get("The report, newest first.", Report, known, _list(), rows=True),
        "/v1/messages/{id}": _get("One message.", Details, known, [_path("id")], lines=True),
        "/v1/trace": _get("The way of an address.", None, known, _trace()),
        "/v1/stats": _get("Rows counted.", Stats, known, _stats(stats.BY)),
        "/v1/days": _get("Rows by day.", Days, known, [*map(_query, (*NAMES, "tz"))]),
        "/v1/summary": _get("What was sent.", Summary, known, _stats(summary.BY)),
        "/v1/never": _get(
            "Whether it never came.", Never, known, [*map(_query, sorted(api.PEOPLE))]
        ),
        "/v1/coverage": _get("When capture was up.", Coverage, known, []),
        "/v1/explain": _get("A reply in plain words.", Explanation, known, _explain()),
        "/v1/audit": _get("Who looked at whose mail.", Entries, known, _audit(), lines=True),
        "/v1/links": _links(known),
        "/v1/events": _events(),
        "/healthz": _get("Whether it answers.", Health, known, []),
        "/readyz": _get("Whether the journal can be read.", Health, known, []),
    }
    shape.schema(ProblemDocument, known)
    return {
        "openapi": VERSION,
        "info": {
            "title": "posttrail",
            "version": __version__,
            "description": "What happened to that message?",
        },
        "paths": paths,
        "components": {
            "schemas": known,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _get(
    summary: str,
    kind: type | None,  # None: docs/schema/ has it
    known: dict[str, shape.Schema],
    parameters: list[Document],
    *,
    rows: bool = False,
    lines: bool = False,
) -> Document:
    schema = {"type": "object"} if kind is None else shape.schema(kind, known)
    content: Document = {Form.JSON.value: {"schema": schema}}
    if rows or lines:
        content[Form.NDJSON.value] = {"schema": TEXT}
    if rows:
        content[Form.CSV.value] = {"schema": TEXT}
    found: Document = {
        "200": {"description": summary, "content": content},
        "304": {"description": "What the client has is what there is."},
    }
    return {
        "get": {
            "summary": summary,
            "parameters": parameters,
            "responses": found | {str(status): each for status, each in _problems().items()},
        }
    }


@cache
def _problems() -> dict[int, Document]:
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    page = {"text/html": {"schema": TEXT}}
    return {
        kind.status: {
            "description": kind.title,
            "content": {problem.MEDIA: {"schema": schema}} | page,
        }
        for kind in Kind
    }


def _events() -> Document:
    """A stream, for which OpenAPI 3.1 has no words but its media type."""
    names = (*NAMES, "message", "after")
    resume = {"name": "Last-Event-ID", "in": "header", "schema": TEXT, "required": False}
    found = _get("What is new.", None, {}, [*map(_query, names), resume])
    said = "Server-sent events row, gone and end; the data of row is a row, in one line."
    content = {Form.EVENTS.value: {"schema": TEXT}}
    found["get"]["responses"]["200"] = {"description": said, "content": content}
    del found["get"]["responses"]["304"]
    return found


def _query(name: str, schema: Document = TEXT, *, required: bool = False) -> Document:
    found: Document = {"name": name, "in": "query", "schema": schema, "required": required}
    return found | ({"description": ABOUT[name]} if name in ABOUT else {})


def _path(name: str) -> Document:
    return {"name": name, "in": "path", "schema": {"type": "string"}, "required": True}


def _format(*forms: Form) -> Document:
    return _query("format", {"enum": [each.name.lower() for each in forms]})


def _list() -> list[Document]:
    named = [_query(name) for name in (*NAMES, *sorted(params.PAGING - {"limit"}))]
    limit = {"type": "integer", "minimum": 1, "maximum": api.MOST_ROWS}
    return [*named, _query("limit", limit), _format(*accept.ROWS)]


def _stats(keys: tuple[str, ...]) -> list[Document]:
    by = _query("by", {"enum": list(keys)})
    return [
        by,
        _query("since"),
        _query("until"),
        _query("limit", {"type": "integer", "minimum": 1}),
    ]


def _people() -> list[Document]:
    return [_query(name) for name in sorted(api.PEOPLE)]


def _trace() -> list[Document]:
    entry = _query("entry", {"enum": list(ENTRIES)})
    return [
        _query("address", required=True) | {"description": "Whose way."},
        _query("sender"),
        entry,
    ]


def _audit() -> list[Document]:
    limit = {"type": "integer", "minimum": 1, "maximum": audit_routes.MOST}
    return [*map(_query, ("address", "since", "until")), _query("limit", limit)]


def _links(known: dict[str, shape.Schema]) -> Document:
    """The one thing that is posted: an address, for a link."""
    body = {
        "type": "object",
        "properties": {"address": TEXT},
        "required": ["address"],
        "additionalProperties": False,
    }
    made = {Form.JSON.value: {"schema": shape.schema(Made, known)}}
    found: Document = {"201": {"description": "A link that opens its page once.", "content": made}}
    return {
        "post": {
            "summary": "A link to the page of a mailbox.",
            "requestBody": {"required": True, "content": {Form.JSON.value: {"schema": body}}},
            "responses": found | {str(status): each for status, each in _problems().items()},
        }
    }


def _explain() -> list[Document]:
    code = {"type": "integer", "minimum": 100, "maximum": 999}
    return [_query("text"), _query("enhanced_status"), _query("reply_code", code)]
