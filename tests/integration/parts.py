"""Postfix, milter and tracker of which a test may stop each by itself, and mail as load."""

import json
import os
import signal
import smtplib
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from posttrail.demo.lab import Lab
from posttrail.demo.postfix_files import INSIDE_CLIENT
from posttrail.demo.sinks import Sinks
from posttrail.demo.stage import Stage, configuration, folder, free_port
from posttrail.run import program
from tests.waiting import wait_until

WAIT_S = 60.0
SESSION = 5  # messages a session: Postfix leaves a milter that failed until the next one
RECIPIENTS = ("anyone@void.example", "alice@example.com", "team@example.com")
FINAL = {"team@example.com": ["alice@example.com", "bob@example.com", "carol@example.com"]}


class Program:
    """One of our programs as a process; what it says is kept."""

    def __init__(self, log: Path, *command: str) -> None:
        self.log = log
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stderr=output, process_group=0)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self) -> int:
        """Ask it to end, as systemd does; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(WAIT_S)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def words(self) -> str:
        """All it has said on stderr."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Parts:
    """A private Postfix, and posttrail beside it in processes of the test's own."""

    def __init__(self, directory: Path, lab: Lab, state: Path) -> None:
        self.directory = directory
        self.state = state  # where spool and journal are
        self.lab = lab
        self.config = directory / "posttrail.toml"
        self.config.write_text(configuration(state, lab, free_port()))
        (state / "run").mkdir(exist_ok=True)
        self.stage = Stage(
            lab=lab,
            journal=state / "journal",
            config=self.config,
            socket=state / "run" / "queryd.sock",
        )
        self.milterd = self._program("milterd", "posttrail-milterd")
        self.trackd = self._program("trackd", "posttrail-trackd")
        self.both = Program(
            directory / "run.log", program("posttrail"), "--config", str(self.config), "run"
        )

    def _program(self, name: str, command: str) -> Program:
        log = self.directory / f"{name}.log"
        return Program(log, program(command), "--config", str(self.config))

    def start_milterd(self) -> None:
        self.milterd.start()
        wait_until(lambda: answers(self.lab.milter_socket) or not self.milterd.is_running())
        assert self.milterd.is_running(), self.milterd.words()

    def start_trackd(self) -> None:
        self.trackd.start()
        control = self.state / "control.sock"
        wait_until(lambda: answers(control) or not self.trackd.is_running())
        assert self.trackd.is_running(), self.trackd.words()

    def stop(self) -> None:
        for running in (self.milterd, self.trackd, self.both):
            if running.is_running():
                running.signal(signal.SIGCONT)
                running.stop()

    def rows(self) -> list[dict[str, Any]]:
        return self.stage.rows()

    def rows_of(self, address: str) -> list[dict[str, Any]]:
        done = self.posttrail("report", address, "--limit", "all", "--format", "json")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def posttrail(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command with this configuration, to its end."""
        command = (program("posttrail"), "--config", str(self.config), *arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)

    def coverage(self) -> dict[str, list[dict[str, Any]]]:
        done = self.posttrail("coverage", "--format", "json")
        assert done.returncode == 0, done.stderr
        found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
        return found

    def gaps(self, source: str) -> list[dict[str, Any]]:
        return [gap for gap in self.coverage()["gaps"] if gap["source"] == source]


class Sent(NamedTuple):
    """A message that Postfix accepted; times of the wall clock."""

    recipients: Sequence[str]
    opened_at: float  # its session
    begun_at: float
    accepted_at: float


class Load:
    """Mail at a steady pace, in a thread of its own, while the ``with`` block lasts."""

    def __init__(self, lab: Lab, name: str, *, rate: float = 50.0) -> None:
        self.sent: dict[str, Sent] = {}
        self.refused: list[str] = []
        self._lab = lab
        self._name = name
        self._rate = rate
        self._stop = threading.Event()
        self._told = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)

    def more(self, count: int) -> None:
        """Returns when so many more messages were accepted."""
        with self._told:
            wanted = len(self.sent) + count
            done = self._told.wait_for(lambda: len(self.sent) >= wanted, WAIT_S + count)
        assert done, f"{len(self.sent)} of {wanted} accepted; refused: {self.refused[:3]}"

    def _run(self) -> None:
        number = 0
        began = time.monotonic()
        while not self._stop.is_set():
            try:
                number = self._session(number, began)
            except (OSError, smtplib.SMTPException) as error:
                self.refused.append(repr(error))
                number += 1

    def _session(self, number: int, began: float) -> int:
        opened = time.time()
        with client(self._lab) as smtp:
            for _ in range(SESSION):
                if self._stop.wait(max(0.0, began + number / self._rate - time.monotonic())):
                    return number  # the pace is kept by what waits for the end
                name = f"{self._name}.{number}@example.org"
                begun, recipients = time.time(), RECIPIENTS[: 1 + number % len(RECIPIENTS)]
                smtp.sendmail("load@example.org", recipients, f"Message-ID: <{name}>\r\n\r\nx\r\n")
                with self._told:
                    self.sent[name] = Sent(recipients, opened, begun, time.time())
                    self._told.notify_all()
                number += 1
        return number


def client(lab: Lab) -> smtplib.SMTP:
    """A client of the house, ready to send."""
    return smtplib.SMTP(
        "127.0.0.1",
        lab.ports.mx,
        local_hostname="client.example.org",
        timeout=30,
        source_address=(INSIDE_CLIENT, 0),
    )


def expected(sent: dict[str, Sent]) -> Counter[tuple[str, str]]:
    """(Message-ID, final recipient) of every row that must come, each once."""
    return Counter(
        (name, final)
        for name, one in sent.items()
        for recipient in one.recipients
        for final in FINAL.get(recipient, [recipient])
    )


def told(rows: Iterable[dict[str, Any]], sent: dict[str, Sent]) -> Counter[tuple[str, str]]:
    """The same of the rows there are."""
    return Counter(
        (row["message_id"], row["final_recipient"]) for row in rows if row["message_id"] in sent
    )


def settled(
    parts: Parts, sent: dict[str, Sent], *, seen: Container[str] = ()
) -> list[dict[str, Any]]:
    """The rows once every message has its fate, and those ``seen`` by the milter its word.

    The log may be read up to a second before the milter's record is. Fails with what differs.
    """
    rows: list[dict[str, Any]] = []

    def done() -> bool:
        rows[:] = [row for row in parts.rows() if row["message_id"] in sent]
        fates = all(row["status"] in ("delivered", "filtered") for row in rows)
        heard = all("milter" in row["sources"] for row in rows if row["message_id"] in seen)
        return fates and heard and told(rows, sent) == expected(sent)

    try:
        wait_until(done)
    except AssertionError:
        wrong = told(rows, sent)
        wrong.subtract(expected(sent))
        differs = {key: count for key, count in wrong.items() if count}
        final = ("delivered", "filtered")
        waiting = [
            row
            for row in rows
            if row["status"] not in final
            or ("milter" not in row["sources"] and row["message_id"] in seen)
        ][:3]
        raise AssertionError(f"rows that differ: {differs}; not settled: {waiting}") from None
    return rows


def answers(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


@contextmanager
def postfix_and_parts(
    *,
    state: Callable[[Path], AbstractContextManager[Path]] = nullcontext,
    settings: Sequence[str] = (),
) -> Iterator[Parts]:
    """All prepared, nothing started. ``state`` makes the folder of spool and journal.

    ``settings`` are lines of main.cf instead of the lab's.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(folder(None, keep=False))
        sinks = stack.enter_context(Sinks())
        lab = Lab(directory / "postfix", sinks=sinks.ports, settings=settings)
        lab.prepare()
        parts = Parts(directory, lab, stack.enter_context(state(directory)))
        stack.callback(parts.stop)
        stack.callback(lab.stop)
        yield parts
