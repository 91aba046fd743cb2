"""The page: Track Delivery and one mail, as HTML that needs no script.

The parameters are those of the API, and ``q`` (the one box), ``columns``, ``tz`` (a time zone),
``lang`` and ``print``. What means nothing is told on the page beside the form. Handlers raise
Problem, and what the answers raise.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from journal.records import Status
from posttrail.errors import UsageError
from posttrail.text import safe
from query import anything, days, language
from query.answers import Answers
from query.days import Days
from query.details import Details
from query.filters import DEFAULT_LIMIT, NAMES, parse_limit
from query.httpd import params, picture, problem
from query.httpd.caller import Caller, How, Role
from query.httpd.problem import Problem
from query.httpd.service import caller, service
from query.httpd.tracing import traced
from query.httpd.view import Clock, generated, link, render
from query.language import Language
from query.never import Never
from query.rows import Row

SINCE: Final = "30d"
MOST_ROWS: Final = 500
PRINTED: Final = 10_000
OWN: Final = frozenset({"q", "columns", "tz", "print"})
COLUMNS: Final = {
    "time": "Time",
    "status": "Status",
    "sender": "From",
    "recipient": "To",
    "reason": "Reason",
    "subject": "Subject",
    "reply": "What was said",
    "direction": "Direction",
    "folder": "Folder",
    "relay": "Server",
    "attempts": "Tries",
    "done_at": "Settled at",
    "delay_s": "Took",
    "size_bytes": "Size",
    "spam_score": "Spam score",
    "login": "Login",
    "client_ip": "Client address",
    "client_name": "Client name",
    "helo": "HELO",
    "tls": "TLS",
    "enhanced_status": "Status code",
    "queue_ids": "Queue ids",
    "message_id": "Message-ID",
    "host": "Host",
}
"""Every column that can be chosen, by the field of a row."""
DEFAULT_COLUMNS: Final = ("time", "status", "sender", "recipient", "reason")
DIRECTIONS: Final = {
    "inbound": "from outside",
    "outbound": "to outside",
    "internal": "inside",
}
RELATIONS: Final = {
    "parent": "This is a notice about",
    "notice": "There was a notice",
    "late_bounce": "It came back with",
}
NEAR: Final = {
    "sender": "From this sender",
    "sender_domain": "From this domain",
    "client": "Refused from this client",
    "recipient": "Refused to this recipient",
}
"""What was seen instead of a mail that never came (query.never)."""
GROUPS: Final = {"domain": "Domain", "login": "Login", "sender": "Sender"}
"""What a summary can be by (query.summary)."""
VERDICTS: Final = {
    "ok": "will be delivered",
    "discarded": "will be thrown away",
    "unknown": "cannot be told",
    "temporary": "would have to wait",
    "permanent": "would be returned",
    "loop": "goes in circles",
    "rejected_at_smtp": "is refused at the door",
}
"""How a way ends, by the verdict of a node."""
STEPS: Final = {
    "rewrite": "is completed",
    "canonical": "is rewritten",
    "masquerade": "is rewritten",
    "virtual_alias": "is an alias",
    "local_alias": "is an alias",
    "include": "is a list",
    "forward": "forwards",
    "bcc": "a copy goes along",
    "relocated": "has moved",
    "access": "a rule decides",
    "content_filter": "goes through a filter",
    "deliver": "",
    "discard": "",
    "reject": "",
    "same": "stands in this tree already",
    "unknown": "",
}


def sentences() -> list[str]:
    """The sentences of the tables above, for the catalogue."""
    tables = (COLUMNS, DIRECTIONS, RELATIONS, NEAR, GROUPS, VERDICTS, STEPS)
    return [word for table in tables for word in table.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report page shows of the journal."""

    rows: list[Row]
    next: str | None
    counts: Mapping[str, int]
    counted: str
    days: Days | None
    never: Never | None  # where nothing was found of somebody's mail
    change: int  # of the journal, from before it was read: news begin behind it


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [
        Route("/", report),
        Route("/message/{id}", message),
        Route("/trace", trace),
        Route("/summary", summary),
    ]


def spoken(request: Request) -> Language:
    """The language of a request."""
    asked = request.query_params.get("lang", "")
    return language.choose(request.headers.get("accept-language", ""), asked=asked)


def frame(request: Request, given: Mapping[str, str], clock: Clock, here: str) -> dict[str, Any]:
    """What every page of the frame needs."""
    path = request.url.path

    def here_with(**changes: str | None) -> str:
        return link(path, given, **changes)

    return {
        "here": here,
        "given": defaultdict(str, {name: safe(value) for name, value in given.items()}),
        "clock": clock,
        "made_at": generated(),
        "link": here_with,
        "scope": seen_by(caller(request), spoken(request)),
        "session": caller(request).how is How.LINK,
    }


def seen_by(who: Caller, words: Language) -> str:
    """Whose mail a caller sees, in words."""
    if who.role is Role.OPERATOR:
        return words("all mail of this server")
    names = [*sorted(who.scope.mailboxes), *(b"@" + name for name in sorted(who.scope.domains))]
    return ", ".join(name.decode("utf-8", "backslashreplace") for name in names)


async def report(request: Request) -> Response:
    """Track Delivery."""
    given = params.of(request, {*NAMES, *params.PAGING, *OWN})
    pasted = next((each.id for each in anything.readings(given.get("q", "")) if each.id), None)
    if pasted is not None:
        kept = {name: given[name] for name in ("lang", "tz") if given.get(name)}
        return RedirectResponse(link(f"/message/{pasted}", kept), status_code=303)
    values: dict[str, Any] = {"error": None, "rows": [], "next": None, "never": None, "traced": ""}
    clock = Clock()
    try:
        clock = Clock(given.get("tz", ""))
        asked, understood = filters_of(given)
        values |= {"understood": understood}
        found = await _found(request, given, asked, clock)
        values |= _values(found, given, spoken(request))
    except UsageError as error:
        values |= {"error": str(error), "understood": {}, "picture": "", "counts": {}}
    values |= frame(request, given, clock, "report") | _form(given)
    template = "print.html" if given.get("print") == "1" and not values["error"] else "report.html"
    status = 400 if values["error"] else 200
    return HTMLResponse(render(spoken(request), template, values), status_code=status)


def filters_of(given: Mapping[str, str]) -> tuple[dict[str, str | None], dict[str, str]]:
    """The filters of a page, and those of them that say what the user asked for."""
    asked = params.filters(dict(given))
    asked |= anything.filters(given.get("q", ""))
    understood = {name: value for name, value in asked.items() if value}
    if not asked.get("since") and not asked.get("until"):
        asked["since"] = understood["since"] = SINCE
    return asked, understood


async def _found(
    request: Request, given: Mapping[str, str], asked: dict[str, str | None], clock: Clock
) -> Report:
    printed = given.get("print") == "1"
    limit = parse_limit(given["limit"]) if given.get("limit") else DEFAULT_LIMIT
    limit = PRINTED if printed else min(limit or MOST_ROWS, MOST_ROWS)
    cursor = None if printed else given.get("cursor") or None

    def ask(answers: Answers) -> Report:
        change = newest(request)
        page = answers.page(asked, limit=limit, cursor=cursor)
        rows = list(page.rows)
        drawn = None
        if not printed and (rows or asked.get("status")):
            drawn = answers.days({**asked, "status": None}, zone=clock.zone)
        people = not rows and not printed and cursor is None and _is_of_people(asked)
        return Report(
            rows=rows,
            next=page.next,
            counts=page.counts,
            counted=page.counted,
            days=drawn,
            never=answers.never(asked) if people else None,
            change=change,
        )

    return await service(request).read(caller(request), ask)


def _is_of_people(asked: Mapping[str, str | None]) -> bool:
    """Whether a search is about whose mail and when, and nothing else."""
    named = {name for name, value in asked.items() if value} - {"since", "until"}
    return bool(named) and named <= {"address", "sender", "recipient"}


def _values(found: Report, given: Mapping[str, str], words: Language) -> dict[str, Any]:
    count = len(found.rows)
    caption = words.number("%(n)s row, newest first", "%(n)s rows, newest first", count)
    counts, counted = counts_of(found)
    return {
        "rows": found.rows,
        "next": found.next,
        "counts": counts,
        "counted": counted,
        "caption": caption % {"n": count},
        "days": found.days,
        "never": found.never,
        "near": NEAR,
        "days_most": days.MOST_ROWS,
        "picture": picture.bars(found.days, words) if found.days else "",
        "export": link("/v1/messages", _searched(given), limit="all"),
        "traced": _traced(given),
        "events": "" if given.get("cursor") else _events(found, given),
    }


def counts_of(found: Report) -> tuple[dict[str, int | None], str]:
    """Number by status for the chips, None where it is not known; and what is counted.

    Those of the days leave out the filter by status, so that each chip tells what it would show.
    """
    drawn = found.days
    if drawn and drawn.whole and len(drawn.days) < days.MOST_DAYS:
        return {
            status.token: sum(day.statuses[status.token] for day in drawn.days) for status in Status
        }, "row"
    known = {status.token: found.counts.get(status.token) for status in Status}
    if found.counts:
        known = {token: number or 0 for token, number in known.items()}
    return known, found.counted


def newest(request: Request) -> int:
    """The journal's last change; for use in a worker thread."""
    return service(request).keeper.local().reader.last_change()


def _events(found: Report, given: Mapping[str, str]) -> str:
    return link("/v1/events", _searched(given), after=str(found.change))


def _traced(given: Mapping[str, str]) -> str:
    """Where the trace of the address is that a report was asked for; empty without one."""
    asked, _ = filters_of(given)
    address = asked.get("address") or asked.get("recipient") or ""
    if not address or address.startswith("@") or given.get("cursor"):
        return ""
    kept = {name: given[name] for name in ("lang", "tz") if given.get(name)}
    return link("/trace", kept, address=address)


def _searched(given: Mapping[str, str]) -> dict[str, str]:
    """The parameters by which the API finds the same rows."""
    asked, _ = filters_of(given)
    return {name: value for name, value in asked.items() if value}


def _form(given: Mapping[str, str]) -> dict[str, Any]:
    chosen = [name for name in given.get("columns", "").split(",") if name in COLUMNS]
    kept = {name: given[name] for name in ("lang", "tz") if given.get(name)}
    return {
        "box": safe(given.get("q") or given.get("address") or ""),
        "columns": chosen or list(DEFAULT_COLUMNS),
        "all_columns": COLUMNS,
        "directions": DIRECTIONS,
        "chosen": [token for token in given.get("status", "").split(",") if token],
        "kept": link("", kept),
    }


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
    kept = {name: given[name] for name in ("lang", "tz") if given.get(name)}
    values = frame(request, given, clock, "message") | {
        "found": found,
        "envelope": _envelope(found, words),
        "evidence": {each.row: each.event for each in found.evidence},
        "relations": RELATIONS,
        "unsettled": any(row.done_at is None for row in found.rows),
        "events": link("/v1/events", {"message": found.id, "after": str(change)}),
        "back": link("/", kept),
        "kept": link("", kept),
    }
    return HTMLResponse(render(words, "message.html", values))


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
                limit=MOST_ROWS,
            ),
        )
    except UsageError as error:
        values["error"], status = str(error), 400
    values |= frame(request, given, clock, "summary") | {"by": by, "groups": GROUPS}
    return HTMLResponse(render(words, "summary.html", values), status_code=status)


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
