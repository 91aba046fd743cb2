"""The spool keeps every whole line through crashes, full disks and rotation."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.events import ABSENT, FIELDS, Kind, Source, named
from milterd.spool import (
    SEGMENT_AGE_US,
    Body,
    SpoolWriter,
    encode_body,
    format_line,
    parse_line,
    segments,
    to_events,
)

TRANSACTION: Body = {
    "v": 1,
    "t": "txn",
    "at": 1_700_000_000_000_000,
    "end": 1_700_000_000_250_000,
    "id": "4ABC",
    "stage": "eom",
    "aborted": False,
    "ip": "192.0.2.1",
    "port": 2525,
    "name": "mx.example.net",
    "helo": "mx\udcff.example.net",
    "tls": "TLSv1.3 AES",
    "login": "ann",
    "auth": "PLAIN",
    "sender": "ann@example.com",
    "params": ["SIZE=1200", "BODY=8BITMIME"],
    "rcpts": [
        ["bob@example.org", "smtp", "example.org", 0, "", "", []],
        ["no@example.org", "error", "", 1, "5.1.1", "no such user", ["NOTIFY=NEVER"]],
    ],
    "message_id": "1@example.com",
    "subject": "hello",
    "from": "Ann <ann@example.com>",
    "date": "today",
    "size": 1200,
    "daemon": "smtpd",
    "verdicts": [["rspamd", "accept", "", "1.5", "default: False [1.5 / 15]"]],
}


def read(path: Path) -> list[Body | None]:
    return [parse_line(line) for line in path.read_bytes().split(b"\n")[:-1]]


def stamps(directory: Path) -> list[int]:
    found = [record for path in files(directory) for record in read(path) if record]
    return [record["at"] for record in found]


def files(directory: Path) -> list[Path]:
    return [*segments(directory), directory / "current"]


def body(at: int) -> bytes:
    return encode_body({"t": "beat", "at": at})


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path)
    yield writer
    writer.close()


def test_a_record_comes_back_as_it_was_written() -> None:
    assert parse_line(format_line(encode_body(TRANSACTION))) == TRANSACTION


@given(st.binary())
def test_any_wire_bytes_come_back_and_never_break_the_line(raw: bytes) -> None:
    line = format_line(encode_body({"x": raw.decode("utf-8", "surrogateescape")}))
    assert line.count(b"\n") == 1
    record = parse_line(line)
    assert record is not None
    assert record["x"].encode("utf-8", "surrogateescape") == raw


@given(st.data())
def test_a_torn_or_changed_line_is_damaged(data: st.DataObject) -> None:
    line = format_line(encode_body(TRANSACTION))
    cut = data.draw(st.integers(0, len(line) - 2))
    assert parse_line(line[:cut]) is None
    bit = data.draw(st.integers(1, 255))
    changed = line[:cut] + bytes([line[cut] ^ bit]) + line[cut + 1 :]
    assert parse_line(changed) is None


@pytest.mark.parametrize("line", [b"", b"\n", b"00000000 00000000 ", format_line(b"[1]")])
def test_what_is_no_record_is_damaged(line: bytes) -> None:
    assert parse_line(line) is None


def test_every_kind_of_event_has_all_its_fields() -> None:
    events = to_events(TRANSACTION)
    kinds = [Kind.TRANSACTION, Kind.RCPT, Kind.RCPT, Kind.VERDICT]
    assert [event.kind for event in events] == kinds
    for event in events:
        told = 5 if event.kind == Kind.VERDICT else len(FIELDS[Kind(event.kind)])  # 4 are the log's
        assert len(event.fields) == told
        assert (event.at_us, event.source, event.pid) == (TRANSACTION["at"], Source.MILTER, 0)
        assert event.queue_id == b"4ABC"


def test_a_transaction_keeps_the_bytes_of_the_wire() -> None:
    transaction = named(to_events(TRANSACTION)[0])
    assert transaction["helo"] == b"mx\xff.example.net"
    assert transaction["client_port"] == b"2525"
    assert transaction["size"] == b"1200"
    assert transaction["parameters"] == b"SIZE=1200 BODY=8BITMIME"
    assert transaction["end_at_us"] == b"1700000000250000"
    assert transaction["stage"] == b"eom"


def test_refused_is_said_of_the_refused_recipient_only() -> None:
    good, bad = (named(event) for event in to_events(TRANSACTION)[1:3])
    assert (good["refused"], good["transport"]) == (b"", b"smtp")
    assert (bad["refused"], bad["enhanced_status"], bad["text"], bad["parameters"]) == (
        b"1", b"5.1.1", b"no such user", b"NOTIFY=NEVER",
    )  # fmt: skip


def test_null_absent_and_unknown_are_told_apart() -> None:
    null = TRANSACTION | {"sender": "", "size": None, "port": 0}
    assert named(to_events(null)[0])["sender"] == b""
    assert named(to_events(null)[0])["size"] == b""
    assert named(to_events(null)[0])["client_port"] == b""
    absent = {key: value for key, value in TRANSACTION.items() if key != "sender"}
    assert named(to_events(absent)[0])["sender"] == ABSENT


def test_an_aborted_transaction_says_where() -> None:
    aborted = TRANSACTION | {"aborted": True, "stage": "data"}
    assert named(to_events(aborted)[0])["stage"] == b"abort:data"


@pytest.mark.parametrize("kind", ["beat", "start", "stop", "lost"])
def test_the_milters_own_records_are_no_events(kind: str) -> None:
    assert to_events({"t": kind, "at": 1}) == []


def test_appended_records_are_in_the_file_at_once(tmp_path: Path, spool: SpoolWriter) -> None:
    spool.append([body(1), body(2)], now_us=2)
    spool.append([body(3)], now_us=3)
    assert stamps(tmp_path) == [1, 2, 3]
    assert (tmp_path / "current").stat().st_mode & 0o777 == 0o640


def test_reopening_goes_on_in_the_same_file(tmp_path: Path, spool: SpoolWriter) -> None:
    spool.append([body(1)], now_us=1)
    second = SpoolWriter(tmp_path)
    second.append([body(2)], now_us=2)
    second.close()
    assert stamps(tmp_path) == [1, 2]


def test_a_torn_last_line_is_ended_and_costs_no_other(tmp_path: Path) -> None:
    whole = format_line(body(1))
    (tmp_path / "current").write_bytes(whole + whole[:-5])
    spool = SpoolWriter(tmp_path)
    spool.append([body(2)], now_us=2)
    spool.close()
    records = read(tmp_path / "current")
    assert [record and record["at"] for record in records] == [1, None, 2]


def test_a_full_segment_is_closed_and_order_kept(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, segment_bytes=100)
    for at in range(10):
        spool.append([body(at)], now_us=at)
    spool.close()
    assert len(segments(tmp_path)) >= 3
    assert stamps(tmp_path) == list(range(10))


def test_two_segments_of_one_microsecond_keep_their_order(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, segment_bytes=1)
    for at in range(5):  # the clock stands, then steps back
        spool.append([body(at)], now_us=1000 - at // 3)
    spool.close()
    assert stamps(tmp_path) == list(range(5))


def test_a_day_old_segment_is_closed_however_small(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path)
    spool.append([body(5)], now_us=5)
    spool.close()
    spool = SpoolWriter(tmp_path)
    spool.append([body(6)], now_us=SEGMENT_AGE_US + 4)
    assert segments(tmp_path) == []
    spool.append([body(7)], now_us=SEGMENT_AGE_US + 5)
    spool.close()
    assert len(segments(tmp_path)) == 1


def test_prune_removes_what_is_older_and_only_that(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, segment_bytes=1)
    for at in (10, 20, 30):
        spool.append([body(at)], now_us=at)
    assert spool.prune(20) == ["00000000000000000010.seg"]
    assert stamps(tmp_path) == [20, 30]
    spool.close()


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow past 1000 bytes: a disk that fills in the middle of a line."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_and_doubles_nothing(
    tmp_path: Path, spool: SpoolWriter, small_files: None
) -> None:
    with pytest.raises(OSError):
        spool.append(map(body, range(50)), now_us=1)
    assert (tmp_path / "current").stat().st_size == 1000
    assert spool.unwritten_bytes > 0
    with pytest.raises(OSError):
        spool.append([], now_us=2)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    spool.append([body(50)], now_us=3)
    assert spool.unwritten_bytes == 0
    assert stamps(tmp_path) == list(range(51))


def test_no_room_for_the_next_segment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = SpoolWriter(tmp_path, segment_bytes=1)
    opening = os.open

    def no_room(path: Path, flags: int, mode: int = 0o777) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", no_room)
    for at in (1, 2):
        with pytest.raises(OSError):
            spool.append([body(at)], now_us=at)
    monkeypatch.setattr(os, "open", opening)
    spool.append([body(3)], now_us=3)
    spool.close()
    assert stamps(tmp_path) == [1, 2, 3]
