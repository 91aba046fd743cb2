"""A problem as an answer: problem+json, or a small page for a browser.

Raises nothing.
"""

from html import escape

from starlette.requests import Request
from starlette.responses import Response

from posttrail.text import json_dump, safe
from query import language
from query.httpd import accept, problem
from query.httpd.accept import Form
from query.httpd.problem import Problem
from query.language import Language


def response(request: Request, found: Problem) -> Response:
    """The answer; a browser gets HTML."""
    request_id: str = request.state.request_id
    liked = accept.choose(request.headers.get("accept", ""), (Form.JSON, Form.HTML))
    if liked is Form.HTML:
        return Response(
            page(found, request_id, _spoken(request)),
            status_code=found.kind.status,
            media_type="text/html; charset=utf-8",
            headers=found.headers,
        )
    instance = safe(request.url.path)
    return Response(
        json_dump(found.document(instance=instance, request_id=request_id)) + "\n",
        status_code=found.kind.status,
        media_type=problem.MEDIA,
        headers=found.headers,
    )


def _spoken(request: Request) -> Language:
    asked = request.query_params.get("lang", "")
    return language.choose(request.headers.get("accept-language", ""), asked=asked)


def page(found: Problem, request_id: str, words: Language) -> str:
    """The same for eyes; a detail that is no sentence of ours stays as it is."""
    title, detail = escape(words(found.kind.title)), escape(words(safe(found.detail)))
    return (
        f'<!doctype html>\n<html lang="{words.tag}"><head><meta charset="utf-8">'
        f"<title>{title}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<link rel="stylesheet" href="/static/posttrail.css">'
        '<link rel="icon" href="/static/icon.svg" type="image/svg+xml"></head>'
        f'<body><main><h1>{title}</h1><p>{detail}</p><p><a href="/">posttrail</a></p>'
        f"<p><small>{escape(request_id)}</small></p></main></body></html>\n"
    )
