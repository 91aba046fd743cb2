"""Asking posttrail-traced: one JSON line there, one back.

The request is that of ``request``; the answer a document of docs/schema/trace.json, or
``{"error": sentence, "exit": code}``. Raises NobodyError where no daemon can be asked,
AnsweredError with the daemon's own sentence and code, DataError for an answer that is none.
"""

import json
import socket
from pathlib import Path
from typing import Final

from posttrail.errors import EX_UNAVAILABLE, DataError, PosttrailError, UnavailableError
from posttrail.text import json_dump
from query.trace import document
from query.trace.tree import Question, Trace

TIMEOUT_S: Final = 60.0
MOST_BYTES: Final = 64 << 20


class NobodyError(UnavailableError):
    """No daemon can be asked; ``absent`` where none is meant to be."""

    def __init__(self, path: Path, why: str, *, absent: bool) -> None:
        super().__init__(f"posttrail-traced cannot be asked at {path}: {why}")
        self.absent = absent


class AnsweredError(PosttrailError):
    """What the daemon said was wrong, with the exit code it gave."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.exit_code = code


def ask(path: Path, question: Question, *, whom: str = "", timeout_s: float = TIMEOUT_S) -> Trace:
    """The daemon's answer; ``whom`` is whoever it is asked for, by whom its rate is counted."""
    request = {
        "address": question.address,
        "sender": question.sender,
        "entry": question.entry,
        "for": whom,
    }
    said = _exchange(path, f"{json_dump(request)}\n".encode(), timeout_s)
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        raise DataError(f"{path}: the answer is not JSON") from None
    if isinstance(found, dict) and "error" in found:
        code = found.get("exit")
        raise AnsweredError(str(found["error"]), code if isinstance(code, int) else EX_UNAVAILABLE)
    return document.trace(found)


def _exchange(path: Path, request: bytes, timeout_s: float) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
        except OSError as error:
            absent = isinstance(error, FileNotFoundError)
            raise NobodyError(path, error.strerror or str(error), absent=absent) from None
        try:
            connection.sendall(request)
            return _line(connection)
        except OSError as error:
            raise NobodyError(path, error.strerror or str(error), absent=False) from None


def _line(connection: socket.socket) -> bytes:
    heard = bytearray()
    while not heard.endswith(b"\n"):
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionResetError("it hung up")
        heard += piece
        if len(heard) > MOST_BYTES:
            raise ConnectionResetError("its answer has no end")
    return bytes(heard)
