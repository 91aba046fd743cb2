"""Sent Summary as a page: what was sent, by domain, login or sender.

Handlers raise Problem, and what the answers raise.
"""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from posttrail.errors import UsageError
from query.httpd import params
from query.httpd.page_frame import frame, spoken
from query.httpd.page_words import GROUPS
from query.httpd.service import caller, service
from query.httpd.view import Clock, render

SINCE: Final = "30d"
MOST_GROUPS: Final = 500


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [Route("/summary", summary)]


async def summary(request: Request) -> Response:
    """Sent Summary: what was sent, by domain or by login."""
    given = params.of(request, {"by", "since", "until", "tz"})
    words, clock, status = spoken(request), Clock(given.get("tz", "")), 200
    by = given.get("by") if given.get("by") in GROUPS else "domain"
    values: dict[str, Any] = {"error": None, "found": None}
    try:
        values["found"] = await service(request).read(
            caller(request),
            lambda answers: answers.summary(
                by or "domain",
                since=given.get("since") or SINCE,
                until=given.get("until", ""),
                limit=MOST_GROUPS,
            ),
        )
    except UsageError as error:
        values["error"], status = str(error), 400
    values |= frame(request, given, clock, "summary") | {"by": by, "groups": GROUPS}
    return HTMLResponse(render(words, "summary.html", values), status_code=status)
