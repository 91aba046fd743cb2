"""Finds the open messages of one Message-ID: what lines without our queue id are about.

A program that gives a mail back makes a new queue file with the old Message-ID; Dovecot's
LDA and many filters name nothing but it. A Message-ID alone is no identity (RFC 5322 3.6.4
asks for uniqueness, senders do as they like), so two messages are one only where envelope,
time and what was done fit as well: ``gave_back`` and ``was_filed``. Raises nothing.
"""

from collections.abc import Callable
from typing import Final

from journal import address, kinds
from journal.agents import HANDING
from journal.events import Event
from journal.legs import D_DAEMON, D_FINAL, D_NEXT, D_OUTCOME, D_RECIPIENT, F_USER, LOOPBACK
from milterd.track.lives import LAG_US, SECOND, Life, Open

GIVEN_US: Final = 600 * SECOND
"""A program gives a mail back no longer than this before its delivery is logged."""

AFTER_US: Final = 60 * SECOND
"""pickup(8) may take what a program gave back this much later than the delivery was logged."""

FILED_US: Final = 60 * SECOND
"""Dovecot's line and the delivery's lie no further apart."""

MOST: Final = 50
"""Messages of one Message-ID that are looked at: somebody may send thousands with the same."""

_PRINTED: Final = 190
_PLAIN: Final = bytes(c for c in range(0x21, 0x7F) if c not in b"?")

Bring = Callable[[bytes, bytes, bytes, int, int, int], None]
"""Brings a host's newest stored messages with an index value, between two times, into memory."""


class Kin:
    """The open messages of every host by Message-ID."""

    def __init__(self, bring: Bring) -> None:
        self._bring = bring
        self._known: dict[tuple[bytes, bytes], list[Open]] = {}

    def register(self, message: Open, message_id: bytes) -> None:
        """Make a message findable; an empty Message-ID finds nothing."""
        if not message_id or message_id in message.message_ids:
            return
        message.message_ids.append(message_id)
        key = (message.host, message_id)
        known = self._known.get(key)
        if known is None:
            self._known[key] = [message]
        else:
            known.append(message)

    def forget(self, message: Open) -> None:
        """Let go of a message."""
        for message_id in message.message_ids:
            key = (message.host, message_id)
            known = self._known[key]
            if len(known) == 1:
                del self._known[key]
            else:
                known.remove(message)
        message.message_ids = []

    def move(self, gone: Open, into: Open) -> None:
        """A message became part of another."""
        message_ids = gone.message_ids
        self.forget(gone)
        for message_id in message_ids:
            self.register(into, message_id)

    def fetch(self, host: bytes, message_id: bytes, begin_us: int, end_us: int) -> None:
        """Bring the journal's messages with a Message-ID into memory."""
        if message_id:
            self._bring(host, b"m", message_id, begin_us, end_us, MOST)

    def of(self, host: bytes, message_id: bytes) -> list[Open]:
        """The messages in memory with a Message-ID, the last of many."""
        return list(self._known.get((host, message_id), ()))[-MOST:]

    def shared(self, host: bytes, message_id: bytes) -> bool:
        """Whether several messages in memory have a Message-ID."""
        return len(self._known.get((host, message_id), ())) > 1


def hands_over(event: Event) -> bool:
    """Whether a delivery gave the mail to a program or agent that may say more of it."""
    fields = event.fields
    if fields[D_OUTCOME] != b"sent" or fields[D_NEXT]:
        return False
    daemon = fields[D_DAEMON]
    return daemon == b"pipe" or (
        daemon in HANDING and (daemon == b"lmtp" or fields[8].startswith(b"delivered to command"))
    )


def is_session(message: Open) -> bool:
    """Whether a message is known from a final agent's log alone."""
    return all(event.kind == kinds.FILED for event in message.events)


def begins_here(life: Life) -> bool:
    """Whether a program of this host began the queue file."""
    start = life.start
    if start is None:
        return False
    return start.kind == kinds.PICKUP or start.fields[1].startswith(LOOPBACK)


def may_meet(life: Life) -> bool:
    """Whether a queue file may be, or may have become, another one with its Message-ID."""
    return begins_here(life) or any(
        event.kind == kinds.DELIVERY and hands_over(event) for event in life.message.events
    )


def sending_us(delivery: Event) -> int:
    """How long the agent spoke with the next host: the last of Postfix's ``delays=``."""
    try:
        return round(float(delivery.fields[5].rpartition(b"/")[2]) * SECOND)
    except (ValueError, OverflowError):  # "inf" is a number to Python
        return 0


def is_reworded(message_id: bytes) -> bool:
    """Whether Dovecot and Postfix may print a Message-ID in two ways.

    Dovecot cuts it after 200 characters; folding, blanks and bytes that are no plain
    characters each prints after its own fashion.
    """
    return len(message_id) > _PRINTED or bool(message_id.translate(None, _PLAIN))


def gave_back(giver: Open, life: Life) -> bool:
    """Whether a pipe(8) delivery of ``giver`` gave the mail back as the queue file ``life``."""
    if not begins_here(life) or life.start is None:
        return False
    if life.start.kind == kinds.CLIENT and life.start.fields[7]:
        return False  # names the queue file it came from
    before = next((one for one in giver.lives if one.message_id == life.message_id), None)
    if before is None or before.first_us > life.first_us + LAG_US:
        return False
    if before.sender is None or life.sender is None:
        return False  # not told yet
    if address.fold(before.sender) != address.fold(life.sender):
        return False  # a list or an answering machine: mail of its own
    return any(
        event.kind == kinds.DELIVERY
        and event.queue_id == before.queue_id
        and event.fields[D_DAEMON] == b"pipe"
        and event.fields[D_OUTCOME] == b"sent"
        and event.at_us - GIVEN_US <= life.first_us <= event.at_us + AFTER_US
        for event in giver.events
    )


def was_filed(message: Open, session: Open) -> bool:
    """Whether a session of the final agent filed what a delivery of ``message`` handed over."""
    return is_session(session) and any(
        event.kind == kinds.DELIVERY
        and hands_over(event)
        and any(
            abs(filed.at_us - event.at_us) <= FILED_US and _is_user(filed.fields[F_USER], event)
            for filed in session.events
        )
        for event in message.events
    )


def _is_user(user: bytes, delivery: Event) -> bool:
    """Whether a user of the final agent is a delivery's recipient, by address or local part."""
    wanted = address.fold(user)
    for place in (D_FINAL, D_RECIPIENT):
        folded = address.fold(delivery.fields[place])
        if wanted == folded or (b"@" not in wanted and wanted == folded.rpartition(b"@")[0]):
            return True
    return False
