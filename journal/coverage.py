"""When which source was recording without a gap, and why not when not.

Kept in ``state/`` (docs/journal-format.md, "Coverage"). Intervals are half-open, in
microseconds, of the source's own time. A gap is proof of a loss, so it wins over
covered time on both sides of it in the order of arrival. Raises nothing.
"""

from collections.abc import Iterable
from typing import Final

from journal.records import Cover, Gap

_COVER: Final = b"c"
_GAP: Final = b"g"
_SIGN: Final = 1 << 63  # times before 1970 sort first


class Coverage:
    """What is known of all sources; ``pairs`` is what belongs on disk."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._covers: dict[str, list[tuple[int, int]]] = {}
        self._gaps: list[Gap] = []
        for key, value in pairs:
            source, _, rest = key.partition(b"\0")
            begin, end = _time(rest[1:9]), _time(value[:8])
            if rest[:1] == _COVER:
                self._covers.setdefault(source.decode(), []).append((begin, end))
            elif rest[:1] == _GAP:
                reason, _, lost = value[8:].partition(b"\0")
                gap = Gap(source.decode(), begin, end, reason.decode(), int(lost or 0))
                self._gaps.append(gap)

    def extend(self, source: str, begin_us: int, end_us: int) -> None:
        """The source was up and gapless from begin to end; touching intervals join."""
        joined = []
        for begin, end in self._covers.get(source, []):
            if end < begin_us or begin > end_us:
                joined.append((begin, end))
            else:
                begin_us, end_us = min(begin, begin_us), max(end, end_us)
        joined.append((begin_us, end_us))
        self._covers[source] = sorted(joined)

    def gap(self, gap: Gap) -> None:
        """The source was not recording; a gap that touches one of its kind joins it.

        What was lost is added up, but for a gap within another: that was told before.
        """
        begin, end, lost = gap.begin_us, gap.end_us, gap.lost
        others = []
        for other in self._gaps:
            same = other.source == gap.source and other.reason == gap.reason
            if same and other.begin_us <= end and other.end_us >= begin:
                inside = other.begin_us <= gap.begin_us and other.end_us >= gap.end_us
                lost = max(lost, other.lost) if inside else lost + other.lost
                begin, end = min(begin, other.begin_us), max(end, other.end_us)
            else:
                others.append(other)
        others.append(Gap(gap.source, begin, end, gap.reason, lost))
        self._gaps = sorted(others, key=lambda each: (each.begin_us, each))

    def forget(self, before_us: int) -> None:
        """Let go of all that ended before an instant."""
        self._gaps = [gap for gap in self._gaps if gap.end_us > before_us]
        for source, covers in self._covers.items():
            self._covers[source] = [cover for cover in covers if cover[1] > before_us]

    def intervals(self) -> list[Cover | Gap]:
        """Covers without the gaps in them, and the gaps, by time."""
        found: list[Cover | Gap] = list(self._gaps)
        for source, covers in self._covers.items():
            gaps = [gap for gap in self._gaps if gap.source == source]
            for begin, end in covers:
                found += (Cover(source, *part) for part in _without(begin, end, gaps))
        return sorted(found, key=lambda each: (each.begin_us, each.end_us, each.source))

    def pairs(self) -> dict[bytes, bytes]:
        """Key to value, as ``state/`` keeps them."""
        kept = {}
        for source, covers in self._covers.items():
            for begin, end in covers:
                kept[source.encode() + b"\0" + _COVER + _bytes(begin)] = _bytes(end)
        for gap in self._gaps:
            key = gap.source.encode() + b"\0" + _GAP + _bytes(gap.begin_us) + gap.reason.encode()
            counted = b"\0%d" % gap.lost if gap.lost else b""
            kept[key] = _bytes(gap.end_us) + gap.reason.encode() + counted
        return kept


def _without(begin: int, end: int, gaps: list[Gap]) -> Iterable[tuple[int, int]]:
    """What is left of an interval when gaps, sorted by their begin, are cut out."""
    for gap in gaps:
        if gap.end_us <= begin or gap.begin_us >= end:
            continue
        if gap.begin_us > begin:
            yield begin, gap.begin_us
        begin = gap.end_us
    if begin < end:
        yield begin, end


def _bytes(at_us: int) -> bytes:
    return (at_us + _SIGN).to_bytes(8, "big")


def _time(raw: bytes) -> int:
    return int.from_bytes(raw, "big") - _SIGN
