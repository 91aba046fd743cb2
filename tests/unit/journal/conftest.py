"""Messages made by hand, and a journal to put them into."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from journal.check import Part, check_journal
from journal.keys import DAY_US, day_of, make_id
from journal.records import Message, Recipient, Record, Status

DAY = 20_780  # 2026-11-23
BEGIN_US = DAY * DAY_US


class MakeRecord(Protocol):
    """Makes a record; what is not named is usual."""

    def __call__(
        self,
        number: int,
        *,
        time_us: int | None = ...,
        statuses: tuple[int, ...] = ...,
        recipients: tuple[bytes, ...] = ...,
        **changes: object,
    ) -> Record: ...


def _record(
    number: int,
    *,
    time_us: int | None = None,
    statuses: tuple[int, ...] = (Status.DELIVERED,),
    recipients: tuple[bytes, ...] = (),
    **changes: object,
) -> Record:
    at_us = BEGIN_US + number * 1_000_000 if time_us is None else time_us
    names = recipients or tuple(b"to%d@example.org" % each for each in range(len(statuses)))
    rows = tuple(
        Recipient(
            name, name, status, "other", None, None, None, None, None, 1, False, None, None, 1
        )
        for name, status in zip(names, statuses, strict=True)
    )
    message = Message(
        make_id(day_of(at_us), at_us, number), at_us, b"mx1.example.net", b"postfix",
        (b"Q%d" % number,), b"from@example.com", 1000, b"m%d@example.com" % number, None,
        b"192.0.2.7", None, 1024 + number % 60_000, None, None, None, None, 2, 0, (), rows,
    )  # fmt: skip
    return Record(message._replace(**changes), (), ())  # type: ignore[arg-type]


@pytest.fixture
def record() -> MakeRecord:
    """Makes records by number, one a second from the begin of 2026-11-23."""
    return _record


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a test's journal is, or will be."""
    return tmp_path / "journal"


@pytest.fixture
def sound(directory: Path) -> Callable[[], list[Part]]:
    """Checks the journal, which must be closed: no problem may be found."""

    def check() -> list[Part]:
        parts = list(check_journal(directory))
        assert [part for part in parts if part.problems] == []
        return parts

    return check
