"""What the journal shows: its newest mail, its busiest moments, its gaps and positions.

Read in a child (``apart``), at most so many of the newest messages. ``gather`` raises what the
reader raises; as JSON there and back by ``asdict`` and ``JournalSeen.of``.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from journal import days, store
from journal.keys import day_name, id_time_us
from journal.reader import Reader
from journal.records import Gap
from journal.store import Store
from posttrail.errors import PosttrailError

MOST: Final = 200_000
"""Messages that are counted for the busiest moments: the newest."""
WINDOWS_S: Final = (5, 30, 600)
_MANY: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSeen:
    """One look."""

    why_not: str = "the journal was not read"  # "": it was
    newest_us: int | None = None  # the newest message
    counted: int = 0  # messages, for the peaks
    peaks: Mapping[int, int] = field(default_factory=dict)  # window in s: most messages in one
    gaps: tuple[Gap, ...] = ()
    covered_us: Mapping[str, int] = field(default_factory=dict)  # source: end of its newest cover
    positions: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Follower: (inode, offset) of each file that it reads."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "JournalSeen":
        """From JSON."""
        return cls(
            **{
                **told,
                "peaks": {int(window): most for window, most in told["peaks"].items()},
                "gaps": tuple(Gap(*gap) for gap in told["gaps"]),
                "positions": {
                    name: tuple((inode, offset) for inode, offset in files)
                    for name, files in told["positions"].items()
                },
            }
        )


def gather(directory: Path) -> JournalSeen:
    """Look into a journal."""
    with Reader.open(directory) as reader:
        times = [id_time_us(id) for id, _ in islice(reader.scan(), MOST)]
        known = reader.coverage()
    covered: dict[str, int] = {}
    for span in known:
        if not isinstance(span, Gap):
            covered[span.source] = max(covered.get(span.source, 0), span.end_us)
    return JournalSeen(
        why_not="",
        newest_us=max(times, default=None),
        counted=len(times),
        peaks=peaks(times),
        gaps=tuple(span for span in known if isinstance(span, Gap)),
        covered_us=covered,
        positions=_positions(directory),
    )


def sizes(directory: Path) -> dict[str, int]:
    """Bytes on disk of each day's file, by its name; nothing of a journal that cannot be listed."""
    found: dict[str, int] = {}
    try:
        present = days.present(directory)
    except PosttrailError:
        return found
    for day in present:
        try:
            file = (directory / day_name(day) / "data.mdb").stat()
        except OSError:
            continue  # it was dropped meanwhile
        found[day_name(day)] = file.st_blocks * 512
    return found


def peaks(times_us: Iterable[int]) -> dict[int, int]:
    """The most messages in one window of each length."""
    times = list(times_us)
    return {
        window: max(Counter(at // (window * 1_000_000) for at in times).values(), default=0)
        for window in WINDOWS_S
    }


def _positions(directory: Path) -> dict[str, tuple[tuple[int, int], ...]]:
    with Store(directory / days.STATE, store.STATE_DATABASES, writable=False) as state:
        pairs = state.up(b"p", b"", limit=_MANY)
    return {name.decode("utf-8", "replace"): files_of(value) for name, value in pairs}


def files_of(position: bytes) -> tuple[tuple[int, int], ...]:
    """Inode and offset of the files in a follower's position; none where it has no files.

    milterd/track/generations.py writes them; a test holds the two against each other.
    """
    try:
        files = json.loads(position)["files"]
        return tuple((int(file[_INODE]), int(file[_OFFSET])) for file in files)
    except (ValueError, KeyError, IndexError, TypeError):
        return ()


_OFFSET: Final = 2
_INODE: Final = 5
