"""What goes on beside the requests: the watchdog's proof, the gauges, days to read again.

The proof is a request through our own application: whoever can answer that can answer others.
Raises nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.types import Message, Scope

from posttrail import daemon

if TYPE_CHECKING:
    from query.httpd.app import Front

log = logging.getLogger(__name__)

TURN_S: Final = 5.0
ANSWER_S: Final = 5.0


class Pulse:
    """The turns of a server."""

    def __init__(self, front: "Front", stop: Callable[[], None]) -> None:
        self._front = front
        self._service = front.service
        self._stop = stop
        self._path = front.service.settings.run.directory / "queryd.prom"
        self._failing = False

    async def beat(self) -> None:
        """Turn after turn, until cancelled."""
        await self._turn()
        daemon.notify("READY=1")
        while True:
            await asyncio.sleep(TURN_S)
            await self._turn()

    async def _turn(self) -> None:
        if await self.answers():
            daemon.notify("WATCHDOG=1")
        self._service.keeper.turn()
        if self._service.keeper.is_replaced():
            log.warning("journal was replaced, ending so as to be started again")
            self._stop()
        self._write(self._path)

    async def answers(self) -> bool:
        """Whether a request through the application is answered in time, whatever it says."""
        status: list[int] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])

        scope: Scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": "/readyz", "raw_path": b"/readyz", "query_string": b"",
            "root_path": "", "headers": [], "client": None, "server": None,
        }  # fmt: skip
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._front(scope, receive, send)
        except TimeoutError:
            log.warning("own request was not answered seconds=%g", ANSWER_S)
        return bool(status)

    def _write(self, path: Path) -> None:
        try:
            daemon.write_prom(path, self._service.gauges())
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.warning("gauges cannot be written path=%s error=%s", path, error)
            self._failing = True
