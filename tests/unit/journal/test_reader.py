"""A reader sees whole commits, while another process writes, grows, drops and dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import IO

import pytest

from journal import keys
from journal.keys import DAY_US
from journal.reader import Reader
from journal.records import Record, Status
from journal.writer import Writer
from posttrail.errors import JournalFormatError, NotPermittedError, UnavailableError

BEGIN_US = 20_780 * DAY_US
ROOT = Path(__file__).resolve().parents[3]
MakeRecord = Callable[..., Record]

# Reads commands from stdin, answers each with a line: a writer at the test's pace.
_WRITER = """
import sys
sys.path.insert(0, "tests/unit/journal")
from pathlib import Path
from conftest import _record as record
from journal.writer import Writer
writer = Writer.open(Path(sys.argv[1]), map_size=int(sys.argv[2]))
for line in sys.stdin:
    word, first, count = line.split()
    if word == "put":
        for number in range(int(first), int(first) + int(count)):
            writer.put(record(number), None)
        writer.commit()
    elif word == "prune":
        writer.prune(int(first), int(count))
    elif word == "compact":
        assert writer.days.compact("2026-11-23")
    print("done", flush=True)
writer.close()
"""


class OtherProcess:
    """A writer in a process of its own."""

    def __init__(self, directory: Path, map_size: int) -> None:
        command = [sys.executable, "-c", _WRITER, str(directory), str(map_size)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )

    def do(self, command: str) -> None:
        """Have it done, and be told so."""
        stdin, stdout = self._pipes()
        stdin.write(command + "\n")
        stdin.flush()
        assert stdout.readline() == "done\n"

    def end(self) -> None:
        """Let it close the journal."""
        if self._process.poll() is None:
            self._process.communicate()
        assert self._process.returncode == 0

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout


@pytest.fixture
def other(directory: Path) -> Iterator[OtherProcess]:
    """A writer with a map of 1 MiB, so that it has to grow it."""
    process = OtherProcess(directory, 1 << 20)
    yield process
    process.end()


def test_each_commit_of_another_process_is_seen_at_once(
    directory: Path, other: OtherProcess
) -> None:
    other.do("put 0 1")
    with Reader.open(directory) as reader:
        for count in range(1, 20):
            assert len(list(reader.hits(keys.SENDER, b"from@example.com"))) == count
            other.do(f"put {count} 1")


def test_a_map_grown_by_the_writer_is_followed(directory: Path, other: OtherProcess) -> None:
    other.do("put 0 10")
    with Reader.open(directory) as reader:
        assert reader.counters() == {("delivered", "inbound"): 10}
        other.do("put 10 5000")
        assert reader.counters() == {("delivered", "inbound"): 5010}
        assert reader.count(keys.SENDER, b"from@example.com") == {Status.DELIVERED: 5010}


def test_a_slow_caller_holds_no_snapshot(directory: Path, other: OtherProcess) -> None:
    other.do("put 0 300")
    with Reader.open(directory) as reader:
        slow = reader.hits(keys.SENDER, b"from@example.com")
        first = list(islice(slow, 10))
        assert not _reader_slots_in_use(directory)
        other.do("put 300 300")
        rest = list(slow)
        assert len({*first, *rest}) == 300, "what came later is newer, and not asked for any more"


def _reader_slots_in_use(directory: Path) -> list[str]:
    program = "import lmdb, sys; print(lmdb.open(sys.argv[1], readonly=True, max_dbs=4).readers())"
    command = [sys.executable, "-c", program, str(directory / "2026-11-23")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # A heading, then one line a slot: pid, thread, transaction ("-" where none is open).
    slots = [line.split() for line in text.splitlines()]
    return [
        " ".join(slot) for slot in slots if len(slot) == 3 and slot[0].isdigit() and slot[2] != "-"
    ]


def test_a_dropped_day_is_gone_for_an_open_reader(directory: Path, other: OtherProcess) -> None:
    other.do("put 0 3")
    other.do("put 90000 2")  # 25 hours later
    with Reader.open(directory) as reader:
        assert reader.days() == ["2026-11-23", "2026-11-24"]
        assert reader.counters() == {("delivered", "inbound"): 5}
        message_id = next(reader.hits(keys.QUEUE_ID, b"Q1"))[0]
        other.do(f"prune {BEGIN_US + DAY_US} 1")
        assert reader.days() == ["2026-11-24"]
        assert reader.message(message_id) is None
        assert reader.counters() == {("delivered", "inbound"): 5}, "carried"
        assert len(list(reader.scan())) == 2


def test_a_compacted_day_is_smaller_and_stays_in_sight(
    directory: Path, other: OtherProcess, sound: Callable[[], object]
) -> None:
    for first in range(0, 1_000, 50):
        other.do(f"put {first} 50")
    data = directory / "2026-11-23" / "data.mdb"
    with Reader.open(directory) as reader:
        before = list(reader.scan())
        size = data.stat().st_size
        other.do("compact 0 0")
        assert data.stat().st_size < size
        assert list(reader.scan()) == before
        other.do("put 1000 5")
        assert len(list(reader.scan())) == 1_005, "the new file is read, not the old one"
    other.end()
    sound()
    modes = [path.stat().st_mode & 0o777 for path in sorted(data.parent.iterdir())]
    assert modes == [0o640, 0o660]
    assert not list(directory.glob(".new-*"))


def test_threads_share_a_reader(directory: Path, record: MakeRecord) -> None:
    with Writer.open(directory) as writer:
        for number in range(300):
            writer.put(record(number), None)
        writer.commit()
    with Reader.open(directory) as reader, ThreadPoolExecutor(8) as pool:

        def look_up(number: int) -> bool:
            (hit,) = reader.hits(keys.QUEUE_ID, b"Q%d" % number)
            return reader.record(hit[0]) == record(number)

        assert all(pool.map(look_up, range(300)))


_DYING_READER = """
import os, signal, sys
from pathlib import Path
from journal.store import DAY_DATABASES, Store
held = Store(Path(sys.argv[1]), DAY_DATABASES, writable=False, snapshot=True)
held.last_key(b"m")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_dead_reader_is_cleaned_when_the_writer_starts(
    directory: Path, record: MakeRecord
) -> None:
    with Writer.open(directory) as writer:
        writer.put(record(1), None)
        writer.commit()
    with Reader.open(directory) as reader:  # while somebody lives, LMDB keeps all slots
        assert reader.message(record(1).id) is not None
        command = [sys.executable, "-c", _DYING_READER, str(directory / "2026-11-23")]
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
        assert len(_reader_slots_in_use(directory)) == 1
        OtherProcess(directory, 1 << 20).end()
        assert _reader_slots_in_use(directory) == []


def test_hits_are_newest_first_over_days_and_bounded_by_time(
    directory: Path, record: MakeRecord
) -> None:
    step = DAY_US // 100
    made = [record(number, time_us=BEGIN_US + number * step) for number in range(250)]
    with Writer.open(directory) as writer:
        for each in made:
            writer.put(each, None)
        writer.commit()
    with Reader.open(directory) as reader:
        newest_first = [(each.id, Status.DELIVERED) for each in reversed(made)]
        assert list(reader.hits(keys.RECIPIENT, b"to0@example.org")) == newest_first
        assert list(reader.scan()) == newest_first
        since, until = made[90].message.time_us, made[210].message.time_us
        within = list(reader.hits(keys.RECIPIENT, b"to0@example.org", since, until))
        assert within == newest_first[250 - 210 : 250 - 90]
        assert list(reader.scan(since, until)) == within
        assert reader.count(keys.RECIPIENT, b"to0@example.org", since, until) == {0: 120}
        assert list(reader.hits(keys.RECIPIENT, b"nobody@example.org")) == []
        assert reader.count(keys.RECIPIENT, b"nobody@example.org") == {}


def test_many_messages_of_one_millisecond_come_in_order_of_id(
    directory: Path, record: MakeRecord
) -> None:
    with Writer.open(directory) as writer:
        for number in range(3_000):
            made = record(number, time_us=BEGIN_US + number % 2 * 5_000)
            message = made.message
            if number % 3 == 0:  # its time became the other millisecond
                message = message._replace(time_us=BEGIN_US + 5_000)
            writer.put(made._replace(message=message), None)
        writer.commit()
    with Reader.open(directory) as reader:
        found = [message_id for message_id, _ in reader.hits(keys.SENDER, b"from@example.com")]
        times = [(reader.message(each), each) for each in found]
        order = [(message.time_us // 1000, each) for message, each in times if message]
        assert len(order) == 3_000
        assert order == sorted(order, reverse=True)


def test_excluded_days_are_absent(directory: Path, record: MakeRecord) -> None:
    with Writer.open(directory) as writer:
        for number in range(2):
            writer.put(record(number, time_us=BEGIN_US + number * DAY_US), None)
        writer.commit()
    with Reader.open(directory, exclude=["2026-11-23"]) as reader:
        assert reader.days() == ["2026-11-24"]
        assert reader.message(record(0).id) is None
        assert len(list(reader.scan())) == 1


def test_hourly_sums_rows_by_hour_and_status(directory: Path, record: MakeRecord) -> None:
    with Writer.open(directory) as writer:
        for number in (0, 1, 3_600, 7_300):
            statuses = (Status.DELIVERED, Status.ERROR)
            writer.put(record(number, statuses=statuses), None)
        writer.commit()
    hour = 3_600_000_000
    with Reader.open(directory) as reader:
        assert reader.hourly(BEGIN_US + hour // 2, BEGIN_US + 2 * hour) == {
            (BEGIN_US, "delivered"): 2,
            (BEGIN_US, "error"): 2,
            (BEGIN_US + hour, "delivered"): 1,
            (BEGIN_US + hour, "error"): 1,
        }


def test_no_journal_and_no_permission_are_told_apart(directory: Path, record: MakeRecord) -> None:
    with pytest.raises(UnavailableError, match="no journal at"):
        Reader.open(directory)
    with Writer.open(directory) as writer:
        writer.put(record(1), None)
        writer.commit()
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    assert _as_nobody(directory) == NotPermittedError.exit_code
    directory.parent.chmod(0o755)
    assert _as_nobody(directory) == NotPermittedError.exit_code


def _as_nobody(directory: Path) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            Reader.open(directory)
        except (NotPermittedError, UnavailableError, JournalFormatError) as error:
            code = error.exit_code if str(directory) in str(error) else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_an_environment_is_not_used_across_fork(directory: Path, record: MakeRecord) -> None:
    with Writer.open(directory) as writer:
        writer.put(record(1), None)
        writer.commit()
    with Reader.open(directory) as reader:
        assert reader.message(record(1).id) is not None
        child = os.fork()
        if child == 0:
            try:
                reader.message(record(1).id)
                os._exit(0)
            except RuntimeError:
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
