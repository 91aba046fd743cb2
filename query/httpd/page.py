"""Track Delivery as a page: the one box, the rows, their picture; HTML that needs no script.

The parameters are those of the API, and ``q`` (the one box), ``columns``, ``tz`` (a time zone),
``lang`` and ``print``. What means nothing is told on the page beside the form. Handlers raise
Problem, and what the answers raise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from journal.records import Status
from posttrail.errors import UsageError
from posttrail.text import safe
from query import anything, days
from query.answers import Answers
from query.days import Days
from query.filters import DEFAULT_LIMIT, NAMES, Filters, parse_limit
from query.httpd import params, picture
from query.httpd.page_frame import frame, kept, newest, spoken
from query.httpd.page_words import COLUMNS, DIRECTIONS, NEAR
from query.httpd.service import caller, service
from query.httpd.view import Clock, link, render
from query.language import Language
from query.never import Never
from query.rows import Row

SINCE: Final = "30d"
MOST_ROWS: Final = 500
PRINTED: Final = 10_000
OWN: Final = frozenset({"q", "columns", "tz", "print"})
DEFAULT_COLUMNS: Final = ("time", "status", "sender", "recipient", "reason")
Asked = dict[str, str | None]
"""Filters by name, with the one box's."""


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
    return [Route("/", report)]


async def report(request: Request) -> Response:
    """Track Delivery."""
    given = params.of(request, {*NAMES, *params.PAGING, *OWN})
    pasted = next((each.id for each in anything.readings(given.get("q", "")) if each.id), None)
    if pasted is not None:
        return RedirectResponse(link(f"/message/{pasted}", kept(given)), status_code=303)
    values: dict[str, Any] = {"error": None, "rows": [], "next": None, "never": None, "traced": ""}
    clock = Clock()
    try:
        clock = Clock(given.get("tz", ""))
        asked, found = await _likeliest(request, given, clock)
        values |= _values(found, given, asked, spoken(request)) | {"understood": said(asked)}
    except UsageError as error:
        values |= {"error": str(error), "understood": {}, "picture": "", "counts": {}}
    values |= frame(request, given, clock, "report") | _form(given)
    template = "print.html" if given.get("print") == "1" and not values["error"] else "report.html"
    status = 400 if values["error"] else 200
    return HTMLResponse(render(spoken(request), template, values), status_code=status)


async def _likeliest(
    request: Request, given: Mapping[str, str], clock: Clock
) -> tuple[Asked, Report]:
    """The first reading of the one box that finds something; where none does, the first."""
    readings = [each.filters for each in anything.readings(given.get("q", ""))] or [{}]
    asked = filters_of(given, readings[0])
    first = await _found(request, given, asked, clock)
    for reading in readings[1:]:
        if first.rows:
            break
        other = filters_of(given, reading)
        found = await _found(request, given, other, clock)
        if found.rows:
            return other, found
    return asked, first


def filters_of(given: Mapping[str, str], reading: Filters) -> Asked:
    """The filters of a page and its one box; the last 30 days where no time is named."""
    asked = params.filters(dict(given)) | dict(reading)
    if not asked.get("since") and not asked.get("until"):
        asked["since"] = SINCE
    return asked


def said(asked: Mapping[str, str | None]) -> dict[str, str]:
    """The filters that ask for something."""
    return {name: value for name, value in asked.items() if value}


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


def _values(
    found: Report, given: Mapping[str, str], asked: Asked, words: Language
) -> dict[str, Any]:
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
        "export": link("/v1/messages", said(asked), limit="all"),
        "traced": _traced(given, asked),
        "events": "" if given.get("cursor") else _events(found, asked),
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


def _events(found: Report, asked: Asked) -> str:
    return link("/v1/events", said(asked), after=str(found.change))


def _traced(given: Mapping[str, str], asked: Asked) -> str:
    """Where the trace of the address is that a report was asked for; empty without one."""
    address = asked.get("address") or asked.get("recipient") or ""
    if not address or address.startswith("@") or given.get("cursor"):
        return ""
    return link("/trace", kept(given), address=address)


def _form(given: Mapping[str, str]) -> dict[str, Any]:
    chosen = [name for name in given.get("columns", "").split(",") if name in COLUMNS]
    return {
        "box": safe(given.get("q") or given.get("address") or ""),
        "columns": chosen or list(DEFAULT_COLUMNS),
        "all_columns": COLUMNS,
        "directions": DIRECTIONS,
        "chosen": [token for token in given.get("status", "").split(",") if token],
        "kept": link("", kept(given)),
    }
