"""What goes into the journal comes out of it, whatever bytes it is made of."""

import contextlib
from dataclasses import dataclass
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from journal import codec
from journal.codec import DamagedRecordError
from journal.events import Event, Kind, Source
from journal.records import REASONS, Message, Recipient, Record

ID = bytes(range(8))

texts = st.one_of(
    st.sampled_from([b"", b"\0", b"\1", b"\1\1", b"\1\2\0", b"\xff", b"user@example.org"]),
    st.binary(max_size=40),
)
maybe = st.none() | texts
times = st.integers(-(1 << 62), 1 << 62)
counts = st.integers(0, 1 << 40)

rows = st.builds(
    Recipient,
    recipient=maybe,
    final_recipient=maybe,
    status=st.integers(0, 5),
    reason=st.sampled_from(REASONS),
    folder=maybe,
    reply=maybe,
    reply_code=st.none() | st.integers(0, 999),
    enhanced_status=maybe,
    relay=maybe,
    attempts=counts,
    attempts_capped=st.booleans(),
    done_at_us=st.none() | times,
    delay_ms=st.none() | counts | st.sampled_from([0xFFFFFFFE, 0xFFFFFFFF, 1 << 32]),
    direction=st.none() | st.integers(1, 3),
)
messages = st.builds(
    Message,
    id=st.just(ID),
    time_us=times,
    host=texts,
    instance=texts,
    queue_ids=st.lists(texts, max_size=4).map(tuple),
    sender=maybe,
    size_bytes=st.none() | counts,
    message_id=maybe,
    subject=maybe,
    client_ip=maybe,
    client_name=maybe,
    client_port=st.none() | st.integers(0, 65535),
    helo=maybe,
    login=maybe,
    tls=maybe,
    spam_score=st.none() | st.floats(allow_nan=False),
    sources=st.integers(0, 7),
    flags=st.integers(0, 0xFFFF),
    next_queue_ids=st.lists(texts, max_size=4).map(tuple),
    rows=st.lists(rows, max_size=4).map(tuple),
)
events = st.builds(
    Event,
    at_us=times,
    kind=st.sampled_from([int(kind) for kind in Kind]),
    source=st.sampled_from([int(source) for source in Source]),
    pid=counts,
    queue_id=texts,
    fields=st.lists(texts, max_size=17).map(tuple),
)
records = st.builds(
    Record,
    message=messages,
    events=st.lists(events, max_size=5).map(tuple),
    dropped=st.lists(st.binary(min_size=8, max_size=8), max_size=3).map(tuple),
)


@given(records, st.integers(0, (1 << 64) - 1))
@settings(max_examples=200)
def test_a_record_survives_the_round_trip(record: Record, seq: int) -> None:
    body = codec.encode(record, seq)
    assert codec.decode(ID, body) == record
    assert codec.decode_message(ID, body) == record.message
    assert codec.seq_of(body) == seq
    assert codec.merged_into(ID, body) is None


@given(st.lists(texts, min_size=1, max_size=12))
@example([b"\0\2", b"\1\1\2", b"\0\0\1", b"\1\0\1\2"])
def test_separators_inside_strings_are_kept(strings: list[bytes]) -> None:
    record = _record(events=(Event(0, 1, 0, 0, b"", tuple(strings)),))
    assert codec.decode(ID, codec.encode(record, 1)).events[0].fields == tuple(strings)


@dataclass(frozen=True)
class Size:
    recipients: int
    refs: int  # bytes each


@pytest.mark.parametrize("size", [Size(60, 1), Size(1_500, 2), Size(35_000, 4)])
def test_many_recipients_widen_the_refs(size: Size) -> None:
    many = tuple(_row(b"r%d@example.org" % n, b"reply %d" % n) for n in range(size.recipients))
    record = _record(rows=many)
    body = codec.encode(record, 7)
    assert 1 << (body[5] & 3) == size.refs
    assert codec.decode(ID, body) == record
    assert codec.decode_message(ID, body).rows[-1].recipient == many[-1].recipient


def test_each_string_is_stored_once() -> None:
    reply = b"250 2.0.0 a reply that every recipient got"
    body = codec.encode(_record(rows=tuple(_row(b"a@example.org", reply) for _ in range(9))), 1)
    assert body.count(reply) == 1


@given(records, st.data())
@settings(max_examples=100)
def test_a_changed_byte_is_noticed(record: Record, data: st.DataObject) -> None:
    body = bytearray(codec.encode(record, 1))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedRecordError, match="checksum"):
        codec.decode(ID, bytes(body))


@given(st.binary(max_size=80))
def test_garbage_is_damage_not_an_accident(body: bytes) -> None:
    with pytest.raises(DamagedRecordError):
        codec.decode_message(ID, body)


@given(records, st.binary(max_size=120), st.integers(0, 31))
@settings(max_examples=100)
def test_a_true_checksum_over_nonsense_is_damage_or_a_record(
    record: Record, tail: bytes, flags: int
) -> None:
    body = codec.encode(record, 1)
    forged = _forged(codec.RECORD, flags, body[6 : len(body) // 2] + tail)
    with contextlib.suppress(DamagedRecordError):
        assert codec.decode(ID, forged).id == ID


def test_an_unknown_version_is_named() -> None:
    body = codec.encode(_record(), 1)
    with pytest.raises(DamagedRecordError, match="record version 9"):
        codec.decode(ID, _forged(9, 0, body[6:]))


def test_a_tombstone_names_where_the_message_went() -> None:
    into = b"\7" * 8
    body = codec.encode_tombstone(into, 300)
    assert codec.merged_into(ID, body) == into
    assert codec.seq_of(body) == 300
    with pytest.raises(DamagedRecordError):
        codec.decode(ID, body)
    with pytest.raises(DamagedRecordError):
        codec.merged_into(ID, body[:-1] + b"x")


def _forged(version: int, flags: int, rest: bytes) -> bytes:
    covered = bytes((version, flags)) + rest
    return crc32(covered).to_bytes(4, "big") + covered


def _row(recipient: bytes, reply: bytes) -> Recipient:
    return Recipient(
        recipient, recipient, 0, "relayed", None, reply, 250, b"2.0.0",
        b"mx.example.net[192.0.2.1]:25", 1, False, 5, 7, 1,
    )  # fmt: skip


def _record(*, rows: tuple[Recipient, ...] = (), events: tuple[Event, ...] = ()) -> Record:
    message = Message(
        ID, 1, b"mx1.example.net", b"postfix", (b"4F1",), b"", None, None, None, None,
        None, None, None, None, None, None, 2, 0, (), rows,
    )  # fmt: skip
    return Record(message, events, ())
