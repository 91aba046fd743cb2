"""The facts that a record is folded from: one ``Event`` is one thing somebody said.

An event comes from a line of the mail log or from the milter's spool and is
kept as long as its message (the timeline of ``posttrail show``). Every field
is wire bytes; what a source did not say is ``b""``. Only a sender has two kinds
of nothing: the null sender is ``b""`` (RFC 5321 4.5.5) and a sender that was not
named is ``ABSENT``.

Events are equal when all they say is equal; that is what makes reading a line
twice harmless. They sort by time, then by the natural order of a message's life.
"""

from enum import IntEnum
from typing import Final, NamedTuple

ABSENT: Final = b"\xff"  # cannot occur in UTF-8, nor as a whole address


class Source(IntEnum):
    """Who said it; also the bit number in a record's ``sources``."""

    MILTER = 0
    LOG = 1
    JOURNALD = 2


class Kind(IntEnum):
    """What was said. The number is the order within one instant, and is on disk."""

    # The door: how a message began.
    TRANSACTION = 1  # milter: an SMTP transaction, from MAIL to EOM or abort
    RCPT = 2  # milter: one RCPT of that transaction
    CLIENT = 3  # smtpd: queue file opened for a client
    PICKUP = 4  # pickup: queue file opened for a local user
    PARENT = 5  # bounce: this queue file is a notice about another one
    VERDICT = 6  # milter: what an earlier filter wrote into a header
    MESSAGE_ID = 7  # cleanup
    DOOR = 8  # smtpd, postscreen, cleanup: reject, discard, hold, redirect, ...
    QUEUED = 9  # qmgr: sender, size, number of recipients
    # Fate.
    HELD = 10
    RELEASED = 11
    REQUEUED = 12
    DELIVERY = 13  # a delivery agent: one attempt for one recipient
    EXPIRED = 14  # qmgr: gave up
    NOTICE = 15  # bounce: a notice about this message was sent
    DELETED = 16  # postsuper
    REMOVED = 17  # qmgr: queue file gone
    FILED = 18  # the final agent (Dovecot): what it did with one recipient's mail
    LATE_BOUNCE = 19  # proven by a notice that came back after delivery
    REPORT = 20  # milter: what the header of a message with the null sender says of another
    # Context of a session, never stored: ties lines without a queue id by pid.
    CONNECT = 30
    TLS_IN = 31
    TLS_OUT = 32
    DISCONNECT = 33
    LOGIN = 34
    # About a source, never stored.
    GAP = 40


FIELDS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.TRANSACTION: (
        "client_name", "client_ip", "client_port", "helo", "tls", "login", "auth_type",
        "sender", "parameters", "message_id", "subject", "header_from", "header_date",
        "size", "stage", "end_at_us", "daemon_name",
    ),
    Kind.RCPT: (
        "recipient", "transport", "nexthop", "refused", "enhanced_status", "text", "parameters",
    ),
    Kind.CLIENT: (
        "client_name", "client_ip", "client_port", "login", "sasl_method", "tls",
        "orig_client", "orig_queue_id", "helo",
    ),
    Kind.PICKUP: ("uid", "sender", "orig_queue_id"),
    Kind.PARENT: ("parent_queue_id", "notice"),
    Kind.VERDICT: (
        "filter", "verdict", "reason", "score", "evidence",
        "recipient", "message_id", "client_ip", "sender",
    ),
    Kind.MESSAGE_ID: ("message_id", "instance", "subject"),
    Kind.DOOR: (
        "action", "stage", "reply_code", "enhanced_status", "text", "sender", "recipient",
        "client_name", "client_ip", "client_port", "proto", "helo", "daemon",
    ),
    Kind.QUEUED: ("sender", "size", "nrcpt", "instance"),
    Kind.HELD: ("by", "text"),
    Kind.RELEASED: ("by",),
    Kind.REQUEUED: ("by",),
    Kind.DELIVERY: (
        "daemon", "recipient", "final_recipient", "relay", "delay", "delays",
        "enhanced_status", "outcome", "text", "tls", "next_queue_id", "next_hop", "controller",
        "tls_policy",
    ),
    Kind.EXPIRED: ("word", "sender"),
    Kind.NOTICE: ("notice", "notice_queue_id"),
    Kind.DELETED: ("by",),
    Kind.REMOVED: (),
    Kind.FILED: ("program", "action", "user", "folder", "message_id", "text"),
    Kind.LATE_BOUNCE: ("recipient", "notice_queue_id", "proof", "text"),
    Kind.REPORT: (
        "content_type", "failed_recipients", "in_reply_to", "references", "auto_submitted",
    ),
    Kind.CONNECT: ("client_name", "client_ip", "client_port"),
    Kind.TLS_IN: ("client_ip", "tls"),
    Kind.TLS_OUT: ("relay", "tls"),
    Kind.DISCONNECT: ("client_ip",),
    Kind.LOGIN: ("client_ip", "login", "sasl_method"),
    Kind.GAP: ("source", "reason", "text", "lost", "unit", "phase"),
}  # fmt: skip
"""The names of ``Event.fields``, by kind. New names go at the end: old records lack them."""

STARTS: Final = frozenset({Kind.CLIENT, Kind.PICKUP})
"""Said once, when a queue file is made: a second one means that the queue id was reused."""


class Event(NamedTuple):
    """One fact about one queue file (or about one refusal, where ``queue_id`` is ``b""``)."""

    at_us: int  # UTC microseconds since 1970
    kind: int  # Kind; a plain int on the hot path
    source: int  # Source
    pid: int
    queue_id: bytes
    fields: tuple[bytes, ...]  # named by FIELDS[kind]


def named(event: Event) -> dict[str, bytes]:
    """The fields of an event by name; names the event lacks are left out."""
    return dict(zip(FIELDS[Kind(event.kind)], event.fields, strict=False))
