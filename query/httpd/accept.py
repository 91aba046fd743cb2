"""Which form an answer takes: the Accept header, or ``format`` in the URL; and the writers.

RFC 9110 12.5.1 without parameters but ``q``. The forms are those of the command line: its
writers make the rows here too. Raises Problem (406).
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from enum import Enum
from io import StringIO
from itertools import islice
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from posttrail.errors import PosttrailError
from posttrail.text import json_dump
from query import export
from query.httpd import problem
from query.httpd.problem import Kind, Problem
from query.httpd.service import Service
from query.rows import Row

CHUNK: Final = 250
"""Rows that are read and sent at a time."""


class Form(Enum):
    """Name in ``format=``, and media type."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    CSV = "text/csv"
    HTML = "text/html"
    EVENTS = "text/event-stream"


ROWS: Final = (Form.JSON, Form.NDJSON, Form.CSV)
THING: Final = (Form.JSON,)


def form(request: Request, offered: tuple[Form, ...]) -> Form:
    """The form to answer in: ``format=`` decides, else the header, else the first offered."""
    named = request.query_params.get("format")
    if named is not None:
        found = next((each for each in offered if each.name.lower() == named), None)
    else:
        found = choose(", ".join(request.headers.getlist("accept")), offered)
    if found is None:
        names = ", ".join(each.value for each in offered)
        raise Problem(Kind.NOT_ACCEPTABLE, f"there is: {names}")
    return found


def choose(header: str, offered: tuple[Form, ...]) -> Form | None:
    """The offered form that the header likes best; of equals the one offered first."""
    if not header.strip():
        return offered[0]
    ranges = list(_ranges(header))
    liked = [(_quality(each.value, ranges), -place) for place, each in enumerate(offered)]
    quality, place = max(liked)
    return offered[-place] if quality > 0 else None


def _ranges(header: str) -> Iterator[tuple[str, float]]:
    for part in header.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        yield media, quality


def _quality(media: str, ranges: list[tuple[str, float]]) -> float:
    """That of the most exact range which takes the media type in."""
    kind = media.partition("/")[0] + "/*"
    for wanted in (media, kind, "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0


def document(value: object, headers: Mapping[str, str] | None = None) -> Response:
    """One JSON document."""
    return Response(
        json_dump(value) + "\n", media_type=Form.JSON.value, headers=dict(headers or {})
    )


def ndjson(service: Service, rows: Iterable[Row], headers: Mapping[str, str]) -> Response:
    """A row a line; the last line is ``{"end":true}``, so that a cut is seen."""
    return stream(service, rows, export.write_json, Form.NDJSON, headers)


def csv(service: Service, rows: Iterable[Row], headers: Mapping[str, str]) -> Response:
    """RFC 4180, with a heading."""
    named = {"Content-Disposition": 'attachment; filename="posttrail.csv"', **headers}
    return stream(service, rows, export.csv_writer(), Form.CSV, named)


def stream(
    service: Service,
    rows: Iterable[Row],
    write: Callable[[Iterable[Row], StringIO], Any],
    form: Form,
    headers: Mapping[str, str],
) -> Response:
    """Rows that are read while they are sent, a chunk at a time, in worker threads."""
    left = iter(rows)

    def chunk() -> str:
        out = StringIO()
        some = list(islice(left, CHUNK))
        write(some, out)
        return out.getvalue() if some or form is Form.CSV else ""

    async def body() -> AsyncIterator[str]:
        try:
            text = await service.work(chunk)
            while text:
                yield text
                text = await service.work(chunk)
        except PosttrailError as error:
            if form is not Form.NDJSON:
                raise  # the connection breaks: the only way to say so in CSV
            yield json_dump({"end": False, "problem": problem.of(error).kind.token}) + "\n"
            return
        if form is Form.NDJSON:
            yield json_dump({"end": True}) + "\n"

    charset = "; charset=utf-8" if form is Form.CSV else ""
    return StreamingResponse(body(), media_type=form.value + charset, headers=dict(headers))


def lines(things: Iterable[object], headers: Mapping[str, str]) -> Response:
    """A few documents, a line each, and the end."""
    text = "".join(json_dump(each) + "\n" for each in [*things, {"end": True}])
    return Response(text, media_type=Form.NDJSON.value, headers=dict(headers))
