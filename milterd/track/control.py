"""The writer's door: ``import`` beside a live daemon hands its open files to trackd.

A Unix stream socket, mode 0600. The caller sends one JSON line (``files``: names,
``options``) with the files' descriptors (unix(7), SCM_RIGHTS) and reads JSON lines:
``{"progress": ...}`` while it goes on, last ``{"done": ...}`` or
``{"error": sentence, "exit": code}``. Raises UnavailableError where trackd
cannot be reached, and whatever error trackd answers.
"""

import array
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from milterd.track.bulk import Progress, Summary
from posttrail.errors import PosttrailError, UnavailableError

FILES_MOST: Final = 200
REQUEST_BYTES: Final = 1 << 20


class HandedError(PosttrailError):
    """What trackd said was wrong, with the exit code it gave."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.exit_code = code


# -- trackd's side ----------------------------------------------------------------------


class Door:
    """The listening socket; never blocks trackd's loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)
        self._socket.listen(4)
        self._socket.setblocking(False)

    def accept(self) -> "Caller | None":
        """The next caller with its request, None where nobody waits."""
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return None
        connection.settimeout(5)
        try:
            return Caller(connection)
        except (OSError, ValueError):
            connection.close()
            return None

    def close(self) -> None:
        """Stop listening and take the socket away."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


class Caller:
    """One request: the names and descriptors of files, the options, and the way back."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        room = array.array("i").itemsize * FILES_MOST
        data, ancillary, _, _ = connection.recvmsg(REQUEST_BYTES, socket.CMSG_SPACE(room))
        self.descriptors = array.array("i")
        for level, kind, received in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.descriptors.frombytes(received[: len(received) // 4 * 4])
        while not data.endswith(b"\n"):
            more = connection.recv(REQUEST_BYTES)
            if not more or len(data) > REQUEST_BYTES:
                raise ValueError("request cut short")
            data += more
        request = json.loads(data)
        self.names: list[str] = request["files"]
        self.options: dict[str, Any] = request["options"]
        if len(self.names) != len(self.descriptors):
            raise ValueError("a descriptor a file")

    def tell(self, **said: object) -> bool:
        """Send one JSON line; False when the caller has gone (its work goes on)."""
        try:
            self._connection.sendall(json.dumps(said).encode() + b"\n")
        except OSError:
            return False
        return True

    def close(self) -> None:
        """The conversation is over."""
        self._connection.close()


# -- the caller's side ------------------------------------------------------------------


def hand_over(
    path: Path, files: list[tuple[str, int]], options: dict[str, Any]
) -> Iterator[Progress | Summary]:
    """Give files to trackd; yields its progress, and last its summary."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError as error:
        raise UnavailableError(
            f"posttrail-trackd holds the journal but does not answer on {path}: {error.strerror}"
        ) from None
    with connection:
        request = {"files": [name for name, _ in files], "options": options}
        rights = array.array("i", [descriptor for _, descriptor in files])
        connection.sendmsg(
            [json.dumps(request).encode() + b"\n"],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)],
        )
        for line in connection.makefile("rb"):
            answer = json.loads(line)
            if "progress" in answer:
                yield Progress(**answer["progress"])
            elif "error" in answer:
                raise HandedError(answer["error"], answer["exit"])
            else:
                yield Summary(**answer["done"])
                return
    raise UnavailableError("posttrail-trackd ended before the import did")


def plain(thing: Progress | Summary) -> dict[str, Any]:
    """A dataclass as JSON takes it."""
    return asdict(thing)
