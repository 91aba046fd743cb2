"""The spool: what the milter saw, kept in append-only segments until trackd has folded it.

One record is one line: ``LENGTH CHECKSUM BODY``, both numbers as eight hex digits (bytes of
the body, CRC-32 of the body), the body compact JSON in ASCII. Wire bytes that are not UTF-8
stand in it as lone surrogates (``surrogateescape``): nothing is lost, and no raw control byte,
newline included, can occur. A line whose length or checksum does not fit was torn by a crash
and is skipped. Records go to ``current``; at 8 MiB, or when its first record is a day old, it
becomes ``<20 digits of UTC microseconds>.seg``. Nothing is ever cut off or rewritten, so a
follower reads on by offset. Raises ``OSError`` where the disk does.
"""

import json
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from journal.events import ABSENT, Event, Kind, Source
from posttrail.durable import make_directory, sync_directory

VERSION: Final = 1
SEGMENT_BYTES: Final = 8 << 20
SEGMENT_AGE_US: Final = 86_400_000_000
HEAD_BYTES: Final = 18  # b"%08x %08x "
ROTATE: Final = "rotate"
"""Whoever makes a file of this name in the spool asks for a new segment; it goes when that is."""

Body = dict[str, Any]
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encode_body(record: Body) -> bytes:
    """A record as compact JSON."""
    return _encode(record).encode("ascii")


def format_line(body: bytes) -> bytes:
    """A body as a whole line of the spool."""
    return b"%08x %08x %s\n" % (len(body), zlib.crc32(body), body)


def parse_line(line: bytes) -> Body | None:
    """The record of a line, with or without its newline; None when the line is damaged."""
    body = line[HEAD_BYTES:].removesuffix(b"\n")
    if line[:HEAD_BYTES] != b"%08x %08x " % (len(body), zlib.crc32(body)):
        return None
    try:
        record = json.loads(body.decode("ascii"))
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def segments(directory: Path) -> list[Path]:
    """The finished segments, oldest first."""
    return sorted(directory.glob("*.seg"))


class SpoolWriter:
    """The one writer of a spool directory.

    When ``append`` meets a full disk it raises, yet keeps what it could not write: the next
    call, be it without bodies, goes on at the very byte where the disk gave up.
    """

    def __init__(self, directory: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        make_directory(directory, 0o750)
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._unwritten = b""
        self.unsynced = False  # whether anything waits for sync()
        self._begin_us: int | None = None
        self._open()

    @property
    def unwritten_bytes(self) -> int:
        """How much waits for a full disk."""
        return len(self._unwritten)

    def append(self, bodies: Iterable[bytes], *, now_us: int) -> None:
        """Write records, each whole; they now outlast the process, after ``sync`` the power."""
        self._unwritten += b"".join(map(format_line, bodies))
        while self._unwritten:
            written = os.write(self._file, self._unwritten)
            self._size += written
            self._unwritten = self._unwritten[written:]
            self.unsynced = True
        if self._begin_us is None:
            self._begin_us = now_us
        if self._size >= self._segment_bytes or now_us - self._begin_us >= SEGMENT_AGE_US:
            self._rotate(now_us)

    def sync(self) -> None:
        """Make all that was appended outlast a power cut."""
        if self.unsynced:
            os.fdatasync(self._file)
            self.unsynced = False

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        os.close(self._file)

    def prune(self, older_than_us: int) -> list[str]:
        """Remove the segments that were finished before; their names."""
        old = [path for path in segments(self._directory) if int(path.stem) < older_than_us]
        for path in old:
            path.unlink()
        return [path.name for path in old]

    def turn_if_asked(self, now_us: int) -> bool:
        """Begin a new segment where somebody asks for one; whether that was so."""
        asked = self._directory / ROTATE
        if not asked.exists():
            return False
        if self._size and not self._unwritten:
            self._rotate(now_us)
        asked.unlink(missing_ok=True)
        return True

    def turn(self, bodies: Iterable[bytes], now_us: int) -> None:
        """Begin a new segment with these records."""
        if self._size or self._unwritten:
            self.append((), now_us=now_us)  # what a crash tore is ended
        if self._size:
            self._rotate(now_us)
        self.append(bodies, now_us=now_us)

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._directory / "current", flags, 0o640)
        self._size = os.fstat(self._file).st_size
        self._begin_us = _first_stamp(self._file)
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self._unwritten = b"\n"  # a crash tore the last line: end it, its checksum will tell
        sync_directory(self._directory)

    def _rotate(self, now_us: int) -> None:
        self.sync()
        before = self._file
        current = self._directory / "current"
        if current.exists():  # it is gone when the disk had no room for the next one
            newest = max((int(path.stem) for path in segments(self._directory)), default=0)
            current.rename(self._directory / f"{max(now_us, newest + 1):020d}.seg")
        self._open()
        os.close(before)


def size_bytes(directory: Path) -> int:
    """Of all segments, the open one too."""
    found = 0
    for path in [*segments(directory), directory / "current"]:
        with suppress(FileNotFoundError):  # removed or renamed meanwhile
            found += path.stat().st_size
    return found


def to_events(record: Body) -> list[Event]:
    """What a transaction record says, as events; records about the milter itself say nothing."""
    if record.get("t") != "txn":
        return []
    at_us: int = record["at"]
    queue_id = _bytes(record["id"])

    def event(kind: Kind, *fields: bytes) -> Event:
        return Event(at_us, kind, Source.MILTER, 0, queue_id, fields)

    events = [event(Kind.TRANSACTION, *_transaction_fields(record))]
    for recipient, mailer, nexthop, refused, enhanced, text, parameters in record["rcpts"]:
        fields = map(_bytes, (recipient, mailer, nexthop, "1" if refused else ""))
        rest = map(_bytes, (enhanced, text, " ".join(parameters)))
        events.append(event(Kind.RCPT, *fields, *rest))
    events += (event(Kind.VERDICT, *map(_bytes, verdict)) for verdict in record["verdicts"])
    if "report" in record:
        events.append(event(Kind.REPORT, *map(_bytes, record["report"])))
    return events


def _transaction_fields(record: Body) -> tuple[bytes, ...]:
    """In the order of journal.events.FIELDS."""
    text = {key: _bytes(value) for key, value in record.items() if isinstance(value, str)}
    stage = b"abort:" + text["stage"] if record["aborted"] else text["stage"]
    return (
        text["name"],
        text["ip"],
        _digits(record["port"]),
        text["helo"],
        text["tls"],
        text["login"],
        text["auth"],
        text.get("sender", ABSENT),
        _bytes(" ".join(record["params"])),
        text["message_id"],
        text["subject"],
        text["from"],
        text["date"],
        _digits(record["size"]),
        stage,
        _digits(record["end"]),
        text["daemon"],
    )


_TEXTS: Final = {
    0: "name", 1: "ip", 3: "helo", 4: "tls", 5: "login", 6: "auth", 7: "sender", 9: "message_id",
    10: "subject", 11: "from", 12: "date", 16: "daemon",
}  # fmt: skip


def with_events(record: Body, events: list[Event]) -> Body:
    """A transaction record that says what ``events`` say: as ``to_events`` made them, changed."""
    head = events[0].fields
    new = dict(record)
    for at, key in _TEXTS.items():
        if key in record and record[key] is not None:
            new[key] = _text(head[at])
    new["params"] = _words(head[8])
    said = iter(events[1:])
    new["rcpts"] = [
        [*map(_text, told[:3]), rcpt[3], *map(_text, told[4:6]), _words(told[6])]
        for rcpt, told in ((rcpt, next(said).fields) for rcpt in record["rcpts"])
    ]
    new["verdicts"] = [[*map(_text, next(said).fields)] for _ in record["verdicts"]]
    if "report" in record:
        new["report"] = [*map(_text, next(said).fields)]
    return new


def _words(raw: bytes) -> list[str]:
    return _text(raw).split(" ") if raw else []


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    """The wire's bytes again."""
    return text.encode("utf-8", "surrogateescape")


def _digits(number: int | None) -> bytes:
    """Zero is unknown: port 0 is local mail, size 0 was never said."""
    return b"%d" % number if number else b""


def _first_stamp(file: int) -> int | None:
    """When the first record of a segment was made; None when there is none to tell."""
    record = parse_line(os.pread(file, 1 << 20, 0).partition(b"\n")[0])
    stamp = record.get("at") if record else None
    return stamp if isinstance(stamp, int) else None
