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

from journal.address import fold, mailbox
from journal.placeholders import is_erased_id, is_placeholder

WORD: Final = b"hashed"
_TOKEN: Final = re.compile(rb"<?hashed[0-9a-f]{16}(?:[^0-9A-Za-z@][0-9a-f]{8})?(?:@[^@]*)?", re.I)


def is_token(name: bytes) -> bool:
    """Whether something stands there for an address, login or Message-ID of an old day."""
    return _TOKEN.fullmatch(name) is not None


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
