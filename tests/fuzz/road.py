"""The whole way of a line: splitter, parser, correlator and fold, as import and trackd go it."""

from datetime import UTC
from typing import Final

from journal.events import FIELDS, Event, Kind
from journal.locality import Locality
from journal.records import Message, Status
from milterd.lines import formats, programs
from milterd.lines.scan import Unknown
from milterd.lines.syslog import Splitter
from milterd.track.correlate import Correlator
from tests.fuzz.memory_store import MemoryStore

REFERENCE_US: Final = 1_795_458_600_000_000  # 2026-11-23T18:30:00Z
LOCALITY: Final = Locality(local_domains=("example.com",), inside_networks=("127.0.0.0/8",))
_HELD: Final = 2_000


class Road:
    """Takes lines; what it keeps of their messages is bounded, unless ``most`` says otherwise."""

    def __init__(self, most: int = 20_000) -> None:
        self._splitters: dict[str, Splitter] = {}
        self.store = MemoryStore(most)
        self.correlator = Correlator(self.store, locality=LOCALITY)

    def splitter(self, form: str) -> Splitter:
        """The splitter of the log of a form."""
        found = self._splitters.get(form)
        if found is None:
            found = formats.splitter(form, timezone=UTC, reference_us=REFERENCE_US)
            self._splitters[form] = found
        return found

    def renew(self) -> None:
        """The next line is the first one of a log."""
        self._splitters.clear()

    def events(self, form: str, raw: bytes) -> list[tuple[bytes, Event]]:
        """Host and event of all that a line tells."""
        line = self.splitter(form).parse(raw)
        if line is None:
            return []
        told = programs.parse(line)
        if told is None or isinstance(told, Unknown):
            return []
        return [(line.host, one) for one in (told if isinstance(told, list) else [told])]

    def fold(self, events: list[tuple[bytes, Event]]) -> None:
        """Join events to their messages."""
        for host, event in events:
            if event.kind != Kind.GAP:
                self.correlator.take(event, host)

    def commit(self) -> None:
        """Fold what is open, and let go of most of it."""
        self.correlator.flush()
        self.correlator.evict(_HELD)

    def messages(self) -> list[Message]:
        """All there are, once every line was read."""
        self.correlator.adopt_orphans()
        self.correlator.flush()
        return [record.message for record in self.store]

    def rows(self) -> dict[str, set[str]]:
        """The statuses of each recipient, refused ones without a recipient under ``-``."""
        found: dict[str, set[str]] = {}
        for message in self.messages():
            for row in message.rows:
                name = "-" if row.recipient is None else row.recipient.decode("latin-1")
                found.setdefault(name, set()).add(Status(row.status).token)
        return found


def well_made(event: Event) -> bool:
    """Whether an event is what the journal can keep."""
    names = FIELDS[Kind(event.kind)]
    return (
        isinstance(event.at_us, int)
        and isinstance(event.pid, int)
        and isinstance(event.queue_id, bytes)
        and len(event.fields) <= len(names)
        and all(type(field) is bytes for field in event.fields)
    )
