"""Which counters of its day a message is part of (docs/journal-format.md, "Counters").

Two families of keys share the database ``c``. *Rows* are counted by hour, status and
direction: 3 bytes. *Figures* are counted for the whole day: how long delivery took, and
each reason. Their keys begin with an hour that no day has and the status of messages
without rows, which readers of rows pass over. Only a day that has ``MARK`` has figures.
Pure; raises nothing.
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final, NamedTuple

from journal.keys import id_day, suffix_ms
from journal.records import NO_STATUS, REASONS, Direction, Message, Recipient, Status

HOUR_MS: Final = 3_600_000

FIGURE: Final = bytes((0xFF, NO_STATUS))
"""What the key of a figure begins with."""
MARK: Final = FIGURE + b"\x01"
"""In a day since it was made: its figures are kept. The value is how many kinds there are."""
DELAYED: Final = b"\x10"  # kind; then status, direction, bucket; value: rows
DELAYS_MS: Final = b"\x11"  # kind; then status, direction; value: milliseconds, summed
BECAUSE: Final = b"\x12"  # kind; then status, reason; value: rows
KINDS: Final = 3

BUCKETS_S: Final = (1, 5, 30, 60, 300, 1_800, 3_600, 14_400, 86_400)
"""Upper bounds, each within its bucket; one more bucket has what took longer."""
LONGEST_MS: Final = 366 * 86_400_000
"""What took longer is summed as this: nothing that a log says can make a sum overflow."""
DELAYED_STATUSES: Final = frozenset(
    {int(Status.DELIVERED), int(Status.FILTERED), int(Status.ERROR)}
)
"""The final statuses of what was accepted: a refusal at the door takes no time worth counting."""

_BOUNDS_MS: Final = [bound * 1_000 for bound in BUCKETS_S]
_REASON: Final = {reason: number for number, reason in enumerate(REASONS)}


class Delays(NamedTuple):
    """How long final rows of one status and direction took."""

    buckets: list[int]  # rows in each of BUCKETS_S, and above; not added up
    sum_ms: int


class Totals(NamedTuple):
    """What counters of many days sum up to; a direction is its token, "" where undecided."""

    rows: dict[tuple[str, str], int]  # by status and direction
    rowless: int  # messages without rows
    delays: dict[tuple[str, str], Delays]  # by status and direction
    reasons: dict[tuple[str, str], int]  # by status and reason


def row_keys(message: Message) -> list[bytes]:
    """One a row; without rows, one for the message itself."""
    hour = suffix_ms(id_day(message.id), message.time_us) // HOUR_MS
    if not message.rows:
        return [bytes((hour, NO_STATUS, 0))]
    return [bytes((hour, row.status, row.direction or 0)) for row in message.rows]


def add(counts: dict[bytes, int], message: Message, sign: int, *, figures: bool) -> None:
    """Count a message, or with -1 take it back; ``figures``: in a day that has them."""
    for key in row_keys(message):
        counts[key] = counts.get(key, 0) + sign
    if not figures:
        return
    for row in message.rows:
        status = row.status
        key = FIGURE + BECAUSE + bytes((status, _REASON[row.reason]))
        counts[key] = counts.get(key, 0) + sign
        if status not in DELAYED_STATUSES:
            continue
        delay_ms = taken_ms(message, row)
        if delay_ms is None:
            continue
        place = bytes((status, row.direction or 0))
        key = FIGURE + DELAYED + place + bytes((bisect_left(_BOUNDS_MS, delay_ms),))
        counts[key] = counts.get(key, 0) + sign
        key = FIGURE + DELAYS_MS + place
        counts[key] = counts.get(key, 0) + sign * delay_ms


def taken_ms(message: Message, row: Recipient) -> int | None:
    """What delivery took: as the mail server says, else from acceptance to the end."""
    delay_ms = row.delay_ms
    if delay_ms is None:
        if row.done_at_us is None:
            return None
        delay_ms = (row.done_at_us - message.time_us) // 1_000
    return min(max(delay_ms, 0), LONGEST_MS)


def name(key: bytes) -> str:
    """What a key counts, in words, for whoever checks a journal."""
    if key.startswith(FIGURE):
        return f"figure {key[2:].hex()}"
    if len(key) == 3:
        hour, status, direction = key
        return f"hour {hour} status {status} direction {direction}"
    return key.hex()


def totals_of(sums: Mapping[bytes, int]) -> Totals:
    """What the sums say, by keys without their hour; a figure we do not know is passed over."""
    found = Totals({}, sums.get(bytes((NO_STATUS, 0)), 0), {}, {})
    for key, value in sums.items():
        kind, rest = key[1:2], key[2:]
        if key[0] != NO_STATUS:
            found.rows[_place(key)] = value
        elif kind == BECAUSE and rest[1] < len(REASONS):  # else a newer release's
            found.reasons[Status(rest[0]).token, REASONS[rest[1]]] = value
        elif kind == DELAYED:
            _delays(found, rest).buckets[rest[2]] = value
        elif kind == DELAYS_MS:
            found.delays[_place(rest)] = _delays(found, rest)._replace(sum_ms=value)
    return found


def _delays(found: Totals, place: bytes) -> Delays:
    return found.delays.setdefault(_place(place), Delays([0] * (len(BUCKETS_S) + 1), 0))


def _place(key: bytes) -> tuple[str, str]:
    """Status and direction, which a key begins with, in words."""
    return Status(key[0]).token, Direction(key[1]).token if key[1] else ""
