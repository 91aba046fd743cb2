"""What a milter costs: none, ours, OpenDKIM verifying, rspamd, through one private Postfix in one run.

Each has an entrance (a port) of its own of the same Postfix; all are up all the time, and take mail in
turn, in rounds of shuffled order. posttrail-trackd follows the log of them all: it is stopped
(SIGSTOP) but for our turns, before which it may catch up. The mail is signed; before the rounds each must
prove that it did its work on it. Speed is smtp-source(1)'s over 8 sessions; latency that of one SMTP
session with one message, from connect to goodbye, one after the other.
"""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import subprocess
import time
from contextlib import ExitStack
from random import Random
from statistics import median
from typing import Final

from posttrail.demo.lab import Lab, free_base
from tests.bench import filters
from tests.bench.bench import Bench, fresh, program, tool
from tests.bench.figures import Line, percentile
from tests.bench.milters import SETTINGS, SINKS, check_spool
from tests.bench.process import ProgramError, Service, cpu_s, family, settle, wait_for
from tests.bench.signed import DOMAIN, signed

NONE: Final = "no milter"
OURS: Final = "posttrail"
OPENDKIM: Final = "OpenDKIM verifying"
RSPAMD: Final = "rspamd"
SENDER: Final = f"anna@{DOMAIN}"
TO: Final = "emil@fjord-vale.example"  # discarded
KEPT: Final = "alice@example.com"  # has a mailbox
SERVICE: Final = "127.0.0.1:{port} inet n - n - - smtpd\n  -o smtpd_milters={milter}\n"
PROOFS: Final = {
    OPENDKIM: b"dkim=pass (2048-bit key) header.d=" + DOMAIN.encode(),
    RSPAMD: b"R_DKIM_ALLOW",
}


class Turns:
    """One Postfix with an entrance for each, and what stands behind them."""

    def __init__(self, bench: Bench, stack: ExitStack) -> None:
        place = fresh(bench.work / "cost")
        place.mkdir()
        place.chmod(0o755)
        self.mail = signed(place)
        (place / "mail").write_bytes(self.mail.mail.replace(b"\r\n", b"\n"))
        self._file = place / "mail"
        self.lab = Lab(place / "postfix", sinks=SINKS, milter=False, settings=SETTINGS)
        self.lab.prepare()
        self.lab.log.touch()
        base = free_base(4)
        self.ports = {name: base + at for at, name in enumerate((NONE, OURS, OPENDKIM, RSPAMD))}
        self.pids: dict[str, list[int]] = {NONE: []}
        self.sent = dict.fromkeys(self.ports, 0)
        self._ours(bench, stack)
        folder = self.lab.milter_socket.parent
        self.pids[OPENDKIM] = filters.opendkim(
            stack, place / "opendkim", folder / "opendkim.sock", self.mail
        )
        self.pids[RSPAMD] = filters.rspamd(
            stack, place / "rspamd", folder / "rspamd.sock", self.mail
        )
        with (self.lab.etc / "master.cf").open("a") as services:
            for name, milter in zip(
                self.ports, ("", "milter.sock", "opendkim.sock", "rspamd.sock"), strict=True
            ):
                behind = milter and f"unix:posttrail/{milter}"
                services.write(SERVICE.format(port=self.ports[name], milter=behind))
        stack.callback(self.lab.stop)
        self.lab.start()
        for name, port in self.ports.items():
            self._prove(name, port)
        settle(self._family(RSPAMD), seconds=600)  # it goes on compiling when it serves

    def _ours(self, bench: Bench, stack: ExitStack) -> None:
        place = self.lab.milter_socket.parent / "state"
        config = bench.configuration(place, log=self.lab.log, socket=self.lab.milter_socket)
        pids = []
        for name, there in (
            ("posttrail-milterd", self.lab.milter_socket),
            ("posttrail-trackd", place / "journal" / "FORMAT"),
        ):
            service = stack.enter_context(
                Service(
                    [program(name), "--config", config],
                    errors=place / f"{name}.stderr",
                    env=bench.environment(),
                )
            )
            service.ready(there.exists, name)
            pids.append(service.pid)
        self.lab.milter_socket.chmod(0o666)
        self.pids[OURS] = pids
        self._trackd = pids[1]
        self.spool = place / "spool"
        stack.callback(os.kill, self._trackd, signal.SIGCONT)  # or it could not end

    def _prove(self, name: str, port: int) -> None:
        """A mail whose copy in a mailbox shows that the milter did its work."""
        new = self.lab.directory / "mailboxes" / "alice" / "new"
        before = set(new.glob("*"))
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as smtp:
            smtp.sendmail(SENDER, [KEPT], self.mail.mail)
        self.sent[name] += 1
        wait_for(lambda: set(new.glob("*")) > before, f"the mail that went through {name}")
        [kept] = set(new.glob("*")) - before
        if PROOFS.get(name, b"") not in kept.read_bytes():
            raise ProgramError(f"{name} did not verify the signature, see {kept}")

    def turn(self, name: str, messages: int, probes: int) -> tuple[float, list[float], float]:
        """Messages a second that Postfix took, milliseconds of single sessions, CPU seconds."""
        if name == OURS:
            os.kill(self._trackd, signal.SIGCONT)
            settle([self._trackd])
        used = self._cpu_s(name)
        speed = self._flood(name, messages)
        spent = [self._session(self.ports[name]) for _ in range(probes)]
        self.sent[name] += messages + probes
        wait_for(lambda: not self.lab.pending(), "Postfix to empty its queue")
        settle(self._family(name))
        used = self._cpu_s(name) - used
        if name == OURS:
            os.kill(self._trackd, signal.SIGSTOP)
        return speed, spent, used

    def _family(self, name: str) -> list[int]:
        return [each for pid in self.pids[name] for each in family(pid)]

    def _cpu_s(self, name: str) -> float:
        return sum(map(cpu_s, self._family(name)))

    def _flood(self, name: str, messages: int) -> float:
        command = [
            tool("smtp-source", "postfix"), "-s", "8", "-m", str(messages), "-F", str(self._file),
            "-f", SENDER, "-t", TO, f"127.0.0.1:{self.ports[name]}",
        ]  # fmt: skip
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        spent = time.perf_counter() - begin
        if done.returncode:
            raise ProgramError(f"smtp-source: {done.stderr.strip()[-300:]}")
        return messages / spent

    def _session(self, port: int) -> float:
        text = self.mail.mail + b".\r\n"
        steps = (b"EHLO bench.test\r\n", f"MAIL FROM:<{SENDER}>\r\n".encode(),
                 f"RCPT TO:<{TO}>\r\n".encode(), b"DATA\r\n", text, b"QUIT\r\n")  # fmt: skip
        begin = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as mta:
            replies = mta.makefile("rb")
            _reply(replies.readline())
            for step in steps:
                mta.sendall(step)
                line = replies.readline()
                while line[3:4] == b"-":
                    line = replies.readline()
                _reply(line)
        return (time.perf_counter() - begin) * 1000

    def check(self) -> None:
        """A milter that Postfix went past was not measured; ours has a record of each mail."""
        text = self.lab.log.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            if "warning:" in line and "ilter" in line:
                raise ProgramError(f"Postfix went past a milter: {line}")
        check_spool(self.spool, self.sent[OURS])


def _reply(line: bytes) -> None:
    if line[:1] not in (b"2", b"3"):
        raise ProgramError(f"Postfix said: {line.decode(errors='replace').strip()}")


def measure(bench: Bench) -> list[Line]:
    """Interleaved rounds in shuffled order; the first of each warms up."""
    messages, probes = (100, 20) if bench.quick else (300, 60)
    with ExitStack() as stack:
        turns = Turns(bench, stack)
        names = list(turns.ports)
        speeds: dict[str, list[float]] = {name: [] for name in names}
        spent: dict[str, list[list[float]]] = {name: [] for name in names}
        random = Random(1)
        used = dict.fromkeys(names, 0.0)
        for number in range(bench.rounds + 1):
            for name in random.sample(names, len(names)):
                speed, taken, cpu = turns.turn(name, messages, probes)
                if number:
                    speeds[name].append(speed)
                    spent[name].append(taken)
                    used[name] += cpu
        turns.check()
    total = (messages + probes) * bench.rounds
    cpu_us = {name: seconds / total * 1e6 for name, seconds in used.items()}
    return [_line(name, speeds, spent, cpu_us) for name in names]


def _line(
    name: str,
    speeds: dict[str, list[float]],
    spent: dict[str, list[list[float]]],
    cpu_us: dict[str, float],
) -> Line:
    """One of them against none, medians of what each round says; ours against OpenDKIM, too."""
    ratios = [mine / none for mine, none in zip(speeds[name], speeds[NONE], strict=True)]
    p50 = {each: median(median(taken) for taken in spent[each]) for each in (name, OPENDKIM)}
    p99 = median(percentile(taken, 0.99) for taken in spent[name])
    ahead = median(
        ours / theirs for ours, theirs in zip(speeds[OURS], speeds[OPENDKIM], strict=True)
    )
    ours = name == OURS
    return Line(
        bench="cost",
        work=f"one Postfix, {name}: messages/s, latency of a session",
        against=f"{OPENDKIM} ({ahead:.2f}x its messages/s)" if ours else NONE,
        at_least="> 1.0x, less latency" if ours else "",
        measured=f"{median(speeds[name]):,.0f}/s ({median(ratios):.2f}x of none); "
        f"p50 {p50[name]:.1f}, p99 {p99:.1f} ms; {cpu_us[name]:,.0f} µs CPU",
        holds=ahead > 1.0 and p50[name] < p50[OPENDKIM] if ours else None,
        figures={
            "messages_a_s": median(speeds[name]),
            "ratio_to_none": median(ratios),
            "p50_ms": p50[name],
            "p99_ms": p99,
            "cpu_us": cpu_us[name],
            "rounds": len(speeds[name]),
            **({"ratio_to_opendkim": ahead} if ours else {}),
        },
    )
