"""Read a journal while another process writes it: searches, counts, records, changes.

Every call sees the newest commit and holds no transaction when it returns or yields, so
a slow caller pins nothing. Days appear and vanish between calls (a look-up by id may find
a dropped day for half a second more); a day in ``exclude``
is treated as absent. Safe for use by several threads. A page damaged on disk kills
the process: read in a child where that matters.

Raises ``UnavailableError`` (absent or damaged), ``NotPermittedError``, ``JournalFormatError``.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from heapq import merge
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple, Self

from journal import codec, days, hits, retention, store, sums
from journal.address import fold, mailbox
from journal.counters import Totals, totals_of
from journal.coverage import Coverage
from journal.hits import Day, Span, Term, TermsOf
from journal.keys import (
    COUNTED,
    DAY_US,
    HASHED,
    HOUR_US,
    MARK,
    RECIPIENT,
    RECIPIENT_DOMAIN,
    SENDER,
    SENDER_DOMAIN,
    STATUS,
    Keyer,
    day_name,
    day_of,
    id_day,
)
from journal.records import NO_STATUS, Cover, Gap, Message, Record, Status
from journal.store import Store
from journal.terms import STATUS_VALUES, value_of
from posttrail.errors import UnavailableError

ALWAYS: Final = 1 << 62
"""An ``until_us`` after everything."""
_MAX_HOPS: Final = 100
_DOMAIN_OF: Final = {RECIPIENT: RECIPIENT_DOMAIN, SENDER: SENDER_DOMAIN}
_CHUNK: Final = 1024
_LEAVE_S: Final = 60.0
_FRESH_S: Final = 0.5  # how long look-ups by id go without asking whether a day was dropped
_SETTLED_NS: Final = 50_000_000  # a directory's mtime is coarse: believe it when it is this old


class Change(NamedTuple):
    """A message as its newest change left it."""

    seq: int  # the change number
    id: bytes
    message: Message | None  # None: it was merged into another


class Reader:
    """An open journal, for reading."""

    def __init__(
        self,
        directory: Path,
        *,
        exclude: Collection[str] = (),
        touching: Callable[[str], None] | None = None,
        checkpoint: Callable[[], None] | None = None,
    ) -> None:
        self._directory = directory
        self._exclude = frozenset(exclude)
        self._touching = touching  # told the name of a day before it is opened
        self._checkpoint = checkpoint  # called before a message is read; may raise
        days.check_format(directory)
        key = days.read_key(directory)
        self._keyer = Keyer(key)
        self._lock = Lock()
        self._open_days: dict[int, Store] = {}
        self._present: list[int] = []
        self._listed = -1
        self._refreshed = 0.0
        self._leaving: list[tuple[float, Store]] = []
        self._state = Store(directory / days.STATE, store.STATE_DATABASES, writable=False)
        if not sums.key_is_known(self._state, key):
            self._state.close()
            raise days.WrongKeyError(directory)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        exclude: Collection[str] = (),
        touching: Callable[[str], None] | None = None,
        checkpoint: Callable[[], None] | None = None,
    ) -> Self:
        """Open a journal; its days are opened as they are needed, each told to ``touching``.

        ``checkpoint`` is called before each message that is read, and may raise to end a search.
        """
        return cls(directory, exclude=exclude, touching=touching, checkpoint=checkpoint)

    def close(self) -> None:
        """Close all."""
        for opened in (*self._open_days.values(), *(each[1] for each in self._leaving)):
            opened.close()
        self._open_days.clear()
        self._leaving.clear()
        self._state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Searching

    def hits(
        self,
        kind: bytes,
        value: bytes,
        since_us: int = 0,
        until_us: int = ALWAYS,
        *,
        delimiters: bytes = b"",
    ) -> Iterator[tuple[bytes, int]]:
        """Id and worst status of what may have that value, by (time in ms, id) descending.

        since <= time < until, in whole milliseconds. The index holds hashes: the caller
        checks each message before it shows it. With ``delimiters`` a mailbox is led to its
        subaddresses, too: by the index, or through its domain on a day that lacks those entries.
        """
        terms_of = self._terms_of([(kind, value)], delimiters)
        return self._newest_first(terms_of, Span.of_us(since_us, until_us))

    def scan(self, since_us: int = 0, until_us: int = ALWAYS) -> Iterator[tuple[bytes, int]]:
        """The same for all messages; those without rows have NO_STATUS."""
        # Each message stands under its worst status (and under others of its rows).
        every = self._every()
        return self._newest_first(lambda _: every, Span.of_us(since_us, until_us))

    def count(
        self, kind: bytes, value: bytes, since_us: int = 0, until_us: int = ALWAYS
    ) -> dict[int, int]:
        """How many hits there are of each status, without looking at the messages."""
        return self.count_any([(kind, value)], since_us, until_us)

    def count_any(
        self,
        terms: Iterable[tuple[bytes, bytes]],
        since_us: int = 0,
        until_us: int = ALWAYS,
        *,
        delimiters: bytes = b"",
    ) -> dict[int, int]:
        """The same for what has any of several values; who has two of them counts once.

        With ``delimiters`` it counts what ``hits`` yields: see ``counts_mailboxes``.
        """
        span = Span.of_us(since_us, until_us)
        within = self._days_from(day_of(since_us))
        terms_of = self._terms_of(list(terms), delimiters)
        return dict(hits.count(within, terms_of, span, self._time_of))

    def counts_mailboxes(self, delimiters: bytes, since_us: int, until_us: int = ALWAYS) -> bool:
        """Whether each day of a window counts a mailbox with its subaddresses and nothing else."""
        wanted = set(delimiters)
        within = self._days_from(day_of(since_us))
        last = day_of(until_us)
        return all(set(_mark(day)) == wanted for day in within if day.number <= last)

    def _terms_of(self, terms: list[tuple[bytes, bytes]], delimiters: bytes) -> TermsOf:
        """What leads to all that has one of the values."""
        keyed = [Term(self._term(*term)) for term in terms]
        wanted = set(delimiters)

        def fallback() -> list[Term]:
            found: dict[Term, None] = {}
            for term, key in zip(terms, keyed, strict=True):
                found |= dict.fromkeys(self._around(*term, key, delimiters))
            return list(found)

        if not any(kind in _DOMAIN_OF for kind, _ in terms):
            wanted = set()
        return lambda day: keyed if wanted <= set(_mark(day)) else fallback()

    def _around(self, kind: bytes, value: bytes, key: Term, delimiters: bytes) -> list[Term]:
        """Where the index does not lead from a mailbox to its subaddresses."""
        domain_kind = _DOMAIN_OF.get(kind)
        folded = fold(value)
        if domain_kind is None or not folded or mailbox(folded, delimiters) != folded:
            return [key]
        name = folded.rpartition(b"@")[2] if b"@" in folded else b""
        return [Term(self._term(domain_kind, name))] if name else self._every()

    def _every(self) -> list[Term]:
        return [Term(self._term(STATUS, value), status) for status, value in STATUS_VALUES.items()]

    def _newest_first(self, terms_of: TermsOf, span: Span) -> Iterator[tuple[bytes, int]]:
        within = self._days_from(day_of(span.since * 1000))
        for hit in hits.newest_first(within, terms_of, span, self._time_of):
            yield hit.id, hit.status

    def _term(self, kind: bytes, value: bytes) -> bytes:
        return self._keyer.term(value_of(kind, value))

    # Records

    def message(self, message_id: bytes) -> Message | None:
        """A message, or the one it was merged into; None where there is none."""
        found = self._follow(message_id)
        return None if found is None else codec.decode_message(*found)

    def record(self, message_id: bytes) -> Record | None:
        """The same with its events."""
        found = self._follow(message_id)
        return None if found is None else codec.decode(*found)

    def _follow(self, message_id: bytes) -> tuple[bytes, bytes] | None:
        for _ in range(_MAX_HOPS):
            body = self._body(message_id)
            if body is None:
                return None
            into = codec.merged_into(message_id, body)
            if into is None:
                return message_id, body
            message_id = into
        raise UnavailableError(f"journal damaged: tombstones of {message_id.hex()} form a circle")

    def _body(self, message_id: bytes) -> bytes | None:
        if self._checkpoint is not None:
            self._checkpoint()
        day = id_day(message_id)
        opened = self._open_days.get(day)
        if opened is None or time.monotonic() - self._refreshed > _FRESH_S:
            opened = self._day(day) if day in self._refresh() else None
        return None if opened is None else opened.get(b"m", message_id[2:])

    def _time_of(self, message_id: bytes) -> int | None:
        body = self._body(message_id)
        if body is None or codec.merged_into(message_id, body) is not None:
            return None
        return codec.decode_message(message_id, body).time_us

    # Figures

    def counters(self) -> dict[tuple[str, str], int]:
        """Rows by status and direction token ("" where undecided), dropped days included."""
        return self.totals().rows

    def rowless(self) -> int:
        """How many messages have no rows: abandoned by their clients."""
        return self.totals().rowless

    def totals(self) -> Totals:
        """All counters, dropped days included; days made by an older release lack figures."""
        return totals_of(self._sums())

    def _sums(self) -> Counter[bytes]:
        # Days first: one that is dropped meanwhile is then named by the newer state.
        by_day = {day.number: retention.sums(day.store) for day in self._days_from(0)}
        totals, gone = retention.dropped(self._state)
        for number, counted in by_day.items():
            if number not in gone:
                totals += counted
        return totals

    def hourly(self, since_us: int = 0, until_us: int = ALWAYS) -> dict[tuple[int, str], int]:
        """Rows by the hour of their message (its begin in microseconds) and status token."""
        found: Counter[tuple[int, str]] = Counter()
        for day in self._days_from(day_of(since_us)):
            for key, value in day.store.up(b"c", b"", limit=_CHUNK):
                hour_us = day.number * DAY_US + key[0] * HOUR_US
                inside = since_us - HOUR_US < hour_us < until_us
                if inside and key[1] != NO_STATUS:
                    found[hour_us, _status(key[1])] += int.from_bytes(value, "big")
        return {place: value for place, value in sorted(found.items()) if value}

    def coverage(self) -> list[Cover | Gap]:
        """When which source was recording, and why not when not."""
        return Coverage(self._state.every(b"v")).intervals()

    def is_hashed(self) -> bool:
        """Whether tokens stand for addresses in any day: then in the oldest that has records."""
        for number in self._refresh():
            opened = self._day(number)
            if opened is None or opened.get(b"x", COUNTED) is not None:
                continue
            return opened.get(b"x", HASHED) is not None
        return False

    def days(self) -> list[str]:
        """The names of the days, oldest first."""
        return [day_name(day) for day in self._refresh()]

    def changes(self, after_seq: int) -> Iterator[tuple[int, bytes]]:
        """Change number and id of every message changed since, each once, oldest change first."""
        return merge(*(_changes(day, after_seq) for day in self._days_from(0)))

    def change(self, message_id: bytes) -> Change | None:
        """The newest change of a message; None where there is no such message."""
        body = self._body(message_id)
        if body is None:
            return None
        is_merged = codec.merged_into(message_id, body) is not None
        message = None if is_merged else codec.decode_message(message_id, body)
        return Change(codec.seq_of(body), message_id, message)

    def news(self, after: int, until: int) -> Iterator[Change]:
        """What changed, oldest change first, each message as that change left it.

        after < change number <= until. What changes again meanwhile is left out: it comes with its
        newer number. Days are written one after the other, in the order of the numbers: where
        ``until`` is a ``last_change()`` that was asked for before, nothing below is still to come.
        """
        for seq, message_id in self.changes(after):
            if seq > until:
                return
            found = self.change(message_id)
            if found is not None and found.seq == seq:
                yield found

    def last_change(self) -> int:
        """The greatest change number; 0 where nothing was written yet. A dropped day lets it be."""
        last = (day.store.last_key(b"l") for day in self._days_from(0))
        return max((int.from_bytes(key, "big") for key in last if key), default=0)

    # Days

    def exclude(self, name: str) -> None:
        """From now on treat a day as absent."""
        self._set_excluded(self._exclude | {name})

    def include(self, name: str) -> None:
        """Treat it as present again, if it is."""
        self._set_excluded(self._exclude - {name})

    def _set_excluded(self, names: frozenset[str]) -> None:
        with self._lock:
            self._exclude = names
            self._listed = -1

    def is_replaced(self) -> bool:
        """Whether the directory holds another journal than the one that is open."""
        return self._state.is_replaced()

    def _days_from(self, first: int) -> Iterator[Day]:
        for number in reversed(self._refresh()):
            if number < first:
                return
            opened = self._day(number)
            if opened is not None:
                yield Day(number, opened)

    def _refresh(self) -> list[int]:
        """The days there are, listed anew when the directory has changed."""
        with self._lock:
            try:
                mtime = self._directory.stat().st_mtime_ns
            except OSError as error:
                raise UnavailableError(f"no journal at {self._directory}") from error
            self._refreshed = time.monotonic()
            if mtime != self._listed:
                present = days.present(self._directory)
                self._present = [day for day in present if day_name(day) not in self._exclude]
                self._listed = mtime if time.time_ns() - mtime > _SETTLED_NS else -1
                self._let_go()
            return self._present

    def _let_go(self) -> None:
        """Close days that were dropped or replaced, when no call can still be using them."""
        now = time.monotonic()
        for number, opened in list(self._open_days.items()):
            if number not in self._present or opened.is_replaced():
                self._leaving.append((now + _LEAVE_S, self._open_days.pop(number)))
        while self._leaving and self._leaving[0][0] < now:
            self._leaving.pop(0)[1].close()

    def _day(self, number: int) -> Store | None:
        """A day's environment; None where it was dropped a moment ago."""
        with self._lock:
            opened = self._open_days.get(number)
            if opened is None:
                path = self._directory / day_name(number)
                if self._touching is not None:
                    self._touching(day_name(number))
                try:
                    opened = Store(path, store.DAY_DATABASES, writable=False)
                except UnavailableError:
                    if path.exists():
                        raise
                    return None
                self._open_days[number] = opened
            return opened


def _mark(day: Day) -> bytes:
    """By which characters a day's subaddresses are found under their mailbox."""
    return day.store.get(b"x", MARK) or b""


def _changes(day: Day, after_seq: int) -> Iterator[tuple[int, bytes]]:
    prefix = day.number.to_bytes(2, "big")
    low = (after_seq + 1).to_bytes(8, "big")
    for pairs in day.store.chunks(b"l", low, size=_CHUNK):
        for key, value in pairs:
            yield int.from_bytes(key, "big"), prefix + value


def _status(number: int) -> str:
    return Status(number).token
