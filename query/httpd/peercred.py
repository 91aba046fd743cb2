"""uvicorn's connection with what the kernel says of the other end, and a time limit for headers.

The peer travels in ``request.state.peer``; without it nobody is believed. unix(7), SO_PEERCRED.
A connection that does not send a whole request head in ``HEAD_S`` is closed: uvicorn itself
waits for ever. Raises nothing.
"""

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from query.httpd.facts import Door, Peer

HEAD_S: Final = 10.0
_CREDENTIALS: Final = struct.Struct("=iII")  # pid, uid, gid

Address = str | bytes | tuple[Any, ...]
"""What ``getsockname`` says."""


def protocol(doors: Mapping[Address, Door]) -> type[H11Protocol]:
    """The protocol class for sockets that listen at these addresses."""

    class Connection(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)  # as of every stream
            super().connection_made(transport)
            self.app_state = {**self.app_state, "peer": peer(transport, doors)}
            self._wait_for_head()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _wait_for_head(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(HEAD_S, self._give_up)

        def _give_up(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Connection


def peer(transport: asyncio.BaseTransport, doors: Mapping[Address, Door]) -> Peer | None:
    """The other end of a connection; None where the socket is none of ours."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return None
    door = doors.get(sock.getsockname())
    if door is None:
        return None
    if sock.family != socket.AF_UNIX:
        return Peer(door=door)
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return Peer(door=door, uid=uid, gid=gid, pid=pid)
