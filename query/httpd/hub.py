"""One look at the journal for all live streams: a thread that asks for the newest change.

It runs while there is a stream, ten times a second, and one number tells it that nothing is new.
What is new is read once, told to each stream's watch, and put into the stream's queue as bytes. A
queue that is full gets nothing more: the stream stays behind and is served from the journal when
it has room, so nothing is lost; one that takes nothing for ``SLOW_S`` is ended. Raises what the
journal raises where a stream is opened.

Log messages: "journal cannot be read, live streams wait" (warning), "live streams go on" (info).
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from enum import Enum
from itertools import islice
from threading import Event, Lock, Thread
from typing import Final, NamedTuple

from journal.reader import Change, Reader
from journal.store import DamagedStoreError
from posttrail.errors import PosttrailError
from posttrail.text import json_dump
from query import sse
from query.changes import Gone, News, Versions, Watch
from query.httpd.audit import Entry
from query.httpd.keeper import Keeper
from query.rows import Row, document

log = logging.getLogger(__name__)

TICK_S: Final = 0.1
FAILED_S: Final = 1.0
"""Between looks at a journal that cannot be read."""
CHUNK: Final = 200
"""Changes that are read at a time."""
ROOM_BYTES: Final = 256 << 10
"""A queue that holds more takes no further change."""
SLOW_S: Final = 30.0
MOST: Final = 256
"""Streams of all callers together."""


class End(Enum):
    """Why a stream ends; ``ended`` tells it. After EXPIRED there is no use in coming back."""

    SLOW = "slow"
    STOPPING = "stopping"
    EXPIRED = "expired"
    CHANGED = "changed"  # what the caller may see is not what it was
    UNAVAILABLE = "unavailable"  # it cannot be found out or recorded who looks


class Stream:
    """What one client is still to be sent. The hub's thread fills it, the event loop empties it."""

    def __init__(self, watch: Watch, name: str, entry: Entry | None = None) -> None:
        self.watch = watch
        self.name = name  # the caller's
        self._entry = entry  # of the audit, where the caller's look-ups are recorded
        self.at = watch.at  # all up to this change is queued or taken
        self.ending: End | None = None
        self._lock = Lock()
        self._queue: list[bytes] = []
        self._queued = 0
        self._full_since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()

    # The hub's side

    def tell(self, change: Change, versions: Versions, reader: Reader) -> None:
        """Queue what a change is to this stream."""
        found = self.watch.news(change, versions, reader)
        if found:
            with self._lock:
                for each in found:
                    if self._entry is not None and isinstance(each, Row):
                        self._entry.saw(each)
                self._put(encoded(found, change.seq))
        self.at = change.seq

    def has_room(self) -> bool:
        """Whether it takes more now; one that did not for long is ended."""
        if self._queued <= ROOM_BYTES:
            self._full_since = None
            return True
        now = time.monotonic()
        self._full_since = self._full_since or now
        if now - self._full_since > SLOW_S:
            self.end(End.SLOW)
        return False

    def end(self, why: End) -> None:
        """Let it end, behind what is queued; from any thread."""
        with self._lock:
            if self.ending is not None:
                return
            self.ending = why
            self._put(sse.encode(sse.Event("end", json_dump({"reason": why.value}))))

    def come_to(self, seq: int) -> None:
        """All up to a change was told."""
        self.watch.at = self.at = max(self.watch.at, seq)

    def go_back(self, seq: int) -> None:
        """The journal's numbers begin anew behind this one."""
        self.watch.at = self.at = min(self.watch.at, seq)

    def _put(self, raw: bytes) -> None:
        self._queue.append(raw)
        self._queued += len(raw)
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:
            pass  # the loop is closed, and so is the client's connection

    # The client's side

    async def wait(self, seconds: float) -> None:
        """Until there is something to take, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            pass

    def take(self) -> bytes:
        """All that is queued; where nothing is, a ping that tells how far the stream has come."""
        with self._lock:
            self._ready.clear()
            at = self.at
            raw, self._queue, self._queued = b"".join(self._queue), [], 0
        return raw or sse.PING + sse.encode(sse.Event("", "", str(at)))

    def record(self) -> None:
        """Complete the audit's entry with what was told so far; raises StateError."""
        if self._entry is not None:
            with self._lock:
                self._entry.end()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to take, and nothing will be."""
        return self.ending is not None and not self._queue


def encoded(found: Iterable[News], seq: int) -> bytes:
    """The events of one change: the last has its number, those before ``NUMBER.ROW``."""
    *before, last = found
    alone = len({each.id for each in (*before, last)}) == 1
    ids = [f"{seq}.{each.row}" if alone else "" for each in before]
    pairs = zip((*before, last), (*ids, str(seq)), strict=True)
    return b"".join(sse.encode(_event(each, id)) for each, id in pairs)


def _event(each: News, id: str) -> sse.Event:
    if isinstance(each, Gone):
        return sse.Event("gone", json_dump(asdict(each)), id)
    return sse.Event("row", json_dump(document(each)), id)


class Look(NamedTuple):
    """What one look at the journal found."""

    before: int  # the change behind which it began
    fresh: list[Change]
    more: bool  # than a chunk


class Hub:
    """All streams of the process."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._lock = Lock()
        self._looking = Lock()  # of position and versions, while a look changes them
        self._streams: list[Stream] = []
        self._versions = Versions()
        self._at = 0
        self._thread: Thread | None = None
        self._stopped = Event()
        self._failing = False

    @property
    def count(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    @property
    def is_stopped(self) -> bool:
        """Whether no stream may begin any more."""
        return self._stopped.is_set()

    def streams_of(self, name: str) -> int:
        """Those of one caller."""
        return Counter(stream.name for stream in self._streams)[name]

    def position(self, reader: Reader) -> int:
        """The newest change, behind which a stream begins; what messages were by then is known.

        It must be asked for before the next change: the journal's log has only the last one of
        a message, so what a message was in between cannot be read later.
        """
        with self._looking:
            if self._thread is None:
                self._versions = Versions()
                self._at = reader.last_change()
                self._versions.learn(reader)
            else:
                while self._look(reader, list(self._streams)).more:
                    pass
            return self._at

    def open(self, stream: Stream) -> None:
        """Serve a stream until it is closed; it begins at ``position``, or resumes."""
        with self._lock:
            self._streams.append(stream)
            if self._thread is None and not self.is_stopped:
                self._thread = Thread(target=self._run, name="live", daemon=True)
                self._thread.start()
        if self.is_stopped:
            stream.end(End.STOPPING)

    def close(self, stream: Stream) -> None:
        """Nothing more for this one."""
        with self._lock:
            if stream in self._streams:
                self._streams.remove(stream)

    def stop(self) -> None:
        """End all streams, and the thread; does not wait."""
        self._stopped.set()
        for stream in list(self._streams):
            stream.end(End.STOPPING)

    def join(self) -> None:
        """Wait until the journal is not read any more; after ``stop``."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        """The thread. A fault of ours ends all streams; the next one gets a thread of its own."""
        try:
            self._serve()
        except BaseException:
            with self._lock:
                self._thread = None
                streams = list(self._streams)
            for stream in streams:
                stream.end(End.STOPPING)
            raise

    def _serve(self) -> None:
        while True:
            with self._lock:
                if self.is_stopped or not self._streams:
                    self._thread = None
                    return
                streams = [stream for stream in self._streams if stream.ending is None]
            wait_s = TICK_S
            try:
                reader = self._keeper.local().reader
                wait_s = 0.0 if self.tick(reader, streams) else TICK_S
                self._report(None)
            except PosttrailError as error:
                if isinstance(error, DamagedStoreError):
                    self._keeper.damaged(error)
                self._report(error)
                wait_s = FAILED_S
            self._stopped.wait(wait_s)

    def tick(self, reader: Reader, streams: list[Stream]) -> bool:
        """Read and tell a chunk of what is new; whether there may be more at once."""
        with self._looking:
            look = self._look(reader, streams)
        more = look.more
        for stream in streams:
            if not stream.has_room():
                continue
            if stream.watch.at < look.before:
                more |= self._catch_up(reader, stream)
            else:
                self._tell(reader, stream, look.fresh)
        return more

    def _look(self, reader: Reader, streams: list[Stream]) -> Look:
        """Remember a chunk of what is new."""
        before, until = self._at, reader.last_change()
        if until < before:  # a day went, and with it the greatest numbers
            before = self._at = until
            self._versions = Versions()
            for stream in streams:
                stream.go_back(until)
        fresh = list(islice(reader.news(before, until), CHUNK)) if until > before else []
        for change in fresh:
            self._versions.add(change)
        more = len(fresh) == CHUNK
        self._at = fresh[-1].seq if more else until
        return Look(before, fresh, more)

    def _catch_up(self, reader: Reader, stream: Stream) -> bool:
        """Tell a chunk of what a stream has missed; whether there is more."""
        missed = list(islice(reader.news(stream.watch.at, self._at), CHUNK))
        done = self._tell(reader, stream, missed, until=len(missed) < CHUNK)
        return not done

    def _tell(
        self, reader: Reader, stream: Stream, changes: list[Change], *, until: bool = True
    ) -> bool:
        """Tell changes while there is room; whether the stream has come to where the hub is."""
        for change in changes:
            if not stream.has_room():
                return False
            stream.tell(change, self._versions, reader)
        if until:
            stream.come_to(self._at)
        return until

    def _report(self, error: PosttrailError | None) -> None:
        if error is not None and not self._failing:
            log.warning("journal cannot be read, live streams wait error=%s", error)
        elif error is None and self._failing:
            log.info("live streams go on")
        self._failing = error is not None
