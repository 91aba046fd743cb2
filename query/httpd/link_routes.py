"""Links over HTTP: made by operators and a webmail, opened by whoever has one, ended by logout.

``GET /link/TOKEN`` shows a page with a button and uses nothing up: mail scanners and previews fetch
links, and do not press buttons. ``POST /link/TOKEN`` begins the session and leads to the page.
A link that is used, old or not ours is one answer. Handlers raise Problem and StateError.
"""

import json
from typing import Any, Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from posttrail.errors import UsageError
from posttrail.text import json_text
from query import language
from query.httpd import accept, grants, origin, params
from query.httpd.audit import micro
from query.httpd.caller import Role
from query.httpd.links import SESSION_S, Link
from query.httpd.problem import Kind, Problem
from query.httpd.service import Service, caller, service
from query.httpd.view import render

PAGE_HEADERS: Final = {"Referrer-Policy": "same-origin"}
"""With no-referrer a browser sends "Origin: null" from the form (Fetch 3.2), and proves nothing."""


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [
        Route("/v1/links", mint, methods=["POST"]),
        Route("/link/{token}", show, methods=["GET"]),
        Route("/link/{token}", use, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
    ]


async def mint(request: Request) -> Response:
    """A link for a mailbox: 201 with ``url``, ``address`` and ``expires``."""
    who, asked = caller(request), service(request)
    if who.role not in (Role.OPERATOR, Role.LINKER):
        raise Problem(Kind.FORBIDDEN, "this caller may not make links")
    accept.form(request, accept.THING)
    params.of(request, ())
    address = await _address(request)
    if who.role is Role.LINKER and not asked.identity.is_local(address):
        raise Problem(Kind.UNPROCESSABLE, "address: its domain is not of this server")

    def work() -> tuple[str, int]:
        asked.audit.begin(who, "link", {"address": json_text(address)}).end()
        return asked.identity.links.mint(address)

    token, expires_s = await anyio.to_thread.run_sync(work)
    base = asked.settings.query.base_url.rstrip("/")
    made = {
        "address": json_text(address),
        "url": f"{base}/link/{token}",
        "expires": micro(expires_s * 1_000_000),
    }
    answer = accept.document(made)
    answer.status_code = 201
    return answer


async def _address(request: Request) -> bytes:
    """The address in the body ``{"address": "alice@example.com"}``."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(Kind.UNPROCESSABLE, 'send application/json: {"address": "..."}')
    try:
        found: Any = json.loads(await request.body())
        address = found.pop("address")
        if found or not isinstance(address, str):
            raise ValueError("not one text")
        return grants.mailbox(address)
    except UsageError as error:
        raise Problem(Kind.UNPROCESSABLE, f"address: {error}") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise Problem(Kind.UNPROCESSABLE, 'send {"address": "..."} and nothing else') from None


async def show(request: Request) -> Response:
    """The page with the button."""
    params.of(request, ())
    link = await anyio.to_thread.run_sync(_usable, service(request), _token(request))
    if link is None:
        return _page(request, "over", status=404)
    return _page(request, "ready", address=json_text(link.address))


async def use(request: Request) -> Response:
    """The session, and the way to the page."""
    params.of(request, ())
    asked, token = service(request), _token(request)
    settings = asked.settings.query
    if not origin.is_ours(request.headers.getlist, settings.base_url):
        raise Problem(Kind.FORBIDDEN, "the request was not sent by a page of ours")

    def work() -> str | None:
        link = asked.identity.links.read(token)
        return None if link is None else asked.identity.links.use(link)

    secret = await anyio.to_thread.run_sync(work)
    if secret is None:
        return _page(request, "over", status=404)
    cookie = origin.cookie(settings, secret, max_age_s=SESSION_S)
    # Relative (RFC 9110 10.2.2): a proxy may serve us below a path.
    return Response(status_code=303, headers={"Location": "../", "Set-Cookie": cookie})


async def logout(request: Request) -> Response:
    """The end of the session that asks; of any other caller it ends nothing."""
    params.of(request, ())
    asked = service(request)
    settings = asked.settings.query
    secret = request.cookies.get(origin.cookie_name(settings))
    if secret:
        await anyio.to_thread.run_sync(asked.identity.links.end, secret)
    answer = _page(request, "ended")
    answer.headers["Set-Cookie"] = origin.cookie(settings, "", max_age_s=0)
    return answer


def _token(request: Request) -> str:
    found: str = request.path_params["token"]
    return found


def _usable(asked: Service, token: str) -> Link | None:
    link = asked.identity.links.read(token)
    return link if link is not None and asked.identity.links.unused(link) else None


def _page(request: Request, state: str, *, status: int = 200, address: str = "") -> Response:
    words = language.choose(request.headers.get("accept-language", ""))
    shown = render(words, "link.html", {"state": state, "address": address})
    return HTMLResponse(shown, status_code=status, headers=dict(PAGE_HEADERS))
