"""posttrail-traced over its real socket; the mail server, which is the outside world, is in memory."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from posttrail import config
from posttrail.errors import TryAgainError, UnavailableError
from query.trace import serve
from query.trace.ask import AnsweredError, NobodyError, ask
from query.trace.door import door
from query.trace.limits import Limits
from query.trace.tree import Node, Question, Source, Step, Trace, Verdict

ROOT = Path(__file__).resolve().parents[4]


def answer(question: Question) -> Trace:
    root = Node(
        address=question.address, step=Step.DELIVER, verdict=Verdict.OK, source=Source.MTA,
        text="virtual_user to local delivery",
    )  # fmt: skip
    return Trace(question=question, mta="postfix 3.7.11", as_of="2026-11-23T15:00:00Z", root=root)


class InMemory:
    """A mail server that knows every address, or does what a test wants."""

    def __init__(self, does: Callable[[Question], Trace] = answer) -> None:
        self._does = does

    def trace(self, question: Question) -> Trace:
        return self._does(question)


@contextmanager
def serving(
    path: Path, does: Callable[[Question], Trace] = answer, *, per_minute: int = 1000
) -> Iterator[serve.Server]:
    settings = config.Config(trace=config.Trace(socket=path))
    with door(settings) as listening:
        walkers = serve.Walkers(lambda: InMemory(does))
        server = serve.Server(listening, walkers, Limits(per_minute, time.monotonic))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def path(tmp_path: Path, expected_log: Callable[[str], None]) -> Path:
    expected_log("socket cannot be given to its group")
    return tmp_path / "traced.sock"


def raw(path: Path, request: bytes) -> object:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(request)
        with connection.makefile("rb") as file:
            return json.loads(file.readline())


def test_a_question_gets_its_trace(path: Path) -> None:
    question = Question(address="j\u00fcrgen@b\u00fccher.example", sender="", entry="submission")
    with serving(path) as server:
        assert ask(path, question) == answer(question)
        assert server.gauges()["posttrail_traced_answered_requests_total"] == 1
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


@pytest.mark.parametrize(
    "request_line",
    [
        b"no json\n",
        b"[]\n",
        b'{"address": 7}\n',
        b'{"address": "a@b.example", "probe": true}\n',
        b'{"address": "a@b.example", "entry": "fax"}\n',
        b'{"address": "a\\u001b@b.example"}\n',
        b'{"address": "a@b.example", "sender": 1}\n',
        b"[" * 9000 + b"\n",
    ],
)
def test_what_is_no_request_is_answered_with_64(path: Path, request_line: bytes) -> None:
    with serving(path):
        said = raw(path, request_line)
    assert isinstance(said, dict)
    assert said["exit"] == 64
    assert said["error"].isprintable()


def test_an_error_of_the_walk_comes_with_its_code(path: Path) -> None:
    def down(question: Question) -> Trace:
        raise UnavailableError("the resolver is down")

    with serving(path, down), pytest.raises(AnsweredError, match="the resolver is down") as caught:
        ask(path, Question(address="a@b.example"))
    assert caught.value.exit_code == 69


def test_a_fault_of_ours_costs_one_answer_only(
    path: Path, expected_log: Callable[[str], None]
) -> None:
    expected_log("a trace failed")

    def broken(question: Question) -> Trace:
        if question.address == "bad@b.example":
            raise ZeroDivisionError
        return answer(question)

    with serving(path, broken) as server:
        with pytest.raises(AnsweredError) as caught:
            ask(path, Question(address="bad@b.example"))
        assert caught.value.exit_code == 70
        assert ask(path, Question(address="good@b.example")).root.verdict is Verdict.OK
        assert server.alive()


def test_one_caller_may_ask_so_often(path: Path) -> None:
    with serving(path, per_minute=2) as server:
        for _ in range(2):
            ask(path, Question(address="a@b.example"))
        with pytest.raises(AnsweredError, match="ask again in") as caught:
            ask(path, Question(address="a@b.example"))
        assert caught.value.exit_code == 75
        assert server.gauges()["posttrail_traced_refused_requests_total"] == 1


def test_several_are_worked_at_together_and_no_more(path: Path) -> None:
    inside = threading.Semaphore(0)
    go_on = threading.Event()

    def slow(question: Question) -> Trace:
        inside.release()
        assert go_on.wait(20)
        return answer(question)

    got: list[Trace] = []
    with serving(path, slow) as server:
        callers = [
            threading.Thread(target=lambda: got.append(ask(path, Question(address="a@b.example"))))
            for _ in range(serve.WORKERS + 2)
        ]
        for each in callers:
            each.start()
        for _ in range(serve.WORKERS):
            assert inside.acquire(timeout=20)
        assert server.busy() == serve.WORKERS
        assert not inside.acquire(timeout=0.1)
        go_on.set()
        for each in callers:
            each.join(20)
    assert len(got) == serve.WORKERS + 2


def test_a_silent_caller_is_sent_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "REQUEST_S", 0.05)
    with serving(path) as server, socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(20)
        silent.connect(str(path))
        assert silent.recv(10) == b""
        assert server.alive()


def test_a_request_without_end_is_sent_away(path: Path) -> None:
    with serving(path) as server, socket.socket(socket.AF_UNIX) as endless:
        endless.settimeout(20)
        endless.connect(str(path))
        with pytest.raises(OSError):
            while True:
                endless.sendall(b"x" * serve.REQUEST_BYTES)
        assert ask(path, Question(address="a@b.example")).mta == "postfix 3.7.11"
        assert server.alive()


def test_a_second_daemon_does_not_take_the_socket_away(path: Path) -> None:
    with serving(path):
        with pytest.raises(TryAgainError), serving(path):
            pass
        assert ask(path, Question(address="a@b.example")).mta == "postfix 3.7.11"


def test_no_daemon_and_a_dead_ones_socket_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NobodyError) as absent:
        ask(tmp_path / "none.sock", Question(address="a@b.example"))
    assert absent.value.absent
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    with pytest.raises(NobodyError) as left:
        ask(tmp_path / "dead.sock", Question(address="a@b.example"))
    assert not left.value.absent


def test_a_socket_of_the_service_manager_is_taken(tmp_path: Path) -> None:
    """As systemd starts it: the socket as descriptor 3, LISTEN_PID of the process itself."""
    path = tmp_path / "given.sock"
    program = (
        "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.dup2(int(sys.argv[1]), 3)\n"
        "from posttrail import daemon\n"
        "[(_, s)] = daemon.activated()\n"
        "with s: c, _ = s.accept(); c.sendall(b'here'); c.close()\n"
    )
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        descriptor = listening.fileno()
        with (
            subprocess.Popen(
                [sys.executable, "-c", program, str(descriptor)],
                pass_fds=(descriptor,), cwd=ROOT, env={**os.environ, "LISTEN_FDS": "1"},
            ) as running,
            socket.socket(socket.AF_UNIX) as caller,
        ):  # fmt: skip
            caller.settimeout(20)
            caller.connect(str(path))
            assert caller.recv(10) == b"here"
            assert running.wait(20) == 0


def test_the_user_of_a_caller_is_the_kernels_word() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert serve.caller(left) == os.getuid()
