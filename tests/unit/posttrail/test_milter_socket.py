"""Whether a milter answers at a socket: a version only where one does."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from posttrail.milter_socket import negotiate

ANSWER = struct.pack(">IcIII", 13, b"O", 6, 0, 0)


@contextmanager
def listening(server: socket.socket, answer: bytes, heard: list[bytes]) -> Iterator[None]:
    """Answer one connection with these bytes; none: hang up."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            heard.append(connection.recv(100))
            connection.sendall(answer)
            with suppress(ConnectionResetError):  # not all of the answer was read
                heard.append(connection.recv(100))

    server.listen()
    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join(10)
    server.close()


def test_a_milter_tells_its_version_and_is_told_goodbye(tmp_path: Path) -> None:
    server, heard = socket.socket(socket.AF_UNIX), list[bytes]()
    server.bind(str(tmp_path / "s"))
    with listening(server, ANSWER, heard):
        assert negotiate(f"unix:{tmp_path}/s", 10.0) == 6
    assert heard[0][:5] == b"\0\0\0\x0dO"
    assert struct.unpack(">I", heard[0][5:9]) == (6,)  # the protocol's version
    assert heard[1] == b"\0\0\0\1Q"


def test_who_speaks_something_else_is_no_milter(tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    with listening(server, b"\0\0\0\1c", []), pytest.raises(ValueError, match="packet of 1 bytes"):
        negotiate(f"unix:{tmp_path}/s", 10.0)


def test_whoever_is_silent_or_away_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        negotiate(f"unix:{tmp_path}/s", 0.05)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(ConnectionRefusedError):
            negotiate(f"{tmp_path}/s", 0.05)
        server.listen()
        with pytest.raises(TimeoutError):
            negotiate(f"local:{tmp_path}/s", 0.05)


def test_an_answer_that_drips_ends_at_the_limit(tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    with listening(server, ANSWER[:3], []), pytest.raises(TimeoutError):
        negotiate(f"unix:{tmp_path}/s", 0.1)


@pytest.mark.parametrize("name", ["inet:{}@127.0.0.1", "inet:{}"])
def test_the_names_of_libmilter_are_understood(name: str) -> None:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    with listening(server, ANSWER, []):
        assert negotiate(name.format(server.getsockname()[1]), 10.0) == 6


def test_a_name_that_means_nothing_does_not_answer() -> None:
    with pytest.raises(OSError, match="service"):
        negotiate("inet:no-such-service@127.0.0.1", 0.05)
