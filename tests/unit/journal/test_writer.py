"""What was committed is there, exactly once, under exactly the right keys."""

import os
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from journal import keys, retention, store, terms
from journal.check import Part, check_journal
from journal.keys import DAY_US
from journal.reader import Reader
from journal.records import NO_STATUS, Direction, Gap, Message, Record, Status
from journal.store import DiskFullError, Store
from journal.writer import Writer, WriterBusyError
from posttrail.errors import JournalFormatError

BEGIN_US = 20_780 * DAY_US
Sound = Callable[[], list[Part]]
MakeRecord = Callable[..., Record]
ROOT = Path(__file__).resolve().parents[3]


def test_a_record_is_there_after_the_commit_and_after_reopening(
    directory: Path, record: MakeRecord
) -> None:
    first = record(1)
    with Writer.open(directory) as writer:
        writer.put(first, None)
        assert writer.get(first.id) is None, "not before the commit"
        assert writer.commit({"log": b"at 10"}) == 1
        assert writer.get(first.id) == first
        assert writer.commit() == 0
    with Writer.open(directory) as writer:
        assert writer.get(first.id) == first
        assert writer.position("log") == b"at 10"
        assert writer.position("spool") is None


def test_the_last_put_of_an_id_wins(directory: Path, record: MakeRecord, sound: Sound) -> None:
    with Writer.open(directory) as writer:
        writer.put(record(1, statuses=(Status.IN_PROGRESS,)), None)
        writer.put(record(1, statuses=(Status.ERROR,)), None)
        assert writer.commit() == 1
        assert writer.get(record(1).id) == record(1, statuses=(Status.ERROR,))
    sound()


def test_an_update_moves_index_entries_and_counters(
    directory: Path, record: MakeRecord, sound: Sound
) -> None:
    old = record(1, statuses=(Status.IN_PROGRESS,), recipients=(b"alias@example.org",))
    new = record(
        1,
        statuses=(Status.DELIVERED, Status.ERROR),
        recipients=(b"a@example.org", b"b@example.net"),
    )
    with Writer.open(directory) as writer:
        writer.put(old, None)
        writer.commit()
        writer.put(new, old)
        writer.commit()
        assert writer.find(keys.RECIPIENT, b"alias@example.org", 0, 1 << 60) == []
        for value in (b"A@Example.ORG", b"<b@example.net>"):
            assert writer.find(keys.RECIPIENT, value, 0, 1 << 60) == [new]
    with Reader.open(directory) as reader:
        assert list(reader.hits(keys.RECIPIENT, b"alias@example.org")) == []
        assert list(reader.hits(keys.RECIPIENT_DOMAIN, b"example.net")) == [(new.id, Status.ERROR)]
        assert list(reader.hits(keys.SENDER, b"from@example.com")) == [(new.id, Status.ERROR)]
        assert reader.counters() == {("delivered", "inbound"): 1, ("error", "inbound"): 1}
        assert [change[1] for change in reader.changes(0)] == [new.id]
    assert [(part.messages, part.tombstones) for part in sound()[1:]] == [(1, 0)]


def test_only_the_difference_is_written(
    directory: Path, record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = record(1, statuses=(Status.DELIVERED,))
    new = record(1, statuses=(Status.DELIVERED,), next_queue_ids=(b"NEXT",))
    applied: list[dict[bytes, store.Change]] = []
    with Writer.open(directory) as writer:
        writer.put(old, None)
        writer.commit()
        whole = Store.apply

        def spy(self: Store, changes: dict[bytes, store.Change]) -> None:
            applied.append(changes)
            whole(self, changes)

        monkeypatch.setattr(Store, "apply", spy)
        writer.put(new, old)
        writer.commit()
    (changes,) = applied
    assert [key[:1] for key, _ in changes[b"x"].puts] == [keys.QUEUE_ID]
    assert not changes[b"x"].deletes
    assert not changes[b"c"].puts


def test_a_wrong_idea_of_what_is_committed_does_no_harm(
    directory: Path, record: MakeRecord, sound: Sound
) -> None:
    with Writer.open(directory) as writer:
        writer.put(record(1), record(1, statuses=(Status.ERROR,)))  # there is nothing yet
        writer.commit()
        writer.put(record(1, statuses=(Status.DEFERRED,)), None)  # there is something
        writer.commit()
    sound()
    with Reader.open(directory) as reader:
        assert reader.counters()["deferred", "inbound"] == 1


def test_a_merge_takes_everything_back_and_leaves_a_way_to_follow(
    directory: Path, record: MakeRecord, sound: Sound
) -> None:
    kept, gone = record(1), record(2)
    merged = Record(kept.message._replace(queue_ids=(b"Q1", b"Q2")), (), ())
    with Writer.open(directory) as writer:
        writer.put(kept, None)
        writer.put(gone, None)
        writer.commit()
        writer.put(merged, kept)
        writer.tombstone(gone, kept.id)
        assert writer.commit() == 2
        assert writer.get(gone.id) == merged
        assert writer.find(keys.QUEUE_ID, b"Q2", 0, 1 << 60) == [merged]
    with Reader.open(directory) as reader:
        assert reader.message(gone.id) == merged.message
        assert reader.record(gone.id) == merged
        assert reader.counters() == {("delivered", "inbound"): 1}
        assert [message_id for message_id, _ in reader.scan()] == [kept.id]
        assert {change[1] for change in reader.changes(0)} == {kept.id, gone.id}
    assert [(part.messages, part.tombstones) for part in sound()[1:]] == [(1, 1)]


def test_a_message_never_committed_can_be_merged_away(
    directory: Path, record: MakeRecord, sound: Sound
) -> None:
    with Writer.open(directory) as writer:
        writer.put(record(1), None)
        writer.put(record(2), None)
        writer.tombstone(record(2), record(1).id)
        writer.commit()
        assert writer.get(record(2).id) == record(1)
    sound()


def test_a_message_is_merged_across_days_after_its_evidence_is_safe(
    directory: Path, record: MakeRecord, sound: Sound, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = record(1, time_us=BEGIN_US - 5)
    late = record(2)
    with Writer.open(directory) as writer:
        writer.put(early, None)
        writer.put(late, None)
        writer.commit()
        order = []
        whole = Store.apply

        def spy(self: Store, changes: dict[bytes, store.Change]) -> None:
            order.append(self.path.name)
            whole(self, changes)

        monkeypatch.setattr(Store, "apply", spy)
        writer.put(late._replace(dropped=(b"12345678",)), late)
        writer.tombstone(early, late.id)
        writer.commit()
    assert order == ["2026-11-23", "2026-11-22"]
    sound()


def test_tombstones_that_form_a_circle_are_damage_not_a_hang(
    directory: Path, record: MakeRecord
) -> None:
    with Writer.open(directory) as writer:
        writer.tombstone(record(1), record(2).id)
        writer.tombstone(record(2), record(1).id)
        writer.commit()
        with pytest.raises(Exception, match="circle"):
            writer.get(record(1).id)
        with pytest.raises(ValueError):
            writer.tombstone(record(3), record(3).id)
    with Reader.open(directory) as reader, pytest.raises(Exception, match="circle"):
        reader.message(record(1).id)


def test_a_message_without_rows_is_found_and_counted(
    directory: Path, record: MakeRecord, sound: Sound
) -> None:
    abandoned = record(1, statuses=())
    with Writer.open(directory) as writer:
        writer.put(abandoned, None)
        writer.commit()
    with Reader.open(directory) as reader:
        assert list(reader.hits(keys.CLIENT_IP, b"192.0.2.7")) == [(abandoned.id, NO_STATUS)]
        assert list(reader.scan()) == [(abandoned.id, NO_STATUS)]
        assert reader.counters() == {}
        assert reader.hourly() == {}
        assert reader.rowless() == 1
    sound()


def test_ids_are_given_once(directory: Path, record: MakeRecord) -> None:
    with Writer.open(directory) as writer:
        given = {writer.new_id(BEGIN_US, b"same") for _ in range(5)}
        assert len(given) == 5
        first = min(given)
        writer.put(record(1, id=first, time_us=BEGIN_US), None)
        writer.commit()
        assert writer.new_id(BEGIN_US, b"same") not in given
        assert all(keys.id_day(each) == 20_780 for each in given)


def test_random_histories_leave_an_exact_journal(directory: Path, record: MakeRecord) -> None:
    for seed in range(4):
        chance = random.Random(seed)
        where = directory.parent / f"{directory.name}{seed}"
        model: dict[bytes, Record] = {}
        writer = Writer.open(where)
        for _ in range(25):
            for _ in range(chance.randrange(1, 30)):
                _random_change(chance, writer, record, model)
            writer.commit()
            if chance.random() < 0.2:
                writer.days.recycle()
            if chance.random() < 0.2:
                writer.close()
                writer = Writer.open(where)
        writer.close()
        _compare(where, model)


def _random_change(
    chance: random.Random, writer: Writer, record: MakeRecord, model: dict[bytes, Record]
) -> None:
    number = chance.randrange(60)
    time_us = BEGIN_US + (number % 3 - 1) * DAY_US + number * 1_000_000
    statuses = tuple(chance.randrange(6) for _ in range(chance.randrange(4)))
    new = record(
        number,
        time_us=time_us,
        statuses=statuses,
        recipients=tuple(b"to%d@example.org" % chance.randrange(9) for _ in statuses),
        sender=chance.choice([None, b"", b"a@example.com", b"B@Example.net"]),
    )
    # Sources lag: a message may turn out to have begun before its id says, even the day before.
    shift_us = chance.choice([0, 0, 0, 3_600_000_000, 2 * DAY_US])
    new = new._replace(message=new.message._replace(time_us=time_us - shift_us))
    if new.id in model and chance.random() < 0.1 and len(model) > 1:
        into = chance.choice([each for each in model if each != new.id])
        writer.tombstone(_committed(writer, new.id) or model[new.id], into)
        del model[new.id]
    else:
        writer.put(new, _committed(writer, new.id))
        model[new.id] = new


def _committed(writer: Writer, message_id: bytes) -> Record | None:
    found = writer.get(message_id)
    return found if found is not None and found.id == message_id else None


def _compare(where: Path, model: dict[bytes, Record]) -> None:
    messages = [each.message for each in model.values()]
    rows = Counter(
        (Status(row.status).token, Direction(row.direction or 1).token)
        for message in messages
        for row in message.rows
    )
    assert [part for part in check_journal(where) if part.problems] == []
    with Reader.open(where) as reader:
        assert {key: value for key, value in reader.counters().items() if value} == rows
        assert list(reader.scan()) == _newest_first(messages)
        assert Counter(dict(_hour_sums(reader))) == Counter(
            {status: sum(n for (s, _), n in rows.items() if s == status) for status, _ in rows}
        )
        everything = {value for message in messages for value in terms.values(message)}
        for value in everything:
            kind, rest = value[:1], value[1:]
            having = [message for message in messages if value in terms.values(message)]
            for since, until in ((0, 1 << 62), (BEGIN_US, BEGIN_US + DAY_US), (0, BEGIN_US)):
                inside = [message for message in having if since <= message.time_us < until]
                assert list(reader.hits(kind, rest, since, until)) == _newest_first(inside)
                counts = Counter(message.status for message in inside)
                assert reader.count(kind, rest, since, until) == counts
        for each in model.values():
            assert reader.record(each.id) == each


def _hour_sums(reader: Reader) -> Counter[str]:
    sums: Counter[str] = Counter()
    for (hour_us, status), value in reader.hourly().items():
        assert hour_us % 3_600_000_000 == 0
        sums[status] += value
    return sums


def _newest_first(messages: list[Message]) -> list[tuple[bytes, int]]:
    ordered = sorted(messages, key=lambda each: (each.time_us // 1000, each.id), reverse=True)
    return [(message.id, message.status) for message in ordered]


@pytest.mark.skipif(
    not str(keys.__file__).endswith(".py"), reason="compiled code does not see the terms made equal"
)
def test_find_gives_only_what_truly_has_the_value_in_time(
    directory: Path, record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every term of a kind collides: the record decides.
    monkeypatch.setattr(keys.Keyer, "term", lambda self, value: value[:1] + bytes(6))
    with Writer.open(directory) as writer:
        for number in range(5):
            writer.put(record(number), None)
        writer.commit()
        assert writer.find(keys.QUEUE_ID, b"Q3", 0, 1 << 60) == [record(3)]
        at_us = record(3).message.time_us
        assert writer.find(keys.QUEUE_ID, b"Q3", at_us, at_us) == [record(3)]
        assert writer.find(keys.QUEUE_ID, b"Q3", at_us + 1, 1 << 60) == []
        assert writer.find(keys.QUEUE_ID, b"Q3", 0, at_us - 1) == []
        found = writer.find(keys.SENDER, b"FROM@example.com", 0, 1 << 60)
        assert found == [record(number) for number in reversed(range(5))]
        newest = writer.find(keys.SENDER, b"from@example.com", 0, 1 << 60, most=2)
        assert newest == [record(4), record(3)]


def test_refusals_are_found_by_door(directory: Path, record: MakeRecord) -> None:
    refused = record(1, statuses=(Status.REJECTED,), recipients=(b"Nobody@Example.org",))
    delivered = record(2)
    with Writer.open(directory) as writer:
        writer.put(refused, None)
        writer.put(delivered, None)
        writer.commit()
        port = keys.door_port(b"192.0.2.7", 1025, b"nobody@example.org")
        mail = keys.door_rcpt(b"192.0.2.7", b"from@example.com", b"nobody@example.org")
        assert writer.find(keys.DOOR, port, 0, 1 << 60) == [refused]
        assert writer.find(keys.DOOR, mail, 0, 1 << 60) == [refused]
        assert (
            writer.find(
                keys.DOOR, keys.door_port(b"192.0.2.7", 1026, b"nobody@example.org"), 0, 1 << 60
            )
            == []
        )


def test_a_second_writer_is_refused(directory: Path) -> None:
    with Writer.open(directory):
        with pytest.raises(WriterBusyError) as caught:
            Writer.open(directory)
        assert caught.value.exit_code == 75
    Writer.open(directory).close()


def test_a_newer_format_is_refused_untouched(directory: Path) -> None:
    Writer.open(directory).close()
    (directory / "FORMAT").write_text("posttrail-journal 7\n")
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    for opener in (Writer.open, Reader.open):
        with pytest.raises(JournalFormatError, match=r"format 7 .* up to 1") as caught:
            opener(directory)
        assert caught.value.exit_code == 78
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


def test_a_small_map_grows(
    directory: Path, record: MakeRecord, sound: Sound, expected_log: Callable[[str], None]
) -> None:
    expected_log("journal map grows")
    with Writer.open(directory, map_size=1 << 20) as writer:
        for number in range(3_000):
            writer.put(record(number), None)
        assert writer.commit() == 3_000
        assert len(writer.find(keys.SENDER, b"from@example.com", 0, 1 << 60)) == 3_000
    assert sound()[1].messages == 3_000


def test_a_full_disk_keeps_the_group_for_the_next_commit(
    directory: Path, record: MakeRecord, sound: Sound, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_days = [record(1, time_us=BEGIN_US - 5), record(2)]
    with Writer.open(directory) as writer:
        for each in two_days:
            writer.put(each, None)
        writer.commit()
        for each in two_days:
            writer.put(each._replace(dropped=(b"12345678",)), each)
        whole = Store.apply

        def full(self: Store, changes: dict[bytes, store.Change]) -> None:
            if self.path.name == "2026-11-23":
                raise DiskFullError(self.path, "no space left")
            whole(self, changes)

        with monkeypatch.context() as patch, pytest.raises(DiskFullError):
            patch.setattr(Store, "apply", full)
            writer.commit({"log": b"new"})
        assert writer.position("log") is None
        assert writer.commit() == 1, "the first day is done"
        assert writer.position("log") == b"new"
        assert [writer.get(each.id) for each in two_days] == [
            each._replace(dropped=(b"12345678",)) for each in two_days
        ]
    sound()


def test_a_real_limit_on_file_size_is_a_full_disk(directory: Path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from journal.store import DiskFullError
from journal.writer import Writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Writer.open(Path(sys.argv[1])) as writer:
    writer.set_context("small", b"x")
    writer.commit()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
    writer.set_context("large", bytes(1 << 20))
    try:
        writer.commit()
        sys.exit("it fitted")
    except Exception as error:
        print(type(error).__name__)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.commit()
    assert len(writer.context("large")) == 1 << 20
    assert writer.context("small") == b"x"
"""
    done = _python(program, str(directory))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "DiskFullError\n"


def test_less_address_space_is_enough(directory: Path, record: MakeRecord) -> None:
    program = """
import resource, sys
from pathlib import Path
from journal.writer import Writer
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
with Writer.open(Path(sys.argv[1])) as writer:
    writer.set_context("a", b"b")
    writer.commit()
"""
    done = _python(program, str(directory))
    assert done.returncode == 0, done.stderr


def _python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_kill_between_day_and_state_replays_harmlessly(
    directory: Path, record: MakeRecord, sound: Sound, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Writer.open(directory) as writer:
        writer.commit({"log": b"old"})
    child = os.fork()
    if child == 0:
        writer = Writer.open(directory)
        writer.put(record(1), None)
        monkeypatch.setattr(writer, "_commit_state", lambda: os.kill(os.getpid(), signal.SIGKILL))
        writer.commit({"log": b"new"})
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with Writer.open(directory) as writer:
        assert writer.bad_days == [], "a kill is not damage"
        assert writer.position("log") == b"old"
        again = record(1)
        assert writer.get(again.id) == again
        writer.put(again, writer.get(again.id))
        writer.commit({"log": b"new"})
    sound()
    with Reader.open(directory) as reader:
        assert reader.counters() == {("delivered", "inbound"): 1}


def test_change_numbers_grow_over_days_and_restarts(directory: Path, record: MakeRecord) -> None:
    seen = 0
    last = []
    for number in range(6):
        new = record(number, time_us=BEGIN_US + (number % 2 - 1) * DAY_US)
        with Writer.open(directory) as writer:
            writer.put(new, None)
            writer.commit()
        with Reader.open(directory) as reader:
            ((seq, message_id),) = reader.changes(seen)
        assert seq > seen
        assert message_id == new.id
        seen = seq
        last.append(message_id)
    with Reader.open(directory) as reader:
        assert [message_id for _, message_id in reader.changes(0)] == last


def test_recycling_gives_mapped_memory_back(directory: Path, record: MakeRecord) -> None:
    with Writer.open(directory) as writer:
        for number in range(3_000):
            writer.put(record(number, subject=b"x" * 1_000), None)
        writer.commit()
        for number in range(3_000):
            assert writer.get(record(number).id) is not None
        mapped = _mapped_pages()
        writer.days.recycle()
        assert _mapped_pages() < mapped - (3_000 * 1_000) // resource.getpagesize()
        assert writer.get(record(7).id) is not None


def _mapped_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[2])


def test_coverage_and_contexts_are_committed_with_positions(directory: Path) -> None:
    with Writer.open(directory) as writer:
        writer.extend("log", 0, 50)
        writer.gap(Gap("milter", 10, 20, "not_running"))
        writer.set_context("sessions", b"blob")
        assert writer.context("sessions") is None
        writer.commit()
        writer.extend("log", 50, 90)
        writer.commit()
        writer.extend("log", 90, 95)
    with Writer.open(directory) as writer:
        assert writer.context("sessions") == b"blob"
    with Reader.open(directory) as reader:
        assert reader.coverage() == [("log", 0, 90), Gap("milter", 10, 20, "not_running")]


def test_prune_drops_days_and_carries_their_counters_once(
    directory: Path, record: MakeRecord, sound: Sound
) -> None:
    days = [record(number, time_us=BEGIN_US + number * DAY_US) for number in range(5)]
    abandoned = record(77, statuses=(), time_us=BEGIN_US + 5)
    with Writer.open(directory) as writer:
        for each in (*days, abandoned):
            writer.put(each, None)
        writer.commit()
        assert writer.prune(BEGIN_US + 4 * DAY_US, 3) == ["2026-11-23", "2026-11-24"]
        assert writer.prune(BEGIN_US + 4 * DAY_US, 3) == []
        assert writer.get(days[1].id) is None
        assert writer.get(days[2].id) == days[2]
    sound()
    with Reader.open(directory) as reader:
        assert reader.days() == ["2026-11-25", "2026-11-26", "2026-11-27"]
        assert reader.counters() == {("delivered", "inbound"): 5}
        assert reader.rowless() == 1
    with Writer.open(directory) as writer:  # an import that keeps what is past retention
        writer.put(days[0], None)
        writer.commit()
        writer.prune(BEGIN_US + 4 * DAY_US, 3)
    with Reader.open(directory) as reader:
        assert reader.counters() == {("delivered", "inbound"): 6}
    assert not [path for path in directory.iterdir() if path.name.startswith(".gone")]


def test_a_prune_cut_short_is_finished_at_the_next_start(
    directory: Path, record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def die(*_: object) -> None:
        raise Killed

    writer = Writer.open(directory)
    for number in range(2):
        writer.put(record(number, time_us=BEGIN_US + number * DAY_US), None)
    writer.commit()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(retention, "remove", die)
        writer.prune(BEGIN_US + DAY_US, 1)
    writer.close()
    with Reader.open(directory) as reader:  # carried, and still there: counted once
        assert reader.counters() == {("delivered", "inbound"): 2}
    (directory / ".gone-2020-01-01").mkdir()
    with Writer.open(directory):
        pass
    with Reader.open(directory) as reader:
        assert reader.days() == ["2026-11-24"]
        assert reader.counters() == {("delivered", "inbound"): 2}
    assert not list(directory.glob(".gone-*"))


def test_a_message_to_many_recipients_is_one_record(
    directory: Path, record: MakeRecord, sound: Sound
) -> None:
    names = tuple(b"to%d@example.org" % number for number in range(1_500))
    queued = record(1, statuses=(Status.IN_PROGRESS,) * 1_500, recipients=names)
    half = (Status.DELIVERED,) * 750 + (Status.ERROR,) * 750
    done = record(1, statuses=half, recipients=names)
    with Writer.open(directory) as writer:
        writer.put(queued, None)
        writer.commit()
        writer.put(done, queued)
        writer.commit()
        assert writer.find(keys.RECIPIENT, names[-1], 0, 1 << 60) == [done]
    with Reader.open(directory) as reader:
        counters = {key: value for key, value in reader.counters().items() if value}
        assert counters == {("delivered", "inbound"): 750, ("error", "inbound"): 750}
        assert reader.message(done.id) == done.message
    sound()
