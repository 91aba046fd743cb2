"""What is new: changes of messages to rows that appear, change or leave a report.

A change is told to a watcher as the difference between what they saw of the message before and
what they see now, by their scope and their filters: a change in what they may not see is none, so
nobody learns by the hour at which others' rows move. ``Versions`` remembers what messages were;
of one that it does not know all rows are told. Raises what the reader raises.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from journal import keys
from journal.reader import Change, Reader
from journal.records import Message, Status
from query import redact, rows
from query.match import Query, message_test, row_test
from query.rows import Row
from query.scope import Scope

MOST_ROWS: Final = 10_000
"""Of all versions together, some 2 kB each."""
MOST_HAD: Final = 2_000
"""Messages of which a watcher knows what they were told last."""
MOST_VERSIONS: Final = 8
"""Of one message."""
MOST_OPEN: Final = 2_000
"""Messages with rows that wait, looked at when watching begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A row that answered the filters and does so no more, or that went into another message."""

    id: str
    row: int


News = Row | Gone


class Versions:
    """The messages that changed lately, as they were at each change."""

    def __init__(self, most_rows: int = MOST_ROWS) -> None:
        self._most = most_rows
        self._rows = 0
        self._of: OrderedDict[bytes, list[tuple[int, Message | None]]] = OrderedDict()

    def add(self, change: Change) -> None:
        """Remember a message; what was not heard of longest is forgotten."""
        known = self._of.setdefault(change.id, [])
        if known and known[-1][0] >= change.seq:
            return
        known.append((change.seq, change.message))
        self._rows += _weight(change.message)
        self._of.move_to_end(change.id)
        if len(known) > MOST_VERSIONS:
            self._rows -= _weight(known.pop(0)[1])
        while self._rows > self._most and len(self._of) > 1:
            _id, gone = self._of.popitem(last=False)
            self._rows -= sum(_weight(message) for _, message in gone)

    def at(self, message_id: bytes, seq: int) -> Message | None:
        """The message as it was after that change; None where that is not known."""
        known = self._of.get(message_id, ())
        return next((message for number, message in reversed(known) if number <= seq), None)

    def learn(self, reader: Reader) -> None:
        """The messages that are likely to change: some rows wait, and there are others."""
        for status in (Status.IN_PROGRESS, Status.DEFERRED):
            waiting = reader.hits(keys.STATUS, status.token.encode())
            for message_id, _status in islice(waiting, MOST_OPEN):
                found = reader.change(message_id)
                if found is not None and found.message and len(found.message.rows) > 1:
                    self.add(found)


def _weight(message: Message | None) -> int:
    return 1 if message is None else 1 + len(message.rows)


class Watch:
    """One who watches: what they ask for, may see, and were told; not for use by two threads."""

    def __init__(
        self,
        query: Query,
        scope: Scope,
        *,
        after: int,
        told: int = 0,
        message_id: bytes | None = None,
    ) -> None:
        """What comes behind change ``after``; of the next one rows up to ``told`` are known."""
        self.at = after
        self._first = after
        self._told = told
        self._query = query
        self._scope = scope
        self._ids = None if message_id is None else {message_id}
        self._had: OrderedDict[bytes, int] = OrderedDict()

    def news(self, change: Change, versions: Versions, reader: Reader) -> list[News]:
        """What a change is to this watcher, by row; changes come in the order of their numbers."""
        if change.seq <= self.at:
            return []
        self.at = change.seq
        if self._ids is not None and change.id not in self._ids:
            return []
        old = versions.at(change.id, self._had.get(change.id, self._first))
        self._remember(change)
        before = {} if old is None else self._view(old, reader)
        after = {} if change.message is None else self._view(change.message, reader)
        told, found = self._skipped(change.seq), list[News]()
        for number in sorted(before.keys() | after.keys()):
            row = after.get(number)
            if row is None:
                found.append(Gone(id=keys.id_text(change.id), row=number))
            elif row != before.get(number):
                found.append(row)
        return [each for each in found if each.row > told] + self._followed(change, reader)

    def _skipped(self, seq: int) -> int:
        told, self._told = self._told, 0
        return told if seq == self._first + 1 else 0

    def _remember(self, change: Change) -> None:
        self._had[change.id] = change.seq
        self._had.move_to_end(change.id)
        if len(self._had) > MOST_HAD:
            self._had.popitem(last=False)

    def _followed(self, change: Change, reader: Reader) -> list[News]:
        """The one message that is watched goes on as another: its rows, and its changes."""
        if self._ids is None or change.message is not None:
            return []
        into = reader.message(change.id)
        if into is None or into.id in self._ids:
            return []
        self._ids.add(into.id)
        return list(self._view(into, reader).values())

    def _view(self, whole: Message, reader: Reader) -> dict[int, Row]:
        """The rows that the watcher sees and asks for, by number."""
        query = self._query
        if query.silent_for_us is not None:
            query = replace(query, now_us=time.time_ns() // 1000)
        if not query.window.since_us <= whole.time_us < query.window.until_us:
            return {}
        message = redact.seen(whole, self._scope)
        if not message.rows or not message_test(query, reader)(message):
            return {}
        fits = row_test(query)
        return {
            number: rows.make(message, number, row)
            for number, row in enumerate(message.rows, 1)
            if fits(message, row)
        }


WAITING: Final = frozenset({Status.IN_PROGRESS.token, Status.DEFERRED.token})
