"""Make the events of filters that speak in the log, not in a header.

Words: ``verdict`` is accept, reject, tempfail, discard or quarantine; ``reason`` uses the words of
milterd.headers (spam, ham, virus, clean, pass, fail, ...) and those filters' own. Raises nothing.
"""

from typing import Final

from journal.events import Event
from milterd.lines import scan
from milterd.lines.scan import make
from milterd.lines.syslog import Line

ACCEPT: Final = b"accept"
REJECT: Final = b"reject"
TEMPFAIL: Final = b"tempfail"
DISCARD: Final = b"discard"
QUARANTINE: Final = b"quarantine"

EVIDENCE_BYTES: Final = 1000


def verdict(
    line: Line,
    queue_id: bytes,
    said: tuple[bytes, bytes, bytes],
    *,
    score: bytes = b"",
    evidence: bytes = b"",
    recipient: bytes = b"",
    message_id: bytes = b"",
    client_ip: bytes = b"",
    sender: bytes = b"",
) -> Event:
    """What a filter (``said``: its name, its verdict, the reason) found in a message."""
    text = (evidence or line.text)[:EVIDENCE_BYTES]
    fields = (*said, decimal(score), text, recipient, message_id, client_ip, sender)
    return make(line, scan.VERDICT, queue_id, fields)


def decimal(word: bytes) -> bytes:
    """A score as a decimal number; b"" where it is none."""
    sign = word[:1] in (b"-", b"+")
    whole, _, part = word[sign:].partition(b".")
    if not whole.isdigit() or len(word) > 20 or not (part.isdigit() or not part):
        return b""
    return word[1:] if word[:1] == b"+" else word


def bare(message_id: bytes) -> bytes:
    """A Message-ID without its brackets."""
    if message_id[:1] == b"<" and message_id[-1:] == b">":
        return message_id[1:-1]
    return message_id


def values(text: bytes, begin: int) -> dict[bytes, bytes]:
    """``name=value`` pairs between ``, `` or ``; ``; of a name said twice the first counts.

    Only for lines whose values cannot hold the separator.
    """
    found: dict[bytes, bytes] = {}
    for part in text[begin:].replace(b"; ", b", ").split(b", "):
        name, equals, value = part.partition(b"=")
        if equals:
            found.setdefault(name.strip(), value.rstrip(b";"))
    return found
