"""``GET /v1/events``: what is new, as Server-Sent Events (WHATWG HTML, 9.2).

Parameters: all filters of a report, ``message`` (an id or queue id: this message alone) and
``after`` (as Last-Event-ID, for whoever cannot send that header; the header beats it). Without
either a stream begins now. Events:

    row    a row that appeared or changed; data is the row as in a report
    gone   a row that answers the filters no more; data is {"id", "row"}
    end    the stream ends; data is {"reason"}: slow, stopping, changed,
           unavailable (connect again), or expired

The id of an event is the journal's change number, with ``.ROW`` behind it where more rows of that
change follow; numbers grow, with gaps. A row is told when what the caller may see of it changed;
of a message that this process does not know from before every row is. ``silent_for`` is looked at
when a message changes, not when time goes by. Scope and proof of the caller are asked for anew
every ``PROOF_S``. Raises Problem, and what the journal raises.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from journal import keys
from query import sse
from query.changes import Watch
from query.filters import NAMES, parse
from query.httpd import accept, params, problem
from query.httpd.accept import Form
from query.httpd.audit import Entry
from query.httpd.caller import Caller, Role
from query.httpd.facts import Facts
from query.httpd.hub import MOST, End, Stream
from query.httpd.problem import Kind, Problem
from query.httpd.service import Service, caller, service
from query.httpd.state import StateError

PING_S: Final = 15.0
PROOF_S: Final = 15.0
RETRY_MS: Final = 3000
AGAIN: Final = {"Retry-After": "15"}
OWN: Final = frozenset({"message", "after"})


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [Route("/v1/events", events)]


async def events(request: Request) -> Response:
    """The stream."""
    accept.form(request, (Form.EVENTS,))
    asked, who = service(request), caller(request)
    given = params.of(request, {*NAMES, *OWN})
    after = position(request.headers.get("last-event-id") or given.get("after") or "")
    if request.method == "HEAD":
        return Response(headers=_HEADERS)
    _check_number(asked, who)

    def begin() -> tuple[Watch, Entry | None]:
        watch = _watch(asked, who, given, after)
        recorded = who.role is Role.OPERATOR
        return watch, asked.audit.begin(who, "live", given) if recorded else None

    watch, entry = await asked.work(begin)
    _check_number(asked, who)
    return Events(asked, request, Stream(watch, who.name, entry))


def position(text: str) -> tuple[int, int] | None:
    """Change number and row of an event's id; of ``N.R`` the change before N and R."""
    if not text:
        return None
    number, dot, row = text.partition(".")
    digits = [number, row] if dot else [number]
    if not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in digits):
        raise Problem(Kind.BAD_FILTER, "this is no id of an event")
    return (max(int(number) - 1, 0), int(row)) if dot else (int(number), 0)


def _check_number(asked: Service, who: Caller) -> None:
    if asked.hub.is_stopped or asked.hub.count >= MOST:
        raise Problem(Kind.BUSY, "no further stream now", AGAIN)
    most = asked.settings.query.streams
    if asked.hub.streams_of(who.name) >= most:
        raise Problem(Kind.TOO_MANY, f"at most {most} streams of one caller", AGAIN)


def _watch(
    asked: Service, who: Caller, given: Mapping[str, str], after: tuple[int, int] | None
) -> Watch:
    """What a caller asks for, from where on; a position beyond the newest change is none."""
    query = parse(
        params.filters(dict(given)),
        now_us=time.time_ns() // 1000,
        delimiters=who.scope.delimiters,
    )
    now = asked.hub.position(asked.keeper.local().reader)
    first, told = after if after is not None and after[0] <= now else (now, 0)
    message_id = None
    if given.get("message"):
        found = asked.answers(who).message(given["message"])
        if not found:
            raise problem.not_found()
        message_id = keys.parse_id(found[0].id)
    return Watch(query, who.scope, after=first, told=told, message_id=message_id)


_HEADERS: Final = {
    "Content-Type": sse.MEDIA,
    "X-Accel-Buffering": "no",  # nginx: pass it on at once
}


class Events(Response):
    """The answer that goes on."""

    def __init__(self, asked: Service, request: Request, stream: Stream) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._service = asked
        self._who = caller(request)
        self._facts: Facts = request.state.facts
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the stream is over or the client gone."""
        hub = self._service.hub
        hub.open(self._stream)
        try:
            await send({
                "type": "http.response.start", "status": 200, "headers": self.raw_headers,
            })  # fmt: skip
            async with anyio.create_task_group() as group:
                group.start_soon(self._until_gone, receive, group.cancel_scope)
                await self._send_all(send)
                group.cancel_scope.cancel()
        finally:
            hub.close(self._stream)
            with anyio.CancelScope(shield=True), suppress(StateError):
                await anyio.to_thread.run_sync(self._stream.record)

    async def _until_gone(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _send_all(self, send: Send) -> None:
        first = sse.encode(sse.Event("", "", str(self._stream.at)))
        raw = f"retry: {RETRY_MS}\n".encode() + first
        proven = time.monotonic()
        try:
            while True:
                await send({"type": "http.response.body", "body": raw, "more_body": True})
                if self._stream.is_over:
                    break
                await self._stream.wait(PING_S)
                if time.monotonic() - proven >= PROOF_S:
                    await self._prove()
                    proven = time.monotonic()
                raw = self._stream.take()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (TimeoutError, OSError):
            pass  # it takes nothing any more

    async def _prove(self) -> None:
        """End the stream of a caller who is nobody by now, or may see something else."""

        def ask() -> Caller:
            self._stream.record()
            return self._service.identity.identify(self._facts, is_use=False)

        try:
            if await anyio.to_thread.run_sync(ask) != self._who:
                self._stream.end(End.CHANGED)
        except Problem:
            self._stream.end(End.EXPIRED)
        except StateError:
            self._stream.end(End.UNAVAILABLE)
