"""posttrail-queryd as a process beside a real Postfix, and a door for a browser to it.

A browser speaks no Unix sockets: a port of this machine passes its bytes on to queryd's, where it
is known as this process's user, root: an operator. Raises AssertionError when queryd does not come
up.
"""

import asyncio
import http.client
import json
import socket
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrail.demo.stage import Stage, free_port
from posttrail.run import program
from tests.integration.parts import Program, answers
from tests.waiting import wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The page of a stage."""

    stage: Stage
    config: Path
    operator: str  # URL of the port that leads to the Unix socket
    public: str  # URL of queryd's own port: links and tokens only
    queryd: Program

    def get(self, path: str) -> str:
        """What the service answers an operator."""
        name, port = self.operator.removeprefix("http://").split(":")
        with closing(http.client.HTTPConnection(name, int(port), timeout=30)) as client:
            client.request("GET", path)
            answer = client.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, text
            return text

    def rows(self, search: str = "") -> list[dict[str, Any]]:
        """All rows of a search, as the API has them."""
        *rows, end = self.get(f"/v1/messages?format=ndjson&limit=all&{search}").splitlines()
        assert json.loads(end) == {"end": True}
        return [json.loads(line) for line in rows]

    def posttrail(self, *arguments: str) -> str:
        """The output of a command with this configuration."""
        command = (program("posttrail"), "--config", str(self.config), *arguments)
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60
        ).stdout


@contextmanager
def site(stage: Stage, directory: Path) -> Iterator[Site]:
    """queryd over a stage's journal; its state is below an existing directory."""
    public = f"127.0.0.1:{free_port()}"
    unix = directory / "queryd.sock"
    config = directory / "queryd.toml"
    query = {
        "socket": str(unix),
        "state": str(directory / "state.sqlite"),
        "tcp": public,
        "base_url": f"http://{public}",
        "metrics": "",  # the stage's own queryd has that port
    }
    config.write_text(_with_query(stage.config.read_text(), query))
    queryd = Program(directory / "queryd.log", program("posttrail-queryd"), "--config", str(config))
    with ExitStack() as stack:
        queryd.start()
        stack.callback(queryd.stop)
        wait_until(lambda: answers(unix) or not queryd.is_running())
        assert queryd.is_running(), queryd.words()
        port = stack.enter_context(forwarded(unix))
        yield Site(
            stage=stage,
            config=config,
            operator=f"http://127.0.0.1:{port}",
            public=f"http://{public}",
            queryd=queryd,
        )


def _with_query(toml: str, query: dict[str, str]) -> str:
    """A configuration with another table ``query``. JSON strings and lists are TOML's."""
    tables: dict[str, dict[str, Any]] = tomllib.loads(toml)
    tables["query"] = tables.get("query", {}) | query
    return "\n".join(
        f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for table, keys in tables.items()
    )


@contextmanager
def forwarded(path: Path) -> Iterator[int]:
    """A port whose connections are passed on to a Unix socket, both ways, by a thread."""
    server = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_run, args=(loop, server, path), daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        server.close()


def _run(loop: asyncio.AbstractEventLoop, server: socket.socket, path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_unix_connection(str(path))
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    asyncio.set_event_loop(loop)
    listener = loop.run_until_complete(asyncio.start_server(serve, sock=server))
    loop.run_forever()
    listener.close()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction; a connection is over when either end of it is."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # that end went away first
    finally:
        writer.close()
