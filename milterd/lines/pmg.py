"""Understand Proxmox Mail Gateway's filter: what it did with each recipient's mail.

Format (pmg-smtp-filter and PMG::RuleDB, tag ``pmg-smtp-filter``), behind ``ID: ``::

    new mail message-id=M
    SA score=N/MAX time=T bayes=B autolearn=A hits=H
    virus detected: NAME (clamav)
    accept mail to <R> (QID) [(rule: NAME)]
    block mail to <R> [(rule: NAME)]
    moved mail for <R> to spam|virus quarantine - QUARANTINE_ID [(rule: NAME)]

The filter answers Postfix with ``OK (ID)`` or ``BLOCKED (ID)``, so ID is a queue id between
two of Postfix's, and ``accept`` is a delivery to the second. A message moved to the attachment
quarantine goes on without its attachments. Raises nothing.
"""

from typing import Final

from journal.events import Event
from milterd.lines import scan
from milterd.lines.scan import UNKNOWN, Parsed, address_end, after_colon, make, queue_id_end
from milterd.lines.syslog import Line
from milterd.lines.verdicts import ACCEPT, DISCARD, QUARANTINE, bare, verdict

PROGRAM: Final[bytes] = b"pmg-smtp-filter"
_NAME: Final = b"pmg"
_MOVED: Final = (b" to spam quarantine - ", b" to virus quarantine - ")


def parse(line: Line) -> Parsed:
    """One line of pmg-smtp-filter."""
    text = line.text
    colon = queue_id_end(text)
    if colon < 0:
        return None
    queue_id, begin = text[:colon], after_colon(text, colon)
    for words in (b"accept mail to <", b"block mail to <", b"moved mail for <"):
        if text.startswith(words, begin):
            return _of_recipient(line, queue_id, begin, words)
    if text.startswith(b"new mail message-id=", begin):
        message_id = (bare(text[begin + 20 :].strip(b" ")), PROGRAM)
        return make(line, scan.MESSAGE_ID, queue_id, message_id)
    if text.startswith(b"SA score=", begin):
        return _score(line, queue_id, begin)
    if text.startswith(b"virus detected: ", begin):
        said = (_NAME, ACCEPT, b"virus")
        return verdict(line, queue_id, said, evidence=text[begin:])
    return None


def _score(line: Line, queue_id: bytes, begin: int) -> Parsed:
    """``SA score=N/MAX``: spam from MAX on."""
    score, _, most = line.text[begin + 9 :].split(b" ", 1)[0].partition(b"/")
    if not score.isdigit() or not most.isdigit():
        return UNKNOWN
    reason = b"spam" if int(score[:9]) >= int(most[:9]) else b"ham"
    said = (_NAME, ACCEPT, reason)
    return verdict(line, queue_id, said, score=score, evidence=line.text[begin:])


def _of_recipient(line: Line, queue_id: bytes, begin: int, words: bytes) -> Parsed:
    """What was done for one recipient, as a delivery by the filter and as its verdict."""
    text = line.text
    at = begin + len(words)
    end = address_end(text, at - 1)
    if end < 0:
        return UNKNOWN
    recipient, rest = text[at:end], text[end + 1 :]
    if words.startswith(b"accept"):
        onward = rest[2:].partition(b")")[0] if rest.startswith(b" (") else b""
        if not onward.isalnum():
            return UNKNOWN
        return _delivery(line, queue_id, recipient, text[begin:], onward)
    if words.startswith(b"block"):
        said = (_NAME, DISCARD, b"policy")
    elif rest.startswith(_MOVED):
        said = (_NAME, QUARANTINE, b"virus" if rest.startswith(_MOVED[1]) else b"spam")
    else:
        return None  # to attachment quarantine: the rest of the message goes on
    return [
        _delivery(line, queue_id, recipient, text[begin:], b""),
        verdict(line, queue_id, said, evidence=text[begin:], recipient=recipient),
    ]


def _delivery(line: Line, queue_id: bytes, recipient: bytes, text: bytes, onward: bytes) -> Event:
    hop = b"queued" if onward else b""
    fields = (
        PROGRAM, b"", recipient, PROGRAM, b"", b"", b"2.0.0", b"sent", text, b"", onward, hop,
    )  # fmt: skip
    return make(line, scan.DELIVERY, queue_id, fields)
