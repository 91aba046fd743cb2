"""What no MTA says: posttrail-milterd takes it, answers nothing but "continue", and stays as it was.

The long form is ten thousand broken conversations; POSTTRAIL_FUZZ_CONVERSATIONS takes another number,
POSTTRAIL_FUZZ_SEED another seed.
"""

import os
import random
import select
import socket
import struct
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from milterd.spool import to_events
from tests.fuzz.conversations import CROWD_EVERY, mutated, seeds, wire
from tests.integration.milter_client import Mta
from tests.integration.milterd_process import Milterd, Start, start
from tests.soak.sizes import descriptors, memory_mib, sessions
from tests.waiting import wait_until

pytest.importorskip("milter")
__all__ = ["start"]

LONG = int(os.environ.get("POSTTRAIL_FUZZ_CONVERSATIONS", "10000"))
SHORT = 300
SEED = int(os.environ.get("POSTTRAIL_FUZZ_SEED", "1"))
CLEAN_EVERY = 10
WARM = 0.5  # the part after which memory is held to be settled
GROWN_MIB = 1.0
GROWN_SHORT_MIB = 8.0  # so few do not settle it
ANSWER_S = 20.0
PIECE = 2_000  # so many bytes have fewer replies than a socket holds


def replies(path: Path, written: bytes, *, hasty: bool) -> bytes:
    """All that the milter answers until it hangs up; a hasty client does not wait for that."""
    with socket.socket(socket.AF_UNIX) as mta:
        mta.settimeout(ANSWER_S)
        mta.connect(str(path))
        heard = b""
        try:
            for at in range(0, len(written), PIECE):
                heard += _ready(mta)  # or both would wait for each other to read
                mta.sendall(written[at : at + PIECE])
            if hasty:
                return heard
            mta.shutdown(socket.SHUT_WR)
            while piece := mta.recv(1 << 16):
                heard += piece
        except (BrokenPipeError, ConnectionResetError):
            pass  # it had heard enough
        return heard


def _ready(mta: socket.socket) -> bytes:
    """What can be read without waiting."""
    ready, _, _ = select.select([mta], [], [], 0)
    return mta.recv(1 << 16) if ready else b""


def commands(heard: bytes) -> bytes:
    """The commands of the packets that were heard; each must be whole, but for the last."""
    found = b""
    while len(heard) >= 5:
        [length] = struct.unpack_from(">I", heard)
        assert length >= 1
        found += heard[4:5]
        heard = heard[4 + length :]
    return found


def clean(milterd: Milterd, queue_id: bytes) -> None:
    """A session as it should be, right after one that was not."""
    with Mta(milterd.socket) as mta:
        mta.connect()
        mta.helo()
        mta.message(queue_id, b"<%s@example.org>" % queue_id)


def is_whole(record: dict[str, Any]) -> bool:
    """Whether a clean session's record says what was said."""
    name = record["id"]
    return (
        record["rcpts"] == [[f"{name}@example.org", "smtp", "example.org", 0, "", "", []]]
        and (record["sender"], record["subject"]) == ("ann@example.com", f"message {name}")
        and (record["ip"], record["helo"], record["login"]) == ("192.0.2.1", "mx.example.net", "")
        and (record["stage"], record["aborted"]) == ("eom", False)
    )


def broken(milterd: Milterd, count: int, capsys: pytest.CaptureFixture[str]) -> float:
    """So many broken conversations, a clean one after every tenth; then all that must hold.

    Returns how many MiB the process has grown by once it had settled.
    """
    chance, pid, begun = random.Random(SEED), milterd.process.pid, time.monotonic()
    sizes, answers, cleaned = [], bytearray(), [b"FIRST"]
    clean(milterd, cleaned[0])
    wait_until(lambda: sessions(milterd.socket) == 0)
    open_before = descriptors(pid)
    for number in range(count):
        written = mutated(chance, number)
        heard = commands(replies(milterd.socket, written, hasty=chance.random() < 0.1))
        assert set(heard) <= set(b"Oc"), f"conversation {number} of seed {SEED}: {heard!r}"
        answers += heard
        if number % CLEAN_EVERY == 0:
            cleaned.append(b"CLEAN%d" % number)
            clean(milterd, cleaned[-1])
        if number % CROWD_EVERY == 0:  # at rest, so that memory is not that of several at once
            wait_until(partial(is_recorded, milterd, cleaned[-1]))
            sizes.append(memory_mib(pid)[0])
    names = {name.decode() for name in cleaned}
    wait_until(lambda: names <= {record["id"] for record in milterd.records()})
    wait_until(lambda: sessions(milterd.socket) == 0)
    assert descriptors(pid) == open_before
    records = [record for record in milterd.records() if record["id"] in names]
    assert len(records) == len(names)
    assert all(map(is_whole, records))
    assert all(to_events(record) for record in milterd.records())
    assert milterd.process.poll() is None
    assert milterd.stop() == 0
    errors = milterd.errors.read_text()
    assert "failed" not in errors, errors
    assert "Traceback" not in errors, errors
    warm = sizes[int(len(sizes) * WARM) :]
    with capsys.disabled():
        print(
            f"\nmilterd: {count:,} broken conversations in {time.monotonic() - begun:.0f} s,"
            f" {len(answers):,} replies, all continue; {len(names):,} clean sessions between, each"
            f" recorded; resident {warm[0]:.1f} MiB, then {max(warm) - warm[0]:+.2f};"
            f" descriptors {open_before} before and after",
            flush=True,
        )
    return max(warm) - warm[0]


def is_recorded(milterd: Milterd, queue_id: bytes) -> bool:
    """Whether the spool's end has it."""
    return b'"id":"%s"' % queue_id in b"".join(milterd.lines()[-2 * CLEAN_EVERY :])


def test_broken_conversations_change_nothing(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    assert broken(start(), SHORT, capsys) < GROWN_SHORT_MIB


@pytest.mark.soak
def test_ten_thousand_broken_conversations_change_nothing(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    assert broken(start(), LONG, capsys) < GROWN_MIB


@pytest.mark.parametrize("number", range(len(seeds())))
def test_the_seeds_are_what_an_mta_says(start: Start, number: int) -> None:
    """Unchanged, each is taken to its end: what is found of the broken ones is of what broke them."""
    milterd = start()
    heard = commands(replies(milterd.socket, wire(seeds()[number]), hasty=False))
    assert heard[:1] == b"O"
    assert milterd.stop() == 0
    assert {record["stage"] for record in milterd.records()} >= {"eom"}
