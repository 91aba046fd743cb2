"""One mail as a page: envelope, recipients, verdicts, timeline with evidence.

Handlers raise Problem, and what the answers raise.
"""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from query.details import Details
from query.httpd import params, problem
from query.httpd.page_frame import frame, kept, newest, spoken
from query.httpd.page_words import RELATIONS
from query.httpd.service import caller, service
from query.httpd.view import Clock, link, render
from query.language import Language


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [Route("/message/{id}", message)]


async def message(request: Request) -> Response:
    """One mail with all that may be seen of it."""
    given = params.of(request, {"tz"})
    words, clock = spoken(request), Clock(given.get("tz", ""))
    name: str = request.path_params["id"]
    change, told = await service(request).read(
        caller(request), lambda answers: (newest(request), answers.message(name))
    )
    if not told:
        raise problem.not_found()
    found = told[0]
    values = frame(request, given, clock, "message") | {
        "found": found,
        "envelope": _envelope(found, words),
        "evidence": {each.row: each.event for each in found.evidence},
        "relations": RELATIONS,
        "unsettled": any(row.done_at is None for row in found.rows),
        "events": link("/v1/events", {"message": found.id, "after": str(change)}),
        "back": link("/", kept(given)),
        "kept": link("", kept(given)),
    }
    return HTMLResponse(render(words, "message.html", values))


def _envelope(found: Details, words: Language) -> list[tuple[str, str | None]]:
    client = " ".join(
        str(part)
        for part in (found.client_name, found.client_ip and f"[{found.client_ip}]")
        if part
    )
    return [
        (words("Subject"), found.subject),
        (words("Message-ID"), found.message_id),
        (words("Queue ids"), " ".join(found.queue_ids)),
        (words("Queue ids at the next server"), " ".join(found.next_queue_ids)),
        (words("Client"), client),
        (words("HELO"), found.helo),
        (words("Login"), found.login),
        (words("TLS"), found.tls),
        (words("Host"), found.host),
        (words("Told by"), ", ".join(found.sources)),
    ]
