"""The correlator's memory does not grow with the log, whatever the log says.

POSTTRAIL_SOAK_MESSAGES takes another number of messages for the long form (a million).
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from journal.events import FIELDS, Event, Kind
from milterd.lines import programs
from milterd.lines.scan import Unknown
from milterd.lines.syslog import LineParser
from milterd.track import sessions
from milterd.track.correlate import Correlator
from tests.fuzz.memory_store import MemoryStore
from tests.fuzz.road import LOCALITY
from tests.soak.sizes import maps, resident_mib

PROJECT = Path(__file__).parents[2]
MESSAGES = int(os.environ.get("POSTTRAIL_SOAK_MESSAGES", "1000000"))
OPEN_MOST, BATCH = 3_000, 1_500  # as an import has them
STORED_MOST = 2_000  # what the journal in memory remembers
SLOPE_MIB = 10.0
NEWEST_US = 1_761_955_200_000_000  # 2025-11-01, the end of the generated log
SECOND = 1_000_000


def generated(messages: int) -> Iterator[bytes]:
    """The lines of a log that another process makes, so that its memory is not counted."""
    command = [sys.executable, "-m", "tests.soak.feed", str(messages)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT) as running:
        assert running.stdout is not None
        yield from running.stdout
    assert running.returncode == 0


@pytest.mark.soak
def test_a_million_messages_leave_no_more_than_a_hundred_thousand(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = MemoryStore(STORED_MOST)
    correlator = Correlator(store, locality=LOCALITY)
    parser = LineParser(timezone=UTC, reference_us=NEWEST_US)
    told: list[tuple[int, float]] = []
    step = max(MESSAGES // 10, 1)
    for number, raw in enumerate(generated(MESSAGES)):
        line = parser.parse(raw[:-1])
        event = programs.parse(line) if line is not None else None
        if line is None or event is None or isinstance(event, Unknown):
            continue
        for one in event if isinstance(event, list) else [event]:
            correlator.take(one, line.host)
        if number % 500 == 0 and len(correlator) > OPEN_MOST + BATCH:
            correlator.flush(BATCH)
            correlator.evict(OPEN_MOST)
        if correlator.messages // step > len(told):
            told.append((correlator.messages, resident_mib()))
            sizes = {name: size for name, size in maps(correlator).items() if size > 100}
            with capsys.disabled():
                print(
                    f"\n{told[-1][0]:,} messages, {told[-1][1]:.1f} MiB: {sizes}",
                    end="",
                    flush=True,
                )
    warm = told[len(told) // 5][1]
    with capsys.disabled():
        print(f"\nfrom {told[len(told) // 5][0]:,} messages on {told[-1][1] - warm:+.1f} MiB")
    assert len(told) >= 9
    assert max(size for _, size in told) - warm < SLOPE_MIB


def strange(kind: Kind, number: int) -> Event:
    """An event of which no other event is anything to do with."""
    words = dict.fromkeys(FIELDS[kind], b"")
    for name in words:
        words[name] = b"%d.%s.example" % (number, name.encode())
    words |= {"client_ip": b"2001:db8::%x" % number, "client_port": b"%d" % (number % 65_536)}
    words |= {
        "action": b"hold" if number % 2 else b"reject",
        "outcome": b"sent",
        "filter": b"amavis",
    }
    fields = tuple(words[name] for name in FIELDS[kind])
    queue_id = b"" if kind in WITHOUT_ID else b"%010X" % number
    return Event(number * SECOND // 10, int(kind), 1, number % 4_000_000, queue_id, fields)


WITHOUT_ID = frozenset((Kind.DOOR, Kind.VERDICT, Kind.FILED))
FOLDED = [kind for kind in Kind if kind not in (Kind.TRANSACTION, Kind.RCPT, Kind.GAP)]
MOST = 1_000  # of the caps that are larger in the program, so that fewer events show them
CAP = 5_000


@pytest.mark.parametrize("kind", FOLDED)
def test_no_kind_of_event_fills_the_memory(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", MOST)
    correlator = Correlator(MemoryStore(100), locality=LOCALITY)
    for number in range(12_000):
        correlator.take(strange(kind, number), b"mx%d" % number)
        if len(correlator) > 500:
            correlator.flush()
            correlator.evict(100)
    assert {name: size for name, size in maps(correlator).items() if size > CAP} == {}


def test_sizes_are_of_everything_that_is_held() -> None:
    correlator = Correlator(MemoryStore(), locality=LOCALITY)
    correlator.take(strange(Kind.CLIENT, 1), b"mx")
    assert {size for name, size in maps(correlator).items() if "lives" in name} == {2}
