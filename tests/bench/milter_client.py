"""An MTA's side of the milter protocol (version 6), just enough to drive a milter directly.

Honours what the milter negotiates: steps it does not want are not sent, steps it does
not answer are sent together with the next, as Postfix does. Raises ``MilterError``.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

QUEUE_ID: Final = b"4cbw9X3vmFzkQv"  # in the template; replaced by one of the same length
_PATIENCE_S: Final = 30
_VERSION: Final = 6
_ACTIONS: Final = 0x1FF
_PROTOCOL: Final = 0x1FFFFF
_SKIP: Final = {
    b"C": 0x1, b"H": 0x2, b"M": 0x4, b"R": 0x8, b"B": 0x10, b"L": 0x20, b"N": 0x40, b"T": 0x200,
}  # fmt: skip
_NO_REPLY: Final = {
    b"L": 0x80, b"C": 0x1000, b"H": 0x2000, b"M": 0x4000, b"R": 0x8000, b"T": 0x10000,
    b"N": 0x40000, b"B": 0x80000,
}  # fmt: skip
_STAGES: Final = (b"C", b"H", b"M", b"R", b"T", b"E", b"N")  # by the number in a macro list
_MACROS: Final = {
    b"j": b"mx1.example.com", b"{daemon_name}": b"mx1.example.com", b"{client_port}": b"40000",
    b"{client_addr}": b"192.0.2.7", b"{client_name}": b"mx.pine-tulip.test", b"i": QUEUE_ID,
    b"{mail_addr}": b"anna.pine1@pine-tulip.test", b"{rcpt_mailer}": b"lmtp",
    b"{rcpt_host}": b"mx1.example.com", b"{rcpt_addr}": b"emil.fjord2@example.com",
}  # fmt: skip
_USUAL: Final = {  # what Postfix sends to a milter that asks for nothing
    b"C": (b"j", b"{daemon_name}"), b"M": (b"{mail_addr}",), b"T": (b"i",), b"E": (b"i",),
    b"R": (b"{rcpt_addr}", b"{rcpt_host}", b"{rcpt_mailer}"),
}  # fmt: skip
_GREETING: Final = (
    (b"C", b"mx.pine-tulip.test\0004\x9c\x40192.0.2.7\0"),
    (b"H", b"mx.pine-tulip.test\0"),
)
_MESSAGE: Final = (
    (b"M", b"<anna.pine1@pine-tulip.test>\0SIZE=5120\0"),
    (b"R", b"<emil.fjord2@example.com>\0"),
    (b"T", b""),
    (b"L", b"Received\0from mx.pine-tulip.test by mx1.example.com with ESMTPS\0"),
    (b"L", b"From\0Anna Pine <anna.pine1@pine-tulip.test>\0"),
    (b"L", b"To\0<emil.fjord2@example.com>\0"),
    (b"L", b"Subject\0A word about the minutes of Tuesday\0"),
    (b"L", b"Date\0Wed, 01 Oct 2025 09:15:00 +0000\0"),
    (b"L", b"Message-ID\0<" + QUEUE_ID + b"@pine-tulip.test>\0"),
    (b"L", b"MIME-Version\0001.0\0"),
    (b"L", b"Content-Type\0text/plain; charset=utf-8\0"),
    (b"N", b""),
    (b"B", b"x" * 5000),
    (b"E", b""),
)


class MilterError(Exception):
    """The milter broke the connection or answered what no recorder answers."""


class Terms(NamedTuple):
    """What a milter negotiated."""

    protocol: int
    macros: dict[bytes, tuple[bytes, ...]]

    @classmethod
    def parse(cls, body: bytes) -> Terms:
        """From the body of its O packet: version, actions, protocol, macro lists."""
        protocol = struct.unpack_from(">I", body, 8)[0]
        macros, place = dict(_USUAL), 12
        while place + 4 <= len(body):
            stage = struct.unpack_from(">I", body, place)[0]
            end = body.index(b"\0", place + 4)
            macros[_STAGES[stage]] = tuple(body[place + 4 : end].split())
            place = end + 1
        return cls(protocol, macros)


def _packet(command: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 1) + command + data


def chunks(terms: Terms, steps: tuple[tuple[bytes, bytes], ...]) -> list[bytes]:
    """What to write before each reply that must be awaited; the last may await none."""
    written = [b""]
    for command, data in steps:
        if terms.protocol & _SKIP.get(command, 0):
            continue
        known = [name for name in terms.macros.get(command, ()) if name in _MACROS]
        if known:
            values = b"".join(name + b"\0" + _MACROS[name] + b"\0" for name in known)
            written[-1] += _packet(b"D", command + values)
        written[-1] += _packet(command, data)
        if not terms.protocol & _NO_REPLY.get(command, 0):
            written.append(b"")
    return written


class Connection:
    """One SMTP client's connection as the milter sees it; many messages."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_PATIENCE_S)
        self._socket.connect(str(path))
        self._replies = self._socket.makefile("rb")
        self._socket.sendall(_packet(b"O", struct.pack(">III", _VERSION, _ACTIONS, _PROTOCOL)))
        self.terms = Terms.parse(self._reply(b"O"))
        greeting = chunks(self.terms, _GREETING)
        for chunk in greeting[:-1]:
            self._socket.sendall(chunk)
            self._reply(b"c")
        message = chunks(self.terms, _MESSAGE)[:-1]
        self._chunks = [greeting[-1] + message[0], *message[1:]]
        self._steady = message
        self._queue_id = QUEUE_ID
        self._rest: Iterator[bytes] = iter(())

    def _reply(self, wanted: bytes) -> bytes:
        head = self._replies.read(5)
        if len(head) < 5 or head[4:] != wanted:
            raise MilterError(f"expected {wanted!r}, got {head!r}")
        return self._replies.read(struct.unpack(">I", head[:4])[0] - 1)

    def fileno(self) -> int:
        """To wait for replies."""
        return self._socket.fileno()

    def start(self, queue_id: bytes) -> None:
        """Send a message up to the first reply that must be awaited."""
        self._queue_id = queue_id
        self._rest = iter(self._chunks)
        self._chunks = self._steady
        self._send(next(self._rest))

    def advance(self) -> bool:
        """Take the reply that has come, and send what follows; whether the message has ended."""
        self._reply(b"c")
        chunk = next(self._rest, None)
        if chunk is not None:
            self._send(chunk)
        return chunk is None

    def finish(self) -> None:
        """The rest of the message, until its end is answered."""
        while not self.advance():
            pass

    def close(self) -> None:
        """Say goodbye."""
        self._socket.sendall(_packet(b"Q", b""))
        self._socket.close()

    def _send(self, chunk: bytes) -> None:
        self._socket.sendall(chunk.replace(QUEUE_ID, self._queue_id))


def drive(path: Path, messages: int, *, connections: int = 8, first: int = 0) -> float:
    """Send messages over a few connections, one in flight on each; seconds it took.

    No connection waits for another, as no smtpd(8) waits for another: a milter that answers a
    step in the middle of a message costs its own connection a turn, not all of them.
    """
    crowd = [Connection(path) for _ in range(min(connections, messages))]
    by_file = {connection.fileno(): connection for connection in crowd}
    queue_ids = (b"4cbw%010d" % number for number in range(first, first + messages))
    with select.epoll() as replies:
        for file in by_file:
            replies.register(file, select.EPOLLIN)
        begin = time.perf_counter()
        for connection in crowd:
            connection.start(next(queue_ids))
        busy = len(crowd)
        while busy:
            ready = replies.poll(_PATIENCE_S)
            if not ready:
                raise MilterError(f"no reply within {_PATIENCE_S} s")
            for file, _ in ready:
                if by_file[file].advance():
                    queue_id = next(queue_ids, None)
                    if queue_id:
                        by_file[file].start(queue_id)
                    else:
                        busy -= 1
        spent = time.perf_counter() - begin
    for connection in crowd:
        connection.close()
    return spent
