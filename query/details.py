"""One message as ``show`` tells it: envelope, rows, verdicts, timeline, evidence, links.

Whoever did not send the message and is no operator gets their own rows, and of
the timeline what says nothing of other recipients. Raises nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Final

from journal import address, keys, status
from journal.events import ABSENT, Event, Kind, Source, named
from journal.records import FLAG_AMBIGUOUS, NO_STATUS, Recipient, Record, Status
from posttrail.text import json_text, rfc3339
from query import redact
from query import rows as report_rows
from query.rows import Row
from query.scope import Numbered, Scope

Fields = dict[str, str]
Find = Callable[[bytes], bytes | None]
"""The id of the message with a queue id, as near in time as can be, or None."""

_PERSONAL: Final = frozenset(
    {Kind.RCPT, Kind.DELIVERY, Kind.DOOR, Kind.FILED, Kind.LATE_BOUNCE, Kind.VERDICT}
)
"""Events that may be about one recipient."""
_LINKS: Final = {
    Kind.PARENT: ("parent", "parent_queue_id"),
    Kind.NOTICE: ("notice", "notice_queue_id"),
    Kind.LATE_BOUNCE: ("late_bounce", "notice_queue_id"),
}
_MILTER_ACTIONS: Final = {b"hold": "quarantine", b"quarantine": "quarantine", b"discard": "discard"}
_DECIDERS: Final = {
    "held": frozenset({Kind.HELD, Kind.DOOR}),
    "expired": frozenset({Kind.EXPIRED}),
    "deleted": frozenset({Kind.DELETED}),
    "late_bounce": frozenset({Kind.LATE_BOUNCE}),
}
"""Reasons that rest on an event of these kinds, whatever was replied before."""
_ENTRIES: Final = frozenset({Kind.TRANSACTION, Kind.CLIENT, Kind.PICKUP, Kind.QUEUED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One event of the timeline; ``event`` is its number, from 1."""

    event: int
    time: str
    kind: str
    source: str
    queue_id: str | None
    pid: int | None
    fields: Fields  # what the source did not say is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a filter wrote, and the event that says so."""

    filter: str | None
    verdict: str | None
    reason: str | None
    score: float | None
    event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Another message that this one speaks of, by queue id."""

    relation: str  # parent: this is a notice about it; notice: it is one about this
    queue_id: str
    id: str | None  # of the message, where the journal has it and the scope sees it
    event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Which event set the status of a row."""

    row: int
    event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """The document of ``show`` (docs/schema/show.json)."""

    id: str
    time: str
    host: str
    instance: str | None
    queue_ids: list[str]
    next_queue_ids: list[str]
    status: str | None  # of the worst row shown
    sender: str | None
    size_bytes: int | None
    message_id: str | None
    subject: str | None
    client_ip: str | None
    client_name: str | None
    client_port: int | None
    helo: str | None
    login: str | None
    tls: str | None
    spam_score: float | None
    sources: list[str]
    ambiguous: bool
    attempts_dropped: int
    rows: list[Row]
    evidence: list[Evidence]
    verdicts: list[Verdict]
    timeline: list[Moment]
    links: list[Link]


def details(record: Record, scope: Scope, *, find: Find) -> Details | None:
    """What the scope may see of a message; None: nothing, as if it were absent."""
    whole = scope.sees_whole(record.message)
    real = list(scope.rows(record.message))
    if not real and not whole:
        return None
    message = redact.seen(record.message, scope)
    rows = list(enumerate(message.rows, 1))
    events = list(_events(record, None if whole else real))

    def fields(event: Event) -> Fields:
        return _fields(redact.fields(event, record.message, scope))

    worst = max((row.status for _, row in rows), default=NO_STATUS)
    return Details(
        id=keys.id_text(message.id),
        time=rfc3339(message.time_us),
        host=json_text(message.host),
        instance=_text(message.instance or None),
        queue_ids=[json_text(queue_id) for queue_id in message.queue_ids],
        next_queue_ids=[json_text(queue_id) for queue_id in message.next_queue_ids],
        status=None if worst == NO_STATUS else Status(worst).token,
        sender=_text(message.sender),
        size_bytes=message.size_bytes,
        message_id=_text(message.message_id),
        subject=_text(message.subject),
        client_ip=_text(message.client_ip),
        client_name=_text(message.client_name),
        client_port=message.client_port,
        helo=_text(message.helo),
        login=_text(message.login),
        tls=_text(message.tls),
        spam_score=report_rows.finite(message.spam_score),
        sources=report_rows.source_names(message.sources),
        ambiguous=bool(message.flags & FLAG_AMBIGUOUS),
        attempts_dropped=len(record.dropped) if whole else 0,
        rows=[report_rows.make(message, number, row) for number, row in rows],
        evidence=[
            Evidence(row=number, event=event)
            for number, row in real
            if (event := _evidence(row, events))
        ],
        verdicts=[
            verdict
            for number, event in events
            if (verdict := _judged(number, event, fields(event)))
        ],
        timeline=[
            _moment(number, event, fields(event), pid=scope.operator) for number, event in events
        ],
        links=[link for link in _links(events, find) if scope.operator or link.id],
    )


def document(found: Details) -> dict[str, object]:
    """The JSON document."""
    return asdict(found)


def _judged(number: int, event: Event, said: Fields) -> Verdict | None:
    """The verdict that an event is: a filter's own word, or what a milter made Postfix do."""
    if event.kind == Kind.VERDICT:
        return _verdict(number, said)
    action = event.fields[0] if event.kind == Kind.DOOR else b""
    if not action.startswith(b"milter-"):
        return None
    fields = named(event)
    code, enhanced, text = fields["reply_code"], fields["enhanced_status"], fields["text"]
    word = _MILTER_ACTIONS.get(action.removeprefix(b"milter-"))
    if action == b"milter-reject":
        word = "tempfail" if (code or enhanced).startswith(b"4") else "reject"
    if word is None:
        return None
    reason = (
        status.refusal(code, enhanced, text) if action == b"milter-reject" else said.get("text")
    )
    return Verdict(filter="milter", verdict=word, reason=reason or None, score=None, event=number)


def _events(record: Record, only: list[Numbered] | None) -> Iterator[tuple[int, Event]]:
    """The events with their numbers; of personal ones those about the rows of ``only``."""
    if only is None:
        yield from enumerate(record.events, 1)
        return
    mine = {address.fold(name) for _, row in only for name in _names(row)}
    if len(record.message.rows) == 1:  # Dovecot may know its user by the local part alone
        mine |= {name.rpartition(b"@")[0] for name in mine}
    number = 0
    for event in record.events:
        if event.kind == Kind.NOTICE:
            continue  # it may be about another recipient, and has its recipients' number
        about = {address.fold(name) for name in _recipients(event)}
        if event.kind not in _PERSONAL or _is_of_all(event) or (about and about <= mine):
            number += 1  # as if there were no others
            yield number, event


def _is_of_all(event: Event) -> bool:
    """Whether a filter's verdict is about the message, not about one recipient."""
    return event.kind == Kind.VERDICT and not named(event).get("recipient")


def _recipients(event: Event) -> list[bytes]:
    fields = named(event)
    return [
        name for key in ("recipient", "final_recipient", "user") if (name := fields.get(key, b""))
    ]


def _names(row: Recipient) -> list[bytes]:
    return [name for name in (row.recipient, row.final_recipient) if name]


def _evidence(row: Recipient, events: list[tuple[int, Event]]) -> int | None:
    """The event that a row's status rests on: the newest that passes the first test any passes."""
    names = {address.fold(name) for name in _names(row)}
    names |= {name.rpartition(b"@")[0] for name in names}
    deciders = _DECIDERS.get(row.reason, frozenset())
    tests: tuple[Callable[[Event], bool], ...] = (
        lambda event: event.kind in deciders,
        lambda event: row.folder is not None and named(event).get("folder") == row.folder,
        lambda event: row.reply is not None and named(event).get("text") == row.reply,
        lambda event: event.kind >= Kind.HELD and event.at_us == row.done_at_us,
        lambda event: event.kind in _ENTRIES,
    )
    concerned = [(number, event) for number, event in events if _concerns(event, names)]
    final = address.fold(row.final_recipient or b"")
    for test in tests:
        passed = [(number, event) for number, event in concerned if test(event)]
        own = [number for number, event in passed if _final(event) == final]
        if passed:
            return own[-1] if own else passed[-1][0]
    return None


def _final(event: Event) -> bytes:
    """The final recipient of a delivery; of other events the recipient."""
    return address.fold((_recipients(event) or [b""])[-1])


def _concerns(event: Event, names: set[bytes]) -> bool:
    """Whether an event is about one of these recipients, or about none in particular."""
    about = {address.fold(name) for name in _recipients(event)}
    return event.kind not in _PERSONAL or not about or bool(about & names)


def _verdict(number: int, fields: Fields) -> Verdict:
    try:
        score = float(fields.get("score") or "")
    except ValueError:
        score = None
    return Verdict(
        filter=fields.get("filter"),
        verdict=fields.get("verdict"),
        reason=fields.get("reason"),
        score=report_rows.finite(score),
        event=number,
    )


def _moment(number: int, event: Event, said: Fields, *, pid: bool) -> Moment:
    return Moment(
        event=number,
        time=rfc3339(event.at_us),
        kind=Kind(event.kind).name.lower(),
        source=Source(event.source).name.lower(),
        queue_id=json_text(event.queue_id) if event.queue_id else None,
        pid=(event.pid or None) if pid else None,
        fields=said,
    )


def _fields(said: dict[str, bytes]) -> Fields:
    """What an event says; an unnamed sender is left out, the null sender is ""."""
    return {
        name: json_text(raw)
        for name, raw in said.items()
        if (raw or name == "sender") and raw != ABSENT
    }


def _links(events: list[tuple[int, Event]], find: Find) -> Iterator[Link]:
    for number, event in events:
        if event.kind in _LINKS:
            relation, field = _LINKS[Kind(event.kind)]
            queue_id = named(event).get(field, b"")
            if queue_id:
                found = find(queue_id)
                yield Link(
                    relation=relation,
                    queue_id=json_text(queue_id),
                    id=None if found is None else keys.id_text(found),
                    event=number,
                )


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else json_text(raw)
