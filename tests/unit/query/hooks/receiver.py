"""A receiver of webhooks on loopback that misbehaves as it is told to, and keeps what it got."""

import base64
import hashlib
import hmac
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

SECRET = b"s" * 32
SECRET_TEXT = f"whsec_{base64.b64encode(SECRET).decode()}\n"


def secret_file(folder: Path, mode: int = 0o600) -> Path:
    """The secret where a hook finds it."""
    made = folder / "hook.secret"
    made.write_text(SECRET_TEXT)
    made.chmod(mode)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """One request."""

    id: str
    body: bytes
    path: str
    headers: dict[str, str]
    status: int


class Receiver:
    """``answer`` gives the status of a request by its number, from 0; 0 is no answer at all."""

    def __init__(self, answer: Callable[[int], int] = lambda _: 204) -> None:
        self.got: list[Got] = []
        self.answer = answer
        self.extra: dict[str, str] = {}  # headers of the answer
        self.hold = threading.Event()  # an answer waits until it is set
        self.hold.set()
        self._told = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook?a=b"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()

    def wait(self, until: Callable[[list[Got]], bool], seconds: float = 30.0) -> None:
        """Returns when what came is enough."""
        with self._told:
            assert self._told.wait_for(lambda: until(self.got), seconds), self.got

    def taken(self) -> list[Got]:
        return [each for each in self.got if 200 <= each.status < 300]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # whoever told it was killed meanwhile
                with receiver._told:
                    status = receiver.answer(len(receiver.got))
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    id = headers["webhook-id"]
                    receiver.got.append(
                        Got(id=id, body=body, path=self.path, headers=headers, status=status)
                    )
                    receiver._told.notify_all()
                receiver.hold.wait(60)
                if status == 0:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                try:
                    self.send_response(status)
                    for name, value in receiver.extra.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    pass  # a client that was killed

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def is_signed(got: Got) -> bool:
    """As docs/operating.md tells receivers to check it."""
    at = int(got.headers["webhook-timestamp"])
    signed = f"{got.id}.{at}.".encode() + got.body
    mine = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    theirs = [each.removeprefix("v1,") for each in got.headers["webhook-signature"].split()]
    fresh = abs(time.time() - at) < 300
    return fresh and any(hmac.compare_digest(mine, each) for each in theirs)
