"""Puts placeholders for erased addresses into events and records: pure, and repeatable.

What an event says of an erased address is replaced wherever it stands, whichever way it is
spelled (``spellings``); the From field goes whole where it names one. What only its message
tells is replaced in the message: Message-ID and subject of what the address sent, its name
without domain as login or final agent's user. Scrubbing the same again gives the same, and an
event read again from a log becomes the event that the record has. Raises nothing.
"""

import re
from collections.abc import Iterable
from typing import Final, Protocol

from journal import kinds
from journal.events import ABSENT, Event
from journal.fold import attempt_row, row_prefix
from journal.legs import D_FINAL, D_RECIPIENT
from journal.placeholders import ANYWHERE, WORD, base, is_erased_id, is_placeholder
from journal.records import Message, Recipient, Record
from journal.spellings import Wanted, Where, replaced, split

NAMES: Final[dict[int, tuple[int, ...]]] = {
    kinds.TRANSACTION: (5, 7),
    kinds.RCPT: (0,),
    kinds.CLIENT: (3,),
    kinds.PICKUP: (1,),
    kinds.VERDICT: (5, 8),
    kinds.DOOR: (5, 6),
    kinds.QUEUED: (0,),
    kinds.DELIVERY: (1, 2, 12),
    kinds.EXPIRED: (1,),
    kinds.FILED: (2,),
    kinds.LATE_BOUNCE: (0,),
    kinds.LOGIN: (1,),
}
"""Fields that are an address or a login."""
IDS: Final[dict[int, tuple[int, ...]]] = {
    kinds.TRANSACTION: (9,),
    kinds.MESSAGE_ID: (0,),
    kinds.VERDICT: (6,),
    kinds.FILED: (4,),
}
"""Fields that are a Message-ID."""
_REFERENCES: Final = {kinds.REPORT: (2, 3)}
_BARE: Final = {
    kinds.TRANSACTION: (5,),
    kinds.CLIENT: (3,),
    kinds.FILED: (2,),
    kinds.DELIVERY: (12,),
}
_SUBJECTS: Final = {kinds.TRANSACTION: 10, kinds.MESSAGE_ID: 2}
_FROM: Final = 11  # of TRANSACTION
_SENDERS: Final = {
    kinds.TRANSACTION: (5, 7),
    kinds.CLIENT: (3,),
    kinds.PICKUP: (1,),
    kinds.QUEUED: (0,),
    kinds.EXPIRED: (1,),
}
_MAYBE: Final = re.compile(rb"[^ ]\.[^ ]|@|40")
_BARE_WORD: Final = re.compile(
    rb"(?:(?<=['\"</])|(?<=[^=]=))([A-Za-z0-9._+\x80-\xff-]{1,64})(?=['\">/,;]|\Z)"
)


class Finds(Protocol):
    """Says what stands for whom: ``erased.Finder``, ``hashed.Hashing``."""

    @property
    def is_exact(self) -> bool: ...  # whether VERP and the like are no spelling of an address
    def domain(self, raw: bytes, /) -> bool: ...
    def word(self, raw: bytes, /) -> bytes | None: ...
    def local(self, local: bytes, domain: bytes, /) -> bytes | None: ...
    def bare(self, name: bytes, words: Iterable[bytes], /) -> bytes | None: ...
    def is_bare(self, name: bytes, /) -> bool: ...
    def id(self, message_id: bytes, /) -> bytes: ...


class Scrubber:
    """Scrubs what began while some addresses were to be forgotten."""

    def __init__(self, finder: Finds) -> None:
        self._finder = finder
        self._wanted = Wanted(finder.domain, finder.local, finder.is_exact)

    # -- strings ----------------------------------------------------------------------

    def name(self, raw: bytes) -> bytes:
        """An address or login."""
        if not raw or raw == ABSENT or self._wanted.stays(raw):
            return raw
        parts = split(raw)
        if parts is None:
            return self._finder.word(raw) or raw
        opens, _, domain, closes = parts
        if self._finder.domain(domain) and (word := self._finder.word(raw)) is not None:
            return b"%b%b@%b%b" % (opens, word, domain, closes)
        return replaced(raw, self._wanted, Where.NAME)

    def bare(self, raw: bytes, beside: Iterable[bytes]) -> bytes:
        """A login without domain, where one of the names beside it stands for its address."""
        words = {base(name) for name in beside if is_placeholder(name)}
        return self._finder.bare(raw, words) or raw

    def text(self, raw: bytes) -> bytes:
        """Words of a program."""
        if _MAYBE.search(raw) is None:
            return raw
        return replaced(raw, self._wanted, Where.TEXT)

    def message_id(self, raw: bytes) -> bytes:
        """A Message-ID: it goes as a whole where it holds the address."""
        if _MAYBE.search(raw) is None or is_erased_id(raw):
            return raw
        return self._finder.id(raw) if replaced(raw, self._wanted, Where.ID) != raw else raw

    def references(self, raw: bytes) -> bytes:
        """Message-IDs."""
        return replaced(raw, self._wanted, Where.ID) if _MAYBE.search(raw) else raw

    def id_word(self, message_id: bytes) -> bytes:
        """What a Message-ID is replaced by in a message that an erased address sent."""
        return self._finder.id(message_id)

    def may_be(self, event: Event) -> bool:
        """Whether a login without domain may be an erased one: its message will tell."""
        places = _BARE.get(event.kind, NAMES.get(event.kind, ()))
        return any(
            at < len(event.fields) and self._finder.is_bare(event.fields[at]) for at in places
        )

    # -- events -----------------------------------------------------------------------

    def event(self, event: Event) -> Event:
        """What one event says, without what only its message tells."""
        kind, fields = event.kind, event.fields
        new = list(map(self.text, fields))
        for places, scrub in (
            (NAMES, self.name),
            (IDS, self.message_id),
            (_REFERENCES, self.references),
        ):
            for at in places.get(kind, ()):
                if at < len(fields):
                    new[at] = scrub(fields[at])
        said = tuple(new)
        words = frozenset(base(found) for field in said for found in ANYWHERE.findall(field))
        if not words:
            return _saying(event, said)
        said = self._bare(kind, said, words)
        sends = any(is_placeholder(said[at]) for at in _SENDERS.get(kind, ()) if at < len(said))
        if kind == kinds.TRANSACTION and said[_FROM] and (sends or said[_FROM] != fields[_FROM]):
            said = (*said[:_FROM], WORD, *said[_FROM + 1 :])
        return _saying(event, said)

    def _bare(
        self, kind: int, fields: tuple[bytes, ...], words: frozenset[bytes]
    ) -> tuple[bytes, ...]:
        """Local parts that stand alone in an event that names their address."""
        names = {*NAMES.get(kind, ()), *IDS.get(kind, ())}
        return tuple(
            field if at in names else self._bare_words(field, words)
            for at, field in enumerate(self._logins(kind, fields, words))
        )

    def _bare_words(self, text: bytes, words: frozenset[bytes]) -> bytes:
        return _BARE_WORD.sub(lambda match: self._finder.bare(match[1], words) or match[0], text)

    def _logins(
        self, kind: int, fields: tuple[bytes, ...], words: frozenset[bytes]
    ) -> tuple[bytes, ...]:
        """Logins and users without domain, where the message names their address."""
        places = _BARE.get(kind)
        if places is None:
            return fields
        return tuple(
            (self._finder.bare(field, words) or field) if at in places else field
            for at, field in enumerate(fields)
        )

    def events(self, events: Iterable[Event]) -> list[Event]:
        """All events of one message."""
        own = [self.event(event) for event in events]
        words: set[bytes] = set()
        for event in own:
            words |= _words(event.fields, NAMES.get(event.kind, ()))
        if not words:
            return own
        known = frozenset(words)
        own = [_saying(event, self._logins(event.kind, event.fields, known)) for event in own]
        return [self._unnamed(event) for event in own] if _is_sent(own) else own

    def _unnamed(self, event: Event) -> Event:
        """An event of a message that an erased address sent: without its name and subject."""
        kind, said = event.kind, list(event.fields)
        for at in IDS.get(kind, ()):
            if at < len(said) and said[at]:
                said[at] = self._finder.id(said[at])
        subject = _SUBJECTS.get(kind, len(said))
        if subject < len(said) and said[subject]:
            said[subject] = WORD
        if kind == kinds.TRANSACTION and said[_FROM]:
            said[_FROM] = WORD
        return _saying(event, tuple(said))

    def dropped(
        self, before: Iterable[Event], after: Iterable[Event], keys: tuple[bytes, ...]
    ) -> tuple[bytes, ...]:
        """The keys of attempts let go, under the recipients as they are called now."""
        if not keys:
            return keys
        moved = {
            row_prefix(attempt_row(old)): row_prefix(attempt_row(new))
            for old, new in zip(before, after, strict=True)
            if old.kind == kinds.DELIVERY
            and (old.fields[D_RECIPIENT], old.fields[D_FINAL])
            != (new.fields[D_RECIPIENT], new.fields[D_FINAL])
        }
        return tuple(
            sorted(
                {moved[key[:2]] + key[2:6] + b"\0\0" if key[:2] in moved else key for key in keys}
            )
        )

    # -- records ----------------------------------------------------------------------

    def record(self, record: Record) -> Record:
        """A record with its view; the very same object where nothing is to be forgotten."""
        events = self.events(record.events)
        view = self._message(record.message, events)
        if events == list(record.events) and view == record.message:
            return record
        dropped = self.dropped(record.events, events, record.dropped)
        return Record(view, tuple(sorted(set(events))), dropped)

    def _message(self, message: Message, events: list[Event]) -> Message:
        """The view of a message, string by string, so that rows and counts stay."""
        rows = tuple(map(self._row, message.rows))
        sender = None if message.sender is None else self.name(message.sender)
        login = None if message.login is None else self.name(message.login)
        words: set[bytes] = set()
        for event in events:
            words |= _words(event.fields, NAMES.get(event.kind, ()))
        if login and (bare := self._finder.bare(login, words)):
            login = bare
        message_id, subject = message.message_id, message.subject
        if message_id:
            message_id = self.message_id(message_id)
        if subject:
            subject = self.text(subject)
        if _is_sent(events) or any(is_placeholder(name or b"") for name in (sender, login)):
            message_id = self._finder.id(message_id) if message_id else message_id
            subject = WORD if subject else subject
        return message._replace(
            sender=sender,
            login=login,
            message_id=message_id,
            subject=subject,
            helo=self._maybe(message.helo),
            client_name=self._maybe(message.client_name),
            rows=rows,
        )

    def _row(self, row: Recipient) -> Recipient:
        names = [
            None if name is None else self.name(name)
            for name in (row.recipient, row.final_recipient)
        ]
        texts = [self._maybe(text) for text in (row.folder, row.reply, row.relay)]
        words = frozenset(base(name) for name in names if name and is_placeholder(name))
        if words:
            texts = [text and self._bare_words(text, words) for text in texts]
        folder, reply, relay = texts
        return row._replace(
            recipient=names[0], final_recipient=names[1], folder=folder, reply=reply, relay=relay
        )

    def _maybe(self, raw: bytes | None) -> bytes | None:
        return raw and self.text(raw)


def _words(fields: tuple[bytes, ...], places: tuple[int, ...]) -> set[bytes]:
    """The words for erased addresses that stand in some fields."""
    return {base(fields[at]) for at in places if at < len(fields) and is_placeholder(fields[at])}


def _is_sent(events: Iterable[Event]) -> bool:
    """Whether an erased address sent the message."""
    return any(_words(event.fields, _SENDERS.get(event.kind, ())) for event in events)


def _saying(event: Event, fields: tuple[bytes, ...]) -> Event:
    return event if fields == event.fields else event._replace(fields=fields)
