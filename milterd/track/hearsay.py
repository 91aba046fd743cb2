"""Joins what is said of a message without its queue id.

A filter, a policy daemon or Dovecot's LDA names a Message-ID or a client; a program that gives
a mail back makes a new queue file with the old Message-ID (``kin`` has the rules); a failure
notice from outside names the Message-ID of what came back (``late``). What comes before its
message waits in the session context (``strays``). A join that could be made in two ways is not
made, and flagged. Raises what the store raises.
"""

from typing import Final

from journal import address, kinds
from journal.events import Event
from journal.records import FLAG_AMBIGUOUS
from milterd.track import kin, late, strays
from milterd.track.lives import DAY, LAG_US, Life, Open
from milterd.track.memory import HOP_US, Memory
from milterd.track.sessions import Sessions

NOTICE_US: Final = 35 * DAY
"""A notice comes back no longer than this after its message (journal retention, and some)."""


class Hearsay:
    """Finds the open messages of what others say."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def named(self, life: Life, sessions: Sessions) -> None:
        """A queue file's Message-ID is known: who speaks of it without a queue id?"""
        known = self._memory.kin
        known.register(life.message, life.message_id)
        if sessions.strays:
            self.claim(life, life.message_id, sessions)
        if known.shared(life.message.host, life.message_id) or kin.may_meet(life):
            self.meet(life)

    def meet(self, life: Life) -> None:
        """Messages with this Message-ID: is one what a program gave back, or what Dovecot filed?"""
        host, message_id, message = life.message.host, life.message_id, life.message
        if not message_id:
            return
        begin_us, end_us = life.first_us - HOP_US, life.first_us + self._memory.lifetime_us
        self._memory.kin.fetch(host, message_id, begin_us, end_us)
        givers: list[Open] = []
        takers: list[Open] = []
        for other in self._memory.kin.of(host, message_id):
            if other is message:
                continue
            if kin.was_filed(other, message) or kin.gave_back(other, life):
                givers.append(other)
            elif kin.was_filed(message, other) or any(
                one.message_id == message_id and kin.gave_back(message, one) for one in other.lives
            ):
                takers.append(other)
        if len(givers) > 1:
            message.flags |= FLAG_AMBIGUOUS
            message.dirty = True
            givers = []
        for other in takers:
            self._memory.merge(message, other)
        for other in givers:
            self._memory.merge(other, message)

    def take(self, event: Event, host: bytes, sessions: Sessions) -> Open | None:
        """A filter's or Dovecot's line that names no queue id; None: it waits, or tells nothing."""
        if event.kind not in (kinds.VERDICT, kinds.FILED):
            return None
        message_id = strays.message_id_of(event)
        if message_id:
            begin_us, end_us = event.at_us - HOP_US, event.at_us + LAG_US
            self._memory.kin.fetch(host, message_id, begin_us, end_us)
            lives = [
                life
                for message in self._memory.kin.of(host, message_id)
                for life in message.lives
                if life.message_id == message_id and begin_us <= life.first_us <= end_us
            ]
            if lives:
                return self._tell(min(lives, key=_begin), event)
        sessions.keep(event, host)
        return None

    def claim(self, life: Life, name: bytes, sessions: Sessions) -> None:
        """Take what waited for this queue file's Message-ID or client."""
        host = life.message.host
        for event in sessions.claim(host, name):
            if abs(event.at_us - life.first_us) <= HOP_US:
                self._tell(life, event)
            else:
                sessions.keep(event, host)

    def _tell(self, life: Life, event: Event) -> Open:
        """Give a message an event that named no queue id."""
        owned = event._replace(queue_id=life.queue_id)
        if owned not in life.message.events:
            self._memory.add(life.message, owned)
        return life.message

    # -- notices from outside ---------------------------------------------------------

    def take_notice(self, events: list[Event], host: bytes) -> None:
        """Tell the message that a failure notice proves to have come back."""
        notice = late.notice(events)
        if notice is None:
            return
        for parent in self._parents(notice, host):
            failed = late.came_back(notice, _recipients(parent)) if parent.lives else []
            for recipient in failed:
                told = (recipient, notice.queue_id, b"notice", notice.subject)
                late_bounce = Event(notice.at_us, kinds.LATE_BOUNCE, 0, 0, b"", told)
                self._tell(min(parent.lives, key=_begin), late_bounce)
            if failed:
                return

    def _parents(self, notice: late.Notice, host: bytes) -> list[Open]:
        """The messages that a notice may be about, the likeliest first: it went to their sender."""
        begin_us, sender = notice.at_us - NOTICE_US, address.fold(notice.sender)
        found: list[Open] = []
        for message_id in notice.message_ids:
            self._memory.kin.fetch(host, message_id, begin_us, notice.at_us)
            found += self._memory.kin.of(host, message_id)
        if late.verp(notice.sender):
            self._memory.bring(host, b"s", notice.sender, begin_us, notice.at_us)
            lately = [one for one in self._memory.all() if one.host == host and one.lives]
            found += sorted(lately, key=_first, reverse=True)
        return [one for one in found if any(_sent_by(life, sender) for life in one.lives)]


def _begin(life: Life) -> tuple[int, bytes]:
    """Lives are told apart by when they began."""
    return life.first_us, life.queue_id


def _first(message: Open) -> tuple[int, bytes]:
    return min(map(_begin, message.lives))


def _sent_by(life: Life, sender: bytes) -> bool:
    """Whether a queue file's envelope sender is this one, folded."""
    return life.sender is not None and address.fold(life.sender) == sender


def _recipients(message: Open) -> list[bytes]:
    """Whom a message was for, by what its events say."""
    names: dict[bytes, None] = {}
    for event in message.events:
        if event.kind == kinds.RCPT:
            names[event.fields[0]] = None
        elif event.kind == kinds.DELIVERY:
            names[event.fields[1] or event.fields[2]] = None
    return list(names)
