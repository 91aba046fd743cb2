"""Understand amavis: its verdict on a message, with the queue ids before and after it.

Format: the log_short_templ and log_verbose_templ of amavisd 2.4 to 2.13::

    (AM) Passed|Blocked CATEGORY[ (NAMES)][ {ACTIONS}], [BANKS ][LOCAL ][IP]:PORT [IP]
        <SENDER> -> <RECIPIENT>,<RECIPIENT>[, quarantine: Q][, Queue-ID: ID][, Message-ID: M]
        ..., Hits: N, size: S[, queued_as: ID], T ms

NAMES (of files), M and a Subject are a sender's words. The rest is read from where amavis writes
it; what then stands there twice counts as not said. Raises nothing.
"""

import re
from typing import Final, NamedTuple

from journal.events import Event
from milterd.lines import verdicts
from milterd.lines.scan import UNKNOWN, Parsed, address_end
from milterd.lines.syslog import Line
from milterd.lines.verdicts import bare, verdict

MOST_RECIPIENTS: Final = 1000
_MOST_NAMES: Final = 16  # places where the names of files may end

_PLAIN: Final = re.compile(rb"([A-Z]+(?:-[A-Z]+)*)(?:-\d+)?(?: \{([A-Za-z, -]*)\})?, ")
_NAMES_END: Final = re.compile(rb"\)(?: \{([A-Za-z, -]*)\})?, ")
_CLIENT: Final = re.compile(
    rb"(?:[\w/,-]+ )*(?:\[([0-9A-Fa-f.:]*)\](?::\d+)? )?(?:\[[^\]<>]*\] )?(?:\w*/\w* )?(?=<)"
)
_NUMBERS: Final = re.compile(
    rb", Hits: (-?\d+(?:\.\d+)?)?[^, ]*(?:, size: \d+)?(?:, pt: [^, ]*)?"
    rb"(?:, queued_as: ([0-9A-Za-z]+)[^, ]*)?(?=, )"
)
_REASONS: Final = {b"INFECTED": b"virus", b"SPAMMY": b"spam"}
_ACTIONS: Final = (  # the first that was done decides
    (b"Rejected", verdicts.REJECT),
    (b"Bounced", verdicts.REJECT),
    (b"TempFailed", verdicts.TEMPFAIL),
    (b"Quarantined", verdicts.QUARANTINE),
)


class _Envelope(NamedTuple):
    """Client, sender and recipients, and where they end."""

    client_ip: bytes
    sender: bytes
    recipients: list[bytes]
    end: int


def parse(line: Line) -> Parsed:
    """One line of amavis."""
    text = line.text
    begin = text.find(b") ", 0, 64) + 2 if text[:1] == b"(" else 0
    for word in (b"Passed ", b"Blocked "):
        if text.startswith(word, begin):
            return _decision(line, begin + len(word), blocked=word == b"Blocked ")
    return None


def _decision(line: Line, begin: int, *, blocked: bool) -> Parsed:
    """The verdict whose category is at ``begin``: an event a recipient."""
    text = line.text
    plain = _PLAIN.match(text, begin)
    if plain is not None:
        category, actions = plain[1], plain[2]
        envelope = _envelope(text, plain.end())
    else:
        category = text[begin : text.find(b" ", begin)]
        envelope, actions = _after_names(text, begin)
    if envelope is None or not category.replace(b"-", b"").isalpha():
        return UNKNOWN
    identity = _identity(text, envelope.end)
    if not identity.queue_id and not identity.message_id:
        return None  # log_recip_templ: says what the main line says
    reason = _REASONS.get(category, category.lower().replace(b"-", b"_"))
    said = (b"amavis", _action(actions or b"", text, blocked=blocked), reason)
    return _events(line, said, envelope, identity, text[begin:])


def _after_names(text: bytes, begin: int) -> tuple[_Envelope | None, bytes]:
    """Envelope and actions behind ``BANNED (NAMES)``, where they can stand in one place only."""
    found: tuple[_Envelope | None, bytes] = (None, b"")
    for number, end in enumerate(_NAMES_END.finditer(text, begin)):
        envelope = _envelope(text, end.end())
        if envelope is not None:
            if found[0] is not None:
                return None, b""
            found = (envelope, end[1] or b"")
        if number > _MOST_NAMES:
            return None, b""
    return found


def _envelope(text: bytes, begin: int) -> _Envelope | None:
    """``[IP]:PORT [IP] <SENDER> -> <RECIPIENT>,<RECIPIENT>`` at ``begin``."""
    client = _CLIENT.match(text, begin)
    if client is None:
        return None
    at = client.end()
    end = address_end(text, at)
    if end < 0 or not text.startswith((b" -> <", b" -> ,"), end + 1):
        return None
    sender = text[at + 1 : end]
    if text.startswith(b",", end + 5):  # a line a recipient names none where it is blocked
        return _Envelope(client[1] or b"", sender, [], end + 5)
    recipients: list[bytes] = []
    at = end + 5
    while len(recipients) < MOST_RECIPIENTS:
        end = address_end(text, at)
        if end < 0:
            return None
        recipients.append(text[at + 1 : end])
        if not text.startswith(b",<", end + 1):
            break
        at = end + 2
    return _Envelope(client[1] or b"", sender, recipients, end + 1)


class _Identity(NamedTuple):
    """What names the message, and its score."""

    queue_id: bytes
    message_id: bytes
    score: bytes


def _identity(text: bytes, begin: int) -> _Identity:
    """Queue-ID (else queued_as), Message-ID and Hits behind the recipients."""
    named = text.find(b", Message-ID: ", begin)
    queue_id = b""
    mark = text.find(b", Queue-ID: ", begin, named if named >= 0 else len(text))
    if mark >= 0:
        queue_id = text[mark + 12 :].split(b",", 1)[0]
    numbers = list(_NUMBERS.finditer(text, begin))
    score = message_id = b""
    if len(numbers) == 1:
        score = numbers[0][1] or b""
        queue_id = queue_id or numbers[0][2] or b""
    if named >= 0:
        value = text[named + 14 :]
        end = address_end(value, 0) if value[:1] == b"<" else value.find(b", ") - 1
        message_id = bare(value[: end + 1])
    return _Identity(queue_id if queue_id.isalnum() else b"", message_id, score)


def _action(actions: bytes, text: bytes, *, blocked: bool) -> bytes:
    """What amavis did with the message."""
    if not blocked:
        return verdicts.ACCEPT
    for word, verdict_word in _ACTIONS:
        if word in actions:
            return verdict_word
    if not actions and b", quarantine: " in text:  # before 2.7
        return verdicts.QUARANTINE
    return verdicts.DISCARD


def _events(
    line: Line, said: tuple[bytes, bytes, bytes], envelope: _Envelope, known: _Identity, text: bytes
) -> list[Event]:
    return [
        verdict(
            line,
            known.queue_id,
            said,
            score=known.score,
            evidence=text,
            recipient=recipient,
            message_id=known.message_id,
            client_ip=envelope.client_ip,
            sender=envelope.sender,
        )
        for recipient in envelope.recipients
    ]
