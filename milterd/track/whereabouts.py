"""Find the record that a line of the mail log joined, and say why; or why there is none.

By the same marks as the correlator: the queue id within its life, the id under which a
delivery went on, the session id of a final agent, the Message-ID, a refusal's port or
addresses. What it looks at is in the journal alone, so what a record let go (all but ten tries
of a recipient) is told as such. Raises what the reader raises.
"""

from collections.abc import Iterator
from typing import Final

from journal import echoes, keys, kinds
from journal.events import Event
from journal.keys import id_text
from journal.reader import Reader
from journal.records import FLAG_AMBIGUOUS, Cover, Gap, Record, Status
from milterd.track.refusals import NEAR_US as DOOR_US
from milterd.track.refusals import line_key
from posttrail.text import rfc3339, safe

DAY_US: Final = keys.DAY_US
BEFORE_US: Final = 30 * DAY_US
"""A message may have been accepted so long before a line about it (queue lifetimes, moderation)."""
AFTER_US: Final = DAY_US
NEAR_US: Final = echoes.AFTER_US
"""Stamps of one line in the log and in journald differ by no more."""


class Journal:
    """An open journal to look lines up in."""

    def __init__(self, reader: Reader, *, names: frozenset[bytes] = frozenset()) -> None:
        """``names``: what the log calls the host that the journal knows by another name."""
        self._reader = reader
        self._names = names
        self._days = reader.days()
        self._spans = reader.coverage()

    def of(self, event: Event, host: bytes) -> list[str]:
        """``name: value`` lines about the record that an event is in."""
        if event.kind == kinds.GAP:
            return ["joined: nothing; it is a gap in the coverage (posttrail coverage)"]
        if event.kind >= kinds.CONNECT:
            return ["joined: nothing itself; it tells of the session of its process"]
        candidates = list(self._candidates(event))
        holding = [(record, rule) for record, rule in candidates if _holds(record, event)]
        if holding:
            return self._found(*self._best(holding, host), event, held=True)
        near = [each for each in candidates if _lives(each[0], event)]
        if near:
            return self._found(*self._best(near, host), event, held=False)
        return [f"joined: nothing in this journal; {self._why_not(event, bool(candidates))}"]

    def _best(self, found: list[tuple[Record, str]], host: bytes) -> tuple[Record, str]:
        """The one of the line's own host, where several have it."""
        own = [each for each in found if each[0].message.host in {host, *self._names}]
        return (own or found)[0]

    # -- looking up --------------------------------------------------------------------------

    def _candidates(self, event: Event) -> Iterator[tuple[Record, str]]:
        """Records that the event may be of, each with the rule that leads there."""
        if event.queue_id:
            for record in self._by(keys.QUEUE_ID, event.queue_id, event):
                yield record, _rule(record, event)
            return
        if event.kind == kinds.DOOR:
            ported = event.fields[9].isdigit()
            rule = "client and port" if ported else "client, sender, recipient and time"
            for record in self._by(keys.DOOR, line_key(event), event, around_us=DOOR_US):
                yield record, f"a refusal without queue id, by its {rule}"
            for record in self._by(keys.CLIENT_IP, event.fields[8], event, around_us=DOOR_US):
                yield record, "its smtpd process, which opened the queue file afterwards"
        place = {kinds.FILED: 4, kinds.VERDICT: 6}.get(event.kind)
        if place is not None and len(event.fields) > place and event.fields[place]:
            for record in self._by(keys.MESSAGE_ID, event.fields[place].strip(b"<>"), event):
                yield record, "its Message-ID"
        if event.kind == kinds.VERDICT and len(event.fields) > 7 and event.fields[7]:
            for record in self._by(keys.CLIENT_IP, event.fields[7], event, around_us=DOOR_US):
                yield record, "its client and time"
        recipient = {kinds.DOOR: 6, kinds.VERDICT: 5, kinds.FILED: 2}.get(event.kind)
        if recipient is not None and event.fields[recipient : recipient + 1] not in ((), (b"",)):
            name = event.fields[recipient].partition(b",")[0].strip(b"<>")
            for record in self._by(keys.RECIPIENT, name, event, around_us=DOOR_US):
                yield record, "its recipient and time"

    def _by(
        self, kind: bytes, value: bytes, event: Event, *, around_us: int = 0
    ) -> Iterator[Record]:
        begin = event.at_us - (around_us or BEFORE_US)
        end = event.at_us + (around_us or AFTER_US)
        for message_id, _ in self._reader.hits(kind, value, begin, end):
            record = self._reader.record(message_id)
            if record is not None and record.id == message_id:
                yield record

    # -- telling -----------------------------------------------------------------------------

    def _found(self, record: Record, rule: str, event: Event, *, held: bool) -> list[str]:
        message = record.message
        told = [
            f"record: {id_text(record.id)} (posttrail show {id_text(record.id)})",
            f"status: {_statuses(record)}",
            f"joined: by {rule}",
        ]
        if not held:
            told.append(f"evidence: {_not_kept(record, event)}")
        if message.flags & FLAG_AMBIGUOUS:
            told.append("ambiguous: a join of this record could have been made in two ways")
        return told

    def _why_not(self, event: Event, met: bool) -> str:
        """Why no record has the line."""
        at_us = event.at_us
        if not self._days or at_us < day_of_name(self._days[0]):
            first = self._days[0] if self._days else "none yet"
            return f"the line is older than its first day ({first}): before its retention"
        gap = next(
            (one for one in self._spans if _within(one, at_us) and isinstance(one, Gap)), None
        )
        if gap is not None:
            return f"{gap.source} was not recording then: {gap.reason.replace('_', ' ')}"
        if not any(isinstance(one, Cover) and _within(one, at_us) for one in self._spans):
            return f"no source was recorded or imported at {rfc3339(at_us)}"
        if met:
            return "its queue id had other lives, and the line is in the time of none of them"
        if not event.queue_id and event.kind in (kinds.FILED, kinds.VERDICT):
            return "it names no queue id, and no message has its Message-ID or client"
        return "the time is covered, but no line of this message was read"


def day_of_name(name: str) -> int:
    """When a day begins."""
    return (keys.parse_day(name) or 0) * DAY_US


def _within(span: Cover | Gap, at_us: int) -> bool:
    return span.begin_us <= at_us <= span.end_us


def _holds(record: Record, event: Event) -> bool:
    """Whether the record keeps what the line says (both sources' stamps differ)."""
    said = _said(event, event)
    return any(
        _said(known, event) == said
        and abs(known.at_us - event.at_us) <= (NEAR_US if known.source != event.source else 0)
        for known in record.events
        if known.kind == event.kind
    )


def _said(known: Event, event: Event) -> object:
    """What two events are compared by: a line without queue id may have got one by its session."""
    kind, queue_id, pid, fields = echoes.said(known)
    return kind, queue_id if event.queue_id else b"", pid, fields


def _lives(record: Record, event: Event) -> bool:
    """Whether a line with the record's queue id lies in the record's time."""
    times = [known.at_us for known in record.events if known.queue_id == event.queue_id]
    return bool(times) and min(times) - DAY_US <= event.at_us <= max(times) + 60_000_000


def _rule(record: Record, event: Event) -> str:
    """How a queue id led to the record."""
    name, message = event.queue_id, record.message
    if event.kind == kinds.FILED:
        return "the session id in the reply of the delivery before"
    if name in message.queue_ids and message.queue_ids[0] != name:
        for known in record.events:
            if known.kind == kinds.DELIVERY and len(known.fields) > 10 and known.fields[10] == name:
                how = "forwarded as" if known.fields[11:12] == (b"forwarded",) else "queued as"
                return f"its queue id, under which {safe(known.queue_id)} went on ({how})"
        return f"its queue id, which followed {safe(message.queue_ids[0])}"
    if name in message.queue_ids:
        return "its queue id, within one life of it"
    return "the queue id that another host gave the message"


def _not_kept(record: Record, event: Event) -> str:
    """Why a record of the right queue id has not this very line."""
    if event.kind == kinds.QUEUED:
        return "the same was said before (qmgr repeats it at every try)"
    if event.kind == kinds.DELIVERY and record.dropped:
        return "not kept: of many tries for one recipient the first three and the last seven are"
    return "this line is not in it: it was not read, or is told in other words"


def _statuses(record: Record) -> str:
    """What became of it, row by row, as far as it fits."""
    rows = record.message.rows
    told = [f"{Status(row.status).token}, {row.reason}" for row in rows]
    distinct = list(dict.fromkeys(told))
    if not distinct:
        return "no recipient"
    more = f" (and {len(distinct) - 3} others)" if len(distinct) > 3 else ""
    count = f" [{len(rows)} rows]" if len(rows) > 1 else ""
    return "; ".join(distinct[:3]) + more + count
