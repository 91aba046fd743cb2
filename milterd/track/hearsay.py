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
from milterd.track import kin, late, strays
from milterd.track.lives import DAY, LAG_US, Life, Open, flag
from milterd.track.memory import HOP_US, Memory
from milterd.track.sessions import Sessions

NOTICE_US: Final = 35 * DAY
"""A notice comes back no longer than this after its message (journal retention, and some)."""

TOLD: Final = 20
"""The like of one recipient that a message is told by others, who name no queue id."""

_ABOUT: Final = {kinds.VERDICT: 5, kinds.FILED: 2}
"""Where an event has the recipient."""


class Hearsay:
    """Finds the open messages of what others say."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def named(self, life: Life, sessions: Sessions) -> None:
        """A queue file's Message-ID is known: who speaks of it without a queue id?"""
        self._memory.kin.register(life.message, life.message_id)
        if sessions.strays:
            self.claim(life, life.message_id, sessions)
        self.meet(life)

    def meet(self, life: Life) -> None:
        """Messages with this Message-ID: is one what a program gave back, or what Dovecot filed?"""
        host, message_id, message = life.message.host, life.message_id, life.message
        if not message_id or not (kin.may_meet(life) or kin.is_session(message)):
            return
        begin_us, end_us = life.first_us - HOP_US, life.first_us + self._memory.lifetime_us
        givers: list[Open] = []
        takers: list[Open] = []
        near = self._memory.kin.near(host, message_id, begin_us, end_us)
        for other in near:
            if other is message:
                continue
            if kin.was_filed(other, message) or kin.gave_back(other, life):
                givers.append(other)
            elif kin.was_filed(message, other) or any(
                one.message_id == message_id
                and kin.gave_back(message, one)
                and not kin.gave_back(other, one)
                for one in other.lives
            ):
                takers.append(other)
        if kin.crowded(near, begin_us, end_us):
            sure = not givers and not takers
        else:
            sure = len(givers) <= 1 and len(takers) <= max(1, kin.recipients(life))
        if not sure:
            flag(message)
            return
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
            near = self._memory.kin.near(host, message_id, begin_us, end_us)
            if kin.crowded(near, begin_us, end_us):
                for message in near:
                    flag(message)
                return None
            lives = [
                life
                for message in near
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
        message = life.message
        if owned not in message.events:
            if heard_enough(message, owned):
                flag(message)
            else:
                self._memory.add(message, owned)
        return message

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
            found += self._memory.kin.near(host, message_id, begin_us, notice.at_us)
        if late.verp(notice.sender):
            self._memory.bring(host, b"s", notice.sender, begin_us, notice.at_us, kin.MOST)
            lately = self._memory.kin.of(host, kin.sender_name(notice.sender))
            found += sorted([one for one in lately if one.lives], key=_first, reverse=True)
        return [one for one in found if any(_sent_by(life, sender) for life in one.lives)]


def heard_enough(message: Open, event: Event) -> bool:
    """Whether a message was told the like so often that one more may be about another."""
    about = _about(event)
    return sum(told.kind == event.kind and _about(told) == about for told in message.events) >= TOLD


def _about(event: Event) -> tuple[bytes, ...]:
    """Who says it, and of whom."""
    place = _ABOUT.get(event.kind, 0)
    return event.fields[0], *event.fields[place : place + 1]


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
