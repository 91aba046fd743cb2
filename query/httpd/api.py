"""/v1: parameters to questions, questions to answers; no handler decides who sees what.

Handlers take a Starlette request and raise Problem or what the answers raise; the forms of an
answer are ``accept``'s.
"""

from dataclasses import asdict
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from query import details, rows
from query.answers import Answers, Page
from query.filters import DEFAULT_LIMIT, NAMES
from query.httpd import accept, params, problem
from query.httpd.accept import Form
from query.httpd.service import caller, service

MOST_ROWS: Final = 1000
"""Of a JSON document; ndjson and CSV have no end."""


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [
        Route("/v1/messages", messages),
        Route("/v1/messages/{id}", message),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]


async def messages(request: Request) -> Response:
    """The report."""
    form = accept.form(request, accept.ROWS)
    given = params.of(request, {*NAMES, *params.PAGING})
    filters = params.filters(given)
    most = MOST_ROWS if form is Form.JSON else None
    limit = params.limit(given, default=DEFAULT_LIMIT, most=most)
    cursor = given.get("cursor") or None
    asked = service(request)

    def ask(answers: Answers) -> tuple[Page, list[dict[str, rows.Cell]]]:
        page = answers.page(filters, limit=limit, cursor=cursor, count=form is not Form.CSV)
        return page, [rows.document(row) for row in page.rows] if form is Form.JSON else []

    page, found = await asked.read(caller(request), ask)
    headers = _headers(request, given, page)
    if form is Form.NDJSON:
        return accept.ndjson(asked, page.rows, headers)
    if form is Form.CSV:
        return accept.csv(asked, page.rows, headers)
    document = {
        "rows": found,
        "next": page.next,
        "counts": dict(page.counts),
        "counted": page.counted,
    }
    return accept.document(document, headers)


def _headers(request: Request, given: dict[str, str], page: Page) -> dict[str, str]:
    """What every form tells beside its rows: the next page (RFC 8288), and the counts."""
    headers = {}
    if page.next is not None:
        again = urlencode({**given, "cursor": page.next}, errors="surrogateescape")
        headers["Link"] = f'<{request.url.path}?{again}>; rel="next"'
    if page.counts:
        counts = ", ".join(f"{status}={number}" for status, number in page.counts.items())
        headers["Posttrail-Counts"] = f"{page.counted}; {counts}"
    return headers


async def message(request: Request) -> Response:
    """One message: the newest of that id or queue id."""
    form = accept.form(request, (Form.JSON, Form.NDJSON))
    params.of(request, ())
    name: str = request.path_params["id"]
    found = await service(request).read(caller(request), lambda answers: answers.message(name))
    if not found:
        raise problem.not_found()
    others = [f'</v1/messages/{each.id}>; rel="alternate"' for each in found[1:]]
    headers = {"Link": ", ".join(others)} if others else {}
    if form is Form.NDJSON:
        return accept.lines([details.document(each) for each in found], headers)
    return accept.document(asdict(found[0]), headers)


async def healthz(request: Request) -> Response:
    """Whether this process answers."""
    return accept.document({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether the journal can be read; 503 where not."""
    asked = service(request)
    await asked.work(lambda: asked.keeper.local().reader.last_change())
    return accept.document({"status": "ok"})
