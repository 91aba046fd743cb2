"""A journal to fill by hand, and the command line run on it as users do."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from journal import days
from journal.events import Event
from journal.reader import Reader
from journal.records import Message, Recipient, Record, Status
from journal.writer import Writer
from query.local import Local

NOON_US = 1_795_435_200_000_000  # 2026-11-23T12:00:00Z
ROOT = Path(__file__).resolve().parents[3]


def row(recipient: bytes | None = b"to@example.org", **changes: object) -> Recipient:
    """A delivered row, changed."""
    plain = Recipient(
        recipient, recipient, Status.DELIVERED, "relayed", None, b"250 2.0.0 Ok", 250, b"2.0.0",
        b"mx.example.org[192.0.2.25]:25", 1, False, NOON_US + 1_500_000, 1500, 2,
    )  # fmt: skip
    return plain._replace(**changes)  # type: ignore[arg-type]


class Shelf:
    """Messages put into a journal one by one; LMDB lets one process hold it in one way only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._count = 0

    @property
    def writer(self) -> Writer:
        """The journal, open for writing."""
        if self._reader is not None:
            self.close()
        if self._writer is None:
            self._writer = Writer.open(self.directory)
        return self._writer

    @property
    def source(self) -> Local:
        """The journal, open for reading."""
        if self._writer is not None:
            self.close()
        if self._reader is None:
            self._reader = Reader.open(self.directory)
        return Local(self._reader, journal_key=days.read_key(self.directory))

    def put(
        self,
        *rows: Recipient,
        at_us: int = NOON_US,
        events: tuple[Event, ...] = (),
        first_seen_us: int | None = None,
        commit: bool = True,
        **changes: object,
    ) -> Message:
        """Write a message; its id is of ``first_seen_us``."""
        self._count += 1
        number = b"%d" % self._count
        id = self.writer.new_id(at_us if first_seen_us is None else first_seen_us, number)
        plain = Message(
            id, at_us, b"mx.example.com", b"postfix", (b"QID" + number,), b"from@example.com",
            2048, b"m%b@example.com" % number, b"a subject", b"192.0.2.1", b"client.example.com",
            40000, b"helo.example.com", None, b"TLSv1.3 TLS_AES_256_GCM_SHA384", 1.5, 0b11, 0,
            (), rows,
        )  # fmt: skip
        message = plain._replace(**changes)  # type: ignore[arg-type]
        self.writer.put(Record(message, events, ()), None)
        if commit:
            self.writer.commit()
        return message

    def close(self) -> None:
        """Close it in whichever way it is open."""
        for opened in (self._writer, self._reader):
            if opened is not None:
                opened.close()
        self._writer = self._reader = None


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An empty journal."""
    made = Shelf(tmp_path / "journal")
    made.writer.commit()
    yield made
    made.close()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``posttrail --journal J ARGS`` in a process of its own, UTC, without a terminal."""

    def call(*arguments: str, **environment: str) -> Ran:
        clean = {name: value for name, value in os.environ.items() if "POSTTRAIL" not in name}
        done = subprocess.run(
            [sys.executable, "-m", "posttrail.cli", "--journal", tmp_path / "journal", *arguments],
            cwd=ROOT,
            env=clean | {"TZ": "UTC", "PYTHONUTF8": "1"} | environment,
            capture_output=True,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return call
