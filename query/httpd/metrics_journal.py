"""The figures of the journal, as families of Prometheus. Pure, but for ``disk``; raises nothing.

``sums`` are what the ledger keeps at their highest; a series is named by its family and its
labels. Coverage and room are gauges, read anew each time.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from prometheus_client.core import Metric

from journal import days, store
from journal.counters import BUCKETS_S, Totals
from journal.records import Cover, Gap
from posttrail import metrics
from posttrail.metrics import Kind

RECIPIENTS: Final = "posttrail_recipients_total"
DELAYS: Final = "posttrail_delivery_duration_seconds"
BY_REASON: Final = {
    "posttrail_rejected_total": ("rejected", metrics.REFUSALS),
    "posttrail_errors_total": ("error", metrics.ERRORS),
    "posttrail_filtered_total": ("filtered", metrics.FILTERED),
}
_BOUNDS: Final = (*map(float, BUCKETS_S), float("inf"))


def family(name: str) -> Metric:
    """A declared family without samples."""
    declared = metrics.BY_NAME[name]
    stem = name.removesuffix("_total") if declared.kind is Kind.COUNTER else name
    return Metric(stem, declared.help, declared.kind.value)


def gauge(name: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
    """A family with the samples given as labels and value."""
    made = family(name)
    for labels, value in samples:
        made.add_sample(name, labels, value)
    return made


# -- counters ---------------------------------------------------------------------------


def sums(totals: Totals) -> dict[str, int]:
    """Every series of a counter; those of which there is nothing yet are 0."""
    found = {
        f"{RECIPIENTS} {status} {direction}": totals.rows.get((status, _token(direction)), 0)
        for status in metrics.FINAL
        for direction in metrics.DIRECTIONS
    }
    for name, (status, reasons) in BY_REASON.items():
        for reason in reasons:
            found[f"{name} {reason}"] = totals.reasons.get((status, reason), 0)
    for status in metrics.ACCEPTED:
        for direction in metrics.DIRECTIONS:
            delays = totals.delays.get((status, _token(direction)))
            stem = f"{DELAYS} {status} {direction}"
            for place in range(len(_BOUNDS)):
                found[f"{stem} {place}"] = delays.buckets[place] if delays else 0
            found[f"{stem} ms"] = delays.sum_ms if delays else 0
    return found


def counters(exported: Mapping[str, int], now: Mapping[str, int]) -> Iterator[Metric]:
    """What was exported at most, and by how much that is above the truth of now."""
    recipients, revised = family(RECIPIENTS), family("posttrail_recipients_revised")
    delays = family(DELAYS)
    for status in metrics.FINAL:
        for direction in metrics.DIRECTIONS:
            labels = {"status": status, "direction": direction}
            series = f"{RECIPIENTS} {status} {direction}"
            recipients.add_sample(RECIPIENTS, labels, exported[series])
            revised.add_sample(
                "posttrail_recipients_revised", labels, exported[series] - now[series]
            )
            if status in metrics.ACCEPTED:
                _histogram(delays, labels, exported, f"{DELAYS} {status} {direction}")
    yield from (recipients, revised, delays)
    for name, (_, reasons) in BY_REASON.items():
        yield gauge(name, (({"reason": each}, exported[f"{name} {each}"]) for each in reasons))


def _histogram(
    made: Metric, labels: dict[str, str], exported: Mapping[str, int], stem: str
) -> None:
    count = 0
    for place, bound in enumerate(_BOUNDS):
        count += exported[f"{stem} {place}"]
        made.add_sample(f"{DELAYS}_bucket", {**labels, "le": metrics.le(bound)}, count)
    made.add_sample(f"{DELAYS}_sum", labels, exported[f"{stem} ms"] / 1000)
    made.add_sample(f"{DELAYS}_count", labels, count)


def _token(direction: str) -> str:
    return "" if direction == "unknown" else direction


# -- gauges -----------------------------------------------------------------------------


def pending(totals: Totals) -> Iterator[Metric]:
    """What is not final."""
    waiting: Counter[str] = Counter()
    for (status, _), rows in totals.rows.items():
        waiting[status] += rows
    yield gauge(
        "posttrail_recipients", (({"status": each}, waiting[each]) for each in metrics.PENDING)
    )
    yield gauge(
        "posttrail_deferred_recipients",
        (
            ({"reason": each}, totals.reasons.get(("deferred", each), 0))
            for each in metrics.DEFERRALS
        ),
    )
    yield gauge("posttrail_abandoned_messages", [({}, totals.rowless)])


def coverage(intervals: Iterable[Cover | Gap]) -> Iterator[Metric]:
    """How long each source was recorded, and what is missing."""
    covered: Counter[str] = Counter()
    until: dict[str, int] = {}
    gaps: Counter[tuple[str, str]] = Counter()
    missing: Counter[tuple[str, str]] = Counter()
    lost: Counter[str] = Counter()
    for each in intervals:
        if isinstance(each, Cover):
            covered[each.source] += each.end_us - each.begin_us
            until[each.source] = max(until.get(each.source, 0), each.end_us)
        else:
            place = each.source, each.reason if each.reason in metrics.GAPS else "other"
            gaps[place] += 1
            missing[place] += each.end_us - each.begin_us
            lost[each.source] += each.lost
    sources = metrics.SOURCES
    places = [(source, reason) for source in sources for reason in metrics.GAPS]
    yield gauge(
        "posttrail_coverage_seconds", (({"source": each}, covered[each] / 1e6) for each in sources)
    )
    yield gauge(
        "posttrail_coverage_end_timestamp_seconds",
        (({"source": each}, until[each] / 1e6) for each in sources if each in until),
    )
    for name, values, unit in (
        ("posttrail_coverage_gaps", gaps, 1.0),
        ("posttrail_coverage_gap_seconds", missing, 1e6),
    ):
        yield gauge(
            name,
            (
                ({"source": source, "reason": reason}, values[source, reason] / unit)
                for source, reason in places
            ),
        )
    yield gauge(
        "posttrail_coverage_lost_lines", (({"source": each}, lost[each]) for each in sources)
    )


def disk(directory: Path, present: list[str]) -> Iterator[Metric]:
    """Room taken and left; a day that vanishes meanwhile counts nothing."""
    sizes = [_bytes(directory / name) for name in present]
    aside = sum(not (path / days.REBUILT).exists() for path in directory.glob(days.BAD + "*"))
    room = os.statvfs(directory)
    for name, value in (
        ("posttrail_journal_bytes", sum(sizes) + _bytes(directory / days.STATE)),
        ("posttrail_journal_parts", len(present)),
        ("posttrail_journal_parts_aside", aside),
        ("posttrail_journal_largest_bytes", max(sizes, default=0)),
        ("posttrail_journal_map_bytes", store.MAP_SIZE),
        ("posttrail_journal_disk_bytes", room.f_blocks * room.f_frsize),
        ("posttrail_journal_disk_free_bytes", room.f_bavail * room.f_frsize),
    ):
        yield gauge(name, [({}, value)])


def _bytes(environment: Path) -> int:
    try:
        return (environment / "data.mdb").stat().st_blocks * 512
    except OSError:
        return 0
