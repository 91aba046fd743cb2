"""/v1/trace: the way of an address, asked of posttrail-traced, as far as the caller may know it.

An operator sees the tree as it is. A mailbox (a domain) may trace its own addresses and those of
domains that are not served here; other hosted addresses are absent, for aliases are private. What
it gets is public or its own: no tables, no commands, no inner hosts, and of forwards to others only
that there is one. Everybody's rate is limited, whatever the answer. Raises Problem.
"""

import math
import os
import time
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from typing import Final

import anyio.to_thread
from anyio import CapacityLimiter
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
from query.trace import asked, document, history
from query.trace.ask import AnsweredError, NobodyError, ask
from query.trace.limits import Limits
from query.trace.tree import Node, Question, Step, Trace, Verdict

KNOWN: Final = frozenset({"address", "sender", "entry"})
TIMEOUT_S: Final = 30.0
AT_ONCE: Final = 4
"""Traces that wait for the daemon at a time; they must not take the threads of reports."""
HOSTED: Final = frozenset({"local", "virtual_alias", "virtual_mailbox", "relay"})
"""Address classes of domains that this MTA serves."""
FORWARDED: Final = "forwarded to another address"
INSIDE: Final = "handled by this mail system"
REFUSED: Final = "not accepted by this mail system"


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
    wait_s = _limits(asked_).wait_s(who.name)
    if wait_s:
        raise Problem(Kind.TOO_MANY, "too many traces", {"Retry-After": str(math.ceil(wait_s))})
    if not may_ask(question.address, who.scope, asked_.settings.mta.local_domains):
        raise problem.not_found()
    found = await anyio.to_thread.run_sync(_asked, asked_, question, limiter=_waiting(asked_))
    if not may_see(found, who.scope):
        raise problem.not_found()
    found = await asked_.work(lambda: with_history(found, asked_, who))
    return found if who.scope.operator else seen(found, who.scope)


def may_ask(name: str, scope: Scope, local_domains: Collection[str]) -> bool:
    """Whether an address is the caller's, or of a domain that is not known to be ours."""
    raw = os.fsencode(name)
    if scope.operator or scope.owns(raw):
        return True
    domain = address.domain(address.fold(raw))
    ours = {address.fold_domain(each.encode()) for each in local_domains}
    return bool(domain) and domain not in ours


def may_see(found: Trace, scope: Scope) -> bool:
    """The same when the MTA has said whose domain it is."""
    if scope.operator or scope.owns(os.fsencode(found.question.address)):
        return True
    return not any(node.address_class in HOSTED for node in _nodes(found.root))


def seen(found: Trace, scope: Scope) -> Trace:
    """What of a trace is public or the caller's own."""
    own = scope.owns(os.fsencode(found.question.address))
    root = _own(found.root, scope) if own else _public(found.root)
    return replace(found, mta=found.mta.partition(" ")[0], root=root, warnings=())


def _own(node: Node, scope: Scope) -> Node:
    """The way of an own address, up to where it becomes somebody else's."""
    hidden = _hidden(node, _words(node))
    if scope.owns(os.fsencode(node.address)):
        return replace(hidden, children=tuple(_own(child, scope) for child in node.children))
    return replace(hidden, address="", text=FORWARDED, history=(), differs=None)


def _public(node: Node) -> Node:
    """The way of an address that is not ours: what DNS tells everybody, not our relays."""
    children = tuple(map(_public, node.children))
    domain = address.domain(os.fsencode(node.address))
    if node.router == "lookuphost" and os.fsencode(node.nexthop or "") == domain:
        bare = replace(_hidden(node, node.text), hosts=node.hosts, nexthop=node.nexthop)
        return replace(bare, router=node.router, transport=node.transport, children=children)
    return replace(_hidden(node, _words(node)), children=children)


def _hidden(node: Node, text: str) -> Node:
    """A node without children and without what is nobody's business."""
    return Node(
        address=node.address,
        step=node.step,
        verdict=node.verdict,
        source=node.source,
        enhanced_status=node.enhanced_status,
        text=text,
        history=node.history,
        differs=node.differs,
    )


def _words(node: Node) -> str:
    refused = {Verdict.REJECTED_AT_SMTP, Verdict.PERMANENT, Verdict.LOOP}
    if node.step in (Step.DELIVER, Step.DISCARD, Step.REJECT):
        return REFUSED if node.verdict in refused else INSIDE
    return INSIDE if not node.children else ""


def _nodes(node: Node) -> list[Node]:
    return [node, *(each for child in node.children for each in _nodes(child))]


def with_history(found: Trace, asked_: Service, who: Caller) -> Trace:
    """With the newest outcomes that the caller may see; the journal may be away."""
    try:
        return history.beside(found, history.newest(asked_.keeper.local().reader, who.scope))
    except PosttrailError:
        return replace(
            found, warnings=(*found.warnings, "no history: the journal is not to be read")
        )


def _asked(asked_: Service, question: Question) -> Trace:
    try:
        return ask(asked_.settings.trace.socket, question, timeout_s=TIMEOUT_S)
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


@lru_cache(maxsize=8)
def _limits(asked_: Service) -> Limits:
    return Limits(asked_.settings.trace.per_minute, time.monotonic)


@lru_cache(maxsize=8)
def _waiting(asked_: Service) -> CapacityLimiter:
    return CapacityLimiter(AT_ONCE)
