"""The writer: durable group commits into a busy day, and the dropping of whole days."""

from __future__ import annotations

import os
import shutil
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Final

from journal.keys import DAY_US, parse_day
from journal.reader import Reader
from journal.records import Record, Status
from journal.writer import Writer
from tests.bench.bench import Bench, fresh
from tests.bench.figures import Line, percentile
from tests.bench.process import ProgramError

_GROUP: Final = 100
_GROUPS: Final = 50
_PRELOADED: Final = 20_000
_ROUNDS: Final = 3
_DROPS: Final = 5


def commit(bench: Bench) -> list[Line]:
    """Groups of real records, each made durable, into a day that holds 20,000 already."""
    records = _records(bench, _PRELOADED + _GROUPS * _GROUP)
    once = [_committed(bench, records, twice=False) for _ in range(_ROUNDS)]
    twice = [_committed(bench, records, twice=True) for _ in range(_ROUNDS)]
    speed = median(_speed(each) for each in once)
    groups = [spent * 1000 for each in once for spent in each[0]]
    cpu_us = median(each[1] for each in once) / (_GROUPS * _GROUP) * 1e6
    sync_us = _sync_us(bench.work)
    return [
        Line(
            bench="commit",
            work=f"durable group commit, {_GROUP} messages a group, all indexes, "
            f"day of {_PRELOADED:,}",
            against="",
            at_least="≥ 5,000 messages/s a core",
            measured=f"{speed:,.0f}/s (group p50 {percentile(groups, 0.5):.1f}, p99 "
            f"{percentile(groups, 0.99):.1f} ms; {cpu_us:.0f} µs CPU a message; outcome in a "
            f"commit of its own: {median(map(_speed, twice)):,.0f}/s; "
            f"4 KiB + fdatasync here {sync_us:.0f} µs)",
            holds=speed >= 5_000,
            figures={
                "messages_a_s": speed,
                "messages_a_s_two_commits": median(map(_speed, twice)),
                "group_p50_ms": percentile(groups, 0.5),
                "group_p99_ms": percentile(groups, 0.99),
                "cpu_us": cpu_us,
                "written_bytes_a_message": median(each[2] for each in once) / (_GROUPS * _GROUP),
                "fdatasync_us": sync_us,
            },
        )
    ]


def _records(bench: Bench, count: int) -> list[Record]:
    """Records of one day, as an import made them."""
    with Reader.open(bench.journal(count, days=1)) as reader:
        found = [reader.record(message_id) for message_id, _ in islice(reader.scan(), count)]
    records = [record for record in found if record is not None]
    if len(records) < count:
        raise ProgramError(f"only {len(records)} records in the journal, {count} wanted")
    return records[::-1]  # oldest first, as mail comes


def _committed(
    bench: Bench, records: list[Record], *, twice: bool
) -> tuple[list[float], float, int]:
    """Seconds of each group, CPU seconds of all, bytes handed to the disk."""
    journal = fresh(bench.work / "commit.journal")
    writer = Writer.open(journal)
    renamed = [_renamed(writer, record) for record in records]
    for start in range(0, _PRELOADED, 1_000):
        for record in renamed[start : start + 1_000]:
            writer.put(record, None)
        writer.commit({"bench": b"%d" % start})
    spent, cpu, written = [], time.process_time(), _written_bytes()
    for start in range(_PRELOADED, len(renamed), _GROUP):
        group = renamed[start : start + _GROUP]
        before = [_accepted(record) if twice else None for record in group]
        begin = time.perf_counter()
        if twice:
            for early in before:
                if early is not None:
                    writer.put(early, None)
            writer.commit({"bench": b"%d" % start})
        for record, early in zip(group, before, strict=True):
            writer.put(record, early)
        writer.commit({"bench": b"%d" % (start + 1)})
        spent.append(time.perf_counter() - begin)
    cpu, written = time.process_time() - cpu, _written_bytes() - written
    writer.close()
    shutil.rmtree(journal)
    return spent, cpu, written


def _renamed(writer: Writer, record: Record) -> Record:
    message = record.message
    fresh_id = writer.new_id(message.time_us, repr(message.queue_ids).encode())
    return record._replace(message=message._replace(id=fresh_id))


def _accepted(record: Record) -> Record:
    """The record before its outcome was known."""
    rows = tuple(
        row._replace(status=int(Status.IN_PROGRESS), reason="queued", reply=None, done_at_us=None)
        for row in record.message.rows
    )
    return record._replace(message=record.message._replace(rows=rows))


def _speed(committed: tuple[list[float], float, int]) -> float:
    return _GROUPS * _GROUP / sum(committed[0])


def _written_bytes() -> int:
    fields = Path("/proc/self/io").read_text(encoding="ascii").split()
    return int(fields[fields.index("write_bytes:") + 1])


def _sync_us(directory: Path) -> float:
    """One durable append of 4 KiB: what the disk itself takes."""
    spent = []
    with (directory / "sync.tmp").open("wb", buffering=0) as file:
        for _ in range(100):
            begin = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            spent.append((time.perf_counter() - begin) * 1e6)
    (directory / "sync.tmp").unlink()
    return median(spent)


def prune(bench: Bench) -> list[Line]:
    """Drop the oldest days of a month, one by one; the others must not be touched."""
    journal = fresh(bench.work / "prune.journal")
    shutil.copytree(bench.journal(bench.messages), journal)
    names = sorted(path.name for path in journal.iterdir() if parse_day(path.name) is not None)
    newest = parse_day(names[-1]) or 0
    before = {name: _stamp(journal / name) for name in names[_DROPS:]}
    spent = []
    writer = Writer.open(journal)
    written = _written_bytes()
    for name in names[:_DROPS]:
        begin = time.perf_counter()
        dropped = writer.prune(newest * DAY_US, newest - (parse_day(name) or 0))
        spent.append((time.perf_counter() - begin) * 1000)
        if dropped != [name]:
            raise ProgramError(f"prune was to drop {name}, it dropped {dropped}")
    written = (_written_bytes() - written) // _DROPS
    writer.close()
    rewritten = [name for name, stamp in before.items() if _stamp(journal / name) != stamp]
    shutil.rmtree(journal)
    return [
        Line(
            bench="prune",
            work=f"dropping a day ({bench.messages // len(names):,} messages)",
            against="",
            at_least="≤ 50 ms, nothing rewritten",
            measured=f"{max(spent):.1f} ms at most, {len(rewritten)} other days touched, "
            f"{written / 1024:.0f} KiB written for each",
            holds=max(spent) <= 50 and not rewritten,
            figures={"max_ms": max(spent), "median_ms": median(spent), "written_bytes": written},
        )
    ]


def _stamp(day: Path) -> tuple[int, int]:
    state = (day / "data.mdb").stat()
    return state.st_mtime_ns, state.st_size
