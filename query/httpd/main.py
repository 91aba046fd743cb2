"""posttrail-queryd: report, trace and page over HTTP, for whoever is known to ask.

    posttrail-queryd [--config FILE] [--log-level LEVEL]

Exit codes: 0 stopped by a signal; 64 usage; 66 no such configuration; 69 a socket or the state
cannot be made; 75 already running, or the journal was replaced (start again); 77 no permission;
78 configuration.

Log messages: "ready" (info), "state cannot be used" (error), and those of ``app``,
``pulse``, ``marker`` and ``keeper``.
"""

import asyncio
import faulthandler
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn

from posttrail import config, daemon
from posttrail.durable import make_directory
from posttrail.errors import TryAgainError, UnavailableError
from query.httpd import app, sockets
from query.httpd.identity import Identity
from query.httpd.keeper import Keeper
from query.httpd.marker import Marker
from query.httpd.peercred import protocol
from query.httpd.pulse import Pulse
from query.httpd.service import Service
from query.httpd.state import StateError

log = logging.getLogger(__name__)

CONNECTIONS: Final = 512
KEEP_ALIVE_S: Final = 30
DRAIN_S: Final = 10
HEAD_BYTES: Final = 16 << 10


class Server(uvicorn.Server):
    """uvicorn that leaves the signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


def main() -> None:
    """The program."""
    for name in ("uvicorn", "uvicorn.error"):  # "Invalid HTTP request received." is not our news
        logging.getLogger(name).setLevel(logging.ERROR)
    daemon.program("posttrail-queryd", "Answer over HTTP.", run)


def run(settings: config.Config) -> None:
    """From the marker to the last answer."""
    faulthandler.enable()
    service = make(settings)
    listeners = sockets.listeners(settings)
    try:
        asyncio.run(_serve(service, listeners))
    finally:
        sockets.close(listeners)
        service.hub.stop()
        service.hub.join()
    if service.keeper.is_replaced():
        raise TryAgainError("the journal was replaced; start again")
    service.keeper.close()


def make(settings: config.Config) -> Service:
    """The service of a configuration; its folder for state is made where it is missing."""
    folder = settings.query.state.parent
    try:
        make_directory(folder, 0o700)
    except OSError as error:
        raise UnavailableError(f"{folder}: {error.strerror}") from None
    marker = Marker(folder / "touching", settings.journal.directory)
    identity = Identity(settings)
    try:
        identity.state.read(lambda _: None)  # makes the file: verbs do not
    except StateError as error:
        log.error("state cannot be used, what needs it is refused error=%s", error)
    return Service(settings, Keeper(settings.journal.directory, marker), identity)


async def _serve(service: Service, listeners: list[sockets.Listener]) -> None:
    front = app.make(service)
    doors = {each.socket.getsockname(): each.door for each in listeners}
    server = Server(
        uvicorn.Config(
            front,
            http=protocol(doors),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
    )

    def stop() -> None:
        if server.should_exit:
            server.force_exit = True
        daemon.notify("STOPPING=1")
        server.should_exit = True
        service.hub.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    pulse = asyncio.create_task(Pulse(front, stop).beat())
    where = " ".join(_name(each) for each in listeners)
    log.info("ready sockets=%s", where)
    try:
        await server.serve([each.socket for each in listeners])
    finally:
        pulse.cancel()


def _name(listener: sockets.Listener) -> str:
    return f"{listener.door.value}:{listener.path or listener.socket.getsockname()}"


if __name__ == "__main__":
    main()
