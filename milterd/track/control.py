"""The writer's door: verbs that write hand their work, and open files, to a running trackd.

A Unix stream socket, mode 0600. The caller sends one JSON line (``verb``, ``import`` where it
is missing; ``options``; ``files``: names, which may be missing) with the files' descriptors
(unix(7), SCM_RIGHTS) and reads JSON lines:
``{"progress": ...}`` while it goes on, last ``{"done": ...}`` or
``{"error": sentence, "exit": code}``. trackd's side never waits for a caller: a request
is taken when it is whole, and progress that a caller does not read is left out.

Raises UnavailableError where the socket cannot be made, TryAgainError where nobody
takes work or trackd ends, NotPermittedError, and whatever error trackd answers.
"""

import array
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from journal.store import group_of
from milterd.track.summary import Progress, Summary
from posttrail.errors import (
    EX_USAGE,
    NotPermittedError,
    PosttrailError,
    TryAgainError,
    UnavailableError,
    UsageError,
)

FILES_MOST: Final = 200
REQUEST_BYTES: Final = 1 << 20
VERB: Final = "import"
"""Of a request that names none."""
REQUEST_S: Final = 5.0
"""A caller that has not said by then what it wants is sent away."""


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
        self._coming: list[Caller] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            path.unlink(missing_ok=True)
            self._socket.bind(str(path))
        except PermissionError:
            self._socket.close()
            raise NotPermittedError(str(path), group_of(path.parent)) from None
        except OSError as error:
            self._socket.close()
            raise UnavailableError(f"cannot listen on {path}: {error.strerror or error}") from None
        finally:
            os.umask(before)
        self._socket.listen(4)
        self._socket.setblocking(False)

    def accept(self) -> "Caller | None":
        """The next caller whose request is whole, None where there is none."""
        try:
            self._coming.append(Caller(self._socket.accept()[0]))
        except BlockingIOError:
            pass
        for caller in list(self._coming):
            try:
                if caller.receive():
                    self._coming.remove(caller)
                    return caller
            except (OSError, ValueError, TypeError, KeyError, AttributeError):
                caller.tell(error="posttrail-trackd does not understand this", exit=EX_USAGE)
                self._coming.remove(caller)
                caller.close()
        return None

    def close(self) -> None:
        """Stop listening and take the socket away."""
        for caller in self._coming:
            caller.close()
        self._socket.close()
        self._path.unlink(missing_ok=True)


class Caller:
    """One request: verb, options, the names and descriptors of files, and the way back."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._since = time.monotonic()
        self._heard = self._unsaid = b""
        self.descriptors = array.array("i")
        self.verb = VERB
        self.names: list[str] = []
        self.options: dict[str, Any] = {}

    def receive(self) -> bool:
        """Take what has come; whether the request is whole. OSError, ValueError: it never will."""
        room = socket.CMSG_SPACE(self.descriptors.itemsize * FILES_MOST)
        try:
            data, ancillary, flags, _ = self._connection.recvmsg(
                REQUEST_BYTES, room, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            if time.monotonic() - self._since > REQUEST_S:
                raise ValueError("no request") from None
            return False
        for level, kind, received in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.descriptors.frombytes(received[: len(received) // 4 * 4])
        self._heard += data
        if not data or flags & socket.MSG_CTRUNC or len(self._heard) > REQUEST_BYTES:
            raise ValueError("request cut short")
        if not self._heard.endswith(b"\n"):
            return False
        request = json.loads(self._heard)
        self.verb = request.get("verb", VERB)
        self.names, self.options = list(request.get("files", ())), dict(request["options"])
        if len(self.names) != len(self.descriptors):
            raise ValueError("a descriptor a file")
        if not all(isinstance(name, str) for name in (self.verb, *self.names)):
            raise ValueError("a name is text")
        return True

    def take_descriptors(self) -> list[int]:
        """The open files; whoever takes them closes them."""
        taken, self.descriptors = list(self.descriptors), array.array("i")
        return taken

    def tell(self, **said: object) -> None:
        """Say one JSON line; a caller that has gone hears nothing, and its work goes on."""
        self._unsaid += json.dumps(said).encode() + b"\n"
        self.flush()

    def progress(self, step: dict[str, Any]) -> None:
        """The same, unless the caller has not yet read what was said before."""
        if self.flush():
            self.tell(progress=step)

    def flush(self) -> bool:
        """Send what the caller has room for; whether all was said, or nobody hears it."""
        try:
            while self._unsaid:
                self._unsaid = self._unsaid[self._connection.send(self._unsaid) :]
        except BlockingIOError:
            return False
        except OSError:
            self._unsaid = b""
        return True

    def close(self) -> None:
        """The conversation is over."""
        for descriptor in self.take_descriptors():
            os.close(descriptor)
        self._connection.close()


# -- the caller's side ------------------------------------------------------------------


def hand_over(
    path: Path, files: list[tuple[str, int]], options: dict[str, Any]
) -> Iterator[Progress | Summary]:
    """Have trackd import files; yields its progress, and last its summary."""
    for answer in ask(path, VERB, options, files=files):
        if "progress" in answer:
            yield Progress(**answer["progress"])
        else:
            yield Summary(**answer["done"])


def ask(
    path: Path, verb: str, options: dict[str, Any], *, files: Sequence[tuple[str, int]] = ()
) -> Iterator[dict[str, Any]]:
    """Have trackd do the work of a verb; its answers: ``progress`` each, ``done`` the last."""
    if len(files) > FILES_MOST:
        raise UsageError(f"posttrail-trackd takes at most {FILES_MOST} files at once")
    request = {"verb": verb, "files": [name for name, _ in files], "options": options}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _connect(connection, path)
        for line in _answers(connection, request, [descriptor for _, descriptor in files]):
            answer = json.loads(line)
            if "error" in answer:
                raise HandedError(answer["error"], answer["exit"])
            yield answer
            if "done" in answer:
                return
    raise TryAgainError(f"posttrail-trackd ended before the {verb} did; {verb} again")


def _connect(connection: socket.socket, path: Path) -> None:
    try:
        connection.connect(str(path))
    except PermissionError:
        raise NotPermittedError(str(path), group_of(path)) from None
    except OSError as error:
        raise TryAgainError(
            "another process writes to the journal, and takes no work"
            f" on {path}: {error.strerror or error}"
        ) from None


def _answers(
    connection: socket.socket, request: dict[str, Any], descriptors: list[int]
) -> Iterator[bytes]:
    """Send the request; the lines that come back, until the other side ends."""
    message = json.dumps(request).encode() + b"\n"
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    try:
        sent = connection.sendmsg([message], rights if descriptors else [])
        connection.sendall(message[sent:])
        yield from connection.makefile("rb")
    except OSError:
        return  # it ended in the middle of a word
