"""The application: every request through one door, then to its handler.

The front gives a request its id, holds it to the limits, asks once who it is from, and makes an
answer of whatever is raised; every answer has the security headers. A module of handlers has
``routes()``, and is named in ``handlers``. Raises nothing.

Log messages: "request failed" (error, with the request id), "answer broke off" (warning).
"""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import anyio
import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request, cookie_parser
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Message, Receive, Scope, Send

from journal.store import DamagedStoreError
from posttrail.errors import PosttrailError
from query.httpd import (
    api,
    audit_routes,
    errors,
    link_routes,
    live,
    metrics,
    openapi,
    page,
    page_message,
    page_summary,
    page_trace,
    problem,
    static_files,
    tracing,
)
from query.httpd.caller import Caller, Role
from query.httpd.facts import Facts, Peer
from query.httpd.problem import Kind, Problem
from query.httpd.service import Service

log = logging.getLogger(__name__)

URL_BYTES: Final = 8 << 10
BODY_BYTES: Final = 64 << 10
BODY_S: Final = 10.0
SEND_S: Final = 60.0
"""A client that takes nothing for so long is gone."""
HEADER_BYTES: Final = 16 << 10
AT_ONCE: Final = 6
"""Requests of one caller; fewer than there are threads."""
STREAMS: Final = frozenset({"/v1/events"})

PUBLIC: Final = frozenset({"/healthz", "/readyz", "/openapi.json"})
PUBLIC_BELOW: Final = ("/static/", "/link/")
PATHS: Final = {
    Role.LINKER: ({"/v1/links"}, "this caller may make links, and read nothing"),
    Role.METRICS: ({"/metrics", "/metrics/domains"}, "this caller may read metrics, and no mail"),
}
"""Of callers that see no mail: where they may go, and what other places say."""

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors {ancestors}"
)


def make(service: Service) -> "Front":
    """The application of a service."""
    return Front(service, handlers())


def handlers() -> list[BaseRoute]:
    """Every route there is."""
    return [
        *api.routes(),
        *tracing.routes(),
        *openapi.routes(),
        *metrics.routes(),
        *link_routes.routes(),
        *audit_routes.routes(),
        *live.routes(),
        *page.routes(),
        *page_message.routes(),
        *page_trace.routes(),
        *page_summary.routes(),
        *static_files.routes(),
    ]


class Front:
    """The ASGI application."""

    def __init__(self, service: Service, routes: Iterable[BaseRoute]) -> None:
        self.service = service
        self._router = Router(routes=list(routes), redirect_slashes=False)
        self._router.default = _nowhere
        self._paths = {
            route.endpoint: route.path.replace(":path}", "}")
            for route in self._router.routes
            if isinstance(route, Route)
        }
        self._busy: Counter[str] = Counter()  # requests under way, by caller
        self._headers = security_headers(service.settings.query.frame_ancestors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return  # no websockets; uvicorn answers 403
        begun = time.monotonic()
        state = scope.setdefault("state", {})
        state["service"] = self.service
        state["request_id"] = secrets.token_hex(8)
        scope["app"] = self  # what makes starlette raise where a method is not allowed
        answer = _Answer(send, {**self._headers, "X-Request-Id": state["request_id"]})
        request = Request(scope, receive)
        try:
            await self._answer(request, answer)
        finally:
            self.service.answered[f"{answer.status // 100}xx"] += 1
            if request.url.path not in STREAMS:  # a stream is as long as its client wants
                self.service.spent[self._route(scope)].observe(time.monotonic() - begun)

    def _route(self, scope: Scope) -> str:
        """The path of the handler that a request came to, for metrics."""
        return self._paths.get(scope.get("endpoint", _nowhere), "none")

    async def _answer(self, request: Request, answer: "_Answer") -> None:
        try:
            await self._handle(request, answer)
        except DamagedStoreError as error:
            self.service.keeper.damaged(error)
            await self._problem(request, answer, problem.of(error))
        except PosttrailError as error:
            await self._problem(request, answer, problem.of(error))
        except HTTPException as error:
            await self._problem(request, answer, _of_starlette(error))
        except (anyio.BrokenResourceError, TimeoutError, OSError) as error:
            await self._problem(request, answer, Problem(Kind.TOO_SLOW, str(error)))
        except Exception:
            log.exception("request failed request_id=%s", request.state.request_id)
            await self._problem(request, answer, Problem(Kind.FAULT, problem.OUR_LOG))

    async def _handle(self, request: Request, answer: "_Answer") -> None:
        _check_size(request)
        limited = _Limited(request.receive)
        if metrics.is_port(request):
            metrics.check_port(request)
            await self._router(request.scope, limited, answer)
            return
        if is_public(request.url.path):
            await self._router(request.scope, limited, answer)
            return
        who = request.state.caller = await self._identify(request)
        _check_role(who, request.url.path)
        with self._one_of_few(who.name, request.url.path):
            await self._router(request.scope, limited, answer)

    @contextmanager
    def _one_of_few(self, name: str, path: str) -> Iterator[None]:
        """Nobody keeps all threads busy: so many requests of one caller at a time."""
        if path in STREAMS:  # they have a limit of their own, and cost no thread
            yield
            return
        if self._busy[name] >= AT_ONCE:
            raise Problem(Kind.TOO_MANY, f"{AT_ONCE} requests at once", {"Retry-After": "1"})
        self._busy[name] += 1
        try:
            yield
        finally:
            self._busy[name] -= 1
            if not self._busy[name]:
                del self._busy[name]

    async def _identify(self, request: Request) -> Caller:
        facts = request.state.facts = facts_of(request)
        return await anyio.to_thread.run_sync(self.service.identity.identify, facts)

    async def _problem(self, request: Request, answer: "_Answer", found: Problem) -> None:
        if answer.status:
            log.warning(
                "answer broke off request_id=%s problem=%s",
                request.state.request_id,
                found.kind.token,
            )
            raise found  # uvicorn closes the connection, which is how the client is told
        response = errors.response(request, found)
        await response(request.scope, request.receive, answer)


def security_headers(ancestors: Iterable[str]) -> Mapping[str, str]:
    """What every answer carries; ``ancestors`` may show it in a frame."""
    return {
        "Content-Security-Policy": _POLICY.format(ancestors=" ".join(ancestors) or "'none'"),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Vary": "Accept, Accept-Language, Cookie, Authorization",
    }


def is_public(path: str) -> bool:
    """Whether a path shows nothing of anybody, or (a link) proves by itself who asks."""
    return path in PUBLIC or path.startswith(PUBLIC_BELOW)


def facts_of(request: Request) -> Facts:
    """What the request says of its sender."""
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in request.headers.items():
        headers[name] = (*headers.get(name, ()), value)
    peer = getattr(request.state, "peer", None)
    cookies = cookie_parser(request.headers.get("cookie", ""))
    return Facts(
        peer=peer if isinstance(peer, Peer) else None,
        method=request.method,
        path=request.url.path,
        headers=headers,
        cookies=cookies,
    )


def _check_size(request: Request) -> None:
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    if len(raw) + len(request.scope["query_string"]) > URL_BYTES:
        raise Problem(Kind.TOO_LONG, f"at most {URL_BYTES} bytes")
    if sum(len(name) + len(value) for name, value in request.scope["headers"]) > HEADER_BYTES:
        raise Problem(Kind.HEADERS, f"at most {HEADER_BYTES} bytes")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > BODY_BYTES:
        raise Problem(Kind.TOO_LARGE, f"at most {BODY_BYTES} bytes")


def _check_role(caller: Caller, path: str) -> None:
    paths, sentence = PATHS.get(caller.role, ({path}, ""))
    if path not in paths:
        raise Problem(Kind.FORBIDDEN, sentence)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    raise problem.not_found()


def _of_starlette(error: HTTPException) -> Problem:
    if error.status_code == 405:
        return Problem(Kind.METHOD, "see Allow", error.headers)
    if error.status_code == 404:
        return problem.not_found()
    return Problem(Kind.BAD_REQUEST, "the request cannot be read")


class _Limited:
    """``receive`` that takes so many bytes, in so much time."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._taken = 0
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:  # what comes now is the end of the connection, whenever that is
            return await self._receive()
        with anyio.move_on_after(BODY_S):
            message = await self._receive()
            self._taken += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._taken > BODY_BYTES:
                raise Problem(Kind.TOO_LARGE, f"at most {BODY_BYTES} bytes")
            return message
        raise Problem(Kind.TOO_SLOW, f"at most {BODY_S:g} seconds a piece")


class _Answer:
    """``send`` that adds the headers of every answer, and gives up on a client that is gone."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0  # 0: nothing was sent yet

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers.setdefault(name, value)
        with anyio.fail_after(SEND_S):
            await self._send(message)


def header(headers: Headers, name: str) -> str | None:
    """The one value of a header; None where it is absent or was sent twice."""
    found = headers.getlist(name)
    return found[0] if len(found) == 1 else None
