"""Whether our own socket is answered: a negotiation as an MTA begins one, and goodbye.

The milter protocol, version 6: packets of four bytes length, a command byte, data. What answers has
gone through libmilter's listener, a worker of its pool and our callback. Raises nothing.
"""

import socket
import struct
import time
from pathlib import Path
from typing import Final

EVERYTHING: Final = 0x1FFFFF
"""All actions and steps there are, so that nothing is found missing."""
HELLO: Final = struct.pack(">IcIII", 13, b"O", 6, EVERYTHING, EVERYTHING)
GOODBYE: Final = struct.pack(">Ic", 1, b"Q")
HEAD_BYTES: Final = 5


def answers(name: str, timeout_s: float) -> bool:
    """Whether who listens on ``unix:PATH`` or ``inet:PORT@HOST`` answers within so many seconds."""
    end = time.monotonic() + timeout_s
    try:
        family, address = _address(name)
        with socket.socket(family, socket.SOCK_STREAM) as mta:
            mta.settimeout(timeout_s)
            mta.connect(address)
            mta.sendall(HELLO)
            head = b""
            while len(head) < HEAD_BYTES:
                mta.settimeout(max(0.001, end - time.monotonic()))
                piece = mta.recv(HEAD_BYTES - len(head))
                if not piece:
                    return False
                head += piece
            mta.sendall(GOODBYE)
    except OSError:
        return False
    return head[4:] == b"O"


def socket_path(name: str) -> Path | None:
    """The path of a Unix socket; None for inet and inet6."""
    kind, colon, rest = name.partition(":")
    if colon and kind in ("inet", "inet6"):
        return None
    return Path(rest if colon and kind in ("unix", "local") else name)


def _address(name: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """As libmilter's smfi_setconn reads it; without a host, this machine."""
    path = socket_path(name)
    if path is not None:
        return socket.AF_UNIX, str(path)
    kind, _, rest = name.partition(":")
    port, _, host = rest.partition("@")
    number = int(port) if port.isdecimal() else socket.getservbyname(port, "tcp")
    if kind == "inet6":
        return socket.AF_INET6, (host.strip("[]") or "::1", number)
    return socket.AF_INET, (host or "127.0.0.1", number)
