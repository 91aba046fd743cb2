"""What is new, as verbs hear of it: from posttrail-queryd's stream, or from the journal itself.

Both yield rows as they appear or change, ``Gone`` for those that left the filters, and None again
and again where there is nothing: at first when nothing is missed any more, later so that whoever
listens can look at the clock. The stream is taken up again where it was cut (Last-Event-ID).
Raises UsageError, UnavailableError where nobody answers at first, RefusedError where the service
lets us listen no more, and what the reader raises.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Final

from journal.reader import Reader
from posttrail.errors import RefusedError, TryAgainError, UnavailableError
from query.answers import Filters
from query.changes import Gone, News, Versions, Watch
from query.match import Query
from query.remote import Remote, row_of
from query.scope import Scope
from query.sse import Parser

POLL_S: Final = 0.2
SILENCE_S: Final = 45.0
"""The service pings every 15 seconds: one that does not for so long is gone."""
RETRY_S: Final = 3.0


def of_journal(
    reader: Reader, query: Query, scope: Scope, *, message_id: bytes | None
) -> Iterator[News | None]:
    """From a journal, without end."""
    watch = Watch(query, scope, after=reader.last_change(), message_id=message_id)
    versions = Versions()
    versions.learn(reader)
    parent = os.getppid()
    while True:
        if os.getppid() != parent:  # the terminal's process, of which we are the child
            raise TryAgainError("whoever watched is gone")
        until = reader.last_change()
        if until < watch.at and reader.is_replaced():
            raise TryAgainError("the journal was replaced; start again")
        watch.at = min(watch.at, until)
        for change in reader.news(watch.at, until):
            versions.add(change)
            yield from watch.news(change, versions, reader)
        watch.at = until
        yield None
        time.sleep(POLL_S)


def of_service(
    service: Remote, filters: Filters, *, message: str | None, left_s: Callable[[], float]
) -> Iterator[News | None]:
    """From a service, without end; ``left_s`` tells how long anybody listens."""
    last_id, is_first = "", True
    while True:
        stream = _Stream()
        try:
            yield from stream.news(service, filters, message, last_id, left_s)
        except TryAgainError:
            if is_first:
                raise
        except UnavailableError:
            if is_first:
                raise
        is_first = False
        last_id = stream.parser.last_id or last_id
        yield from _pause(min(stream.retry_s, left_s()))


def _pause(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        time.sleep(min(left_s, POLL_S))
        yield None
    yield None


class _Stream:
    """One connection to the stream."""

    def __init__(self) -> None:
        self.parser = Parser()

    @property
    def retry_s(self) -> float:
        """How long to wait before the next one."""
        told = self.parser.retry_ms
        return RETRY_S if told is None else min(told / 1000, SILENCE_S)

    def news(
        self,
        service: Remote,
        filters: Filters,
        message: str | None,
        last_id: str,
        left_s: Callable[[], float],
    ) -> Iterator[News | None]:
        """What it tells, until it ends or is cut."""
        answer = service.stream(
            filters,
            message=message,
            last_id=last_id,
            timeout_s=max(0.01, min(SILENCE_S, left_s())),
        )
        try:
            while chunk := answer.read1(1 << 16):
                for event in self.parser.feed(chunk):
                    if event.name == "row":
                        yield row_of(json.loads(event.data))
                    elif event.name == "gone":
                        yield Gone(**json.loads(event.data))
                    elif event.name == "end":
                        _check_end(json.loads(event.data).get("reason"))
                        return
                yield None
        except (OSError, HTTPException):
            yield None  # cut, or silent for too long
        except (ValueError, TypeError):
            raise UnavailableError(
                "posttrail-queryd is of another release: no such events"
            ) from None
        finally:
            answer.close()


def _check_end(reason: object) -> None:
    if reason == "expired":
        raise RefusedError("posttrail-queryd refuses: what proved who you are has expired")
