"""Asking trivial-rewrite(8) itself: transport, next hop and class of an address.

The protocol is internal to Postfix: ``name NUL value NUL`` pairs, a lone NUL ends a record; newer
releases greet first. It is read as ordered pairs, no greeting is compared, and the socket is
believed only after ``postmaster@$myorigin`` came back as an address of ours. Raises RouterError
where the resolver stops answering; ``open_router`` falls back to ``computed``.
"""

import os
import select
import socket as sockets
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from posttrail.errors import EX_UNAVAILABLE, PosttrailError
from query.trace.postfix.settings import Settings
from query.trace.postfix.tables import Found, Tables
from query.trace.tree import Source

TIMEOUT_S: Final = 5.0
GREETING_S: Final = 0.5
FAIL: Final = 8
ERROR: Final = 4
_CLASSES: Final = {
    256: "local",
    512: "virtual_alias",
    1024: "virtual_mailbox",
    2048: "relay",
    4096: "default",
}


class RouterError(PosttrailError):
    """The resolver does not answer."""

    exit_code = EX_UNAVAILABLE


class Resolved(NamedTuple):
    """Where an address goes."""

    transport: str
    nexthop: str
    recipient: str  # in internal form
    address_class: str  # "fail": a table could not be asked
    error: bool
    source: Source
    found: Found | None  # the entry of transport_maps, where it is known
    notes: tuple[str, ...] = ()


class Router(Protocol):
    """Rewrites and resolves, as trivial-rewrite(8) does."""

    @property
    def source(self) -> Source: ...
    def rewrite(self, address: str, rule: str = "local") -> str:
        """Address and answer in external form."""
        ...

    def resolve(self, address: str, sender: str) -> Resolved:
        """Address and recipient in internal form."""
        ...


class SocketRouter:
    """The resolver's own socket; the connection is kept and made anew when it was closed."""

    source = Source.MTA

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sockets.socket | None = None
        self._buffer = b""

    def rewrite(self, address: str, rule: str = "local") -> str:
        """Raises RouterError."""
        answer = self._ask([("request", "rewrite"), ("rule", rule), ("address", address)])
        return value_of(answer, "address")

    def resolve(self, address: str, sender: str) -> Resolved:
        """Raises RouterError."""
        asked = [("request", "resolve"), ("sender", sender), ("address", address)]
        return resolved_of(self._ask(asked))

    def _ask(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        message = record(pairs)
        for attempt in (1, 2):
            try:
                if self._connection is None:
                    self._connect()
                return self._exchange(message)
            except OSError as error:
                self.close()
                if attempt == 2:
                    raise RouterError(f"{self._path}: {error.strerror or error}") from None
        raise AssertionError

    def _connect(self) -> None:
        connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        connection.settimeout(TIMEOUT_S)
        self._connection, self._buffer = connection, b""
        connection.connect(self._path)
        if select.select([connection], [], [], GREETING_S)[0]:
            self._record()  # a greeting; older releases have none

    def _exchange(self, message: bytes) -> list[tuple[str, str]]:
        assert self._connection is not None
        self._connection.sendall(message)
        return self._record()

    def _record(self) -> list[tuple[str, str]]:
        assert self._connection is not None
        while (end := end_of(self._buffer)) is None:
            piece = self._connection.recv(65536)
            if not piece:
                raise OSError("the resolver closed the connection")
            self._buffer += piece
        taken, self._buffer = self._buffer[:end], self._buffer[end:]
        return list(pairs_of(taken))

    def close(self) -> None:
        """Let the connection go; the next question makes a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def record(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Pairs as bytes; a NUL in a value would end it and is dropped."""
    parts = [part for pair in pairs for part in pair]
    clean = [part.replace("\0", "").encode("utf-8", "surrogateescape") for part in parts]
    return b"".join(part + b"\0" for part in clean) + b"\0"


def end_of(data: bytes) -> int | None:
    """Where the first record ends: a NUL where a name would begin."""
    place, name = 0, True
    while place < len(data):
        if name and data[place] == 0:
            return place + 1
        end = data.find(b"\0", place)
        if end < 0:
            return None
        place, name = end + 1, not name
    return None


def pairs_of(data: bytes) -> Iterator[tuple[str, str]]:
    """The pairs of one record."""
    parts = data[:-1].split(b"\0")
    for index in range(0, len(parts) - 1, 2):
        name, value = parts[index], parts[index + 1]
        yield name.decode("ascii", "replace"), value.decode("utf-8", "surrogateescape")


def value_of(pairs: Sequence[tuple[str, str]], name: str) -> str:
    """The last of that name, for ``flags`` comes twice."""
    found = [value for each, value in pairs if each == name]
    if not found:
        raise RouterError(f"the resolver gave no {name}")
    return found[-1]


def resolved_of(pairs: Sequence[tuple[str, str]]) -> Resolved:
    """An answer to ``request=resolve``."""
    flags = value_of(pairs, "flags")
    bits = int(flags) if flags.isdigit() else 0
    named = next((name for bit, name in _CLASSES.items() if bits & bit), "")
    return Resolved(
        transport=value_of(pairs, "transport"),
        nexthop=value_of(pairs, "nexthop"),
        recipient=value_of(pairs, "recipient"),
        address_class="fail" if bits & FAIL else named,
        error=bool(bits & ERROR),
        source=Source.MTA,
        found=None,
    )


def open_router(
    settings: Settings, tables: Tables, *, socket: str = ""
) -> tuple[Router, str | None]:
    """The socket where it answers as it should, else computing; and why it is not the socket."""
    from query.trace.postfix.computed import ComputedRouter

    queue = settings.get("queue_directory") or "/var/spool/postfix"
    places = [socket] if socket else [f"{queue}/private/rewrite", f"{queue}/public/posttrail-rw"]
    why = ""
    for path in places:
        router = SocketRouter(path)
        try:
            _test(router, settings)
        except RouterError as error:
            router.close()
            if os.path.exists(path) or not why:
                why = str(error)
            continue
        return router, None
    return ComputedRouter(settings, tables), why


def _test(router: SocketRouter, settings: Settings) -> None:
    """``postmaster`` is completed, and resolved to some transport."""
    address = router.rewrite("postmaster")
    if not address.startswith("postmaster"):
        raise RouterError(f"the resolver completed postmaster to {address}")
    answer = router.resolve(address, "")
    if not answer.transport or not answer.address_class:
        raise RouterError("the resolver did not say where postmaster goes")
