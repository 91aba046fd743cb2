"""/metrics for Prometheus: the journal's figures, the programs' own, and ours.

Text format 0.0.4; posttrail/metrics.py declares all of it. Answered on the operator's sockets, to
an operator or a token of kind ``metrics``, and on the metrics port (query.metrics), where nobody
proves anything: so nothing of mail is in it, and only a request for a name of this machine is
answered (a browser that was led here by a name of somebody else's is not). /metrics/domains has
the domains of query.metrics_domains, and never answers on that port. Raises Problem.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from journal import address, keys
from journal.keys import DAY_US
from journal.records import Status
from posttrail import __version__, metrics
from posttrail.errors import PosttrailError
from query.httpd import metrics_files, metrics_journal
from query.httpd.caller import Role
from query.httpd.facts import Door, Peer
from query.httpd.metrics_journal import family, gauge
from query.httpd.problem import Kind, Problem
from query.httpd.service import Service, caller, service

MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"
PATH: Final = "/metrics"
MAY: Final = frozenset({Role.OPERATOR, Role.METRICS})
OURS: Final = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.I)
"""Hosts that a request on the metrics port may name."""


def routes() -> list[BaseRoute]:
    """What is served here."""
    return [Route(PATH, all_of_them), Route(f"{PATH}/domains", domains)]


def is_port(request: Request) -> bool:
    """Whether a request came through the metrics port, where nobody is asked who they are."""
    peer = getattr(request.state, "peer", None)
    return isinstance(peer, Peer) and peer.door is Door.METRICS


def check_port(request: Request) -> None:
    """What that port answers at all."""
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or not OURS.fullmatch(hosts[0]):
        raise Problem(Kind.FORBIDDEN, "this port answers to names of this machine only")
    if request.url.path != PATH:
        raise Problem(Kind.NOT_FOUND, "this port has /metrics and nothing else")


async def all_of_them(request: Request) -> Response:
    """Everything that says nothing of anybody's mail."""
    return await _answer(request, families, on_port=True)


async def domains(request: Request) -> Response:
    """The domains that the configuration names."""
    return await _answer(request, of_domains, on_port=False)


async def _answer(
    request: Request, find: Callable[[Service], Iterable[Metric]], *, on_port: bool
) -> Response:
    if not (on_port and is_port(request)) and caller(request).role not in MAY:
        raise Problem(Kind.FORBIDDEN, "metrics are the operator's, or a token's of that kind")
    asked = service(request)
    return Response(await asked.work(lambda: text(find(asked))), media_type=MEDIA)


class _Found(Collector):
    """What ``generate_latest`` asks for families."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def text(found: Iterable[Metric]) -> str:
    """The exposition."""
    return generate_latest(_Found(list(found))).decode()


def families(asked: Service) -> Iterator[Metric]:
    """All of them, in the order of their declaration but for what cannot be had."""
    yield from _of_journal(asked)
    yield gauge("posttrail_counters_kept", [({}, asked.ledger.kept)])
    yield gauge("posttrail_build_info", [({"version": __version__}, 1)])
    yield _queries(asked)
    yield _traces(asked)
    yield from metrics_files.all_of(asked.settings.run.directory)


def _of_journal(asked: Service) -> list[Metric]:
    """The journal's; where it cannot be read, that it cannot: no figure is made up."""
    try:
        reader = asked.keeper.local().reader
        totals = reader.totals()
        found = [
            *metrics_journal.pending(totals),
            *metrics_journal.coverage(reader.coverage()),
            *metrics_journal.disk(asked.keeper.directory, reader.days()),
            gauge("posttrail_journal_change", [({}, reader.last_change())]),
            gauge("posttrail_journal_readable", [({}, 1)]),
        ]
    except (PosttrailError, OSError):
        return [gauge("posttrail_journal_readable", [({}, 0)])]
    now = metrics_journal.sums(totals)
    exported = asked.ledger.raised(now, asked.keeper.key)
    return found if exported is None else [*metrics_journal.counters(exported, now), *found]


def _queries(asked: Service) -> Metric:
    name = "posttrail_query_duration_seconds"
    made = family(name)
    for route in metrics.ROUTES:
        spent = asked.spent[route]
        added = spent.cumulative()
        for bound, count in added:
            made.add_sample(f"{name}_bucket", {"route": route, "le": bound}, count)
        made.add_sample(f"{name}_sum", {"route": route}, spent.sum)
        made.add_sample(f"{name}_count", {"route": route}, added[-1][1])
    return made


def _traces(asked: Service) -> Metric:
    name = "posttrail_trace_total"
    pairs = [(verdict, who) for verdict in metrics.VERDICTS for who in metrics.ANSWERERS]
    return gauge(
        name,
        (
            ({"verdict": verdict, "source": who}, asked.verdicts[verdict, who])
            for verdict, who in pairs
        ),
    )


def of_domains(asked: Service) -> Iterator[Metric]:
    """Messages of the last day to each domain that the configuration names."""
    name = "posttrail_domain_messages"
    reader = asked.keeper.local().reader
    since_us = time.time_ns() // 1000 - DAY_US
    made = family(name)
    for domain in asked.settings.query.metrics_domains:
        folded = address.fold_domain(domain.encode())
        counts = reader.count(keys.RECIPIENT_DOMAIN, folded, since_us)
        for status in (*metrics.FINAL, *metrics.PENDING):
            labels = {"domain": domain, "status": status}
            made.add_sample(name, labels, counts.get(Status[status.upper()], 0))
    yield made
