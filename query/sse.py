"""Server-Sent Events as bytes (WHATWG HTML, 9.2): written by the service, read by the verb.

Data is one line of JSON. Raises nothing: what is no field is passed over, as the standard says.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

MEDIA: Final = "text/event-stream"
PING: Final = b": ping\n\n"


class Event(NamedTuple):
    """One event; with a name of "" it only tells the id."""

    name: str
    data: str
    id: str = ""


def encode(event: Event) -> bytes:
    """The event, its blank line included."""
    lines = [f"id: {event.id}\n"] if event.id else []
    if event.name:
        lines += [f"event: {event.name}\n", f"data: {event.data}\n"]
    return ("".join(lines) + "\n").encode("utf-8", "surrogatepass")


class Parser:
    """Bytes to events, however they are cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self._name = ""
        self._data: list[str] = []
        self.last_id = ""  # of the last event that was whole
        self.retry_ms: int | None = None
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that are whole by now."""
        lines, self._rest = _lines(self._rest + chunk)
        for line in lines:
            if not self._begun:
                self._begun, line = True, line.removeprefix(b"\xef\xbb\xbf")
            found = self._line(line.decode("utf-8", "replace"))
            if found is not None:
                yield found

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdecimal():
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> Event | None:
        name, data = self._name or "message", self._data
        self._name, self._data, self.last_id = "", [], self._id
        return Event(name, "\n".join(data), self._id) if data else None


def _lines(raw: bytes) -> tuple[list[bytes], bytes]:
    """The lines that are whole, ended by CR, LF or both, and what is behind them."""
    held = b""
    if raw.endswith(b"\r"):  # its LF may be still to come
        raw, held = raw[:-1], b"\r"
    *whole, rest = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return whole, rest + held
