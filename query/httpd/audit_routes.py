"""``/v1/audit``: who looked at whose mail, as far as the caller may know.

Operators see all entries, a domain's and a mailbox's owner those that are about them. The next
page is in the Link header (RFC 8288): ``until`` the last entry's time. Handlers raise Problem and
StateError.
"""

import time
from dataclasses import asdict
from typing import Final
from urllib.parse import urlencode

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from query import when
from query.filters import DEFAULT_LIMIT, mailbox
from query.httpd import accept, params
from query.httpd.accept import Form
from query.httpd.audit import Looked
from query.httpd.service import caller, service

MOST: Final = 1000
KNOWN: Final = frozenset({"address", "since", "until", "limit"})


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [Route("/v1/audit", audit, methods=["GET"])]


async def audit(request: Request) -> Response:
    """The entries, newest first."""
    form = accept.form(request, (Form.JSON, Form.NDJSON))
    given = params.of(request, KNOWN)
    window = when.window(
        given.get("since", ""), given.get("until", ""), now_us=time.time_ns() // 1000
    )
    limit = params.limit(given, default=DEFAULT_LIMIT, most=MOST)
    about = mailbox(given["address"]) if given.get("address") else None
    asked, who = service(request), caller(request)

    def work() -> list[Looked]:
        return asked.audit.seen_by(
            who.scope,
            about=about,
            since_us=window.since_us,
            until_us=window.until_us,
            limit=None if limit is None else limit + 1,
        )

    found = await anyio.to_thread.run_sync(work)
    shown, more = found[:limit], limit is not None and len(found) > limit
    headers = {}
    if more:
        again = urlencode({**given, "until": shown[-1].time}, errors="surrogateescape")
        headers["Link"] = f'<{request.url.path}?{again}>; rel="next"'
    if form is Form.NDJSON:
        return accept.lines([asdict(each) for each in shown], headers)
    document = {"entries": [asdict(each) for each in shown]}
    return accept.document(document | {"next": shown[-1].time if more else None}, headers)
