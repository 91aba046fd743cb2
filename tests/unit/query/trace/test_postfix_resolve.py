"""Resolvers that do not speak as they should, on a socket of our own."""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from posttrail.postconf import Settings
from query.trace.postfix import resolve
from query.trace.postfix.computed import ComputedRouter
from query.trace.postfix.resolve import Resolved, RouterError, SocketRouter, open_router
from query.trace.postfix.tables import Tables
from query.trace.tree import Source

HELLO = b"protocol\0trivial_rewrite_protocol\0\0"
LOCAL = (
    b"flags\0000\0transport\0local\0nexthop\0h.example\0recipient\0r@h.example\0flags\000256\0\0"
)
REMOTE = LOCAL.replace(b"local", b"smtp").replace(b"256", b"4096")
MAIN = {"myorigin": "h.example", "mydestination": "h.example", "myhostname": "h.example",
        "append_at_myorigin": "yes", "inet_interfaces": "127.0.0.1"}  # fmt: skip


@contextmanager
def server(path: Path, *scripts: Callable[[socket.socket], None]) -> Iterator[list[int]]:
    """Each connection gets the next script, the last one goes on; how many there were."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    seen: list[int] = []
    threads: list[threading.Thread] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            seen.append(1)
            script = scripts[min(len(seen), len(scripts)) - 1]
            threads.append(threading.Thread(target=_run, args=(script, connection)))
            threads[-1].start()

    accepting = threading.Thread(target=serve)
    accepting.start()
    try:
        yield seen
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listening.close()
        for each in threads:
            each.join()


def _run(script: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with connection:
        try:
            script(connection)
        except OSError:
            return


def says(*answers: bytes, hello: bytes = HELLO, times: int = 50) -> Callable[..., None]:
    """A resolver that greets and answers in turn, the last answer again and again."""

    def script(connection: socket.socket) -> None:
        if hello:
            connection.sendall(hello)
        for number in range(times):
            if not connection.recv(65536):
                return
            connection.sendall(answers[min(number, len(answers) - 1)])

    return script


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "TIMEOUT_S", 0.6)
    monkeypatch.setattr(resolve, "GREETING_S", 0.1)


@contextmanager
def asked(path: Path) -> Iterator[SocketRouter]:
    router = SocketRouter(str(path))
    try:
        yield router
    finally:
        router.close()


@pytest.mark.parametrize(
    ("hello", "answer"),
    [
        (HELLO, LOCAL),
        (b"", LOCAL),
        (b"protocol\0trivial_rewrite_prrotocol\0\0", LOCAL),
        (HELLO, b"recipient\0r@h.example\0flags\000256\0nexthop\0h.example\0flags\0000\0"
                b"transport\0local\0\0"),
        (HELLO, b"flags\000256\0transport\0local\0nexthop\0h.example\0recipient\0r@h.example\0\0"),
        (HELLO, b"novel\0x\0" + LOCAL[:-1] + b"other\0\0\0"),
    ],
    ids=["usual", "no greeting", "misspelled", "reordered", "flags once", "unknown attributes"],
)  # fmt: skip
def test_a_resolver_of_another_release_is_understood(
    tmp_path: Path, hello: bytes, answer: bytes
) -> None:
    expected = Resolved("local", "h.example", "r@h.example", "local", False, Source.MTA, None)
    with server(tmp_path / "s", says(answer, hello=hello)), asked(tmp_path / "s") as router:
        assert router.resolve("r@h.example", "") == expected
        assert router.resolve("r@h.example", "") == expected


def _drip(connection: socket.socket) -> None:
    for byte in b"flags\0" * 500:
        time.sleep(0.02)  # the slowness is what is served
        connection.sendall(bytes([byte]))


def _endless(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (says(b"garbage\0\0\0"), "gave no flags"),
        (says(b"flags\0many\0transport\0x\0nexthop\0y\0recipient\0z\0\0"), "no number"),
        (says(LOCAL.replace(b"nexthop", b"nexthup")), "gave no nexthop"),
        (says(LOCAL[:20], times=1), "closed the connection"),
        (says(b"", hello=b""), "no answer within|timed out"),
        (_drip, "no answer within|timed out"),
        (_endless, "bytes and no end"),
        (lambda connection: None, "closed the connection"),
    ],
    ids=["garbage", "flags", "misnamed", "eof", "silent", "drip", "endless", "closes"],
)
def test_a_resolver_that_is_none_ends_in_time_with_the_reason(
    tmp_path: Path, script: Callable[[socket.socket], None], why: str
) -> None:
    begin = time.monotonic()
    with server(tmp_path / "s", script), asked(tmp_path / "s") as router:
        with pytest.raises(RouterError, match=why):
            router.resolve("r@h.example", "")
        router.close()
    assert time.monotonic() - begin < 10  # of a bound of 0.6 s, on a busy machine


def test_a_connection_that_was_closed_is_made_anew_once(tmp_path: Path) -> None:
    once = says(LOCAL, times=1)
    with server(tmp_path / "s", once, once, lambda _: None) as seen:
        with asked(tmp_path / "s") as router:
            router.resolve("r@h.example", "")
            assert router.resolve("r@h.example", "").transport == "local"
            assert len(seen) == 2
            with pytest.raises(RouterError):
                router.resolve("r@h.example", "")
        assert len(seen) <= 4


def test_only_the_first_connection_waits_for_a_greeting_that_never_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    real = select.select

    def noted(*words: Any) -> object:
        waits.append(1.0)
        return real(*words)

    monkeypatch.setattr(select, "select", noted)
    with server(tmp_path / "s", says(LOCAL, hello=b"")):
        for _ in range(3):
            with asked(tmp_path / "s") as router:
                router.resolve("r@h.example", "")
    assert len(waits) == 1


def test_a_resolver_that_begins_to_greet_is_understood_at_once(tmp_path: Path) -> None:
    with server(tmp_path / "s", says(LOCAL, hello=b""), says(LOCAL)):
        for _ in range(2):
            with asked(tmp_path / "s") as router:
                assert router.resolve("r@h.example", "").transport == "local"


def _open(path: Path, **main: str) -> tuple[resolve.Router, str | None]:
    return open_router(Settings(main={**MAIN, **main}), Tables(), socket=str(path))


COMPLETED = b"flags\0000\0address\0postmaster@h.example\0\0"


def test_a_socket_is_believed_when_postmaster_is_local(tmp_path: Path) -> None:
    with server(tmp_path / "s", says(COMPLETED, LOCAL)):
        router, why = _open(tmp_path / "s")
        assert isinstance(router, SocketRouter)
        assert why is None
        router.close()


def test_a_socket_is_believed_when_postmaster_has_the_class_of_its_domain(tmp_path: Path) -> None:
    with server(tmp_path / "s", says(COMPLETED, REMOTE)):
        router, _ = _open(tmp_path / "s", mydestination="", myhostname="mx.example.net")
        assert isinstance(router, SocketRouter)
        router.close()


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ((COMPLETED, REMOTE), "is default, settings say local"),
        ((COMPLETED.replace(b"postmaster", b"somebody"), LOCAL), "completed postmaster to"),
        ((COMPLETED, LOCAL.replace(b"256", b"0")), "where postmaster goes"),
        ((b"garbage\0\0\0",), "gave no address"),
    ],
)
def test_a_socket_that_fails_the_test_is_not_used_and_why_is_said(
    tmp_path: Path, answers: tuple[bytes, ...], why: str
) -> None:
    with server(tmp_path / "s", says(*answers)):
        router, said = _open(tmp_path / "s")
    assert isinstance(router, ComputedRouter)
    assert why in (said or "")


def test_without_a_socket_the_routes_are_computed(tmp_path: Path) -> None:
    router, said = _open(tmp_path / "nothing")
    assert router.source is Source.COMPUTED
    assert "No such file or directory" in (said or "")
