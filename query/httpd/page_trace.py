"""Address Trace as a page: the tree of an address, or the tree alone for another page.

Handlers raise Problem.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from posttrail.errors import UsageError
from query.httpd import params, problem
from query.httpd.caller import Role
from query.httpd.page_frame import frame, spoken
from query.httpd.page_words import STEPS, VERDICTS
from query.httpd.problem import Problem
from query.httpd.service import caller
from query.httpd.tracing import traced
from query.httpd.view import Clock, render


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [Route("/trace", trace)]


async def trace(request: Request) -> Response:
    """Address Trace: the tree of an address."""
    given = params.of(request, {"address", "sender", "entry", "tz", "part"})
    words, clock, status = spoken(request), Clock(given.get("tz", "")), 200
    values: dict[str, Any] = {"tree": None, "error": None}
    if given.get("address"):
        try:
            values["tree"] = await traced(
                request,
                given["address"],
                sender=given.get("sender") or None,
                entry=given.get("entry") or "smtp",
            )
        except (Problem, UsageError) as error:
            values["error"], status = str(error), problem.of(error).kind.status
    values |= frame(request, given, clock, "trace") | {
        "operator": caller(request).role is Role.OPERATOR,
        "verdicts": VERDICTS,
        "steps": STEPS,
    }
    template = "part.html" if given.get("part") else "trace.html"
    return HTMLResponse(render(words, template, values), status_code=status)
