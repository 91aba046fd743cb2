"""One address's first page over posttrail-queryd's socket, against the same asked in this process.

A client with one connection asks for random addresses of the journal, one after the other, as JSON,
as root: with audit record, counts and ETag, as in service.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final
from urllib.parse import quote

from journal.reader import Reader
from tests.bench.bench import Bench, fresh, program
from tests.bench.figures import Line, percentile
from tests.bench.process import ProgramError, Service
from tests.bench.reporting import rendered

_SAMPLE: Final = 20_000
_AHEAD: Final = 20
"""Requests before it is measured."""


class _Unix(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("posttrail", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


def measure(bench: Bench) -> list[Line]:
    """p50 and p99, with one connection kept and with a new one for each."""
    journal = bench.journal(bench.messages)
    with Reader.open(journal) as reader:
        asked = _addresses(reader, 100 if bench.quick else 1_000)
        here = [_timed(partial(rendered, reader, name)) for name in asked]
    place = fresh(bench.work / "serving")
    place.mkdir()
    path = place / "queryd.sock"
    config = place / "posttrail.toml"
    config.write_text(
        f'[journal]\ndirectory = "{journal}"\n[run]\ndirectory = "{place}"\n'
        f'[query]\nsocket = "{path}"\nstate = "{place}/state.sqlite"\n',
        encoding="utf-8",
    )
    command: list[str | Path] = [
        program("posttrail-queryd"),
        "--config",
        config,
        "--log-level",
        "warning",
    ]
    with Service(command, errors=place / "stderr", env=bench.environment()) as service:
        service.ready((place / "queryd.prom").exists, "posttrail-queryd")
        for name in asked[:_AHEAD]:
            _fresh(path, name)
        kept = _Unix(path)
        same = [_timed(partial(_get, kept, name)) for name in asked]
        new = [_timed(partial(_fresh, path, name)) for name in asked]
    figures: dict[str, float | int | str] = {"addresses": len(asked)}
    for label, times in (("here", here), ("kept", same), ("new", new)):
        for part, quantile in (("p50", 0.5), ("p99", 0.99)):
            figures[f"{label}_{part}_ms"] = percentile(times, quantile)
    return [
        Line(
            bench="serve",
            work="one address's first page over the socket",
            against="the same in one process",
            at_least="",
            measured="p50 {kept_p50_ms:.2f}, p99 {kept_p99_ms:.2f} ms; in one process "
            "{here_p50_ms:.2f}, {here_p99_ms:.2f}; a connection each {new_p50_ms:.2f}, "
            "{new_p99_ms:.2f}".format_map(figures),
            holds=None,
            figures=figures,
        )
    ]


def _addresses(reader: Reader, count: int) -> list[str]:
    found = set()
    for id, _status in islice(reader.scan(), _SAMPLE):
        message = reader.message(id)
        for row in message.rows if message else ():
            if row.recipient:
                found.add(row.recipient.decode("utf-8", "surrogateescape"))
    return Random(1).sample(sorted(found), min(count, len(found)))


def _get(connection: HTTPConnection, name: str) -> None:
    address = quote(name, safe="", errors="surrogateescape")
    connection.request("GET", f"/v1/messages?address={address}")
    answer = connection.getresponse()
    if answer.status != 200 or not answer.read().startswith(b'{"rows":[{'):
        raise ProgramError(f"posttrail-queryd finds nothing of {name}: {answer.status}")


def _fresh(path: Path, name: str) -> None:
    connection = _Unix(path)
    _get(connection, name)
    connection.close()


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000
