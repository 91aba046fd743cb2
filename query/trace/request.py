"""What a caller of posttrail-traced sends: one line of JSON, four fields and no other.

``{"address": "alice@example.com", "sender": null, "entry": "smtp", "for": "alice"}``; all but the
address may be left out. ``for`` is whoever a caller asks for: posttrail-queryd's own callers share
no rate. A probe cannot be asked for. Raises UsageError for what is no such line.
"""

import json
import math
from dataclasses import dataclass
from typing import Final

from posttrail.errors import TryAgainError, UsageError
from posttrail.text import safe
from query.trace.tree import Question

_FIELDS: Final = frozenset({"address", "sender", "entry", "for"})


class TooManyError(TryAgainError):
    """The caller has asked for all traces of this minute."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many traces: ask again in {math.ceil(wait_s)} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A line that was understood."""

    question: Question
    whom: str = ""  # asked for somebody else; "": for the caller itself


def request(line: bytes) -> Request:
    """The request of a line."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError("a request is one line of JSON") from None
    if not isinstance(found, dict):
        raise UsageError("a request is a JSON object")
    for name in found:
        if name not in _FIELDS:
            raise UsageError(f"a request has no field {safe(name)}")
    address, sender, entry = found.get("address"), found.get("sender"), found.get("entry", "smtp")
    whom = found.get("for", "")
    if not isinstance(address, str) or not isinstance(entry, str) or not isinstance(whom, str):
        raise UsageError("address, entry and for of a request are text")
    if sender is not None and not isinstance(sender, str):
        raise UsageError("the sender of a request is text or null")
    return Request(question=Question(address=address, sender=sender, entry=entry), whom=whom)
