"""The MTA's end of the milter protocol, version 6, one packet at a time, bytes as given.

Sends a macro only where it was asked for, waits for a reply only where one was promised, and
says so when a promised silence is broken.
"""

import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Final, Self

STAGES: Final = "CHMRTEN"  # by number, as in the macro lists of an O packet
NO_REPLY: Final = {
    "C": 0x1000, "H": 0x2000, "M": 0x4000, "R": 0x8000, "T": 0x10000, "L": 0x80, "N": 0x40000,
}  # fmt: skip
NEVER_REPLIED: Final = "AQK"
ALL_ACTIONS: Final = 0x1FF
ALL_PROTOCOL: Final = 0x1FFFFF
NO_REPLIES: Final = sum(NO_REPLY.values())
RCPT_REJ: Final = 0x800
NOBODY: Final = 0x10
NOUNKNOWN: Final = 0x100

Macros = dict[bytes, bytes]


class Mta:
    """One connection to a milter."""

    def __init__(self, address: Path | int, *, protocol: int = ALL_PROTOCOL) -> None:
        family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.settimeout(20)
        self._replies = self._socket.makefile("rb")
        try:
            place = ("127.0.0.1", address) if isinstance(address, int) else str(address)
            self._socket.connect(place)
            self._begin(protocol)
        except (OSError, AssertionError):
            self.close()
            raise

    def _begin(self, protocol: int) -> None:
        self._write("O", struct.pack(">III", 6, ALL_ACTIONS, protocol))
        command, body = self._read()
        assert command == "O"
        _, self.actions, self.protocol = struct.unpack_from(">III", body)
        self.macros = dict(_macro_lists(body[12:]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if kind is None and not self._replies.closed:
            self.quit()
        self.close()

    def close(self) -> None:
        """Be gone without a word."""
        self._replies.close()
        self._socket.close()

    def quit(self) -> None:
        """Say goodbye; nothing may have been said that was not asked for."""
        self._write("Q", b"")
        self._socket.shutdown(socket.SHUT_WR)
        assert self._replies.read() == b""

    def say(self, command: str, data: bytes = b"", macros: Macros | None = None) -> None:
        """One step, and its reply if the milter gives one: it must be CONTINUE."""
        asked = self.macros.get(command)
        known = {
            name: value for name, value in (macros or {}).items() if asked is None or name in asked
        }
        if known:
            pairs = b"".join(name + b"\0" + value + b"\0" for name, value in known.items())
            self._write("D", command.encode() + pairs)
        self._write(command, data)
        if command not in NEVER_REPLIED and not self.protocol & NO_REPLY.get(command, 0):
            assert self._read() == ("c", b"")

    def connect(
        self,
        name: bytes = b"mx.example.net",
        ip: bytes = b"192.0.2.1",
        port: int = 2525,
        *,
        family: bytes = b"4",
    ) -> None:
        """A client."""
        data = name + b"\0" + family + struct.pack(">H", port) + ip + b"\0"
        macros = {b"{client_port}": b"%d" % port, b"{client_addr}": ip, b"{client_name}": name}
        self.say("C", data, macros | {b"{daemon_name}": b"smtpd.example.com"})

    def helo(self, name: bytes = b"mx.example.net", macros: Macros | None = None) -> None:
        """HELO, after STARTTLS with macros."""
        self.say("H", name + b"\0", macros)

    def mail(
        self, sender: bytes = b"<ann@example.com>", *params: bytes, macros: Macros | None = None
    ) -> None:
        """MAIL FROM."""
        self.say("M", b"".join(part + b"\0" for part in (sender, *params)), macros)

    def rcpt(self, recipient: bytes, *params: bytes, **macros: bytes) -> None:
        """RCPT TO; macros are named mailer, host, addr and i."""
        names = {
            b"i" if name == "i" else b"{rcpt_%s}" % name.encode(): value
            for name, value in macros.items()
        }
        self.say("R", b"".join(part + b"\0" for part in (recipient, *params)), names)

    def data(self, queue_id: bytes = b"") -> None:
        """DATA."""
        self.say("T", b"", {b"i": queue_id} if queue_id else None)

    def header(self, name: bytes, value: bytes) -> None:
        """One field."""
        self.say("L", name + b"\0" + value + b"\0")

    def end(self, queue_id: bytes = b"") -> None:
        """The end of the header and of the message; the latter must be answered."""
        self.say("N")
        self.say("E", b"", {b"i": queue_id} if queue_id else None)

    def message(self, queue_id: bytes, recipient: bytes = b"<bob@example.org>") -> None:
        """A whole plain message."""
        self.mail()
        self.rcpt(recipient, mailer=b"smtp", host=b"example.org", addr=recipient)
        self.data(queue_id)
        self.header(b"Subject", b"message " + queue_id)
        self.end(queue_id)

    def abort(self) -> None:
        """RSET, or a client that is gone."""
        self.say("A")

    def _write(self, command: str, data: bytes) -> None:
        self._socket.sendall(struct.pack(">I", len(data) + 1) + command.encode() + data)

    def _read(self) -> tuple[str, bytes]:
        head = self._replies.read(4)
        assert len(head) == 4, "the milter has closed the connection"
        packet = self._replies.read(*struct.unpack(">I", head))
        return packet[:1].decode(), packet[1:]


def _macro_lists(body: bytes) -> list[tuple[str, list[bytes]]]:
    lists = []
    while body:
        stage = struct.unpack_from(">I", body)[0]
        names, _, body = body[4:].partition(b"\0")
        lists.append((STAGES[stage], names.replace(b",", b" ").split()))
    return lists
