"""The counters and figures of a day: exact whatever happens to a message, old days as before."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from journal import counters
from journal.check import Part, check_part
from journal.counters import BUCKETS_S, Delays, Totals
from journal.keys import DAY_US
from journal.reader import Reader
from journal.records import REASONS, Direction, Message, Recipient, Record, Status
from journal.store import DAY_DATABASES, Change, Store
from journal.writer import Writer
from tests.unit.journal.conftest import BEGIN_US, MakeRecord

Sound = Callable[[], list[Part]]
DAY = "2026-11-23"


def row(status: int, reason: str = "other", /, **changes: object) -> Recipient:
    made = Recipient(
        b"a@example.org", b"a@example.org", status, reason, None, None, None, None, None, 1, False,
        None, None, Direction.INBOUND,
    )  # fmt: skip
    return made._replace(**changes)  # type: ignore[arg-type]  # names of its fields, by a test


def with_rows(record: Record, *rows: Recipient) -> Record:
    return record._replace(message=record.message._replace(rows=rows))


def truth(messages: list[Message]) -> Totals:
    """The same from the rows themselves, one by one."""
    rows: Counter[tuple[str, str]] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    delays: dict[tuple[str, str], Delays] = {}
    for message in messages:
        for each in message.rows:
            status = Status(each.status).token
            place = status, Direction(each.direction).token if each.direction else ""
            rows[place] += 1
            reasons[status, each.reason] += 1
            seconds = None if each.delay_ms is None else each.delay_ms / 1000
            if seconds is None and each.done_at_us is not None:
                seconds = (each.done_at_us - message.time_us) // 1000 / 1000
            if seconds is None or status not in ("delivered", "filtered", "error"):
                continue
            kept = delays.setdefault(place, Delays([0] * 10, 0))
            kept.buckets[sum(seconds > bound for bound in BUCKETS_S)] += 1
            delays[place] = kept._replace(sum_ms=kept.sum_ms + round(seconds * 1000))
    rowless = sum(not message.rows for message in messages)
    return Totals(dict(rows), rowless, delays, dict(reasons))


def some(totals: Totals) -> Totals:
    """Without the zeros that may stand where something was."""
    return Totals(
        {key: value for key, value in totals.rows.items() if value},
        totals.rowless,
        {key: value for key, value in totals.delays.items() if any(value.buckets)},
        {key: value for key, value in totals.reasons.items() if value},
    )


def read(directory: Path) -> Totals:
    with Reader.open(directory) as reader:
        return some(reader.totals())


@pytest.mark.parametrize(
    ("delay_ms", "bucket"),
    [(0, 0), (1_000, 0), (1_001, 1), (60_000, 3), (60_001, 4), (86_400_000, 8), (86_400_001, 9)],
)
def test_a_bound_is_within_its_bucket(record: MakeRecord, delay_ms: int, bucket: int) -> None:
    made = with_rows(record(1), row(Status.DELIVERED, "stored", delay_ms=delay_ms))
    counts: dict[bytes, int] = {}
    counters.add(counts, made.message, 1, figures=True)
    assert counts == {
        bytes((0, Status.DELIVERED, 1)): 1,
        b"\xff\x0f\x10\x00\x01" + bytes((bucket,)): 1,
        b"\xff\x0f\x11\x00\x01": delay_ms,
        b"\xff\x0f\x12\x00" + bytes((REASONS.index("stored"),)): 1,
    }


def test_what_is_taken_back_leaves_nothing(record: MakeRecord) -> None:
    made = with_rows(record(1), row(Status.ERROR, "expired", done_at_us=BEGIN_US + 5 * DAY_US))
    counts: dict[bytes, int] = {}
    counters.add(counts, made.message, 1, figures=True)
    counters.add(counts, made.message, -1, figures=True)
    assert set(counts.values()) == {0}
    assert len(counts) == 4


@pytest.mark.parametrize(
    ("changes", "taken_ms"),
    [
        ({"delay_ms": 700, "done_at_us": BEGIN_US + 9_000_000}, 700),
        ({"done_at_us": BEGIN_US + 1_000_000 + 2_500_999}, 2_500),
        ({"done_at_us": BEGIN_US}, 0),
        ({"delay_ms": 1 << 60}, counters.LONGEST_MS),
        ({}, None),
    ],
)
def test_what_a_row_took(
    record: MakeRecord, changes: dict[str, object], taken_ms: int | None
) -> None:
    message = record(1).message  # one second after BEGIN_US
    assert counters.taken_ms(message, row(Status.DELIVERED, "stored", **changes)) == taken_ms


def test_totals_are_those_of_the_rows_after_any_changes(
    directory: Path, record: MakeRecord, sound: Sound
) -> None:
    chance = random.Random(7)

    def rows() -> list[Recipient]:
        return [
            row(
                chance.randrange(6),
                chance.choice(REASONS),
                delay_ms=chance.choice([None, chance.randrange(1 << chance.randrange(28))]),
                done_at_us=chance.choice([None, BEGIN_US + chance.randrange(10**12)]),
                direction=chance.choice([None, 1, 2, 3]),
            )
            for _ in range(chance.randrange(4))
        ]

    known: dict[bytes, Record] = {}
    with Writer.open(directory) as writer:
        for _ in range(20):
            for _ in range(20):
                number = chance.randrange(120)
                at_us = BEGIN_US + number * DAY_US // 60  # over two days
                made = with_rows(record(number, time_us=at_us), *rows())
                writer.put(made, known.get(made.id))
                known[made.id] = made
            writer.commit()
            if len(known) > 60:
                old, into = chance.sample(sorted(known), 2)
                writer.tombstone(known.pop(old), into)
                writer.commit()
    sound()
    expected = truth([each.message for each in known.values()])
    assert read(directory) == expected
    assert expected.delays
    with Writer.open(directory) as writer:
        assert writer.prune(BEGIN_US + 2 * DAY_US, 2) == [DAY]
    assert read(directory) == expected, "a dropped day's sums are carried"


def old_day(directory: Path) -> None:
    """Make the day what a release without figures wrote."""
    with Store(directory / DAY, DAY_DATABASES, writable=True) as opened:
        keys = [key for key, _ in opened.up(b"c", counters.FIGURE, limit=1 << 20)]
        assert counters.MARK in keys
        opened.apply({b"c": Change(keys, ())})


def test_a_day_of_an_older_release_stays_without_figures(
    directory: Path, record: MakeRecord, sound: Sound
) -> None:
    first = with_rows(record(1), row(Status.DEFERRED, "dns"))
    second = with_rows(record(2), row(Status.DELIVERED, "stored", delay_ms=40))
    with Writer.open(directory) as writer:
        writer.put(first, None)
        writer.commit()
    old_day(directory)
    with Writer.open(directory) as writer:
        after = with_rows(first, row(Status.DELIVERED, "relayed", delay_ms=70))
        writer.put(after, first)
        writer.put(second, None)
        writer.commit()
    sound()
    told = read(directory)
    assert told == Totals({("delivered", "inbound"): 2}, 0, {}, {})
    with Writer.open(directory) as writer:  # a day that is made now has them
        writer.put(with_rows(record(3, time_us=BEGIN_US + DAY_US), *second.message.rows), None)
        writer.commit()
    assert read(directory).reasons == {("delivered", "stored"): 1}


def test_the_check_finds_a_wrong_figure(directory: Path, record: MakeRecord) -> None:
    with Writer.open(directory) as writer:
        writer.put(with_rows(record(1), row(Status.DELIVERED, "stored", delay_ms=70)), None)
        writer.commit()
    key = counters.FIGURE + counters.DELAYS_MS + bytes((Status.DELIVERED, Direction.INBOUND))
    with Store(directory / DAY, DAY_DATABASES, writable=True) as opened:
        assert opened.get(b"c", key) == bytes(7) + b"\x46"  # 70
        opened.apply({b"c": Change((), [(key, bytes(7) + b"\x47")])})
    part = check_part(directory, DAY)
    assert part.first_problems == (f"{DAY}: counter figure 110001 is 71, the rows say 70",)


def test_a_figure_of_a_newer_release_is_passed_over() -> None:
    sums = {
        bytes((15, 0x7F, 1, 2, 3)): 9,  # a kind that is not known
        bytes((15, 0x12, 0, 200)): 9,  # a reason that is not known
        bytes((15, 0)): 4,
        bytes((0, 2)): 3,
    }
    assert counters.totals_of(sums) == Totals({("delivered", "outbound"): 3}, 4, {}, {})
