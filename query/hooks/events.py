"""What a record is to a hook: rows whose news it was not told yet. Pure functions, no clock.

A row has one piece of news at a time: its final status (``late_bounce`` apart from ``error``), or
that it is deferred. What was told stands in marks: recipient and final recipient as keyed hashes,
and what was said. Records change: a row gets its recipient or its alias late, a filter's hop turns
out to be the same message, a list splits. So a mark that no row has any more speaks for the rows
that share an address with it; where a token took the place of the address, for the oldest such
row. Raises nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from hashlib import blake2b
from typing import Final, NamedTuple

from journal import keys
from journal.address import fold
from journal.placeholders import ANYWHERE, is_placeholder
from journal.records import Message, Recipient, Status
from journal.tokens import is_token

DEFERRED: Final = "deferred"
LATE_BOUNCE: Final = "late_bounce"
SILENCE: Final = "silence"
_FINAL: Final = frozenset({Status.DELIVERED, Status.FILTERED, Status.REJECTED, Status.ERROR})
_TOKEN: Final = {int(status): status.token for status in Status}


class Names(NamedTuple):
    """Whose row it is: 8-byte keyed hashes of the folded addresses."""

    recipient: bytes
    final: bytes  # the recipient's where no other is known


class Mark(NamedTuple):
    """What was told of whom."""

    names: Names
    kind: str


class Fact(NamedTuple):
    """The same by its evidence, whatever the message's id: of one queue file, at one time."""

    day: int
    key: bytes


class News(NamedTuple):
    """One row's news."""

    place: int  # of the row in the message, from 0
    mark: Mark
    facts: tuple[Fact, ...]
    at_us: int  # when it became so


class Keyed:
    """Hashes with the journal's key: nobody can find out an address by guessing it."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def short(self, *parts: bytes) -> bytes:
        """8 bytes."""
        return self._hash(8, parts)

    def id(self, *parts: bytes) -> str:
        """An event's id: the same parts give the same id."""
        return f"evt_{self._hash(16, parts).hex()}"

    def names(self, row: Recipient) -> Names:
        """Whose row it is."""
        recipient = fold(row.recipient or b"")
        final = fold(row.final_recipient or row.recipient or b"")
        return Names(self.short(recipient), self.short(final))

    def _hash(self, size: int, parts: Iterable[bytes]) -> bytes:
        hashed = blake2b(digest_size=size, key=self._key)
        for part in parts:
            hashed.update(len(part).to_bytes(4, "big") + part)
        return hashed.digest()


def kind_of(row: Recipient) -> str | None:
    """What there is to tell of a row; None while it is on its way."""
    if row.status == Status.ERROR and row.reason == LATE_BOUNCE:
        return LATE_BOUNCE
    if row.status in _FINAL or row.status == Status.DEFERRED:
        return _TOKEN[row.status]
    return None


def is_erased(row: Recipient) -> bool:
    """Whether its address was erased: nobody is told of it any more."""
    return any(name is not None and is_placeholder(name) for name in row[:2])


def _is_hashed(row: Recipient) -> bool:
    """Whether a token stands for its address, in a day that grew old."""
    return any(name is not None and is_token(name) for name in row[:2])


def names_erased(message: Message) -> bool:
    """Whether a placeholder stands anywhere in it."""
    texts = (message.sender, message.login, message.subject, message.message_id)
    rows = (text for row in message.rows for text in (*row[:2], row.reply, row.relay, row.folder))
    return any(text is not None and ANYWHERE.search(text) for text in (*texts, *rows))


def at_us(message: Message, row: Recipient) -> int:
    """When the row became what it is: its end, else its last try, else when it began."""
    if row.done_at_us is not None:
        return row.done_at_us
    return message.time_us + (row.delay_ms or 0) * 1000


def news(
    message: Message, kinds: Collection[str], told: Collection[Mark], keyed: Keyed
) -> Iterator[News]:
    """The rows with news of these kinds that no mark tells of."""
    found = [(place, row, kind_of(row)) for place, row in enumerate(message.rows)]
    if not any(kind in kinds for _, _, kind in found):
        return
    every = [keyed.names(row) for row in message.rows]
    orphans = [mark for mark in told if mark.names not in every]
    said = set(told)
    hidden = Counter(mark.kind for mark in orphans)
    for place, row, kind in sorted(found, key=lambda each: at_us(message, each[1])):
        if kind is None or kind not in kinds or is_erased(row):
            continue
        mark = Mark(every[place], kind)
        if mark in said or any(_speaks_for(orphan, mark, keyed) for orphan in orphans):
            continue
        if hidden[kind] and _is_hashed(row):  # told under its name: the oldest were
            hidden[kind] -= 1
            continue
        said.add(mark)  # two rows of one name are one
        yield News(place, mark, tuple(_facts(message, row, mark, keyed)), at_us(message, row))


def _speaks_for(orphan: Mark, mark: Mark, keyed: Keyed) -> bool:
    if orphan.kind != mark.kind:
        return False
    nameless = keyed.short(b"")
    return orphan.names.recipient == nameless or not set(orphan.names).isdisjoint(mark.names)


def is_of(names: Names, message: Message, keyed: Keyed) -> bool:
    """Whether a row of the message is that one, or was made of it."""
    nameless = keyed.short(b"")
    return any(
        nameless in names or not set(names).isdisjoint(keyed.names(row)) for row in message.rows
    )


def _facts(message: Message, row: Recipient, mark: Mark, keyed: Keyed) -> Iterator[Fact]:
    done = row.done_at_us
    if done is None:
        return
    for queue_id in message.queue_ids:
        parts = (mark.kind.encode(), mark.names.final, b"%d" % done, queue_id)
        yield Fact(done // keys.DAY_US, keyed.short(*parts))
