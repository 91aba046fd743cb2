"""What a group of changed messages does to one day: the difference, sorted for LMDB.

Record, index entries, change-log entry and counters of a message change in one
transaction; only what differs between the old and the new record is written
(docs/journal-format.md, "Day"). Raises what journal/store.py raises on reading.
"""

from collections.abc import Container
from operator import itemgetter
from typing import Final, NamedTuple

from journal import codec, counters
from journal.keys import Keyer
from journal.records import Message, Record
from journal.store import Change, Store
from journal.terms import entries

_KEY: Final = itemgetter(0)


class Pending(NamedTuple):
    """What is to become of one id: a new record, or a tombstone."""

    record: Record | None
    into: bytes  # of a tombstone, else b""
    old: Record | None  # what is committed, as far as the caller knows


class Batch(NamedTuple):
    """Changes by database, and the last change number they use."""

    changes: dict[bytes, Change]
    seq: int


def build(
    store: Store,
    keyer: Keyer,
    pending: dict[bytes, Pending],
    seq: int,
    *,
    fresh: Container[bytes] = (),
) -> Batch:
    """The changes to a day; every id of ``pending`` is of that day, those in ``fresh`` are new."""
    records: list[tuple[bytes, bytes]] = []
    log_puts: list[tuple[bytes, bytes]] = []
    log_deletes: list[bytes] = []
    index_puts: list[tuple[bytes, bytes]] = []
    index_deletes: list[bytes] = []
    counts: dict[bytes, int] = {}
    figures = store.get(b"c", counters.MARK) is not None
    for message_id in sorted(pending):
        record, into, old = pending[message_id]
        key = message_id[2:]
        stored = None if message_id in fresh else store.get(b"m", key)
        before = _before(message_id, stored, old)
        if stored is not None:
            log_deletes.append(stored[6:14])
        seq += 1
        log_puts.append((seq.to_bytes(8, "big"), key))
        after = None if record is None else record.message
        if record is None:
            records.append((key, codec.encode_tombstone(into, seq)))
        else:
            records.append((key, codec.encode(record, seq)))
        _index(before, after, keyer, index_puts, index_deletes)
        if after is not None:
            counters.add(counts, after, 1, figures=figures)
        if before is not None:
            counters.add(counts, before, -1, figures=figures)
    return Batch(
        {
            b"m": Change((), records),
            b"x": Change(sorted(index_deletes), sorted(index_puts, key=_KEY)),
            b"l": Change(sorted(log_deletes), log_puts),
            b"c": Change((), _counter_puts(store, counts)),
        },
        seq,
    )


def _before(message_id: bytes, stored: bytes | None, old: Record | None) -> Message | None:
    """What the journal has: the stored body decides whether there is anything."""
    if stored is None or codec.merged_into(message_id, stored) is not None:
        return None
    return old.message if old is not None else codec.decode_message(message_id, stored)


def _index(
    before: Message | None,
    after: Message | None,
    keyer: Keyer,
    puts: list[tuple[bytes, bytes]],
    deletes: list[bytes],
) -> None:
    new = {} if after is None else entries(after, keyer)
    if before is None:
        puts += new.items()
        return
    old = entries(before, keyer)
    puts += (entry for entry in new.items() if old.get(entry[0]) != entry[1])
    deletes += (key for key in old if key not in new)


def _counter_puts(store: Store, counts: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    puts = []
    for key in sorted(counts):
        if counts[key]:
            value = int.from_bytes(store.get(b"c", key) or b"", "big") + counts[key]
            puts.append((key, max(value, 0).to_bytes(8, "big")))
    return puts
