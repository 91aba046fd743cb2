"""What the journal holds, as its writer sees it: the committed state, nothing that is buffered.

``find`` is asked several times for every new message, nearly always in vain: so a day is passed
over by the time of its last message or by one look into the index, before anything is read.
Raises what journal/store.py raises, and ``UnavailableError`` on damage.
"""

from collections.abc import Container, Iterator
from itertools import islice
from typing import Final

from journal import codec, hits, sums
from journal.hits import Day, Span, Term
from journal.keys import DAY_US, HOUR_US, STATUS, Keyer, day_of, id_day, parse_day
from journal.open_days import OpenDays
from journal.records import NO_STATUS, Record, Status
from journal.store import Store
from journal.terms import value_of, values
from posttrail.errors import UnavailableError

_MAX_HOPS: Final = 100
_BODIES: Final = 512
_COUNTERS_MOST: Final = 1024  # of a day: hours, statuses, directions


class Committed:
    """Reads the open days of a journal."""

    def __init__(self, days: OpenDays, keyer: Keyer) -> None:
        self._days = days
        self._keyer = keyer

    def get(self, message_id: bytes) -> Record | None:
        """The committed record of an id, or of the one it was merged into."""
        for _ in range(_MAX_HOPS):
            body = self._body(message_id)
            if body is None:
                return None
            into = codec.merged_into(message_id, body)
            if into is None:
                return codec.decode(message_id, body)
            message_id = into
        raise UnavailableError(f"journal damaged: tombstones of {message_id.hex()} form a circle")

    def find(
        self,
        kind: bytes,
        value: bytes,
        begin_us: int,
        end_us: int,
        *,
        skip: Container[bytes] = (),
        most: int = 0,
    ) -> list[Record]:
        """The committed records with that value and begin <= time <= end, newest first.

        Those whose id is in ``skip`` are passed over without being read. ``most``: of each
        day so many of the newest at most; 0: all.
        """
        first, last = day_of(begin_us), day_of(end_us) + 1  # + 1: its time may have moved back
        days_within = [
            day
            for day in reversed(self._days.present)
            if first <= day <= last and self._days.latest.get(day, begin_us) >= begin_us
        ]
        found: list[Record] = []
        if not days_within:
            return found
        wanted = value_of(kind, value)
        terms = [Term(self._keyer.term(wanted))]
        key = terms[0].key
        for day in days_within:
            opened = self._days.opened.get(day) or self._days.of(day)
            if opened.begins(b"x", key):  # a miss ends here: it is the rule
                span = Span(begin_us // 1000, end_us // 1000 + 1)
                hit = hits.newest_first([Day(day, opened)], lambda _: terms, span, self._time_of)
                unread = (each.id for each in hit if each.id not in skip)
                ids = list(islice(unread, most or None))
                found += self._verified(opened, ids, wanted, begin_us, end_us)
        found.sort(key=lambda record: (record.message.time_us, record.id), reverse=True)
        return found

    def _verified(
        self, opened: Store, ids: list[bytes], wanted: bytes, begin_us: int, end_us: int
    ) -> Iterator[Record]:
        """The records of a day that truly have a value, within a span."""
        for message_id in ids:
            body = opened.get(b"m", message_id[2:])
            if body is None or codec.merged_into(message_id, body) is not None:
                continue
            record = codec.decode(message_id, body)
            if begin_us <= record.message.time_us <= end_us and wanted in values(record.message):
                yield record

    def rows(self, since_us: int, until_us: int) -> dict[int, int]:
        """Committed rows by status, of the messages of a period that is widened to whole hours."""
        found: dict[int, int] = {}
        for day in self._days.present:
            if not day_of(since_us) <= day <= day_of(until_us):
                continue
            for key, value in self._days.of(day).up(b"c", b"", limit=_COUNTERS_MOST):
                hour_us = day * DAY_US + key[0] * HOUR_US
                if since_us - HOUR_US < hour_us <= until_us and key[1] != NO_STATUS:
                    found[key[1]] = found.get(key[1], 0) + int.from_bytes(value, "big")
        return found

    def silent(self, before_us: int, *, most: int) -> int:
        """Messages with a row in progress that came before an instant, and no word of them since.

        ``most`` records are read, the newest; what lies behind them counts unread.
        """
        key = self._keyer.term(value_of(STATUS, Status.IN_PROGRESS.token.encode()))
        last = day_of(before_us) + 1
        present = reversed(self._days.present)
        within = [Day(day, self._days.of(day)) for day in present if day <= last]
        span = Span(0, before_us // 1000 + 1)
        count = 0
        waiting = hits.newest_first(within, lambda _: [Term(key)], span, self._time_of)
        for number, hit in enumerate(waiting):
            if number >= most:
                count += 1
                continue
            record = self.get(hit.id)
            if record is not None and record.id == hit.id and _is_silent(record, before_us):
                count += 1
        return count

    def position(self, name: str) -> bytes | None:
        """A follower's committed position."""
        return sums.get(self._days.state, b"p", name.encode())

    def context(self, name: str) -> bytes | None:
        """A committed blob of the correlator."""
        return sums.get(self._days.state, b"k", name.encode())

    def has(self, message_id: bytes) -> bool:
        """Whether an id is taken, by a record or a tombstone that is committed."""
        return self._body(message_id) is not None

    def bodies(self, day: int) -> Iterator[tuple[bytes, bytes]]:
        """Id and body of all that is committed in a day; it may be written to meanwhile."""
        low = b""
        while (opened := self._days.if_present(day)) is not None:
            pairs = opened.up(b"m", low, limit=_BODIES)
            if not pairs:
                return
            for key, body in pairs:
                yield day.to_bytes(2, "big") + key, body
            low = pairs[-1][0] + b"\0"

    def stored(self, name: str, after: bytes, limit: int) -> list[tuple[bytes, Record | None]]:
        """At most ``limit`` messages of a day behind a key, by key; None is a tombstone."""
        day = self._days.named(name)
        if day is None:
            return []
        found: list[tuple[bytes, Record | None]] = []
        prefix = day.to_bytes(2, "big")
        for key, body in self._days.of(day).up(b"m", after + b"\0", limit=limit):
            into = codec.merged_into(prefix + key, body)
            found.append((key, None if into is not None else codec.decode(prefix + key, body)))
        return found

    def at(self, name: str, key: bytes) -> Record | None:
        """The record of a day under a key; None for a tombstone."""
        day = parse_day(name)
        assert day is not None
        message_id = day.to_bytes(2, "big") + key
        body = self._body(message_id)
        if body is None or codec.merged_into(message_id, body) is not None:
            return None
        return codec.decode(message_id, body)

    def _body(self, message_id: bytes) -> bytes | None:
        opened = self._days.if_present(id_day(message_id))
        return None if opened is None else opened.get(b"m", message_id[2:])

    def _time_of(self, message_id: bytes) -> int | None:
        body = self._body(message_id)
        if body is None or codec.merged_into(message_id, body) is not None:
            return None
        return codec.decode_message(message_id, body).time_us


def _is_silent(record: Record, before_us: int) -> bool:
    waits = any(row.status == Status.IN_PROGRESS for row in record.message.rows)
    return waits and all(event.at_us <= before_us for event in record.events)
