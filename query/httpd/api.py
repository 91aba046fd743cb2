"""/v1: parameters to questions, questions to answers; no handler decides who sees what.

Handlers take a Starlette request and raise Problem or what the answers raise; the forms of an
answer are ``accept``'s.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final, TypeVar
from urllib.parse import urlencode

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from query import details, rows, stats, summary
from query.answers import Answers, Page
from query.cursor import spelled
from query.explain import explain
from query.filters import DEFAULT_LIMIT, NAMES
from query.httpd import accept, etag, params, problem
from query.httpd.accept import Form
from query.httpd.problem import Kind, Problem
from query.httpd.service import caller, service

T = TypeVar("T")

MOST_ROWS: Final = 1000
"""Of a JSON document; ndjson and CSV have no end."""
LIST: Final = frozenset({*NAMES, *params.PAGING})
COUNTED: Final = frozenset({"by", "since", "until", "limit"})
PEOPLE: Final = frozenset({"address", "sender", "recipient", "since", "until"})


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [
        Route("/v1/messages", messages),
        Route("/v1/messages/{id:path}", message),
        Route("/v1/stats", statistics),
        Route("/v1/days", by_day),
        Route("/v1/summary", summed_up),
        Route("/v1/never", never),
        Route("/v1/coverage", coverage),
        Route("/v1/explain", explained),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]


async def messages(request: Request) -> Response:
    """The report."""
    form = accept.form(request, accept.ROWS)
    given = params.of(request, LIST)
    filters = params.filters(given)
    most = MOST_ROWS if form is Form.JSON else None
    limit = params.limit(given, default=DEFAULT_LIMIT, most=most)
    cursor = given.get("cursor") or None

    def ask(answers: Answers) -> tuple[Page, list[dict[str, rows.Cell]]]:
        page = answers.page(filters, limit=limit, cursor=cursor, count=form is not Form.CSV)
        return page, [rows.document(row) for row in page.rows] if form is Form.JSON else []

    tag, answer = await tagged(request, form, ask)
    if answer is None:
        return unchanged(tag)
    page, found = answer
    headers = {"ETag": tag, **_headers(request, given, page)}
    if form is Form.NDJSON:
        return accept.ndjson(service(request), page.rows, headers)
    if form is Form.CSV:
        return accept.csv(service(request), page.rows, headers)
    document = {
        "rows": found,
        "next": page.next,
        "counts": dict(page.counts),
        "counted": page.counted,
    }
    return accept.document(document, headers)


def _headers(request: Request, given: Mapping[str, str], page: Page) -> dict[str, str]:
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
    """One message: the newest of that id or queue id; ndjson has all of them."""
    form = accept.form(request, (Form.JSON, Form.NDJSON))
    params.of(request, ())
    name = params.tail(request, "/v1/messages/")
    tag, found = await tagged(request, form, lambda answers: answers.message(name))
    if found is None:
        return unchanged(tag)
    if not found:
        raise problem.not_found()
    headers = {"ETag": tag}
    if len(found) > 1:
        others = [f'</v1/messages/{each.id}>; rel="alternate"' for each in found[1:]]
        headers["Link"] = ", ".join(others)
    if form is Form.NDJSON:
        return accept.lines([details.document(each) for each in found], headers)
    return accept.document(details.document(found[0]), headers)


async def statistics(request: Request) -> Response:
    """Rows counted."""
    form = accept.form(request, accept.THING)
    given = params.of(request, COUNTED)
    by = given.get("by") or "status"
    if by not in stats.BY:
        raise Problem(Kind.BAD_FILTER, f"by is one of {', '.join(stats.BY)}")
    since, until = given.get("since", ""), given.get("until", "")
    limit = params.limit(given, default=DEFAULT_LIMIT, most=None)
    tag, found = await tagged(
        request, form, lambda answers: answers.stats(by, since=since, until=until, limit=limit)
    )
    if found is None:
        return unchanged(tag)
    return accept.document(asdict(found), {"ETag": tag})


async def summed_up(request: Request) -> Response:
    """What was sent."""
    form = accept.form(request, accept.THING)
    given = params.of(request, COUNTED)
    by = given.get("by") or summary.BY[0]
    if by not in summary.BY:
        raise Problem(Kind.BAD_FILTER, f"by is one of {', '.join(summary.BY)}")
    since, until = given.get("since", ""), given.get("until", "")
    limit = params.limit(given, default=DEFAULT_LIMIT, most=None)
    tag, found = await tagged(
        request, form, lambda answers: answers.summary(by, since=since, until=until, limit=limit)
    )
    if found is None:
        return unchanged(tag)
    return accept.document(asdict(found), {"ETag": tag})


async def never(request: Request) -> Response:
    """Whether mail never reached this server."""
    accept.form(request, accept.THING)
    given = params.of(request, PEOPLE)
    if not any(given.get(name) for name in PEOPLE - {"since", "until"}):
        raise Problem(Kind.BAD_FILTER, "say sender, recipient, address or several of them")
    filters = params.filters(given)
    found = await service(request).read(caller(request), lambda answers: answers.never(filters))
    return accept.document(asdict(found))


async def coverage(request: Request) -> Response:
    """When capture was up."""
    accept.form(request, accept.THING)
    params.of(request, ())
    found = await service(request).read(caller(request), lambda answers: answers.coverage())
    return accept.document(asdict(found))


async def by_day(request: Request) -> Response:
    """The rows of a report by day of a time zone (``tz``; UTC without one)."""
    form = accept.form(request, accept.THING)
    given = params.of(request, {*NAMES, "tz"})
    filters, zone = params.filters(given), params.zone(given.get("tz", ""))
    tag, found = await tagged(request, form, lambda answers: answers.days(filters, zone=zone))
    if found is None:
        return unchanged(tag)
    return accept.document(asdict(found), {"ETag": tag})


async def explained(request: Request) -> Response:
    """A reply in plain words; nothing of anybody's mail."""
    accept.form(request, accept.THING)
    given = params.of(request, {"text", "enhanced_status", "reply_code"})
    code = given.get("reply_code") or ""
    if code and not (code.isascii() and code.isdecimal() and len(code) == 3):
        raise Problem(Kind.BAD_FILTER, "reply_code has three digits")
    found = explain(
        given.get("text", ""),
        enhanced_status=given.get("enhanced_status") or None,
        reply_code=int(code) if code else None,
    )
    if found is None:
        raise problem.not_found()
    return accept.document(asdict(found))


async def healthz(request: Request) -> Response:
    """Whether this process answers."""
    params.of(request, ())
    return accept.document({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether the journal can be read; 503 where not."""
    params.of(request, ())
    asked = service(request)
    # Not by the threads of reports: these may all be busy, and nothing is wrong with that.
    await anyio.to_thread.run_sync(lambda: asked.keeper.local().reader.last_change())
    return accept.document({"status": "ok"})


async def tagged(request: Request, form: Form, ask: Callable[[Answers], T]) -> tuple[str, T | None]:
    """The tag of an answer, and the answer; None where the client has it already."""
    asked, who = service(request), caller(request)
    had = request.headers.get("if-none-match", "")
    moving = {"since", "until", "silent_for"} & set(request.query_params)
    minute = int(time.time()) // etag.MINUTE_S if moving else 0
    question = (request.url.path, request.scope["query_string"], form.value, minute)

    def work() -> tuple[str, T | None]:
        # Before the rows are read: the tag may be older than they are, never newer.
        reader = asked.keeper.local().reader
        state = (reader.last_change(), reader.days(), sorted(asked.keeper.excluded))
        tag = etag.tag(asked.keeper.key, *state, spelled(who.scope), *question)
        return tag, None if had and etag.matches(had, tag) else ask(asked.answers(who))

    return await asked.work(work)


def unchanged(tag: str) -> Response:
    """304: what the client has is what there is."""
    return Response(status_code=304, headers={"ETag": tag})
