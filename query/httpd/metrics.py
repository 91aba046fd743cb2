"""/metrics for Prometheus, on the operator's sockets: the programs' gauges, and their age.

Text format 0.0.4. Each program writes its gauges to NAME.prom every five seconds; here they are
put together, with how old each file is. Counters of rows come from the journal. Raises Problem.
"""

import re
import time
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from posttrail.errors import PosttrailError
from query.httpd.caller import Role
from query.httpd.problem import Kind, Problem
from query.httpd.service import Service, caller, service

MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"
PROGRAMS: Final = ("milterd", "trackd", "traced", "queryd", "hookd")
_GAUGE: Final = re.compile(r"(?:# TYPE \w+ gauge|posttrail_\w+(?:\{[\w=\",]*\})? \S+)")


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [Route("/metrics", metrics)]


async def metrics(request: Request) -> Response:
    """All of them."""
    if caller(request).role is not Role.OPERATOR:
        raise Problem(Kind.FORBIDDEN, "metrics are the operator's")
    asked = service(request)
    return Response(await asked.work(lambda: text(asked)), media_type=MEDIA)


def text(asked: Service) -> str:
    """The exposition."""
    directory = asked.settings.run.directory
    found = [gauges(directory / f"{name}.prom") for name in PROGRAMS]
    ages = [age(directory / f"{name}.prom", name) for name in PROGRAMS]
    head = "# TYPE posttrail_gauges_age_seconds gauge\n"
    return "".join([*found, head, *ages, up(asked)])


def gauges(path: Path) -> str:
    """The lines of a program's file that are gauges; nothing of a file that is not there."""
    try:
        lines = path.read_text("ascii", "replace").splitlines()
    except OSError:
        return ""
    return "".join(f"{line}\n" for line in lines if _GAUGE.fullmatch(line))


def age(path: Path, name: str) -> str:
    """How old a program's file is; a program that never wrote has no line."""
    try:
        seconds = max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return ""
    return f'posttrail_gauges_age_seconds{{program="{name}"}} {seconds:.3f}\n'


def up(asked: Service) -> str:
    """Whether the journal can be read, and the number of its last change."""
    try:
        change = asked.keeper.local().reader.last_change()
    except PosttrailError:
        return "# TYPE posttrail_journal_readable gauge\nposttrail_journal_readable 0\n"
    return (
        "# TYPE posttrail_journal_readable gauge\nposttrail_journal_readable 1\n"
        f"# TYPE posttrail_journal_change gauge\nposttrail_journal_change {change}\n"
    )
