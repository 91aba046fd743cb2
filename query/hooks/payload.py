"""An event as it is sent: one JSON object, as docs/schema/hook.json has it.

``data`` is the row of the report, as the hook's scope sees it and without what ``fields`` leaves
out; of a silence it is who is silent. Raises nothing.
"""

from dataclasses import dataclass
from typing import Final

from posttrail.hook import Hook
from posttrail.text import json_dump, rfc3339
from query import rows
from query.hooks.silence import Silence
from query.rows import Row

_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What stands around the data."""

    id: str
    event: str
    at_us: int
    previous_status: str | None = None


def of_row(envelope: Envelope, hook: Hook, row: Row) -> bytes:
    """A row's news."""
    whole = rows.document(row)
    wanted = hook.fields or rows.FIELDS
    return _body(envelope, hook, {name: whole[name] for name in rows.FIELDS if name in wanted})


def of_silence(envelope: Envelope, hook: Hook, silence: Silence) -> bytes:
    """A sender's silence."""
    last = silence.last_at_us
    data = {
        "usual": silence.usual,
        "last_at": None if last is None else rfc3339(last),
        "silent_s": silence.silent_us // _SECOND_US,
        "expected_s": silence.expected_us // _SECOND_US,
        "learned": silence.learned,
    }
    return _body(envelope, hook, data)


def _body(envelope: Envelope, hook: Hook, data: object) -> bytes:
    document = {
        "id": envelope.id,
        "event": envelope.event,
        "at": rfc3339(envelope.at_us),
        "hook": hook.name,
        "previous_status": envelope.previous_status,
        "data": data,
    }
    return json_dump(document).encode("utf-8", "surrogatepass")
