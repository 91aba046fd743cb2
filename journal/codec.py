"""A record to bytes and back: docs/journal-format.md, "Record body", version 1.

Head, rows and events share one table of strings, since most strings of a message
occur in several of them: each is stored once and named by a number. Everything
goes through C loops (``map``, ``zip``, ``struct``), because an import does this for
every message. Raises ``DamagedRecordError`` on bytes that are not what was
written, and on a record version this release does not know.
"""

import struct
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple
from zlib import crc32

from journal import strings
from journal.events import Event
from journal.records import REASONS, Message, Recipient, Record
from posttrail.errors import UnavailableError

RECORD: Final = 1
TOMBSTONE: Final = 0x80
_TOMBSTONE_BYTE: Final = bytes((TOMBSTONE,))

_WIDE: Final = 4  # numbers that do not fit the usual widths
_ESCAPED: Final = 8  # a string holds the separator
_SCORED: Final = 16  # a spam score follows the head
_NO_PORT: Final = 32
_REFS: Final = 3  # mask: refs are 1 << n bytes each

_CRC_BYTES: Final = 4  # CRC-32 of all behind it
# version, flags, seq
_SEAL: Final = struct.Struct(">BBQ")
# time_us, size, port, sources, flags;
# how many queue ids, next queue ids, rows, events, dropped keys
_HEAD: Final = struct.Struct(">qIHBHBBHHH")
_HEAD_WIDE: Final = struct.Struct(">qqHBHIIIII")
_SCORE: Final = struct.Struct(">d")
# status, reason, reply_code, direction and cap, attempts, delay_ms, done_at_us
_ROW: Final = struct.Struct(">BBHBHII")
_ROW_WIDE: Final = struct.Struct(">BBHBQqq")
_BODY: Final = _CRC_BYTES + _SEAL.size

_NONE: Final = 0xFFFFFFFF  # no size, delay or time
_NONE_WIDE: Final = -(1 << 63)
_NO_CODE: Final = 0xFFFF
_CAPPED: Final = 0x80
_HEAD_STRINGS: Final = 10
_ROW_STRINGS: Final = 6
_REASON: Final = {token: number for number, token in enumerate(REASONS)}
_MAX_I64: Final = (1 << 63) - 1

Text = bytes | None


class DamagedRecordError(UnavailableError):
    """The bytes of a record are not what was written."""

    def __init__(self, message_id: bytes, what: str) -> None:
        super().__init__(f"journal damaged: record {message_id.hex()}: {what}")


def encode(record: Record, seq: int) -> bytes:
    """The body of a record; ``seq`` is its place in the change log."""
    events = record.events
    long = bool(events) and events[-1].at_us - record.message.time_us > _NONE
    try:
        return _encode(record, seq, wide=long)
    except (struct.error, OverflowError):
        return _encode(record, seq, wide=True)


def encode_tombstone(into: bytes, seq: int) -> bytes:
    """The body of a record that was merged into another one."""
    return _sealed([_SEAL.pack(TOMBSTONE, 0, seq), into])


def seq_of(body: bytes) -> int:
    """The change-log number of a record or a tombstone."""
    return int.from_bytes(body[6:14], "big")


def merged_into(message_id: bytes, body: bytes) -> bytes | None:
    """The id a tombstone names; None where the body is a record."""
    if body[4:5] != _TOMBSTONE_BYTE:
        return None
    _verify(message_id, body)
    if len(body) != _BODY + 8:
        raise DamagedRecordError(message_id, "tombstone of a wrong length")
    return body[_BODY:]


def decode(message_id: bytes, body: bytes) -> Record:
    """The whole record."""
    return _guarded(message_id, body, whole=True)


def decode_message(message_id: bytes, body: bytes) -> Message:
    """The message and its rows, without the events: what a report shows."""
    return _guarded(message_id, body, whole=False).message


def _guarded(message_id: bytes, body: bytes, *, whole: bool) -> Record:
    _verify(message_id, body)
    if body[4] != RECORD:
        raise DamagedRecordError(message_id, f"record version {body[4]}, not {RECORD}")
    try:
        return _decode(message_id, body, whole=whole)
    except (struct.error, IndexError, ValueError, TypeError) as error:
        raise DamagedRecordError(message_id, str(error)) from error


def is_whole(body: bytes) -> bool:
    """Whether a body, of whatever version, has the checksum it was written with."""
    kept = int.from_bytes(body[:_CRC_BYTES], "big")
    return len(body) >= _BODY and crc32(body[_CRC_BYTES:]) == kept


def _verify(message_id: bytes, body: bytes) -> None:
    if len(body) < _BODY:
        raise DamagedRecordError(message_id, f"{len(body)} bytes")
    if crc32(memoryview(body)[4:]) != int.from_bytes(body[:4], "big"):
        raise DamagedRecordError(message_id, "checksum")


def _sealed(parts: list[bytes]) -> bytes:
    """The parts of a body behind their checksum."""
    covered = b"".join(parts)
    return crc32(covered).to_bytes(4, "big") + covered


# Writing


def _encode(record: Record, seq: int, *, wide: bool) -> bytes:
    message, events, dropped = record
    (
        _, time_us, host, instance, queue_ids, sender, size, message_id, subject, client_ip,
        client_name, port, helo, login, tls, score, sources, flags, next_queue_ids, rows,
    ) = message  # fmt: skip
    texts: list[Text] = [
        host, instance, sender, message_id, subject, client_ip, client_name, helo, login, tls,
        *queue_ids, *next_queue_ids,
    ]  # fmt: skip
    row_parts = []
    for recipient, final, status, reason, folder, reply, code, enhanced, relay, \
            attempts, capped, done, delay, direction in rows:  # fmt: skip
        texts += (recipient, final, folder, reply, enhanced, relay)
        bits = (direction or 0) | (_CAPPED if capped else 0)
        code = _NO_CODE if code is None else code
        row_parts.append(
            _ROW_WIDE.pack(status, _REASON[reason], code, bits, attempts, _wide(delay), _wide(done))
            if wide
            else _ROW.pack(
                status,
                _REASON[reason],
                code,
                bits,
                attempts,
                _NONE if delay is None else _narrow(delay),
                _NONE if done is None else _narrow(done - time_us),
            )
        )
    columns = _event_columns(events, time_us, texts, wide=wide)
    # The table: None, then each distinct string in the order of its first use.
    table: dict[Text, Any] = {None: 0}
    numbers = [table.setdefault(text, len(table)) for text in texts]
    width = strings.width(len(table))
    refs = strings.pack_refs(numbers, width)
    joined, escaped = strings.join(list(table)[1:])
    head = (_HEAD_WIDE if wide else _HEAD).pack(
        time_us,
        _wide(size) if wide else _NONE if size is None else _narrow(size),
        port or 0,
        sources,
        flags,
        len(queue_ids),
        len(next_queue_ids),
        len(rows),
        len(events),
        len(dropped),
    )
    bits = (
        width
        | (_WIDE if wide else 0)
        | (_ESCAPED if escaped else 0)
        | (_NO_PORT if port is None else 0)
    )
    if score is not None:
        bits |= _SCORED
        head += _SCORE.pack(score)
    seal = _SEAL.pack(RECORD, bits, seq)
    return _sealed([seal, head, *row_parts, columns, *dropped, refs, joined])


def _narrow(number: int) -> int:
    if number == _NONE:
        raise OverflowError
    return number


def _wide(number: int | None) -> int:
    if number is None:
        return _NONE_WIDE
    return max(min(number, _MAX_I64), -_MAX_I64)


def _event_columns(
    events: tuple[Event, ...], time_us: int, texts: list[Text], *, wide: bool
) -> bytes:
    """The columns of numbers; what the events say is put to ``texts``."""
    if not events:
        return b""
    times, kinds, sources, pids, queue_ids, fields = zip(*events, strict=True)
    texts += queue_ids
    for said in fields:
        texts += said
    numbers = [*times] if wide else [at_us - time_us for at_us in times]
    numbers += pids
    numbers += kinds
    numbers += sources
    numbers += map(len, fields)
    return _event_struct(len(events), wide=wide).pack(*numbers)


def _event_struct(count: int, *, wide: bool) -> struct.Struct:
    """Times, pids, kinds, sources and numbers of fields of so many events."""
    found = _event_structs.get((count, wide))
    if found is None:
        found = struct.Struct(f">{count * 2}{'q' if wide else 'I'}{count * 3}B")
        if count <= _KEPT_STRUCTS:
            _event_structs[count, wide] = found
    return found


_KEPT_STRUCTS: Final = 64
_event_structs: Final[dict[tuple[int, bool], struct.Struct]] = {}


# Reading


class _Head(NamedTuple):
    """The fixed part of a body, and where its parts are."""

    time_us: int
    size: int
    port: int
    sources: int
    flags: int
    queue_ids: int
    next_queue_ids: int
    rows: int
    events: int
    dropped: int


def _decode(message_id: bytes, body: bytes, *, whole: bool) -> Record:
    bits = body[5]
    wide = bits & _WIDE
    head_struct = _HEAD_WIDE if wide else _HEAD
    row_struct = _ROW_WIDE if wide else _ROW
    head = _new(_Head, head_struct.unpack_from(body, _BODY))
    score_at = _BODY + head_struct.size
    rows_at = score_at + (_SCORE.size if bits & _SCORED else 0)
    columns_at = rows_at + head.rows * row_struct.size
    event_bytes = 16 if wide else 8
    kinds_at = columns_at + head.events * event_bytes
    dropped_at = kinds_at + head.events * 3
    refs_at = dropped_at + head.dropped * 8
    counts = body[dropped_at - head.events : dropped_at]
    ids = head.queue_ids + head.next_queue_ids
    view = _HEAD_STRINGS + ids + head.rows * _ROW_STRINGS
    refs = view + head.events + sum(counts)
    strings_at = refs_at + (refs << (bits & _REFS))
    table = [None, *strings.split(body[strings_at:], escaped=bool(bits & _ESCAPED))]
    numbers = strings.unpack_refs(body[refs_at:strings_at], bits & _REFS, refs if whole else view)
    texts: list[Any] = list(map(table.__getitem__, numbers))
    base = None if wide else head.time_us
    rows = tuple(
        _row(numbers, row_texts, base)
        for numbers, row_texts in zip(
            row_struct.iter_unpack(body[rows_at:columns_at]),
            zip(*[iter(texts[_HEAD_STRINGS + ids : view])] * _ROW_STRINGS, strict=True),
            strict=True,
        )
    )
    score = _SCORE.unpack_from(body, score_at)[0] if bits & _SCORED else None
    message = _message(message_id, head, bits, score, texts, rows)
    if not whole:
        return Record(message, (), ())
    dropped = body[dropped_at:refs_at]
    return Record(
        message,
        _events(body, columns_at, counts, texts[view:], base),
        tuple(dropped[at : at + 8] for at in range(0, len(dropped), 8)),
    )


def _message(
    message_id: bytes,
    head: _Head,
    bits: int,
    score: float | None,
    texts: list[Any],
    rows: tuple[Recipient, ...],
) -> Message:
    host, instance, sender, mid, subject, ip, name, helo, login, tls = texts[:_HEAD_STRINGS]
    ids_end = _HEAD_STRINGS + head.queue_ids
    no_size = _NONE_WIDE if bits & _WIDE else _NONE
    built: Message = _new(
        Message,
        (
            message_id,
            head.time_us,
            host,
            instance,
            tuple(texts[_HEAD_STRINGS:ids_end]),
            sender,
            None if head.size == no_size else head.size,
            mid,
            subject,
            ip,
            name,
            None if bits & _NO_PORT else head.port,
            helo,
            login,
            tls,
            score,
            head.sources,
            head.flags,
            tuple(texts[ids_end : ids_end + head.next_queue_ids]),
            rows,
        ),
    )
    return built


def _row(numbers: tuple[int, ...], texts: tuple[Any, ...], base: int | None) -> Recipient:
    """One row; ``base`` is what its time counts from, None in the wide form."""
    status, reason, code, bits, attempts, delay, done = numbers
    recipient, final, folder, reply, enhanced, relay = texts
    none = _NONE_WIDE if base is None else _NONE
    built: Recipient = _new(
        Recipient,
        (
            recipient,
            final,
            status,
            REASONS[reason] if reason < len(REASONS) else "unknown",  # of a newer release
            folder,
            reply,
            None if code == _NO_CODE else code,
            enhanced,
            relay,
            attempts,
            bits >= _CAPPED,
            None if done == none else done + (base or 0),
            None if delay == none else delay,
            (bits & ~_CAPPED) or None,
        ),
    )
    return built


def _events(
    body: bytes, at: int, counts: bytes, texts: list[bytes], base: int | None
) -> tuple[Event, ...]:
    size = len(counts)
    if not size:
        return ()
    columns = _event_struct(size, wide=base is None).unpack_from(body, at)
    stored, pids, kinds, sources, _ = (columns[n * size : (n + 1) * size] for n in range(5))
    times = stored if base is None else [base + number for number in stored]
    ends = accumulate(counts, initial=size)
    fields = [tuple(texts[begin:end]) for begin, end in pairwise(ends)]
    return tuple(map(Event, times, kinds, sources, pids, texts[:size], fields))


_new: Final[Any] = tuple.__new__
