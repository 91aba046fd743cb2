"""Fifty live streams while a thousand messages a second change: posttrail-queryd stays as it is.

That is more than one process can tell: streams fall behind, which must cost time and no memory.
POSTTRAIL_SOAK_STREAM_S takes another time than a minute. The figures are printed.
"""

import os
import selectors
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from posttrail.run import program
from tests.soak.sizes import memory_mib
from tests.unit.query.conftest import Shelf, row, shelf

__all__ = ["shelf"]

STREAMS = 50
A_SECOND = 1000
A_COMMIT = 100
SECONDS = int(os.environ.get("POSTTRAIL_SOAK_STREAM_S", "60"))
SETTLED = 3  # the part of the time after which memory is held to be settled
SLOPE_MIB = 10.0

CONFIGURATION = """
[journal]
directory = "{top}/journal"
[run]
directory = "{top}"
[query]
socket = "{top}/queryd.sock"
state = "{top}/state.sqlite"
streams = 64
"""


@pytest.mark.soak
def test_fifty_streams_of_a_busy_journal_keep_the_memory_flat(shelf: Shelf) -> None:
    top = shelf.directory.parent
    with ExitStack() as stack:
        pid = stack.enter_context(queryd(top))
        streams = [stack.enter_context(listening(top / "queryd.sock")) for _ in range(STREAMS)]
        taken, sizes = played(shelf, streams, pid)
    settled = sizes[len(sizes) // SETTLED :]
    print(
        f"\n{STREAMS} streams, {SECONDS} s at {A_SECOND} changes a second:"
        f" {min(taken):,} to {max(taken):,} events a stream, {sum(taken) / SECONDS:,.0f} a second,"
        f" {settled[0]:.1f} MiB, then {max(settled) - settled[0]:+.1f} MiB at most"
    )
    assert min(taken) > 0.5 * max(taken)  # nobody is left behind the others
    assert max(settled) - settled[0] < SLOPE_MIB


def played(shelf: Shelf, streams: list[socket.socket], pid: int) -> tuple[list[int], list[float]]:
    """Events that each stream got, and the process's anonymous memory second by second."""
    selector, taken, sizes = selectors.DefaultSelector(), [0] * len(streams), []
    for number, stream in enumerate(streams):
        selector.register(stream, selectors.EVENT_READ, number)
    begun = time.monotonic()
    commits = SECONDS * A_SECOND // A_COMMIT
    for number in range(commits):
        put(shelf)
        if number % (A_SECOND // A_COMMIT) == 0:
            sizes.append(memory_mib(pid)[1])
        while True:
            left = begun + (number + 1) * A_COMMIT / A_SECOND - time.monotonic()
            for key, _ in selector.select(max(left, 0)):
                taken[key.data] += streams[key.data].recv(1 << 20).count(b"event: row\n")
            if left <= 0:
                break
    return taken, sizes


def put(shelf: Shelf) -> None:
    """One commit of so many messages, of now."""
    now_us = time.time_ns() // 1000
    for place in range(A_COMMIT):
        shelf.put(row(b"to%d@example.org" % place), at_us=now_us + place, commit=False)
    shelf.writer.commit()


@contextmanager
def queryd(top: Path) -> Iterator[int]:
    """posttrail-queryd on the journal; its pid."""
    path = top / "posttrail.toml"
    path.write_text(CONFIGURATION.format(top=top))
    with subprocess.Popen([program("posttrail-queryd"), "--config", str(path)]) as running:
        try:
            deadline = time.monotonic() + 30
            while not (top / "queryd.sock").exists():
                assert time.monotonic() < deadline
                assert running.poll() is None
                time.sleep(0.05)
            yield running.pid
        finally:
            running.terminate()


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A stream of all that is new."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(path))
        stream.sendall(b"GET /v1/events HTTP/1.1\r\nHost: posttrail\r\n\r\n")
        assert b" 200 " in stream.recv(1 << 16).split(b"\r\n")[0]
        yield stream
