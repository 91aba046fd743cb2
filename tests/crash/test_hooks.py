"""kill -9 of posttrail-hookd at random instants: every event told, doubles by their id only."""

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

import pytest

from journal.records import Message, Record, Status
from journal.writer import Writer
from tests.crash.figures import tell
from tests.unit.query.conftest import row
from tests.unit.query.hooks.receiver import Got, Receiver, is_signed, secret_file
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

QUICK = (
    "from query.hooks import outcome; outcome.FIRST_S = 0.05; outcome.FACTOR = 1.0;"
    "from query.hooks.main import main; main()"
)
"""The program, but that it tries again soon."""
WAIT_S = 60.0
RATE = 200.0  # messages a second


class Mail(threading.Thread):
    """Writes messages into a journal: deferred first, then an end, of some a second one."""

    def __init__(self, journal: Path, seed: int) -> None:
        super().__init__(daemon=True)
        self.expected: set[tuple[str, str]] = set()
        self.ended = threading.Event()
        self._journal = journal
        self._chance = random.Random(seed)

    def run(self) -> None:
        with Writer.open(self._journal) as writer:
            while not self.ended.wait(1 / RATE):
                self._message(writer, len(self.expected))

    def _message(self, writer: Writer, number: int) -> None:
        now_us = time.time_ns() // 1000
        name = b"r%d@example.org" % number
        deferred = row(name, status=Status.DEFERRED, reason="connection", done_at_us=None)
        message = Message(
            writer.new_id(now_us, name), now_us, b"mx.example.com", b"postfix", (b"Q%d" % number,),
            b"from@example.com", 1, name, None, None, None, None, None, None, None, None, 1, 0, (),
            (deferred,),
        )  # fmt: skip
        self._put(writer, message, None)
        ends = [("delivered", Status.DELIVERED, "relayed")]
        if self._chance.random() < 0.3:
            ends.append(("late_bounce", Status.ERROR, "late_bounce"))
        old = message
        for _, status, reason in ends:
            ended = row(name, status=status, reason=reason, done_at_us=time.time_ns() // 1000)
            new = old._replace(rows=(ended,))
            self._put(writer, new, old)
            old = new
        self.expected.add((name.decode(), ends[-1][0]))  # what is between two looks is not told

    def _put(self, writer: Writer, message: Message, old: Message | None) -> None:
        writer.put(Record(message, (), ()), None if old is None else Record(old, (), ()))
        writer.commit()


class Hookd:
    """The program, and a configuration of one hook."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        secret = secret_file(directory)
        self.config = directory / "posttrail.toml"
        self.config.write_text(
            f'[journal]\ndirectory = "{directory}/journal"\n[run]\ndirectory = "{directory}"\n'
            f'[hookd]\nstate = "{directory}/hooks/state.sqlite"\n'
            '[[hooks]]\nname = "all"\nparallel = 4\nper_minute = 60000\n'
            'on = ["delivered", "error", "deferred", "late_bounce"]\n'
            f'url = "{url}"\nsecret_file = "{secret}"\n'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.kill()
        self.process.wait()

    def start(self) -> None:
        with (self.directory / "hookd.log").open("ab") as log:
            command = [sys.executable, "-c", QUICK, "--config", str(self.config)]
            self.process = subprocess.Popen(command, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    def wait(self) -> int:
        assert self.process is not None
        try:
            return self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(self.words()) from None

    def words(self) -> str:
        return (self.directory / "hookd.log").read_text()[-3000:]

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.wait()


def killed(directory: Path, kills: int, seed: int) -> tuple[list[Got], Mail]:
    """All that a receiver got while the program was killed so often; mail flows meanwhile."""
    chance = random.Random(seed)
    Writer.open(directory / "journal").close()
    mail = Mail(directory / "journal", seed)
    failed: Counter[int] = Counter()

    def answer(number: int) -> int:
        """Some fail, some are cut; and some kill the program that asks."""
        draw = chance.random()
        if draw < 0.05 and armed.is_set():
            armed.clear()
            hookd.kill()
            return 204
        if draw < 0.15:
            failed[number] += 1
            return chance.choice([0, 500, 503])
        return 204

    armed = threading.Event()
    with Receiver(answer) as receiver, Hookd(directory, receiver.url) as hookd:
        wait_begun(hookd)
        mail.start()
        for _ in range(kills):
            armed.set()
            if chance.random() < 0.3:  # at any time, its start among them
                threading.Timer(chance.uniform(0.0, 1.0), kill_if, (hookd, armed)).start()
            hookd.wait()
            assert mail.is_alive()
            hookd.start()
        mail.ended.set()
        mail.join()
        wait_told(receiver, mail.expected)
        assert hookd.stop() == 0, hookd.words()
        assert failed
    return receiver.taken(), mail


def wait_told(receiver: Receiver, expected: set[tuple[str, str]]) -> None:
    """Until all of it came; each request is looked at once."""
    left, seen = set(expected), 0

    def came() -> bool:
        nonlocal seen
        fresh = receiver.got[seen:]
        seen += len(fresh)
        left.difference_update(event(each) for each in fresh if each.status == 204)
        return not left

    wait_until(came, told=lambda: f"{len(left)} of {len(expected)} are missing")


def kill_if(hookd: Hookd, armed: threading.Event) -> None:
    if armed.is_set():
        armed.clear()
        hookd.kill()


def wait_begun(hookd: Hookd) -> None:
    """Until it has looked once: what comes from here on is told."""
    wait_until(lambda: "hook begins" in (hookd.directory / "hookd.log").read_text())


def event(got: Got) -> tuple[str, str]:
    document = json.loads(got.body)
    return document["data"]["recipient"], document["event"]


def check(taken: list[Got], mail: Mail) -> None:
    told = {event(each): each.id for each in taken}
    doubled = len(taken) - len({each.id for each in taken})
    tell(
        f"hookd killed: {len(mail.expected)} messages, {len(told)} events, 0 lost, {doubled} told"
        " again with the same id"
    )
    assert mail.expected <= told.keys()
    assert {kind for name, kind in told} >= {"delivered", "late_bounce"}
    assert len({each.id for each in taken}) == len(told)  # one id an event: a double is known by it
    assert all(is_signed(each) for each in taken[-100:])
    assert all(json.loads(each.body)["id"] == each.id for each in taken)


def test_no_event_is_lost_by_kills(tmp_path: Path) -> None:
    check(*killed(tmp_path, kills=6, seed=1))


@pytest.mark.soak
def test_no_event_is_lost_by_500_kills(tmp_path: Path) -> None:
    check(*killed(tmp_path, kills=500, seed=2))
