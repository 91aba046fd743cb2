"""What a bench found: one ``Line`` for each promise, as a table and as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One promise held against one measurement."""

    bench: str  # what --only calls it
    work: str
    against: str
    at_least: str  # the promise, "" where there is none
    measured: str
    holds: bool | None  # None: nothing promised, or nothing measured
    figures: dict[str, float | int | str] = field(default_factory=dict)


def percentile(values: Sequence[float], part: float) -> float:
    """The least of the values that ``part`` of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * part) - 1)]


def table(lines: Sequence[Line], console: Console) -> None:
    """Print all lines."""
    shown = Table(title="posttrail benches", title_justify="left", header_style="bold")
    for name in ("bench", "work", "against", "at least", "measured", "holds?"):
        shown.add_column(name, overflow="fold")
    words = {True: "[green]✔ yes[/]", False: "[red]✘ no[/]", None: "-"}
    for line in lines:
        shown.add_row(
            line.bench, line.work, line.against, line.at_least, line.measured, words[line.holds]
        )
    console.print(shown)


def document(lines: Sequence[Line], *, messages: int, quick: bool) -> str:
    """All lines as one JSON document, with what they were measured on."""
    return json.dumps(
        {
            "messages": messages,
            "quick": quick,
            "machine": {
                "cpus": os.cpu_count(),
                "kernel": platform.release(),
                "python": platform.python_version(),
                "cpu": _cpu_model(),
                "load_1min": os.getloadavg()[0],
            },
            "lines": [asdict(line) for line in lines],
        },
        indent=2,
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
