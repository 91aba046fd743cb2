"""What all handlers share: settings, the journal, who asks, worker threads and their limits.

Made once, found by handlers as ``service(request)``; the caller of a request is
``caller(request)``. Raises Problem, and what the journal raises.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from starlette.requests import Request

from posttrail.config import Config
from posttrail.metrics import QUERIES_S, ROUTES, Histogram
from query.answers import Answers
from query.httpd.audit import Audit
from query.httpd.audited import Audited
from query.httpd.caller import Caller, Role
from query.httpd.hub import Hub
from query.httpd.identity import Identity
from query.httpd.keeper import Keeper
from query.httpd.ledger import Ledger
from query.local import Within
from query.trace.limits import Limits

T = TypeVar("T")

WORKERS: Final = 8
"""Threads that read; more wait for their turn."""
TRACES: Final = 4
"""Threads that wait for posttrail-traced."""
PATIENCE_S: Final = 30.0
"""How long one piece of work may read messages before it is given up."""


class Service:
    """posttrail-queryd but for its sockets."""

    def __init__(self, settings: Config, keeper: Keeper, identity: Identity) -> None:
        self.settings = settings
        self.keeper = keeper
        self.identity = identity
        self.audit = Audit(
            identity.state,
            days=settings.query.audit_days,
            delimiters=settings.query.delimiters,
        )
        self.answered: Counter[str] = Counter()  # requests by the class of their status: "2xx"
        self.spent = {route: Histogram(QUERIES_S) for route in ROUTES}  # their time
        self.verdicts: Counter[tuple[str, str]] = Counter()  # by verdict and who said so
        self.ledger = Ledger(identity.state)
        self.hub = Hub(keeper)
        self.traces = Limits(settings.trace.per_minute, time.monotonic)
        self._limiter: CapacityLimiter | None = None
        self._tracing: CapacityLimiter | None = None

    async def work(self, task: Callable[[], T]) -> T:
        """The result of a task that reads the journal or a file, in a worker thread."""
        if self._limiter is None:  # it belongs to the event loop
            self._limiter = CapacityLimiter(WORKERS)
        patient = self.keeper.patience.within(PATIENCE_S, task)
        return await anyio.to_thread.run_sync(patient, limiter=self._limiter)

    async def wait_for_trace(self, task: Callable[[], T]) -> T:
        """The result of a task that asks posttrail-traced; reports keep their threads."""
        if self._tracing is None:
            self._tracing = CapacityLimiter(TRACES)
        return await anyio.to_thread.run_sync(task, limiter=self._tracing)

    async def read(self, caller: Caller, task: Callable[[Answers], T]) -> T:
        """The result of a task on what the caller may see, in a worker thread."""
        return await self.work(lambda: task(self.answers(caller)))

    def answers(self, caller: Caller) -> Answers:
        """What the caller may see; for use in a worker thread."""
        if caller.role is Role.OPERATOR:
            return Audited(self.keeper.local(), caller, self.audit)
        return Within(self.keeper.local(), caller.scope)

    def gauges(self) -> dict[str, float]:
        """What Prometheus is told of this process."""
        told = {
            f'posttrail_queryd_requests_total{{class="{each}xx"}}': float(
                self.answered[f"{each}xx"]
            )
            for each in range(2, 6)
        }
        return told | {
            "posttrail_queryd_streams": float(self.hub.count),
            "posttrail_queryd_parts_excluded": float(len(self.keeper.excluded)),
            "posttrail_queryd_written_seconds": time.time(),
        }


def service(request: Request) -> Service:
    """The service that a request came to."""
    found: Service = request.state.service
    return found


def caller(request: Request) -> Caller:
    """Who asks; a handler behind a public path has none, and must not ask for it."""
    found: Caller = request.state.caller
    return found
