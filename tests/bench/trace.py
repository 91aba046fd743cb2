"""What a trace costs, beside the commands of Exim, Sendmail and Postfix, on the same twenty addresses.

All are asked in turn, address by address, round by round. Cold: a walker that knows nothing yet;
warm: the same address again within a minute. Postfix's ``sendmail -bv`` is no rival in kind: it
returns once its probe is queued, and the answer comes by mail. Processes are counted where they are
started. Raises ProgramError where an answer that was timed is no answer.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from posttrail.config import Trace as Settings
from posttrail.postconf import SettingsCache
from query.trace.dns import Dns
from query.trace.exim import EximWalker
from query.trace.postfix.computed import ComputedRouter
from query.trace.postfix.resolve import open_router
from query.trace.postfix.tables import Tables
from query.trace.postfix.walker import postfix_walker
from query.trace.sendmail import SendmailWalker
from query.trace.tree import Question, Source, Trace, Verdict, ends
from tests.bench.bench import Bench
from tests.bench.figures import Line, percentile
from tests.bench.process import ProgramError
from tests.bench.three_mtas import ADDRESSES, Mtas, three

COLD_MS: Final = 60.0
WARM_MS: Final = 5.0
Timings = dict[str, list[float]]


def measure(bench: Bench) -> list[Line]:
    """The figures of all, from one run."""
    with three(bench.work) as mtas:
        runs = _Runs(mtas)
        for _ in range(3 if bench.quick else bench.rounds):
            for address in ADDRESSES:
                runs.round(address)
        resolving = _resolvers(mtas, 20 if bench.quick else 200)
    return [*_lines(runs), _resolver_line(resolving)]


class _Runs:
    """Each contender once for an address; times in ms and processes started."""

    def __init__(self, mtas: Mtas) -> None:
        self.ms: Timings = defaultdict(list)
        self.spawned: dict[str, list[int]] = defaultdict(list)
        self._mtas = mtas
        self._servers = (mtas.name_server,)
        self._exim = EximWalker(mtas.exim[0], config=mtas.exim[1])

    def round(self, address: str) -> None:
        """All of them, one after the other."""
        question = Question(address=address)
        for name, socket in (("asked", ""), ("computed", "/nonexistent")):
            walker = postfix_walker(
                Settings(config=str(self._mtas.postfix), rewrite_socket=socket), Dns(self._servers)
            )
            cold = self._timed(f"{name}, cold", partial(walker.trace, question))
            warm = self._timed(f"{name}, warm", partial(walker.trace, question))
            _sound(cold, warm, socket=not socket)
        self._timed("exim -bt", lambda: _run(*self._of(self._mtas.exim), "-bt", address))
        self._timed("sendmail -bv", lambda: _run(*self._of(self._mtas.sendmail), "-bv", address))
        etc = str(self._mtas.postfix)
        self._timed("postfix -bv", lambda: _run("sendmail", "-C", etc, "-bv", address))
        self._timed("our exim", lambda: self._exim.trace(question))
        program, config = self._mtas.sendmail
        ours = SendmailWalker(program, Dns(self._servers), config=config)
        self._timed("our sendmail", lambda: ours.trace(question))

    @staticmethod
    def _of(named: tuple[str, str]) -> tuple[str, str, str]:
        return named[0], "-C", named[1]

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        with counted() as started:
            begin = time.perf_counter()
            result = work()
            self.ms[name].append((time.perf_counter() - begin) * 1000)
        self.spawned[name].append(len(started))
        return result


@contextmanager
def counted() -> Iterator[list[object]]:
    """What is started by ``subprocess`` meanwhile."""
    started: list[object] = []
    real = subprocess.Popen.__init__

    def noticed(self: Any, *words: Any, **named: Any) -> None:
        started.append(words)
        real(self, *words, **named)

    subprocess.Popen.__init__ = noticed  # type: ignore[method-assign]
    try:
        yield started
    finally:
        subprocess.Popen.__init__ = real  # type: ignore[method-assign]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if not done.stdout + done.stderr and command[0] != "sendmail":
        raise ProgramError(f"{' '.join(command)} said nothing")


def _sound(cold: Trace, warm: Trace, *, socket: bool) -> None:
    """An answer that was found out, by the router that was meant, and the same when warm."""
    if cold.root.verdict is Verdict.UNKNOWN:
        raise ProgramError(f"{cold.question.address}: {[end.text for end in ends(cold.root)]}")
    if [end.text for end in ends(cold.root)] != [end.text for end in ends(warm.root)]:
        raise ProgramError(f"{cold.question.address}: warm is not as cold")
    computed = any("computed" in each for each in cold.warnings)
    if computed is socket:
        raise ProgramError(f"{cold.question.address}: {cold.warnings or 'asked the socket'}")


def _lines(runs: _Runs) -> Iterator[Line]:
    rivals = ", ".join(f"{name} {_ms(runs, name)}" for name in ("exim -bt", "sendmail -bv"))
    for state, limit in (("cold", COLD_MS), ("warm", WARM_MS)):
        for how in ("asked", "computed"):
            name = f"{how}, {state}"
            yield Line(
                bench="trace", work=f"a trace through Postfix, {state}, router {how}",
                against=rivals, at_least=f"<= {limit:g} ms",
                measured=f"{_ms(runs, name)}, p95 {percentile(runs.ms[name], 0.95):.1f} ms, "
                f"{_spawned(runs, name)}",
                holds=statistics.median(runs.ms[name]) <= limit, figures=_figures(runs, name),
            )  # fmt: skip
    yield Line(
        bench="trace", work="Postfix's own sendmail -bv, until its probe is queued (no answer yet)",
        against=f"trace, cold {_ms(runs, 'asked, cold')}", at_least="",
        measured=_ms(runs, "postfix -bv"), holds=None, figures=_figures(runs, "postfix -bv"),
    )  # fmt: skip
    for name, rival in (("our exim", "exim -bt"), ("our sendmail", "sendmail -bv")):
        yield Line(
            bench="trace", work=f"a trace through {rival}", against=f"{rival} {_ms(runs, rival)}",
            at_least="", measured=f"{_ms(runs, name)}, {_spawned(runs, name)}", holds=None,
            figures=_figures(runs, name) | _figures(runs, rival, "rival_"),
        )  # fmt: skip


def _ms(runs: _Runs, name: str) -> str:
    return f"{statistics.median(runs.ms[name]):.1f} ms"


def _spawned(runs: _Runs, name: str) -> str:
    counts = runs.spawned[name]
    return f"{statistics.median(counts):g} processes (at most {max(counts)})"


def _figures(runs: _Runs, name: str, prefix: str = "") -> dict[str, float | int | str]:
    return {
        f"{prefix}median_ms": statistics.median(runs.ms[name]),
        f"{prefix}p95_ms": percentile(runs.ms[name], 0.95),
        f"{prefix}processes": statistics.median(runs.spawned[name]),
    }


def _resolvers(mtas: Mtas, rounds: int) -> Timings:
    """One resolve of each address by the socket and by the stand-in, its tables known."""
    settings = SettingsCache(str(mtas.postfix)).read()
    tables = Tables(str(mtas.postfix))
    asked, why = open_router(settings, tables)
    if asked.source is not Source.MTA:
        raise ProgramError(f"no resolver: {why}")
    routers = {"asked": asked, "computed": ComputedRouter(settings, tables)}
    times: Timings = defaultdict(list)
    for number in range(rounds + 1):
        for address in ADDRESSES:
            for name, router in routers.items():
                begin = time.perf_counter()
                router.resolve(address, "")
                if number:  # the first one fills the tables
                    times[name].append((time.perf_counter() - begin) * 1000)
    return times


def _resolver_line(times: Timings) -> Line:
    asked, computed = (statistics.median(times[name]) for name in ("asked", "computed"))
    return Line(
        bench="trace", work="one resolve by trivial-rewrite's socket",
        against=f"computed, tables known {computed:.3f} ms", at_least="",
        measured=f"{asked:.3f} ms", holds=None,
        figures={"asked_ms": asked, "computed_ms": computed},
    )  # fmt: skip
