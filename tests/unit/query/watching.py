"""A client of /v1/events for tests: reads a stream event by event."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from query.sse import Event, Parser
from tests.unit.query.serving import Unix


class Listener:
    """One stream."""

    def __init__(self, answer: HTTPResponse) -> None:
        self.answer = answer
        self.parser = Parser()
        self._waiting: list[Event] = []
        self._read()  # how far the stream has come: from here on nothing is missed

    @property
    def last_id(self) -> str:
        return self.parser.last_id

    def next(self) -> Event | None:
        """The next event; None at the end of the stream."""
        while not self._waiting:
            if not self._read():
                return None
        return self._waiting.pop(0)

    def rows(self, count: int) -> list[dict[str, Any]]:
        """The data of so many events."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            event = self.next()
            assert event is not None, f"the stream ended after {len(found)} of {count}"
            found.append(json.loads(event.data))
        return found

    def _read(self) -> bool:
        chunk = self.answer.read1(65536)
        self._waiting += self.parser.feed(chunk)
        return bool(chunk)


@contextmanager
def listening(socket: Path, query: str = "", **headers: str) -> Iterator[Listener]:
    """A stream that is open; cut at the end."""
    connection = Unix(socket)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", f"/v1/events{query}", headers=named)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        yield Listener(answer)
    finally:
        if connection.sock is not None:
            connection.sock.close()
        connection.close()
