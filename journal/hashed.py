"""What stands for an address in days that are older than ``journal.hash_after_days``.

A keyed token in the place of the local part: ``hashed`` and 16 hexadecimal digits, of a subaddress
the token of its mailbox, the delimiter, and 8 digits of itself; the domain stays. Who has the
address and the key finds it again, and so does an index of the tokens; nobody reads it out of
the record. A login without domain and a Message-ID become a token, subjects, From and Date fields
go. Repeatable: a token, and what stands for an erased address, stay. Pure; raises nothing.
"""

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from journal import kinds
from journal.address import fold, mailbox
from journal.events import Event
from journal.placeholders import is_erased_id, is_placeholder
from journal.records import Message, Record
from journal.scrub import Scrubber

WORD: Final = b"hashed"
_TOKEN: Final = re.compile(rb"<?hashed[0-9a-f]{16}(?:[^0-9A-Za-z@][0-9a-f]{8})?(?:@[^@]*)?", re.I)
_GONE: Final = {kinds.TRANSACTION: (10, 11, 12), kinds.MESSAGE_ID: (2,)}
"""Fields that go: subject, From, Date."""


def is_token(name: bytes) -> bool:
    """Whether something stands there for an address, login or Message-ID of an old day."""
    return _TOKEN.fullmatch(name) is not None


def _stays(local: bytes) -> bool:
    return is_token(local) or is_placeholder(local)


class Hashing:
    """The tokens of a journal."""

    is_exact = True  # what encodes an address is one of its own

    def __init__(self, key: bytes, delimiters: bytes) -> None:
        self._key = key
        self._delimiters = delimiters
        self._words: dict[bytes, bytes | None] = {}

    def domain(self, _raw: bytes) -> bool:
        """Every domain has addresses."""
        return True

    def word(self, raw: bytes) -> bytes | None:
        """What stands for the local part of an address, or for a login; None: it stays."""
        if raw not in self._words:
            if len(self._words) >= 1 << 14:
                self._words.clear()
            self._words[raw] = self._find(raw)
        return self._words[raw]

    def local(self, local: bytes, domain: bytes) -> bytes | None:
        """The same for the parts of an address."""
        return self.word(local + b"@" + domain)

    def _find(self, raw: bytes) -> bytes | None:
        if not raw or is_token(raw) or is_placeholder(raw):
            return None
        folded = fold(raw)
        whole = mailbox(folded, self._delimiters)
        token = WORD + self._digest(b"a", whole, 8)
        if whole == folded:
            return token
        name = whole.rpartition(b"@")[0] or whole
        parting = folded[len(name) : len(name) + 1]
        if parting not in [self._delimiters[at : at + 1] for at in range(len(self._delimiters))]:
            parting = self._delimiters[:1]  # quotes went
        return token + parting + self._digest(b"a", folded, 4)

    def bare(self, _name: bytes, _words: Iterable[bytes]) -> bytes | None:
        """What stands alone is not known to be anybody."""
        return None

    def is_bare(self, _name: bytes) -> bool:
        """The same."""
        return False

    def id(self, message_id: bytes) -> bytes:
        """What stands for a Message-ID."""
        if not message_id or is_token(message_id) or is_erased_id(message_id):
            return message_id
        return WORD + self._digest(b"m", message_id, 8)

    def alias(self, folded: bytes) -> bytes:
        """Under which name an address or login is in old days; itself where it is a domain."""
        if folded[:1] == b"@" or (word := self.word(folded)) is None:
            return folded
        _, at, domain = folded.rpartition(b"@")
        return word + at + (domain if at else b"")

    def _digest(self, kind: bytes, value: bytes, size: int) -> bytes:
        found = blake2b(value, digest_size=size, key=self._key, person=b"hashed-" + kind)
        return found.hexdigest().encode()


class Hasher(Scrubber):
    """Scrubs what is of an old day: first whoever was erased, then everybody."""

    def __init__(self, hashing: Hashing, first: Scrubber | None) -> None:
        super().__init__(hashing)
        self._wanted = self._wanted._replace(stays=_stays)
        self._hashing = hashing
        self._first = first

    def message_id(self, raw: bytes) -> bytes:
        """Every Message-ID becomes a token."""
        return self._hashing.id(raw)

    def event(self, event: Event) -> Event:
        """One event, with tokens."""
        event = super().event(event if self._first is None else self._first.event(event))
        places = _GONE.get(event.kind)
        if places is None:
            return event
        fields = event.fields
        new = tuple(b"" if at in places else field for at, field in enumerate(fields))
        return event if new == fields else event._replace(fields=new)

    def events(self, events: Iterable[Event]) -> list[Event]:
        """All events of one message."""
        own = list(events) if self._first is None else self._first.events(events)
        return [self.event(event) for event in own]

    def may_be(self, event: Event) -> bool:
        """Whether a login may be an erased one."""
        return self._first is not None and self._first.may_be(event)

    def record(self, record: Record) -> Record:
        """A record with its view."""
        return super().record(record if self._first is None else self._first.record(record))

    def _message(self, message: Message, events: list[Event]) -> Message:
        return super()._message(message, events)._replace(subject=None)
