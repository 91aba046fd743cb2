"""The correlator's store in memory: what journal.writer.Writer does for it, without a disk."""

from collections import OrderedDict
from collections.abc import Container, Iterator
from hashlib import blake2b

from journal import keys
from journal.erased import Erased
from journal.forget import Forget
from journal.records import Record
from journal.terms import value_of, values


class MemoryStore:
    """Keeps the latest records, found by their values as in the journal."""

    def __init__(self, most: int = 1 << 60) -> None:
        self._most = most
        self.forget = Forget(Erased(b"k" * 32))
        self._records: OrderedDict[bytes, Record] = OrderedDict()
        self._found_by: dict[bytes, dict[bytes, None]] = {}

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def new_id(self, time_us: int, identity: bytes) -> bytes:
        """An id that no record has."""
        bits = int.from_bytes(blake2b(identity, digest_size=4).digest())
        while (id := keys.make_id(keys.day_of(time_us), time_us, bits)) in self._records:
            bits += 1
        return id

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
        """Records with a value, newest first; ``most`` of them, 0: all."""
        ids = [id for id in self._found_by.get(value_of(kind, value), ()) if id not in skip]
        found = [self._records[id] for id in ids]
        near = [record for record in found if begin_us <= record.message.time_us <= end_us]
        near.sort(key=lambda record: (record.message.time_us, record.id), reverse=True)
        return near[: most or None]

    def put(self, record: Record, old: Record | None) -> None:
        """A new record, or one in the place of another."""
        if old is not None:
            self._drop(old.id)
        self._records[record.id] = record
        for value in values(record.message):
            self._found_by.setdefault(value, {})[record.id] = None
        if len(self._records) > self._most:
            self._drop(next(iter(self._records)))

    def tombstone(self, old: Record, into: bytes) -> None:
        """A record became part of another."""
        self._drop(old.id)

    def _drop(self, id: bytes) -> None:
        record = self._records.pop(id, None)
        for value in values(record.message) if record else ():
            ids = self._found_by[value]
            ids.pop(id, None)
            if not ids:
                del self._found_by[value]
