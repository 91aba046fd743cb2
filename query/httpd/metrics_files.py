"""The files in which the programs say how they are, as families of Prometheus, and their age.

A line counts that is of a family the program may speak of (posttrail/metrics.py), with labels of
its closed sets and a finite value; any other is passed over: whoever may write into the folder
can add no series. Raises nothing.
"""

import math
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import Metric

from posttrail import metrics
from posttrail.metrics import Family, Kind
from query.httpd.metrics_journal import family, gauge

MOST_BYTES: Final = 256 << 10
_SAMPLE: Final = re.compile(r"(posttrail_\w+)(?:\{([^{}]*)\})? (\S{1,40})")
_LABEL: Final = re.compile(r'(\w+)="([^"\\]*)"')


def all_of(directory: Path) -> Iterator[Metric]:
    """What every program says, and how old that is."""
    for program, declared in metrics.WRITTEN.items():
        yield from said(directory / f"{program}.prom", declared)
    yield gauge("posttrail_gauges_age_seconds", _ages(directory))


def said(path: Path, declared: Iterable[Family]) -> list[Metric]:
    """The families of a program's file; nothing of a file that is not there."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode("ascii", "replace")
    except OSError:
        return []
    known = {each.name: each for each in declared}
    made: dict[str, Metric] = {}
    told: set[tuple[str, str]] = set()
    for line in text.splitlines():
        found = _SAMPLE.fullmatch(line)
        if not found or (found[1], found[2]) in told:  # a series that is told twice is none
            continue
        of = metrics.family_of(found[1])
        labels = _labels(found[2] or "")
        value = _value(found[3])
        if of is None or of.name not in known or labels is None or value is None:
            continue
        if not is_declared(of, found[1], labels):
            continue
        told.add((found[1], found[2]))
        made.setdefault(of.name, family(of.name)).add_sample(found[1], labels, value)
    return list(made.values())


def is_declared(of: Family, sample: str, labels: dict[str, str]) -> bool:
    """Whether a sample has the labels that its family has, each of its closed set."""
    allowed = dict(of.labels)
    if of.kind is Kind.HISTOGRAM:
        if sample == of.name:
            return False
        if sample.endswith("_bucket"):
            allowed["le"] = tuple(map(metrics.le, (*of.buckets, math.inf)))
    return labels.keys() == allowed.keys() and all(
        value in allowed[name] for name, value in labels.items()
    )


def _labels(text: str) -> dict[str, str] | None:
    pairs = _LABEL.findall(text)
    whole = ",".join(f'{name}="{value}"' for name, value in pairs)
    return dict(pairs) if whole == text else None


def _value(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _ages(directory: Path) -> Iterator[tuple[dict[str, str], float]]:
    for program in metrics.PROGRAMS:
        try:
            seconds = time.time() - (directory / f"{program}.prom").stat().st_mtime
        except OSError:
            continue
        yield {"program": program}, round(max(0.0, seconds), 3)
