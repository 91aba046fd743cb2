"""What posttrail knows of a message: the view that every report is made from.

A ``Message`` is one SMTP transaction the server saw, accepted or not; it has a
``Recipient`` row for each pair of recipient and final recipient (RFC 3464 2.3.1,
2.3.2). Both are plain tuples because an import makes millions of them. Text
is wire bytes; ``None`` means unknown.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from journal.events import Event


class Status(IntEnum):
    """The six statuses of a row; the larger, the worse. The number is on disk."""

    DELIVERED = 0
    IN_PROGRESS = 1
    FILTERED = 2
    DEFERRED = 3
    REJECTED = 4
    ERROR = 5

    @property
    def token(self) -> str:
        """The word others' scripts rely on."""
        return self.name.lower()


NO_STATUS: Final = 15
"""Status byte of a message without rows (abandoned by its client)."""

REASONS: Final[tuple[str, ...]] = (
    "stored", "relayed", "piped",
    "queued", "held", "unknown",
    "greylisted", "connection", "dns", "quota", "suspended", "other",
    "bounced", "expired", "looped", "deleted", "late_bounce",
    "policy", "blocklist", "unknown_user", "relay_denied", "spam", "virus", "size", "temporary",
    "junk", "quarantined", "discarded",
)  # fmt: skip
"""Every reason token; its place is its number on disk, so new ones go at the end."""


class Direction(IntEnum):
    """Where a row's mail came from and went to; the number is on disk."""

    INBOUND = 1
    OUTBOUND = 2
    INTERNAL = 3

    @property
    def token(self) -> str:
        """The word others' scripts rely on."""
        return self.name.lower()


class Recipient(NamedTuple):
    """One row: what became of the message for one recipient."""

    recipient: bytes | None  # as the sender spoke it; None: refused before RCPT
    final_recipient: bytes | None  # after aliases; None on a refusal
    status: int  # Status
    reason: str  # one of REASONS
    folder: bytes | None
    reply: bytes | None  # the full text of the reply that set the status
    reply_code: int | None  # RFC 5321 4.2
    enhanced_status: bytes | None  # RFC 3463
    relay: bytes | None  # host[ip]:port
    attempts: int
    attempts_capped: bool
    done_at_us: int | None  # None until the status is final
    delay_ms: int | None
    direction: int | None  # Direction


class Message(NamedTuple):
    """One message as the newest fold of its events has it."""

    id: bytes  # 8 bytes, see journal/keys.py
    time_us: int  # acceptance or refusal: the earliest thing known
    host: bytes
    instance: bytes  # MTA instance, the first part of its log tag; b"" unknown
    queue_ids: tuple[bytes, ...]  # in the order of their first event; may be empty
    sender: bytes | None  # b"" is the null sender
    size_bytes: int | None
    message_id: bytes | None  # without <>
    subject: bytes | None
    client_ip: bytes | None
    client_name: bytes | None
    client_port: int | None
    helo: bytes | None
    login: bytes | None  # SASL name, or the local uid's user as "uid=N"
    tls: bytes | None  # "TLSv1.3 CIPHER"
    spam_score: float | None
    sources: int  # bit set by journal.events.Source
    flags: int  # FLAG_*
    next_queue_ids: tuple[bytes, ...]  # ids other queue managers gave it ("queued as")
    rows: tuple[Recipient, ...]

    @property
    def status(self) -> int:
        """The worst row's status, NO_STATUS without rows."""
        return max((row.status for row in self.rows), default=NO_STATUS)


FLAG_AMBIGUOUS: Final = 1
"""A join that could have been made in two ways was not made."""

FLAG_ECHOED: Final = 2
"""The log told what journald told, too: its events are not kept twice (journal.echoes)."""

FLAG_PROXIED: Final = 4
"""It came through a before-queue filter: the session at the door had no queue file."""


class Record(NamedTuple):
    """A message with the evidence it was folded from: what one key of the journal holds."""

    message: Message
    events: tuple[Event, ...]  # sorted, no two equal
    dropped: tuple[bytes, ...]  # 8-byte keys of attempts whose data was let go, sorted

    @property
    def id(self) -> bytes:
        """The message's id."""
        return self.message.id


class Gap(NamedTuple):
    """An interval in which one source was not recording, and why."""

    source: str  # "milter", "log", "journald"
    begin_us: int
    end_us: int
    reason: str  # not_running, milter_unreachable, rotated_away, rate_limited, truncated, overflow
    lost: int = 0  # lines that are known to be missing; 0: nobody counted them


class Cover(NamedTuple):
    """An interval in which one source was up and gapless (or an import's span)."""

    source: str  # "milter", "log", "journald", "import"
    begin_us: int
    end_us: int
