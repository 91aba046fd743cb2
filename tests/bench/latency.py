"""How soon a fact is a row that a reader finds: from a log line, and from a milter callback.

The daemons run as they do in service, over a log file that this process writes at the
pace of 50 messages a second, and a milter socket that it speaks to. A fact is there
when ``journal.reader`` answers a search for its queue id with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

from journal import keys
from journal.reader import Reader
from journal.records import Message, Status
from tests.bench.bench import Bench, fresh, program
from tests.bench.figures import Line, percentile
from tests.bench.milter_client import Connection
from tests.bench.process import ProgramError, Service

_PACE_S: Final = 0.02  # 50 messages a second
_PATIENCE_S: Final = 10.0
_MOST_MS: Final = 250


class Probe:
    """A log to write, a milter to speak to, a reader that watches."""

    def __init__(self, bench: Bench, stack: ExitStack) -> None:
        place = fresh(bench.work / "latency")
        place.mkdir()
        socket, path = place / "milter.sock", place / "mail.log"
        self._log: FileIO = stack.enter_context(path.open("ab", buffering=0))
        config = bench.configuration(place / "state", log=path, socket=socket)
        for name in ("posttrail-milterd", "posttrail-trackd"):
            service = stack.enter_context(
                Service(
                    [program(name), "--config", config],
                    errors=place / f"{name}.stderr",
                    env=bench.environment(),
                )
            )
            ready = place / "state" / "journal" / "FORMAT"
            service.ready(socket.exists if "milterd" in name else ready.exists, name)
        self._reader = stack.enter_context(_open(place / "state" / "journal"))
        self._socket = socket
        self._random = Random(1)
        self._number = 0

    def line(self) -> float:
        """Milliseconds from a delivery line to a row that says delivered."""
        queue_id, begin = self._write()
        self._until(queue_id, lambda message: message.status == Status.DELIVERED)
        return (time.perf_counter() - begin) * 1000

    def callback(self) -> float:
        """Milliseconds from the end of a message at the milter to a row."""
        queue_id = self._queue_id()
        connection = Connection(self._socket)
        begin = time.perf_counter()
        connection.start(queue_id)
        connection.finish()
        self._until(queue_id, lambda message: bool(message.rows))
        connection.close()
        return (time.perf_counter() - begin) * 1000

    def others(self) -> None:
        """Some messages that nobody waits for, so that a probe meets a group in the making."""
        for _ in range(self._random.randrange(2, 8)):
            self._write()
            time.sleep(_PACE_S * 2 * self._random.random())

    def _queue_id(self) -> bytes:
        self._number += 1
        return b"4cbw%010d" % self._number

    def _write(self) -> tuple[bytes, float]:
        """One message's lines; its queue id and when its last line was handed over."""
        queue_id = self._queue_id()
        stamp = time.strftime("%b %e %H:%M:%S").encode()
        head, name = stamp + b" mx1 postfix/%s[%d]: " + queue_id, b"anna@pine-tulip.test"
        lines = [
            head % (b"smtpd", 11) + b": client=mx.pine-tulip.test[192.0.2.7]",
            head % (b"cleanup", 12) + b": message-id=<" + queue_id + b"@pine-tulip.test>",
            head % (b"qmgr", 13) + b": from=<" + name + b">, size=900, nrcpt=1 (queue active)",
            head % (b"lmtp", 14) + b": to=<emil@example.com>, relay=mx1[private/lmtp], delay=0.1, "
            b"delays=0/0/0/0.1, dsn=2.0.0, status=sent (250 2.0.0 Saved)",
        ]
        begin = time.perf_counter()
        self._log.write(b"\n".join(lines) + b"\n")
        return queue_id, begin

    def _until(self, queue_id: bytes, reached: Callable[[Message], bool]) -> None:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            for message_id, _ in self._reader.hits(keys.QUEUE_ID, queue_id):
                message = self._reader.message(message_id)
                if message is not None and reached(message):
                    return
            time.sleep(0.001)
        raise ProgramError(f"no row of {queue_id.decode()} within {_PATIENCE_S:.0f} s")


def _open(journal: Path) -> Reader:
    """The reader, as soon as the writer has made what it reads."""
    end = time.monotonic() + _PATIENCE_S
    while not (journal / "state" / "data.mdb").exists() and time.monotonic() < end:
        time.sleep(0.01)
    return Reader.open(journal)


def measure(bench: Bench) -> list[Line]:
    """Both ways, in turn."""
    probes = 100 if bench.quick else 300
    spent: dict[str, list[float]] = {"line": [], "callback": []}
    with ExitStack() as stack:
        probe = Probe(bench, stack)
        probe.line()
        for _ in range(probes):
            probe.others()
            spent["line"].append(probe.line())
            probe.others()
            spent["callback"].append(probe.callback())
    return [_line(name, values) for name, values in spent.items()]


def _line(name: str, values: list[float]) -> Line:
    p99 = percentile(values, 0.99)
    return Line(
        bench="latency",
        work=f"{name} → row answered, beside 50 messages/s",
        against="",
        at_least=f"p99 ≤ {_MOST_MS} ms",
        measured=f"p99 {p99:.0f} ms (p50 {median(values):.0f}, max {max(values):.0f})",
        holds=p99 <= _MOST_MS,
        figures={
            "p50_ms": median(values),
            "p99_ms": p99,
            "max_ms": max(values),
            "probes": len(values),
        },
    )
