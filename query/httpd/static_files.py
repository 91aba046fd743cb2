"""The page's own files by a fixed table: a path that is not in it does not exist.

Their ETag is a hash of their content, made once. Raises Problem (404).
"""

from functools import cache
from hashlib import blake2b
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from query.httpd import problem

TYPES: Final = {
    "posttrail.css": "text/css; charset=utf-8",
    "posttrail.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [Route("/static/{name}", static)]


async def static(request: Request) -> Response:
    """One file; 304 where the browser has it."""
    name: str = request.path_params["name"]
    if name not in TYPES:
        raise problem.not_found()
    content, tag = _file(name)
    headers = {"ETag": tag, "Cache-Control": "public, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=TYPES[name], headers=headers)


@cache
def _file(name: str) -> tuple[bytes, str]:
    content = (files("query.httpd") / "static" / name).read_bytes()
    return content, f'"{blake2b(content, digest_size=12).hexdigest()}"'
