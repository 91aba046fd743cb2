"""Proves late bounces: a notice from outside that a delivered mail came back after all.

Evidence is a message with the null sender (RFC 5321 4.5.5) to the sender of a message of ours,
whose header is that of a failure notice: ``X-Failed-Recipients`` (Exim, Gmail), or
``Content-Type: multipart/report; report-type=delivery-status`` (RFC 6522, RFC 3464) under a
subject that notices of failure have. It names our message by ``In-Reply-To`` or ``References``
(RFC 5322 3.6.4), or its recipient is a VERP sender (``local+user=domain@...``) that was used for
nothing else. A notice of delay, a success report and an automatic answer (RFC 3834) prove
nothing. Raises nothing.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from journal import address, kinds
from journal.events import Event

_SUBJECTS: Final = (
    b"undeliver", b"returned mail", b"mail delivery failed", b"delivery failure", b"failure notice",
    b"delivery status notification (failure)", b"delivery has failed", b"mail delivery failure",
    b"message could not be delivered", b"failed delivery", b"non-delivery", b"nondeliverable",
)  # fmt: skip
"""How subjects begin: Postfix, Sendmail, Exim, qmail, Exchange, Gmail, Domino, Courier."""

_MOST_IDS: Final = 20  # of a References field that somebody filled up


class Notice(NamedTuple):
    """What a failure notice says of the message it is about."""

    at_us: int
    queue_id: bytes  # the notice's own; may be b""
    sender: bytes  # whom it was sent to: the sender of what came back
    message_ids: list[bytes]  # the likeliest first
    failed: list[bytes]  # recipients it names; may be empty
    subject: bytes


def notice(events: Iterable[Event]) -> Notice | None:
    """The notice that a transaction of the milter is, None where it is none."""
    told = {event.kind: event for event in events}
    transaction, report = told.get(kinds.TRANSACTION), told.get(kinds.REPORT)
    rcpts = [event for event in events if event.kind == kinds.RCPT and event.fields[3] != b"1"]
    if transaction is None or report is None or len(rcpts) != 1:
        return None
    content, failed, reply_to, references, auto = report.fields
    subject = transaction.fields[10]
    if transaction.fields[7] != b"" or transaction.fields[14] != b"eom":
        return None
    if auto.strip().lower().startswith(b"auto-replied"):
        return None
    if not failed and not (_is_report(content) and _tells_failure(subject)):
        return None
    names = [name.strip() for name in failed.split(b",") if b"@" in name]
    ids = [*_ids(reply_to), *reversed(_ids(references))]
    return Notice(
        transaction.at_us,
        transaction.queue_id,
        rcpts[0].fields[0],
        list(dict.fromkeys(ids))[:_MOST_IDS],
        names,
        subject,
    )


def _is_report(content: bytes) -> bool:
    folded = content.lower()
    return folded.lstrip().startswith(b"multipart/report") and b"delivery-status" in folded


def _tells_failure(subject: bytes) -> bool:
    return subject.strip().lower().startswith(_SUBJECTS)


def _ids(field: bytes) -> list[bytes]:
    """The Message-IDs of a field, without brackets."""
    found = []
    for part in field[:8000].split(b"<")[1:]:
        message_id, closed, _ = part.partition(b">")
        if closed and message_id:
            found.append(message_id)
    return found


def verp(sender: bytes) -> bytes:
    """The recipient that a sender encodes (``list-user=example.net@...``), b"" for none."""
    local, _, _ = sender.rpartition(b"@")
    head, equals, domain = local.rpartition(b"=")
    if not equals or b"." not in domain:
        return b""
    at = max(head.rfind(b"+"), head.rfind(b"-"))
    return head[at + 1 :] + b"@" + domain if at > 0 and head[at + 1 :] else b""


def came_back(found: Notice, recipients: list[bytes]) -> list[bytes]:
    """Which recipients of the named message the notice is about: all it proves, never a guess."""
    own = {address.fold(name): name for name in recipients}
    named = [*found.failed, *filter(None, (verp(found.sender),))]
    hit = [own[key] for name in named if (key := address.fold(name)) in own]
    if named or len(own) != 1:
        return list(dict.fromkeys(hit))
    return list(own.values())
