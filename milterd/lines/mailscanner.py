"""Understand MailScanner, which takes messages from Postfix's hold queue and gives them back.

Format (MailScanner 4 and 5; an id is Postfix's queue id, a dot and five digits)::

    Message ID from IP (SENDER) to DOMAIN,DOMAIN is [not ]spam[ (blacklisted)][, SpamAssassin (...)]
    Infected message ID came from IP
    Spam Actions: message ID actions are WORD,WORD
    Non-delivery of Spam: message ID from SENDER to RECIPIENT,RECIPIENT with subject TEXT
    Requeue: ID to QID

``Requeue`` makes another queue file of the message. Raises nothing.
"""

import re
from typing import Final

from journal.events import ABSENT
from milterd.lines import scan
from milterd.lines.scan import UNKNOWN, Parsed, make
from milterd.lines.syslog import Line
from milterd.lines.verdicts import ACCEPT, DISCARD, QUARANTINE, verdict

PROGRAM: Final[bytes] = b"MailScanner"
_NAME: Final = b"mailscanner"
_MESSAGE: Final = re.compile(rb"Message ([\w.]+) from ([0-9A-Fa-f.:]+) \(")
_SCORE: Final = re.compile(rb"\bscore=(-?\d{1,9}(?:\.\d{1,9})?), ")
_ACTIONS: Final = re.compile(
    rb"(?:Spam|Non-Spam|MCP) Actions: message ([\w.]+) actions are ([\w,-]+)\Z"
)
_KEPT: Final = re.compile(rb"Non-delivery of (\w+): message ([\w.]+) from ")
_REQUEUED: Final = re.compile(rb"Requeue: ([\w.]+) to (\w+)\Z")
_INFECTED: Final = re.compile(rb"Infected message ([\w.]+) came from ([0-9A-Fa-f.:]+)")


def parse(line: Line) -> Parsed:
    """One line of MailScanner."""
    text = line.text
    if text.startswith(b"Message "):
        return _message(line)
    if (told := _REQUEUED.match(text)) is not None:
        return _requeued(line, told[1], told[2])
    if (told := _ACTIONS.match(text)) is not None:
        return _actions(line, told[1], told[2].split(b","))
    if (told := _KEPT.match(text)) is not None:
        reason = told[1].lower()
        return verdict(line, _queue_id(told[2]), (_NAME, DISCARD, reason))
    if (told := _INFECTED.match(text)) is not None:
        said = (_NAME, ACCEPT, b"virus")
        return verdict(line, _queue_id(told[1]), said, client_ip=told[2])
    return None


def _queue_id(word: bytes) -> bytes:
    """Postfix's queue id of MailScanner's."""
    return word.partition(b".")[0]


def _message(line: Line) -> Parsed:
    """``Message ID from IP (SENDER) to DOMAINS is ...``."""
    text = line.text
    told = _MESSAGE.match(text)
    if told is None:
        return None
    close = text.find(b") to ", told.end())
    _, is_found, report = text[close + 5 :].partition(b" is ")
    if close < 0 or not is_found:
        return None
    if report.startswith(b"not spam"):
        reason = b"ham"
    elif report.startswith(b"spam"):
        reason = b"spam"
    else:
        return None  # too big, whitelisted
    score = _SCORE.search(report)
    return verdict(
        line,
        _queue_id(told[1]),
        (_NAME, ACCEPT, reason),
        score=score[1] if score else b"",
        client_ip=told[2],
        sender=text[told.end() : close],
    )


def _actions(line: Line, word: bytes, actions: list[bytes]) -> Parsed:
    """What MailScanner was told to do with spam."""
    if b"deliver" in actions or b"forward" in actions:
        said = ACCEPT
    elif any(action.startswith(b"store") for action in actions):
        said = QUARANTINE
    else:
        said = DISCARD
    return verdict(line, _queue_id(word), (_NAME, said, b"spam"))


def _requeued(line: Line, word: bytes, onward: bytes) -> Parsed:
    """The message goes on under another queue id, as after ``postsuper -r``, for all that wait."""
    queue_id = _queue_id(word)
    if not queue_id or not onward.isalnum():
        return UNKNOWN
    return [
        make(line, scan.REQUEUED, queue_id, (PROGRAM,)),
        make(line, scan.PICKUP, onward, (b"", ABSENT, queue_id)),
    ]
