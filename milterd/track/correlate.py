"""Decides which message each event is about: opens, joins, merges and splits.

Events come from the log and from the milter's spool, each source in its own
order, the sources in any. The correlator keeps recent messages in memory, asks the
journal for others, and hands changed ones to the writer. What it decides depends
on the events alone, so that a crash between and a replay after change nothing:

- **join** on (host, queue id) within a life of that id (``lives``);
- **merge** when a delivery says ``queued as`` or ``forwarded as`` a queue id of this
  host, or ``postsuper -r`` gave a new one: two queue files, one message;
- **split** when a short queue id turns out to have begun a new life;
- a refusal without a queue id joins the milter's transaction (``refusals``);
- what a program gave back, what Dovecot filed, what a filter says: by Message-ID (``kin``);
- a failure notice from outside joins the message that it proves to have come back (``late``).
"""

from typing import Final

from journal import kinds, scrub
from journal.events import STARTS, Event
from journal.locality import Locality
from journal.places import AT_US, KIND, QUEUE_ID, SAID
from milterd.track import kin, strays
from milterd.track.hearsay import Hearsay
from milterd.track.lives import (
    LAG_US,
    SECOND,
    Life,
    Open,
    follow,
    is_long,
    is_sure,
    matching,
    same_instance,
    speaks,
)
from milterd.track.memory import HOP_US, Memory, Store, insert
from milterd.track.refusals import behind_proxy
from milterd.track.sessions import Sessions

BEGINS: Final = frozenset({*STARTS, kinds.TRANSACTION})
FAR_US: Final = 1 << 62
_SENT: Final = b"sent"


class Correlator:
    """Finds each event's message among the open ones."""

    def __init__(self, store: Store, *, locality: Locality, lifetime_days: int = 5) -> None:
        self._store = store
        self._memory = Memory(store, locality=locality, lifetime_days=lifetime_days)
        self._hearsay = Hearsay(self._memory)
        self.sessions = Sessions()
        self._instance = b""  # of the line that is being taken

    def __len__(self) -> int:
        return len(self._memory)

    @property
    def messages(self) -> int:
        """New messages put to the store, less those that became part of others."""
        return self._memory.messages

    @property
    def rows(self) -> int:
        """Their rows."""
        return self._memory.rows

    def flush(self, most: int | None = None) -> int:
        """Put changed messages to the writer, all or the ``most`` least recently touched."""
        return self._memory.flush(most)

    def evict(self, keep: int) -> None:
        """After a commit: let go of the least recently touched messages."""
        self._memory.evict(keep)

    # -- taking events ----------------------------------------------------------------

    def take(self, event: Event, host: bytes, instance: bytes = b"") -> Open | None:
        """Fold one event of the log; returns the message it joined, None for context.

        ``instance`` is the first part of its line's tag; b"" where that is not known.
        """
        self._instance = instance
        if event[AT_US] <= self._store.forget.until_us:
            event = self._scrubbed(event, host)
        kind = event[KIND]
        if kind >= kinds.CONNECT:
            if not self._may_be_erased(event):
                self.sessions.note(event, host)
            return None
        if not event[QUEUE_ID]:
            if kind == kinds.DOOR:
                return self._take_refusal(event, host)
            return self._hearsay.take(event, host, self.sessions)
        if self.sessions.known:
            event = self.sessions.enrich(event, host)
        message = self._join(event, host)
        if kind == kinds.CLIENT:
            if not self._may_be_erased(event):
                self.sessions.opened(event, host)
            if self.sessions.holds:
                for hold in self.sessions.take_holds(event, host):
                    self._memory.add(message, hold)
        return message

    def _scrubbed(self, event: Event, host: bytes) -> Event:
        """An event as it may be kept, of a time when somebody who was erased had mail.

        The Message-ID of what an erased address sent is known by what stands for it in the journal.
        """
        scrubber = self._store.forget.at(event.at_us)
        if scrubber is None:
            return event
        event = scrubber.event(event)
        for at in scrub.IDS.get(event.kind, ()):
            message_id = event.fields[at] if at < len(event.fields) else b""
            word = scrubber.id_word(message_id)
            if not message_id or word == message_id:
                continue
            within_us = self._memory.lifetime_us
            self._memory.kin.fetch(host, word, event.at_us - within_us, event.at_us + within_us)
            if self._memory.kin.of(host, word):
                event = event._replace(fields=(*event.fields[:at], word, *event.fields[at + 1 :]))
        return event

    def _may_be_erased(self, event: Event) -> bool:
        """Whether a login without domain must not wait in the context of sessions."""
        if event[AT_US] > self._store.forget.until_us:
            return False
        scrubber = self._store.forget.at(event.at_us)
        return scrubber is not None and scrubber.may_be(event)

    def forget(self) -> None:
        """Somebody was erased: nothing stays in memory. All was written by now."""
        self._memory.evict(0)
        self.sessions.forget(self._store.forget)

    def adopt_orphans(self) -> None:
        """All lines there are were read: queue files meet the sessions that they belong to."""
        for host, event in self.sessions.orphans():
            self.take(event, host)

    def take_transaction(self, events: list[Event], host: bytes) -> Open | None:
        """Fold what the milter recorded of one transaction (TRANSACTION first, then RCPTs)."""
        if events[0].at_us <= self._store.forget.until_us:
            events = [self._scrubbed(event, host) for event in events]
        transaction = events[0]
        self._instance = b""
        if transaction.queue_id:
            life = self._life(transaction, host)
            life.note(transaction)
            message = life.message
            self._memory.kin.register(message, life.message_id)
        else:
            known = self._memory.refusals.holding(transaction, events, host)
            message = known if known is not None else Open(host)
        for event in events:
            self._memory.add(message, event)
        for refused in self._memory.refusals.of_transaction(events, message):
            self._memory.merge(message, refused)
        self._memory.refusals.register(message, events)
        if transaction.fields[7] == b"":
            self._hearsay.take_notice(events, host)
        return message

    def _join(self, event: Event, host: bytes) -> Open:
        """Add an event with a queue id to its life's message and follow where it points."""
        life = self._life(event, host)
        life.note(event)
        message = life.message
        self._memory.add(message, event)
        kind = event[KIND]
        if kind == kinds.DELIVERY:
            fields = event[SAID]
            if fields[7] == _SENT:
                if fields[10]:
                    self._follow(message, event, fields[10])
                elif kin.hands_over(event):
                    self._hearsay.meet(life)
        elif kind == kinds.MESSAGE_ID:
            self._recall(life)
            self._hearsay.named(life, self.sessions)
            if life.message.mentions:
                self._onward(life)
        elif kind == kinds.QUEUED:
            if kin.may_meet(life):
                self._hearsay.meet(life)
            if self.sessions.strays.clients and life.start is not None:
                name = strays.client_key(life.start.fields[1], event.fields[0])
                self._hearsay.claim(life, name, self.sessions)
        elif kind == kinds.FILED:
            if not event.fields[4]:
                return life.message
            self._memory.kin.register(life.message, event.fields[4])
            if kin.is_session(life.message):
                self._hearsay.meet(life)
        elif kind == kinds.DOOR and event.fields[0] == b"proxy-accept":
            self._behind_proxy(life, event, host)
        elif kind == kinds.NOTICE and event.fields[1]:
            notice = (event.queue_id, event.fields[0])
            parent = Event(
                event.at_us, kinds.PARENT, event.source, event.pid, event.fields[1], notice
            )
            self._join(parent, host)
        elif kind == kinds.PICKUP:
            self._picked_up(life, event, host)
        return life.message

    def _picked_up(self, life: Life, event: Event, host: bytes) -> None:
        """A program of this host began a queue file: anew (postsuper -r), or with an old mail."""
        before = event.fields[2] if len(event.fields) > 2 else b""
        if before:
            within_us = self._memory.lifetime_us  # it may be requeued at any age
            self._memory.bring(host, b"q", before, event.at_us - within_us, event.at_us + LAG_US)
            origin = self._find_life(before, event, host, within_us)
            if origin is not None and origin.message is not life.message:
                self._memory.merge(origin.message, life.message)
        elif life.message_id:
            self._hearsay.meet(life)

    # -- lives ------------------------------------------------------------------------

    def _life(self, event: Event, host: bytes) -> Life:
        """The life an event belongs to; a new one where there is none."""
        queue_id = event[QUEUE_ID]
        lives = self._memory.lives.get(host)
        if lives is None:
            lives = self._memory.lives[host] = {}
        life = lives.get(queue_id)
        if life is not None:
            if is_long(queue_id) and not life.instance:
                return life
            found = matching(life, event, self._instance)
            if found is not None and is_sure(event, found):
                return found
        self._memory.load(queue_id, event, host)
        found = matching(lives.get(queue_id), event, self._instance)
        return found if found is not None else self._begin(event, host, lives)

    def _begin(self, event: Event, host: bytes, lives: dict[bytes, Life]) -> Life:
        """A new life, and with it a new message; splits what an older one held of it."""
        message = Open(host)
        life = Life(event.queue_id, message, event.at_us)
        life.spoken = self._instance
        if event.kind == kinds.FILED:
            life.message_id = event.fields[4]
        message.lives.append(life)
        newest = lives.get(event.queue_id)
        apart = event.kind != kinds.FILED and not is_long(event.queue_id)  # one after the other
        moved = self._taken_before(newest, event) if apart else []
        if newest is not None and newest.first_us > event.at_us:
            insert(newest, life)
        else:
            life.older = newest
            lives[event.queue_id] = life
        before = life.older
        if before is not None:
            follow(before, life)
            if apart and same_instance(event, before) and speaks(before, self._instance):
                begin_us, end_us = event.at_us - LAG_US, life.newer_us or FAR_US
                moved += self._withdraw(before, begin_us, end_us - LAG_US, keep=BEGINS)
        others = [one for one in moved if one.kind in STARTS and event.kind in STARTS]
        for one in moved:
            if one not in others:
                life.note(one)
                self._memory.add(message, one)
        self._memory.touch(message)
        for one in others:  # a file begins once: another file's, of which nothing more was seen
            self._join(one, host)
        if before is not None and not before.message.events:
            self._memory.absorb(message, before.message)
        self._recall(life)
        return life

    def _taken_before(self, newest: Life | None, event: Event) -> list[Event]:
        """What a later life, read first, took of the life that begins: its client, say.

        bounce(8) and local(8) do not say that they open a queue file, so a begin that came
        before could have been theirs, until something stands between.
        """
        until_us = event.at_us + LAG_US
        life = newest
        while life is not None:
            early = life.message_id_us > until_us and life.first_us <= until_us
            if early and speaks(life, self._instance):
                return self._withdraw(life, 0, until_us)
            life = life.older
        return []

    def _withdraw(
        self, life: Life, begin_us: int, end_us: int, *, keep: frozenset[int] = frozenset()
    ) -> list[Event]:
        """Take from a life what it holds of a time; it is what its other events say."""
        message = life.message
        gone = [
            event
            for event in message.events
            if event.queue_id == life.queue_id
            and begin_us <= event.at_us <= end_us
            and event.kind not in keep
        ]
        if not gone:
            return []
        taken = set(gone)
        message.events = [event for event in message.events if event not in taken]
        message.dirty = True
        life.recall(message.events)
        return gone

    # -- hops -------------------------------------------------------------------------

    def _find_life(
        self, queue_id: bytes, event: Event, host: bytes, within_us: int = HOP_US
    ) -> Life | None:
        """The newest life of another queue id that an event may point at."""
        return next(iter(self._lives_near(queue_id, event, host, within_us)), None)

    def _lives_near(
        self, queue_id: bytes, event: Event, host: bytes, within_us: int = HOP_US
    ) -> list[Life]:
        """The lives of another queue id that an event may point at, the newest first."""
        found = _near(self._memory.lives.get(host, {}).get(queue_id), event, within_us)
        if not found:
            begin_us = event.at_us - within_us
            self._memory.bring(host, b"q", queue_id, begin_us, event.at_us + LAG_US)
            found = _near(self._memory.lives.get(host, {}).get(queue_id), event, within_us)
        return found

    def _follow(self, message: Open, event: Event, next_id: bytes) -> None:
        """A delivery went on under another queue id: of this host, or of the next."""
        lives = self._lives_near(next_id, event, message.host)
        if any(life.message is message for life in lives):
            return
        hop = next((life for life in lives if _is_hop(message, event, life)), None)
        if hop is not None:
            self._memory.merge(message, hop.message)
        else:
            self._memory.mention(message, next_id)

    def _onward(self, life: Life) -> None:
        """A Message-ID that comes late: is where the message was passed on to of this host?"""
        message = life.message
        for event in list(message.events):
            if event.kind == kinds.DELIVERY and event.queue_id == life.queue_id:
                next_id = event.fields[10]
                inner = self._find_life(next_id, event, message.host) if next_id else None
                if inner is None or inner.message is message:
                    continue
                if event.fields[7] == _SENT and _is_hop(message, event, inner):
                    self._memory.merge(message, inner.message)

    def _recall(self, life: Life) -> None:
        """A new life: did an earlier delivery go on under this queue id?"""
        for message in self._memory.mentions.get((life.message.host, life.queue_id), ()):
            if message is not life.message and any(
                event.kind == kinds.DELIVERY
                and event.fields[10] == life.queue_id
                and event.at_us - HOP_US <= life.first_us <= event.at_us + LAG_US
                and _is_hop(message, event, life)
                for event in message.events
            ):
                self._memory.merge(message, life.message)
                return

    # -- the door ---------------------------------------------------------------------

    def _behind_proxy(self, life: Life, event: Event, host: bytes) -> None:
        """A before-queue filter gave the mail on: the outer session, as the milter saw it.

        Its line names no client; the filter tells the inner session who it is (XFORWARD).
        """
        line = behind_proxy(event, life.start)
        if line is None:
            return
        refusals = self._memory.refusals
        outer = refusals.of_line(line, host)
        if outer is not None and outer is not life.message and not outer.lives:
            self._memory.merge(life.message, outer)
        refusals.register(life.message, life.message.events)

    def _take_refusal(self, event: Event, host: bytes) -> Open | None:
        """A line of the SMTP door without a queue id."""
        action = event.fields[0]
        if action == b"hold":
            self.sessions.hold(event, host)
            return None
        if action not in REFUSING:
            return None
        message = self._memory.refusals.of_line(event, host)
        if message is None:
            message = Open(host)
            self._memory.add(message, event)
            self._memory.refusals.register(message, [event])
        elif event not in message.events:
            self._memory.add(message, event)
        return message


_TRUSTED: Final = frozenset({b"forwarded", b"requeued"})
"""Ways on that name a queue file of this host: local(8), and a filter's own word."""

REFUSING: Final = frozenset(
    {b"reject", b"milter-reject", b"proxy-reject", b"discard", b"milter-discard"}
)


def _near(life: Life | None, event: Event, within_us: int) -> list[Life]:
    """Of a chain of lives those that an event may point at."""
    found: list[Life] = []
    while life is not None:
        early = event.at_us - within_us <= life.first_us or is_long(life.queue_id)
        if early and life.first_us <= event.at_us + LAG_US:
            found.append(life)
        life = life.older
    return found


def _is_hop(message: Open, event: Event, life: Life) -> bool:
    """Whether a delivery's next queue id is this life, not another host's id that looks the same.

    Both Message-IDs known: they decide. Otherwise only a hop that stays on this host is believed.
    """
    ours = next((known.message_id for known in message.lives if known.message_id), b"")
    theirs = life.message_id
    filed = event.fields[11] == b"lmtp"
    if ours and theirs and not (filed and (kin.is_reworded(ours) or kin.is_reworded(theirs))):
        return ours == theirs
    relay = event.fields[3]
    if filed:  # one session serves for several mails
        begin_us = event.at_us - kin.sending_us(event) - SECOND
        return begin_us <= life.first_us <= event.at_us + SECOND
    return event.fields[11] in _TRUSTED or b"[127." in relay or b"[::1]" in relay
