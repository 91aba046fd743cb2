"""/v1/trace: the way of an address, asked of posttrail-traced, as far as the caller may know it.

An operator sees the tree as it is. A mailbox (a domain) may trace its own addresses and those of
domains that are not served here; other hosted addresses are absent, for aliases are private. What
it gets is public or its own: no tables, no commands, no inner hosts, and of forwards to others only
that there is one (``query.trace.redact``). Everybody's rate is limited. Raises Problem.
"""

import math
import os
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from journal import address
from posttrail.errors import PosttrailError, UsageError
from query.httpd import accept, params, problem
from query.httpd.caller import Caller
from query.httpd.problem import Kind, Problem
from query.httpd.service import Service, caller, service
from query.scope import Scope
from query.trace import asked, document, history, redact
from query.trace.ask import AnsweredError, NobodyError, ask
from query.trace.tree import Question, Trace

KNOWN: Final = frozenset({"address", "sender", "entry"})
TIMEOUT_S: Final = 30.0


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [Route("/v1/trace", trace)]


async def trace(request: Request) -> Response:
    """The tree as JSON."""
    accept.form(request, accept.THING)
    given = params.of(request, KNOWN)
    if not given.get("address"):
        raise Problem(Kind.BAD_FILTER, "address is missing")
    found = await traced(
        request, given["address"], sender=given.get("sender"), entry=given.get("entry") or "smtp"
    )
    return accept.document(document.document(found))


async def traced(
    request: Request, name: str, *, sender: str | None = None, entry: str = "smtp"
) -> Trace:
    """The trace that the caller may see; for the page too."""
    asked_, who = service(request), caller(request)
    question = asked.question(name, sender, entry)
    wait_s = asked_.traces.wait_s(who.name)
    if wait_s:
        raise Problem(Kind.TOO_MANY, "too many traces", {"Retry-After": str(math.ceil(wait_s))})
    if not may_ask(question.address, who.scope, asked_.settings.mta.local_domains):
        raise problem.not_found()
    try:
        found = await asked_.wait_for_trace(lambda: _asked(asked_, question, who.name))
    except Exception:
        asked_.verdicts["failed", "none"] += 1
        raise
    asked_.verdicts[found.root.verdict.value, found.root.source.value] += 1
    visible = seen(found, who.scope)
    if visible is None:
        raise problem.not_found()
    return await asked_.work(lambda: with_history(visible, asked_, who))


def may_ask(name: str, scope: Scope, local_domains: Collection[str]) -> bool:
    """Whether an address is the caller's, or of a domain that is not known to be ours."""
    raw = os.fsencode(name)
    if scope.operator or scope.owns(raw):
        return True
    domain = address.domain(address.fold(raw))
    ours = {address.fold_domain(each.encode()) for each in local_domains}
    return bool(domain) and domain not in ours


def seen(found: Trace, scope: Scope) -> Trace | None:
    """What of a trace is the caller's own or public; None: as if there were no such address."""
    if scope.operator:
        return found

    def owns(name: str) -> bool:
        return scope.owns(os.fsencode(name))

    if owns(found.question.address):
        return redact.own(found, owns)
    return redact.public(found)


def with_history(found: Trace, asked_: Service, who: Caller) -> Trace:
    """With the newest outcomes that the caller may see; the journal may be away."""
    try:
        return history.beside(found, history.newest(asked_.keeper.local().reader, who.scope))
    except PosttrailError:
        return replace(
            found, warnings=(*found.warnings, "no history: the journal is not to be read")
        )


def _asked(asked_: Service, question: Question, whom: str) -> Trace:
    try:
        return ask(asked_.settings.trace.socket, question, whom=whom, timeout_s=TIMEOUT_S)
    except NobodyError:
        raise Problem(
            Kind.UNAVAILABLE, "posttrail-traced cannot be asked", {"Retry-After": "30"}
        ) from None
    except AnsweredError as error:
        if error.exit_code == UsageError.exit_code:
            raise UsageError(str(error)) from None
        raise Problem(
            Kind.UNAVAILABLE, "the mail server's tables cannot be read now", {"Retry-After": "30"}
        ) from None
