"""SMTP servers on loopback that play the rest of the world: one takes mail, others refuse it.

Protocol: just enough of RFC 5321 (EHLO, HELO, MAIL, RCPT, DATA, RSET, NOOP, QUIT) for a mail
client. They run on ports of the kernel's choice in one thread of their own. Raises OSError where
a port cannot be opened.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

Answer = Callable[[str], str]
"""What a server says about a recipient: a whole SMTP reply."""


def _accept(recipient: str) -> str:
    return "250 2.1.5 Ok"


def _full(recipient: str) -> str:
    return f"452 4.2.2 <{recipient}>: Mailbox full"


def _unknown(recipient: str) -> str:
    return f"550 5.1.1 <{recipient}>: Recipient address rejected: User unknown"


def _greylist() -> Answer:
    """Defers the first try for each recipient and accepts the next."""
    seen: set[str] = set()

    def answer(recipient: str) -> str:
        if recipient in seen:
            return _accept(recipient)
        seen.add(recipient)
        return f"450 4.7.1 <{recipient}>: Recipient address rejected: Greylisted, try again later"

    return answer


@dataclass(frozen=True, slots=True)
class Sink:
    """How one server answers; ``message`` None takes the mail under a queue id of its own."""

    rcpt: Answer
    message: str | None = None


def worldwide() -> dict[str, Sink]:
    """The servers by what they do. Made anew each time: a greylist remembers."""
    return {
        "accepts": Sink(_accept),
        "greylists": Sink(_greylist()),
        "full": Sink(_full),
        "unknown": Sink(_unknown),
        "refuses": Sink(_accept, "554 5.7.1 Message refused by local policy"),
    }


def all_at(port: int) -> dict[str, int]:
    """The ports of ``Sinks``, all one: another server's, or one that is never asked."""
    return dict.fromkeys(worldwide(), port)


class _Session:
    """One SMTP session with a sink."""

    def __init__(self, sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._sink = sink
        self._reader = reader
        self._writer = writer
        self._taken = 0

    async def run(self) -> None:
        await self._say("220 sink.example ESMTP")
        while line := await self._reader.readline():
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            if verb.upper() == "QUIT":
                await self._say("221 2.0.0 Bye")
                break
            await self._say(await self._answer(verb.upper(), rest))

    async def _say(self, reply: str) -> None:
        self._writer.write(reply.encode() + b"\r\n")
        await self._writer.drain()

    async def _answer(self, verb: str, rest: str) -> str:
        match verb:
            case "EHLO":
                return "250-sink.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES"
            case "RCPT":
                reply = self._sink.rcpt(rest.partition("<")[2].partition(">")[0])
                self._taken += reply.startswith("2")
                return reply
            case "DATA":
                return await self._data()
            case "HELO" | "MAIL" | "RSET" | "NOOP":
                self._taken = 0
                return "250 2.0.0 Ok"
        return "502 5.5.2 Command not recognized"

    async def _data(self) -> str:
        if not self._taken:
            return "554 5.5.1 No valid recipients"
        await self._say("354 End data with <CR><LF>.<CR><LF>")
        while (line := await self._reader.readline()) != b".\r\n":
            if not line:
                break
        return self._sink.message or f"250 2.0.0 Ok: queued as {secrets.token_hex(6).upper()}"


class Sinks:
    """The servers of ``worldwide``, running while the ``with`` block does; ``ports`` by name."""

    ports: Mapping[str, int]

    def __init__(self) -> None:
        self._loop: Final = asyncio.new_event_loop()
        self._thread: Final = threading.Thread(target=self._loop.run_forever, name="sinks")
        self._servers: list[asyncio.Server] = []
        self._sessions: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.ports = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> dict[str, int]:
        ports = {}
        for name, sink in worldwide().items():
            server = await asyncio.start_server(self._serve(sink), "127.0.0.1", 0)
            self._servers.append(server)
            ports[name] = server.sockets[0].getsockname()[1]
        return ports

    def _serve(self, sink: Sink) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(_talk(sink, reader, writer))
            self._sessions.add(task)
            task.add_done_callback(self._sessions.discard)

        return connected

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in (sessions := list(self._sessions)):
            task.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)


async def _talk(sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A session from greeting to close; a client that breaks off is its own affair."""
    try:
        await _Session(sink, reader, writer).run()
    except ConnectionError:
        pass
    finally:
        writer.close()
