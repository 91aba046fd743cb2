"""Our rows against the truth of a generated log, and what pflogsumm and logwatch make of it.

    python -m tests.bench.truth [--messages 100000] [--work DIR]

Two logs: one of the benches' (one host, long queue ids) and one of two hosts whose short
queue ids come again. Every row is compared: host, queue ids, time, sender, recipient, final
recipient, status, reason, folder, attempts, client, login, Message-ID. Rows by status are
set beside what the two report tools of Debian print for the same file.

Exit codes: 0 all rows are as generated; 1 some are not; 69 a part is missing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from journal.reader import Reader
from journal.records import Status
from posttrail.errors import EX_UNAVAILABLE
from tests.bench import generate, peers
from tests.bench.bench import Bench, fresh
from tests.bench.process import ProgramError
from tests.bench.world import SECOND

FULL: Final = 100_000
STATUSES: Final = ("delivered", "in_progress", "deferred", "error", "rejected", "filtered")


class Fact(NamedTuple):
    """All that is compared of one row."""

    host: str
    queue_ids: tuple[str, ...]
    second: int
    sender: str | None
    client_ip: str | None
    login: str | None
    message_id: str | None
    recipient: str | None
    final_recipient: str | None
    status: str
    reason: str
    folder: str | None
    attempts: int


class Verdict(NamedTuple):
    """How a journal compares with the truth."""

    true: Counter[Fact]
    found: Counter[Fact]

    @property
    def wrong(self) -> list[str]:
        """Every difference, rows that are missing (-) and rows that are too many (+)."""
        lost, extra = self.true - self.found, self.found - self.true
        return [f"- {fact}" for fact in sorted(lost.elements(), key=str)] + [
            f"+ {fact}" for fact in sorted(extra.elements(), key=str)
        ]


def told(truth: Path) -> Iterator[Fact]:
    """The generator's rows."""
    with truth.open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            yield Fact(
                host=row["host"],
                queue_ids=tuple(row["queue_ids"]),
                second=row["time_us"] // SECOND,
                **{name: row[name] for name in Fact._fields[3:]},
            )


def found(journal: Path) -> Iterator[Fact]:
    """The journal's rows."""
    with Reader.open(journal) as reader:
        for message_id, _ in reader.scan():
            message = reader.message(message_id)
            assert message is not None
            ids = tuple(queue_id.decode() for queue_id in message.queue_ids)
            for row in message.rows:
                yield Fact(
                    message.host.decode(),
                    ids,
                    message.time_us // SECOND,
                    text(message.sender),
                    text(message.client_ip),
                    text(message.login),
                    text(message.message_id),
                    text(row.recipient),
                    text(row.final_recipient),
                    Status(row.status).token,
                    row.reason,
                    text(row.folder),
                    row.attempts,
                )


def text(value: bytes | None) -> str | None:
    """Wire bytes as the truth's text."""
    return None if value is None else value.decode()


def judge(truth: Path, journal: Path) -> Verdict:
    """Compare a journal with the truth of the log it was made of."""
    return Verdict(Counter(told(truth)), Counter(found(journal)))


def by_status(facts: Counter[Fact]) -> Counter[str]:
    """Rows by status."""
    return _by(facts, lambda fact: fact.status)


def by_reason(facts: Counter[Fact]) -> Counter[str]:
    """Rows by status and reason."""
    return _by(facts, lambda fact: f"{fact.status} {fact.reason}")


def _by(facts: Counter[Fact], key: object) -> Counter[str]:
    assert callable(key)
    counts: Counter[str] = Counter()
    for fact, count in facts.items():
        counts[key(fact)] += count
    return counts


def table(verdict: Verdict, others: dict[str, Counter[str]]) -> str:
    """Ours, the truth and the others, a line for each status and reason."""
    ours, true = verdict.found, verdict.true
    head = f"{'':<28}{'ours':>10}{'truth':>10}" + "".join(f"{name:>12}" for name in others)
    lines = [head]
    for status in STATUSES:
        numbers = by_status(ours)[status], by_status(true)[status]
        cells = "".join(
            f"{counts[status]:>12,}" if status in counts else f"{'-':>12}"
            for counts in others.values()
        )
        lines.append(f"{status:<28}{numbers[0]:>10,}{numbers[1]:>10,}{cells}")
        reasons = sorted(name for name in by_reason(true + ours) if name.startswith(status + " "))
        for name in reasons:
            pair = by_reason(ours)[name], by_reason(true)[name]
            mark = "" if pair[0] == pair[1] else "  <-"
            lines.append(f"  {name.partition(' ')[2]:<26}{pair[0]:>10,}{pair[1]:>10,}{mark}")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.truth")
    parser.add_argument("--messages", type=int, default=FULL)
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep logs and journals there")
    asked = parser.parse_args()
    work = asked.work or Path(tempfile.mkdtemp(prefix="posttrail-truth-", dir="/var/tmp"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        wrong = sum(_one(work, asked.messages, short_ids=short) for short in (False, True))
    except ProgramError as error:
        print(error, file=sys.stderr)
        sys.exit(EX_UNAVAILABLE)
    finally:
        if asked.work is None:
            shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if wrong else 0)


def _one(work: Path, messages: int, *, short_ids: bool) -> int:
    """One log: generate, import, compare, print; how many rows differ."""
    name = "short" if short_ids else "long"
    log, truth = work / f"{name}.log", work / f"{name}.truth"
    hosts = ("mx1", "mx2") if short_ids else ("mx1",)
    lines = generate.write(log, truth, messages, short_ids=short_ids, hosts=hosts)
    bench = Bench(work=work, messages=messages, quick=False)
    cost = bench.import_(log, fresh(work / f"{name}.journal"))
    verdict = judge(truth, work / f"{name}.journal")
    words = "two hosts, short queue ids that come again" if short_ids else "long queue ids"
    print(f"\n{messages:,} messages, {lines:,} lines, {words}; import {cost.cpu_s:.1f} s CPU")
    others = {
        "pflogsumm": peers.pflogsumm(log),
        "logwatch": peers.logwatch(log, long=not short_ids),
    }
    print(table(verdict, others))
    wrong = verdict.wrong
    rows = verdict.true.total()
    print(f"rows that differ in anything: {len(wrong)} of {rows:,}")
    for line in wrong[:20]:
        print(line)
    return len(wrong)


if __name__ == "__main__":
    main()
