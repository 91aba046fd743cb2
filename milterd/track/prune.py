"""Drops whole days past retention or above a size: the work of ``posttrail prune``.

The days of the queue lifetime stay (mail of theirs may still be under way), unless forced;
today stays in any case. Raises what journal.writer raises.
"""

import time
from collections.abc import Mapping
from typing import Any

from journal import days, retention
from journal.keys import day_name, day_of, parse_day
from milterd.track.writing import Bench, Files, Steps


def task(bench: Bench, options: Mapping[str, Any], _files: Files) -> Steps:
    """The work: ``days`` and ``size`` (bytes, 0: any) to keep, ``dry_run``, ``force``."""
    writer, today = bench.writer, day_of(time.time_ns() // 1000)
    dry = bool(options.get("dry_run"))
    wanted = _chosen(bench, int(options["days"]), int(options.get("size", 0)), today)
    first = today if options.get("force") else today - bench.settings.mta.queue_lifetime_days
    dropped = []
    for number, (day, name, size) in enumerate(wanted):
        if day >= first:
            continue
        yield {"what": name, "share": number / len(wanted)}
        rows = None
        if not dry and name == day_name(day):
            bench.settle()  # no open message makes a dropped day anew
            rows = writer.days.drop(day)
        elif not dry:
            retention.remove(writer.directory, name)
        dropped.append({"name": name, "bytes": size, "rows": rows})
    gone = sum(size for day, _, size in wanted if day < first) if dry else 0
    return {
        "dropped": dropped,
        "spared": [name for day, name, _ in wanted if first <= day < today],
        "bytes": retention.size_of(writer.directory) - gone,
        "dry_run": dry,
    }


def _chosen(bench: Bench, keep_days: int, cap: int, today: int) -> list[tuple[int, str, int]]:
    """Day, name and bytes of what is to go, the oldest first; days put aside among them."""
    directory = bench.writer.directory
    sizes = []
    for path in directory.iterdir():
        day = parse_day(path.name.removeprefix(days.BAD)[:10])
        if day is not None and day < today:
            sizes.append((day, path.name, retention.size_of(path)))
    sizes.sort()
    old = {day for day, _, _ in sizes if day <= today - keep_days}
    if cap:
        whole = retention.size_of(directory) - sum(size for day, _, size in sizes if day in old)
        rest = [(day, size) for day, _, size in sizes if day not in old]
        old.update(retention.oversize(rest, cap, whole, today))
    return [one for one in sizes if one[0] in old]
