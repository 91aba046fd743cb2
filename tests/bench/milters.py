"""What recording costs: milters driven directly, and through a real private Postfix.

Direct: posttrail-milterd, the pymilter no-ops and the C no-op take the same messages over
8 connections. The promise is held against the one on Milter.Base that answers nothing but the
end of a message; the one that answers RCPT, as we must, tells what that answer costs. Through Postfix: two private Postfix of the same configuration, one with
the C no-op, one with posttrail-milterd and posttrail-trackd behind it, take mail from
smtp-source(1) in turn and discard it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

from journal.reader import Reader
from posttrail.demo.lab import Lab
from posttrail.demo.sinks import all_at
from tests.bench.bench import HERE, Bench, disk_bytes, fresh, program, tool
from tests.bench.figures import Line
from tests.bench.milter_client import drive
from tests.bench.process import ProgramError, Service, cpu_s, settle, wait_for

_OURS: Final = "posttrail-milterd"
_PYMILTER: Final = "pymilter no-op (Milter.Base)"
_ANSWERING: Final = "pymilter no-op (Milter.Base, answers RCPT as we do)"
_MODULE: Final = "pymilter no-op (bare C module)"
_NOOP: Final = "C no-op"
_SCRIPTS: Final = {
    _PYMILTER: ("pymilter_class.py",),
    _ANSWERING: ("pymilter_class.py", "envrcpt"),
    _MODULE: ("pymilter_noop.py",),
}
SETTINGS: Final = (
    "mynetworks = 127.0.0.0/8",
    "transport_maps =",
    "default_transport = discard:bench",
    "header_checks =",
    "smtpd_sender_restrictions =",
    "smtpd_recipient_restrictions =",
)
SINKS: Final = all_at(9)


def _milter(bench: Bench, stack: ExitStack, name: str, socket: Path, log: Path) -> Service:
    """Start one of them, serving at ``socket``."""
    place = bench.work / "milters"
    place.mkdir(exist_ok=True)
    socket.unlink(missing_ok=True)
    if name == _OURS:
        config = bench.configuration(socket.parent / "state", log=log, socket=socket)
        command: list[str | Path] = [program(_OURS), "--config", config]
    elif name in _SCRIPTS:
        script, *answered = _SCRIPTS[name]
        command = [sys.executable, HERE / script, f"unix:{socket}", *answered]
    else:
        command = [bench.noop(), f"unix:{socket}"]
    errors = place / f"{re.sub('[^A-Za-z.]+', '-', name)}.stderr"
    service = stack.enter_context(Service(command, errors=errors, env=bench.environment()))
    service.ready(socket.exists, f"{name} to listen")
    return service


def direct(bench: Bench) -> list[Line]:
    """Messages a second over 8 connections, interleaved rounds, shuffled order."""
    messages = 1_000 if bench.quick else 3_000
    names = (_OURS, *_SCRIPTS, _NOOP)
    speeds: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        sockets, services = {}, {}
        for number, name in enumerate(names):
            place = fresh(bench.work / f"direct-{number}")
            place.mkdir()
            sockets[name] = place / "milter.sock"
            services[name] = _milter(bench, stack, name, sockets[name], place / "no.log")
        random, sent, recorded = Random(1), 0, 0
        for turn in range(bench.rounds + 1):
            for name in random.sample(names, len(names)):
                used = cpu_s(services[name].pid)
                speed = messages / drive(sockets[name], messages, first=sent)
                settle([services[name].pid], quiet_s=0.2)
                sent += messages
                recorded += messages * (name == _OURS)
                if turn:  # the first is to warm up
                    speeds[name].append(speed)
                    cpu[name].append((cpu_s(services[name].pid) - used) / messages * 1e6)
        check_spool(sockets[_OURS].parent / "state" / "spool", recorded)
    return [_direct_line(name, speeds, cpu) for name in names[1:]]


def check_spool(spool: Path, sent: int) -> None:
    """A recorder that drops records is fast and useless."""
    wait_for(lambda: _recorded(spool) >= sent, f"{sent} records in the spool", seconds=5)
    if _recorded(spool) != sent:
        raise ProgramError(f"{sent} messages sent, {_recorded(spool)} in the spool")


def _recorded(spool: Path) -> int:
    files = (path for path in spool.iterdir() if path.name == "current" or path.suffix == ".seg")
    return sum(path.read_bytes().count(b'"t":"txn"') for path in files)


def _direct_line(rival: str, speeds: dict[str, list[float]], cpu: dict[str, list[float]]) -> Line:
    ratio = _ratio(speeds[_OURS], speeds[rival])
    return Line(
        bench="milter",
        work="milter driven directly over 8 connections, messages/s",
        against=rival if rival == _ANSWERING else f"{rival}, no-reply",
        at_least="≥ 0.7x" if rival == _PYMILTER else "",
        measured=f"{ratio:.2f}x ({median(speeds[_OURS]):,.0f}/s, {median(cpu[_OURS]):.0f} µs CPU; "
        f"{median(speeds[rival]):,.0f}/s, {median(cpu[rival]):.0f} µs)",
        holds=ratio >= 0.7 if rival == _PYMILTER else None,
        figures={
            "ratio": ratio,
            "messages_a_s": median(speeds[_OURS]),
            "rival_messages_a_s": median(speeds[rival]),
            "cpu_us": median(cpu[_OURS]),
            "rival_cpu_us": median(cpu[rival]),
        },
    )


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios round by round: load of the machine cancels out."""
    return median(our / their for our, their in zip(ours, theirs, strict=True))


class Side:
    """One private Postfix with its milter (and trackd behind ours)."""

    def __init__(self, bench: Bench, stack: ExitStack, name: str) -> None:
        self.name = name
        place = fresh(bench.work / f"postfix-{'ours' if name == _OURS else 'noop'}")
        self.lab = Lab(place, sinks=SINKS)
        self.lab.prepare()
        # Not Lab's ``settings``: each line said twice is a warning, and enough of them,
        # logged before postlogd serves its socket, keep Postfix from starting at all.
        command = [tool("postconf", "postfix"), "-c", str(place / "etc"), "-e", *SETTINGS]
        subprocess.run(command, check=True, capture_output=True)
        self.lab.log.touch()
        self.journal = self.lab.milter_socket.parent / "state" / "journal"
        self.milter = _milter(bench, stack, name, self.lab.milter_socket, self.lab.log)
        self.lab.milter_socket.chmod(0o666)
        self.pids = [self.milter.pid]
        if name == _OURS:
            self._track(bench, stack)
        stack.callback(self.lab.stop)
        self.lab.start()
        self.sent = 0

    def _track(self, bench: Bench, stack: ExitStack) -> None:
        config = self.journal.parent / "posttrail.toml"
        trackd = stack.enter_context(
            Service(
                [program("posttrail-trackd"), "--config", config],
                errors=bench.work / "trackd.stderr",
                env=bench.environment(),
            )
        )
        trackd.ready((self.journal / "FORMAT").exists, "posttrail-trackd to open its journal")
        self.pids.append(trackd.pid)

    def round(self, messages: int) -> float:
        """Messages a second that Postfix accepts; returns when all that follows is done."""
        command = [
            tool("smtp-source", "postfix"), "-s", "8", "-m", str(messages), "-l", "5000",
            "-f", "anna@pine-tulip.test", "-t", "emil@fjord-vale.example",
            f"127.0.0.1:{self.lab.ports.mx}",
        ]  # fmt: skip
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        spent = time.perf_counter() - begin
        if done.returncode:
            raise ProgramError(f"smtp-source: {done.stderr.strip()[-300:]}")
        self.sent += messages
        wait_for(lambda: not self.lab.pending(), "Postfix to empty its queue")
        settle(self.pids)
        return messages / spent

    def check(self) -> None:
        """A milter that Postfix went past was not measured."""
        text = self.lab.log.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            if "warning:" in line and "ilter" in line:
                raise ProgramError(f"Postfix went past its milter: {line}")
        if self.name == _OURS:
            with Reader.open(self.journal) as reader:
                found = [reader.message(each) for each, _ in reader.scan()]
            both = sum(message is not None and message.sources == 3 for message in found)
            if both != self.sent:
                raise ProgramError(f"{self.sent} messages sent, {both} in the journal from both")


def through_postfix(bench: Bench) -> list[Line]:
    """Interleaved rounds in shuffled order; the first round of each warms up."""
    messages = 300 if bench.quick else 1_500
    speeds: dict[str, list[float]] = {_OURS: [], _NOOP: []}
    with ExitStack() as stack:
        sides = [Side(bench, stack, name) for name in (_NOOP, _OURS)]
        random = Random(1)
        for side in sides:
            side.round(messages)
        used = [sum(map(cpu_s, side.pids[:1])) for side in sides]
        tracked = cpu_s(sides[1].pids[1])
        for _ in range(bench.rounds):
            for side in random.sample(sides, 2):
                speeds[side.name].append(side.round(messages))
        total = messages * bench.rounds
        spent = [
            (cpu_s(side.pids[0]) - before) / total * 1e6
            for side, before in zip(sides, used, strict=True)
        ]
        tracked = (cpu_s(sides[1].pids[1]) - tracked) / total * 1e6
        for side in sides:
            side.check()
        grown = disk_bytes(sides[1].journal) / sides[1].sent
    return _postfix_lines(speeds, noop_us=spent[0], ours_us=spent[1], trackd_us=tracked, disk=grown)


def _postfix_lines(
    speeds: dict[str, list[float]], *, noop_us: float, ours_us: float, trackd_us: float, disk: float
) -> list[Line]:
    ratio = _ratio(speeds[_OURS], speeds[_NOOP])
    figures: dict[str, float | int | str] = {
        "ratio": ratio,
        "messages_a_s": median(speeds[_OURS]),
        "noop_messages_a_s": median(speeds[_NOOP]),
        "milterd_cpu_us": ours_us,
        "noop_cpu_us": noop_us,
        "trackd_cpu_us": trackd_us,
        "journal_bytes_a_message": disk,
        "rounds": len(speeds[_OURS]),
    }
    return [
        Line(
            bench="postfix",
            work="messages/s through Postfix, milterd and trackd running",
            against=f"{_NOOP} no-reply milter",
            at_least="≥ 0.80x",
            measured=f"{ratio:.2f}x ({median(speeds[_OURS]):,.0f}/s; "
            f"no-op {median(speeds[_NOOP]):,.0f}/s)",
            holds=ratio >= 0.8,
            figures=figures,
        ),
        Line(
            bench="postfix",
            work="milterd's CPU a message",
            against=f"{_NOOP} no-reply milter",
            at_least="≤ 2.0x",
            measured=f"{ours_us / noop_us:.2f}x ({ours_us:.0f} µs; no-op {noop_us:.0f} µs; "
            f"trackd {trackd_us:.0f} µs)",
            holds=ours_us <= 2 * noop_us,
            figures={"ratio": ours_us / noop_us},
        ),
    ]
