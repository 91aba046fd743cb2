"""Drop whole days: carry their counters once, rename, unlink.

The order makes every crash harmless: first ``state/`` takes the sums and the name of
the day in one transaction, then the directory gets a name no reader opens, then its
files go. A day that ``state/`` names as gone and that is still there is removed at
start, its sums already carried. Raises what journal/store.py raises.
"""

import os
import shutil
from collections import Counter
from pathlib import Path

from journal import counters, days
from journal.keys import day_name, parse_day
from journal.store import Change, Store
from posttrail.durable import sync_directory


def expired(present: list[int], today: int, keep_days: int) -> list[int]:
    """The days that are older than the newest ``keep_days``, today being the newest."""
    return [day for day in present if day <= today - keep_days]


def oversize(
    sizes: list[tuple[int, int]], cap_bytes: int, whole_bytes: int, protected: int
) -> list[int]:
    """The oldest days that must go so that the journal is within its cap.

    ``sizes``: (day, bytes), oldest first; ``whole_bytes``: of the whole journal. From the day
    ``protected`` on none goes, even where the cap is not kept then.
    """
    found = []
    for day, size in sizes:
        if whole_bytes <= cap_bytes or day >= protected:
            break
        found.append(day)
        whole_bytes -= size
    return found


def beyond(directory: Path, present: list[int], cap_bytes: int, protected: int) -> list[int]:
    """Those of the days that must go, by what is on disk: see ``oversize``."""
    whole = size_of(directory)
    if whole <= cap_bytes:
        return []
    sizes = [(day, size_of(directory / day_name(day))) for day in present]
    return oversize(sizes, cap_bytes, whole, protected)


def size_of(path: Path) -> int:
    """Bytes on disk of a directory with all in it; what vanishes meanwhile has none."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return total


def sums(store: Store) -> Counter[bytes]:
    """The counters of a day without the hour: status byte and direction byte, or a figure."""
    totals: Counter[bytes] = Counter()
    for key, value in store.every(b"c"):
        if key != counters.MARK:
            totals[key[1:]] += int.from_bytes(value, "big")
    return totals


def carried(state: Store) -> Counter[bytes]:
    """What the dropped days counted."""
    pairs = state.every(b"c")
    return Counter({key: int.from_bytes(value, "big") for key, value in pairs})


def gone(state: Store) -> set[int]:
    """The days whose counters were carried."""
    return {int.from_bytes(key, "big") for key, _ in state.every(b"g")}


def dropped(state: Store) -> tuple[Counter[bytes], set[int]]:
    """Both of them as one commit left them."""
    while True:
        before = gone(state)
        totals = carried(state)
        if gone(state) == before:
            return totals, before


def carry(state: Store, day: int, totals: Counter[bytes]) -> None:
    """Take over a day's counters, once."""
    if day in gone(state):
        return
    new = carried(state) + totals
    puts = [(key, new[key].to_bytes(8, "big")) for key in sorted(new)]
    state.apply({b"c": Change((), puts), b"g": Change((), [(day.to_bytes(2, "big"), b"\1")])})


def welcome(state: Store, day: int) -> None:
    """A day that was dropped is about to be made again.

    What was carried stays: a late line alone may make the day, and has one row of all it had. So an
    import of all its log counts it twice.
    """
    if day in gone(state):
        state.apply({b"g": Change([day.to_bytes(2, "big")], ())})


def remove(directory: Path, name: str) -> None:
    """Take a directory out of sight, then off the disk."""
    hidden = directory / (days.GONE + name.removeprefix(days.GONE))
    if hidden.name != name:
        shutil.rmtree(hidden, ignore_errors=True)
        (directory / name).rename(hidden)
        sync_directory(directory)
    shutil.rmtree(hidden)


def finish(directory: Path, state: Store) -> None:
    """End what a crash cut short."""
    for hidden in directory.glob(days.GONE + "*"):
        remove(directory, hidden.name)
    for day in sorted(gone(state) & set(days.present(directory))):
        remove(directory, day_name(day))


def expired_bad(directory: Path, today: int, keep_days: int) -> list[str]:
    """Days that were put aside as damaged, and whose time is over."""
    found = []
    for path in directory.glob(days.BAD + "*"):
        day = parse_day(path.name.removeprefix(days.BAD)[:10])
        if day is not None and day <= today - keep_days:
            found.append(path.name)
    return sorted(found)


def leftovers(directory: Path) -> list[str]:
    """What damage or a crash left in the journal's folder, which nobody reads any more."""
    marks = (days.BAD, days.GONE, days.NEW)
    return sorted(path.name for path in directory.iterdir() if path.name.startswith(marks))


def remove_leftover(directory: Path, name: str) -> None:
    """Remove one of them. Raises OSError."""
    path = directory / name
    if path.is_dir():
        remove(directory, name)
    else:
        path.unlink()
