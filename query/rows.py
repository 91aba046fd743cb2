"""A report row, as every writer gets it: decoded, named and ordered as DESIGN's contract.

The field names of ``Row``, in this order, are the JSON of a row (docs/schema/report.json);
unknown is None, the null sender is "". Raises nothing.
"""

from dataclasses import dataclass, fields
from math import isfinite
from typing import Final

from journal import keys
from journal.events import Source
from journal.records import Direction, Message, Recipient, Status
from posttrail.text import json_text, rfc3339

Cell = str | int | float | list[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one message for one recipient."""

    id: str
    row: int
    time: str
    host: str
    queue_ids: list[str]
    direction: str | None
    sender: str | None
    recipient: str | None
    final_recipient: str | None
    status: str
    reason: str
    folder: str | None
    reply: str | None
    reply_code: int | None
    enhanced_status: str | None
    relay: str | None
    attempts: int
    done_at: str | None
    delay_s: float | None
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


FIELDS: Final = tuple(field.name for field in fields(Row))

_STATUS: Final = {int(status): status.token for status in Status}
_DIRECTION: Final[dict[int | None, str | None]] = {
    None: None,
    **{int(way): way.token for way in Direction},
}
_SOURCES: Final = [
    [source.name.lower() for source in Source if bits >> source & 1]
    for bits in range(1 << len(Source))
]


def make(message: Message, number: int, row: Recipient) -> Row:
    """The report row of one recipient; ``number`` counts the recipients from 1."""
    return Row(
        id=keys.id_text(message.id),
        row=number,
        time=rfc3339(message.time_us),
        host=json_text(message.host),
        queue_ids=[json_text(queue_id) for queue_id in message.queue_ids],
        direction=_DIRECTION[row.direction],
        sender=_text(message.sender),
        recipient=_text(row.recipient),
        final_recipient=_text(row.final_recipient),
        status=_STATUS[row.status],
        reason=row.reason,
        folder=_text(row.folder),
        reply=_text(row.reply),
        reply_code=row.reply_code,
        enhanced_status=_text(row.enhanced_status),
        relay=_text(row.relay),
        attempts=row.attempts,
        done_at=None if row.done_at_us is None else rfc3339(row.done_at_us),
        delay_s=None if row.delay_ms is None else row.delay_ms / 1000,
        size_bytes=message.size_bytes,
        message_id=_text(message.message_id),
        subject=_text(message.subject),
        client_ip=_text(message.client_ip),
        client_name=_text(message.client_name),
        client_port=message.client_port,
        helo=_text(message.helo),
        login=_text(message.login),
        tls=_text(message.tls),
        spam_score=finite(message.spam_score),
        sources=source_names(message.sources),
    )


def status_token(status: int) -> str:
    """The word of a status."""
    return _STATUS[status]


def document(row: Row) -> dict[str, Cell]:
    """The row as a JSON object."""
    return {name: getattr(row, name) for name in FIELDS}


def source_names(bits: int) -> list[str]:
    """Who spoke of a message, from its ``sources``."""
    return list(_SOURCES[bits & len(_SOURCES) - 1])


def finite(score: float | None) -> float | None:
    """A score that JSON can spell: a filter may write "inf"."""
    return score if score is not None and isfinite(score) else None


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else json_text(raw)
