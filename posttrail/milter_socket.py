"""A milter's socket as posttrail.toml names it, and whether a milter answers there.

``unix:PATH``, ``local:PATH``, a path, ``inet:PORT@HOST``, ``inet6:PORT@HOST``, as libmilter's
smfi_setconn reads them. The negotiation is the milter protocol's first step (SMFIC_OPTNEG, mfdef.h
of libmilter): a length, ``O``, then version, actions and steps. Nothing else is sent but
SMFIC_QUIT, so that a milter records nothing. ``connect`` and ``negotiate`` raise OSError,
``negotiate`` ValueError where somebody else speaks.
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
_MOST: Final = 4096


def socket_path(name: str) -> Path | None:
    """The path of a Unix socket; None for inet and inet6."""
    kind, colon, rest = name.partition(":")
    if colon and kind in ("inet", "inet6"):
        return None
    return Path(rest if colon and kind in ("unix", "local") else name)


def connect(name: str, timeout_s: float) -> socket.socket:
    """A connection to whoever listens there; each step may then take so long."""
    family, address = _address(name)
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout_s)
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made


def _address(name: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """Without a host it is this machine."""
    path = socket_path(name)
    if path is not None:
        return socket.AF_UNIX, str(path)
    kind, _, rest = name.partition(":")
    port, _, host = rest.partition("@")
    number = int(port) if port.isdecimal() else socket.getservbyname(port, "tcp")
    if kind == "inet6":
        return socket.AF_INET6, (host.strip("[]") or "::1", number)
    return socket.AF_INET, (host or "127.0.0.1", number)


def negotiate(name: str, timeout_s: float) -> int:
    """The version of the protocol that the milter speaks, asked within so many seconds."""
    end = time.monotonic() + timeout_s
    with connect(name, timeout_s) as made:
        made.sendall(HELLO)
        (size,) = struct.unpack(">I", _exactly(made, 4, end))
        if not len(HELLO) - 4 <= size <= _MOST:
            raise ValueError(f"it answered with a packet of {size} bytes")
        answer = _exactly(made, size, end)
        if answer[:1] != b"O":
            raise ValueError(f"it answered with the command {answer[:1]!r}")
        made.sendall(GOODBYE)
    version: int = struct.unpack_from(">I", answer, 1)[0]
    return version


def _exactly(made: socket.socket, size: int, end: float) -> bytes:
    data = b""
    while len(data) < size:
        made.settimeout(max(0.001, end - time.monotonic()))
        piece = made.recv(size - len(data))
        if not piece:
            raise ValueError("it closed the connection")
        data += piece
    return data
