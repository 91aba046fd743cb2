"""What a caller of posttrail-traced sends: one line of JSON, three fields and no other.

``{"address": "alice@example.com", "sender": null, "entry": "smtp"}``; sender and entry may be left
out. A probe cannot be asked for. Raises UsageError for what is no such line.
"""

import json
import math
from dataclasses import dataclass
from typing import Final

from posttrail.errors import TryAgainError, UsageError
from posttrail.text import safe
from query.trace.tree import Question

_FIELDS: Final = frozenset({"address", "sender", "entry"})


class TooManyError(TryAgainError):
    """The caller has asked for all traces of this minute."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many traces: ask again in {math.ceil(wait_s)} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A line that was understood."""

    question: Question


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
    if not isinstance(address, str) or not isinstance(entry, str):
        raise UsageError("address and entry of a request are text")
    if sender is not None and not isinstance(sender, str):
        raise UsageError("the sender of a request is text or null")
    return Request(question=Question(address=address, sender=sender, entry=entry))
