"""The watchdog's look at our own socket: true only where a milter answers."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from milterd import probe

ANSWER = struct.pack(">IcIII", 13, b"O", 6, 0, 0)


@contextmanager
def listening(server: socket.socket, answer: bytes, heard: list[bytes]) -> Iterator[None]:
    """Answer one connection with these bytes; none: hang up."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            heard.append(connection.recv(100))
            connection.sendall(answer)
            heard.append(connection.recv(100))

    server.listen()
    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join(10)
    server.close()


@pytest.mark.parametrize(
    ("answer", "expected"), [(ANSWER, True), (b"\0\0\0\1c", False)], ids=["milter", "other"]
)
def test_an_answer_counts_where_it_is_a_milters(
    tmp_path: Path, answer: bytes, *, expected: bool
) -> None:
    server, heard = socket.socket(socket.AF_UNIX), list[bytes]()
    server.bind(str(tmp_path / "s"))
    with listening(server, answer, heard):
        assert probe.answers(f"unix:{tmp_path}/s", 10.0) is expected
    assert heard[0][:5] == b"\0\0\0\x0dO"
    assert struct.unpack(">I", heard[0][5:9]) == (6,)  # the protocol's version
    assert heard[1] == b"\0\0\0\1Q"


def test_whoever_is_silent_or_away_does_not_answer(tmp_path: Path) -> None:
    assert not probe.answers(f"unix:{tmp_path}/s", 0.05)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert not probe.answers(f"{tmp_path}/s", 0.05)
        server.listen()
        assert not probe.answers(f"local:{tmp_path}/s", 0.05)


@pytest.mark.parametrize("name", ["inet:{}@127.0.0.1", "inet:{}"])
def test_the_names_of_libmilter_are_understood(name: str) -> None:
    server, heard = socket.socket(), list[bytes]()
    server.bind(("127.0.0.1", 0))
    with listening(server, ANSWER, heard):
        assert probe.answers(name.format(server.getsockname()[1]), 10.0)


def test_a_name_that_means_nothing_does_not_answer() -> None:
    assert not probe.answers("inet:no-such-service@127.0.0.1", 0.05)
