"""Small servers that a private Postfix talks to: mail hosts, an LMTP server, a filter, a socketmap.

SMTP is RFC 5321, LMTP RFC 2033, socketmaps are netstrings (socketmap_table(5)). One thread for each
connection; every connection is counted. Raises OSError where an address is taken.
"""

import contextlib
import smtplib
import socketserver
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self


class _Mail(socketserver.StreamRequestHandler):
    """One SMTP or LMTP session; every mail is taken, or given to the filter's way back."""

    server: "MailServer"

    def handle(self) -> None:
        self.server.connections += 1
        self._reset()
        self._say("220 sink.test ESMTP")
        with contextlib.suppress(OSError):
            while line := self.rfile.readline():
                if not self._obey(line.decode("utf-8", "surrogateescape").rstrip("\r\n")):
                    return

    def _reset(self) -> None:
        self._sender, self._recipients = "", list[str]()

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def _obey(self, line: str) -> bool:
        verb = line.upper()
        if verb.startswith(("EHLO", "LHLO")):
            tls = self.server.tls is not None
            for word in ("sink.test", "SMTPUTF8", "8BITMIME", *(("STARTTLS",) * tls)):
                self._say(f"250-{word}")
            self._say("250 ENHANCEDSTATUSCODES")
        elif verb.startswith("STARTTLS") and self.server.tls is not None:
            self._say("220 2.0.0 go ahead")
            self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = (
                self.connection.makefile("rb"),
                self.connection.makefile("wb", 0),
            )
        elif verb.startswith("DATA"):
            self._data()
        elif verb.startswith("QUIT"):
            self._say("221 2.0.0 bye")
            return False
        else:
            self._envelope(line)
            self._say("250 2.0.0 ok")
        return True

    def _envelope(self, line: str) -> None:
        value = line.partition("<")[2].partition(">")[0]
        if line.upper().startswith("MAIL"):
            self._reset()
            self._sender = value
        elif line.upper().startswith("RCPT"):
            self._recipients.append(value)

    def _data(self) -> None:
        self._say("354 go on")
        body = b""
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            body += line
        reply = "250 2.0.0 ok"
        if self.server.back is not None:
            with smtplib.SMTP(*self.server.back, timeout=20) as client:
                client.ehlo("filter.test")
                client.mail(self._sender)
                for recipient in self._recipients:
                    client.rcpt(recipient)
                code, words = client.data(body)
                reply = f"{code} {words.decode()}"
        for _ in self._recipients if self.server.lmtp else [""]:
            self._say(reply)


class MailServer(socketserver.ThreadingTCPServer):
    """``lmtp``: a reply for each recipient; ``back``: a filter, and where it gives mail back."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 50

    def __init__(
        self,
        address: str,
        port: int,
        *,
        lmtp: bool = False,
        tls: ssl.SSLContext | None = None,
        back: tuple[str, int] | None = None,
    ) -> None:
        super().__init__((address, port), _Mail)
        self.lmtp, self.tls, self.back = lmtp, tls, back
        self.connections = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.server_close()

    def __enter__(self) -> Self:
        return self


class _Map(socketserver.StreamRequestHandler):
    """``name key`` → ``OK value`` or ``NOTFOUND``, as netstrings."""

    server: "SocketMap"

    def handle(self) -> None:
        while length := self._length():
            name, _, key = self.rfile.read(length).decode().partition(" ")
            self.rfile.read(1)
            value = self.server.entries.get(key) if name == "aliases" else None
            reply = b"NOTFOUND " if value is None else f"OK {value}".encode()
            self.wfile.write(b"%d:%s," % (len(reply), reply))

    def _length(self) -> int:
        digits = b""
        while (character := self.rfile.read(1)) not in (b":", b""):
            digits += character
        return int(digits or b"0")


class SocketMap(socketserver.ThreadingUnixStreamServer):
    """A table behind a Unix socket that everybody may use."""

    daemon_threads = True

    def __init__(self, path: Path, entries: Mapping[str, str]) -> None:
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Map)
        path.chmod(0o666)
        self.entries = entries
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.server_close()

    def __enter__(self) -> Self:
        return self
