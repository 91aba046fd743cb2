"""Asking trivial-rewrite(8) itself: transport, next hop and class of an address.

The protocol is internal to Postfix: ``name NUL value NUL`` pairs, a lone NUL ends a record; newer
releases greet first. It is read as ordered pairs, no greeting is compared, and the socket is
believed only after ``postmaster@$myorigin`` came back local or of the class its domain has. Raises
RouterError where the resolver does not answer in time; ``open_router`` falls back to ``computed``.
"""

import os
import select
import socket as sockets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from posttrail.errors import EX_UNAVAILABLE, PosttrailError
from posttrail.postconf import Settings
from query.trace.postfix.tables import Found, TableError, Tables
from query.trace.tree import Source

if TYPE_CHECKING:
    from query.trace.postfix.computed import ComputedRouter

TIMEOUT_S: Final = 2.0  # for an answer, connecting and greeting included
GREETING_S: Final = 0.5
GREETING: Final = "protocol"  # the one attribute of a greeting; its value varies
MOST_BYTES: Final = 65536  # of a record
FAIL: Final = 8
ERROR: Final = 4
_CLASSES: Final = {
    256: "local",
    512: "virtual_alias",
    1024: "virtual_mailbox",
    2048: "relay",
    4096: "default",
}

Pairs = Sequence[tuple[str, str]]
_T = TypeVar("_T")
_SILENT: Final[set[str]] = set()  # sockets that do not greet: nobody waits for it again


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
        pairs = [("request", "rewrite"), ("rule", rule), ("address", address)]
        return self._ask(pairs, lambda answer: value_of(answer, "address"))

    def resolve(self, address: str, sender: str) -> Resolved:
        """Raises RouterError."""
        pairs = [("request", "resolve"), ("sender", sender), ("address", address)]
        return self._ask(pairs, resolved_of)

    def _ask(self, pairs: Sequence[tuple[str, str]], take: Callable[[Pairs], _T]) -> _T:
        until = time.monotonic() + TIMEOUT_S
        for last in (False, True):
            try:
                if self._connection is None:
                    self._connect(until)
                return take(self._exchange(record(pairs), until))
            except OSError as error:
                self.close()
                if last or time.monotonic() >= until:
                    raise RouterError(f"{self._path}: {error.strerror or error}") from None
            except RouterError:
                self.close()
                raise
        raise AssertionError

    def _connect(self, until: float) -> None:
        connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self._connection, self._buffer = connection, b""
        connection.settimeout(max(0.001, until - time.monotonic()))
        connection.connect(self._path)
        if self._path in _SILENT:
            return
        if select.select([connection], [], [], GREETING_S)[0]:
            self._record(until)
        else:
            _SILENT.add(self._path)

    def _exchange(self, message: bytes, until: float) -> Pairs:
        assert self._connection is not None
        self._connection.sendall(message)
        answer = self._record(until)
        if len(answer) == 1 and answer[0][0] == GREETING:  # it has learned to greet, or was late
            _SILENT.discard(self._path)
            answer = self._record(until)
        return answer

    def _record(self, until: float) -> Pairs:
        assert self._connection is not None
        while (end := end_of(self._buffer)) is None:
            if len(self._buffer) > MOST_BYTES:
                raise RouterError(f"{self._path}: more than {MOST_BYTES} bytes and no end")
            left = until - time.monotonic()
            if left <= 0:
                raise RouterError(f"{self._path}: no answer within {TIMEOUT_S:g} s")
            self._connection.settimeout(left)
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


def value_of(pairs: Pairs, name: str) -> str:
    """The last of that name."""
    found = [value for each, value in pairs if each == name]
    if not found:
        raise RouterError(f"the resolver gave no {name}")
    return found[-1]


def resolved_of(pairs: Pairs) -> Resolved:
    """An answer to ``request=resolve``."""
    bits = bits_of(pairs)
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


def bits_of(pairs: Pairs) -> int:
    """All ``flags`` together: the server's own come first, those of the address last."""
    bits, found = 0, [value for name, value in pairs if name == "flags"]
    for value in found:
        if not (value.isascii() and value.isdigit()):
            raise RouterError("the resolver gave flags that are no number")
        bits |= int(value)
    if not found:
        raise RouterError("the resolver gave no flags")
    return bits


def open_router(
    settings: Settings, tables: Tables, *, socket: str = ""
) -> tuple[Router, str | None]:
    """The socket where it answers as it should, else computing; and why it is not the socket."""
    from query.trace.postfix.computed import ComputedRouter

    queue = settings.get("queue_directory") or "/var/spool/postfix"
    places = [socket] if socket else [f"{queue}/private/rewrite", f"{queue}/public/posttrail-rw"]
    computed = ComputedRouter(settings, tables)
    why = ""
    for path in places:
        router = SocketRouter(path)
        try:
            _test(router, computed)
        except RouterError as error:
            router.close()
            if os.path.exists(path) or not why:
                why = str(error)
            continue
        return router, None
    return computed, why


def _test(router: SocketRouter, computed: "ComputedRouter") -> None:
    """``postmaster`` is completed, and is local or of the class that its domain has."""
    address = router.rewrite("postmaster")
    if not address.startswith("postmaster"):
        raise RouterError(f"the resolver completed postmaster to {address}")
    answer = router.resolve(address, "")
    named = answer.address_class
    if named == "fail":  # it speaks as it should; its tables or settings are wrong
        return
    if not answer.transport or not named:
        raise RouterError("the resolver did not say where postmaster goes")
    if named == "local":
        return
    try:
        expected = computed.class_of(address)
    except TableError:
        return
    if named != expected:
        raise RouterError(f"the resolver says that {address} is {named}, settings say {expected}")
