"""Import against pflogsumm on the same file: CPU, peak memory, bytes on disk, and the truth."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median

from journal.reader import Reader
from tests.bench import truth
from tests.bench.bench import Bench, disk_bytes, fresh, tool
from tests.bench.figures import Line
from tests.bench.process import Cost, run

_ROUNDS = 3
_MOST_MIB = 128
_FLAT = 1.25  # anonymous memory at twice the length, at most this many times as much


def measure(bench: Bench) -> list[Line]:
    """CPU of both in interleaved rounds; then the journal that came out."""
    log = bench.log(bench.messages)
    journal = bench.work / f"{log.stem}.journal"
    part = journal.with_suffix(".part")
    ours, theirs = [], []
    for _ in range(_ROUNDS):
        theirs.append(_pflogsumm(bench, log))
        ours.append(bench.import_(log, fresh(part)))
    fresh(journal)
    part.rename(journal)
    return [_cpu(bench, log, ours, theirs), _disk(bench, log, journal), _truth(log, journal)]


def memory(bench: Bench) -> list[Line]:
    """Peak memory at half the length and at the whole."""
    whole, half = bench.log(bench.messages), bench.log(bench.messages // 2)
    ours = [bench.import_(log, fresh(bench.work / "memory.journal")) for log in (half, whole)]
    theirs = [_pflogsumm(bench, log) for log in (half, whole)]
    shutil.rmtree(bench.work / "memory.journal")
    growth = ours[1].anonymous_mib / ours[0].anonymous_mib
    holds = ours[1].anonymous_mib <= _MOST_MIB and growth <= _FLAT
    return [
        Line(
            bench="memory",
            work=f"peak memory of an import, {bench.messages // 2} and {bench.messages} messages",
            against="pflogsumm",
            at_least=f"≤ {_MOST_MIB} MiB, flat in the log's length",
            measured=f"{ours[0].anonymous_mib:.0f} and {ours[1].anonymous_mib:.0f} MiB anonymous, "
            f"{ours[1].peak_mib:.0f} with the mapped journal; "
            f"pflogsumm {theirs[0].peak_mib:.0f} and {theirs[1].peak_mib:.0f}",
            holds=holds,
            figures={
                "anonymous_half_mib": ours[0].anonymous_mib,
                "anonymous_mib": ours[1].anonymous_mib,
                "peak_half_mib": ours[0].peak_mib,
                "peak_mib": ours[1].peak_mib,
                "maxrss_mib": ours[1].maxrss_mib,
                "pflogsumm_half_mib": theirs[0].peak_mib,
                "pflogsumm_mib": theirs[1].peak_mib,
                "growth": growth,
            },
        )
    ]


def _pflogsumm(bench: Bench, log: Path) -> Cost:
    return run([tool("pflogsumm", "pflogsumm"), log], output=bench.work / "pflogsumm.out")


def _cpu(bench: Bench, log: Path, ours: list[Cost], theirs: list[Cost]) -> Line:
    with log.open("rb") as file:
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    pairs = [our.cpu_s / their.cpu_s for our, their in zip(ours, theirs, strict=True)]
    ratio, cpu = median(pairs), median(cost.cpu_s for cost in ours)
    other = median(cost.cpu_s for cost in theirs)
    return Line(
        bench="import",
        work=f"import of {lines:,} lines, fully indexed, CPU time",
        against="pflogsumm on the same file",
        at_least="≤ 1.5x",
        measured=f"{ratio:.2f}x ({cpu:.2f} s, {cpu / lines * 1e6:.1f} µs a line; "
        f"pflogsumm {other:.2f} s)",
        holds=ratio <= 1.5,
        figures={
            "ratio": ratio,
            "lines": lines,
            "cpu_s": cpu,
            "wall_s": median(cost.wall_s for cost in ours),
            "us_a_line": cpu / lines * 1e6,
            "us_a_message": cpu / bench.messages * 1e6,
            "pflogsumm_cpu_s": other,
            "pflogsumm_us_a_line": other / lines * 1e6,
        },
    )


def _disk(bench: Bench, log: Path, journal: Path) -> Line:
    used, plain = disk_bytes(journal), log.stat().st_size
    with Reader.open(journal) as reader:
        messages = sum(1 for _ in reader.scan())
    return Line(
        bench="import",
        work="bytes a message on disk, hot days",
        against="the plain log",
        at_least="≤ 1.0x",
        measured=f"{used / plain:.2f}x ({used / messages:,.0f} B a message; "
        f"log {plain / messages:,.0f})",
        holds=used <= plain,
        figures={
            "ratio": used / plain,
            "journal_bytes": used,
            "log_bytes": plain,
            "messages": messages,
        },
    )


def _truth(log: Path, journal: Path) -> Line:
    """A figure for a wrong journal is worth nothing: every row must be as generated."""
    verdict = truth.judge(log.with_suffix(".truth"), journal)
    wrong = len(verdict.wrong)
    rows = verdict.true.total()
    return Line(
        bench="import",
        work=f"rows of the journal ({rows:,})",
        against="the generator's truth",
        at_least="equal",
        measured="equal" if not wrong else f"{wrong} differ",
        holds=not wrong,
        figures={"wrong_rows": wrong},
    )
