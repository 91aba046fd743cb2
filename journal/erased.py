"""Whom this journal was told to forget: the file ERASED, and what stands for them instead.

The file (docs/journal-format.md, "ERASED") has keyed hashes of the address, of its domain and of
its local part, the time of the erasure, and a random word that stands for the address in the
records. So what is read later, an old log say, is scrubbed before it is written, although
nobody knows the address any more; an event read again becomes the same event again.
Pure but for ``load`` and ``save``. Raises UnavailableError for a file that is damaged.
"""

import os
import secrets
from bisect import bisect_left
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from journal.address import fold, mailbox
from journal.placeholders import WORD, WORD_BYTES, is_erased_id
from journal.store import DATA_MODE, set_owner
from journal.tokens import Hashing
from posttrail.durable import sync_directory
from posttrail.errors import UnavailableError

NAME: Final = "ERASED"
_FORMAT: Final = "posttrail-erased 1"


class Entry(NamedTuple):
    """One erased address."""

    at_us: int  # what is older is scrubbed
    address: str  # hexadecimal keyed hashes: of the folded address,
    domain: str  # of its folded domain ("" hashed: it has none),
    local: str  # and of its folded local part
    word: str  # what stands for it, without WORD
    delimiters: str  # of its subaddresses, hexadecimal
    is_done: bool  # False: what the journal held before may not be scrubbed yet

    def line(self) -> str:
        """As the file has it."""
        state = "done" if self.is_done else "open"
        fields = (self.address, self.domain, self.local, self.word, self.delimiters or "-", state)
        return " ".join((str(self.at_us), *fields))


class Hasher:
    """The keyed hashes of the list."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, kind: bytes, value: bytes) -> str:
        """32 hexadecimal digits of a folded value."""
        return blake2b(value, digest_size=16, key=self._key, person=b"erased-" + kind).hexdigest()

    def entry(self, raw: bytes, at_us: int, delimiters: bytes) -> Entry:
        """A new entry for an address."""
        folded = fold(raw)
        local, at, domain = folded.rpartition(b"@")
        if not at:
            local, domain = folded, b""
        return Entry(
            at_us,
            self.of(b"a", folded),
            self.of(b"d", domain),
            self.of(b"l", local),
            secrets.token_hex(WORD_BYTES),
            delimiters.hex(),
            is_done=False,
        )


class Erased:
    """The list: immutable, safe for use by several threads."""

    def __init__(self, key: bytes, entries: Iterable[Entry] = ()) -> None:
        self._key = key
        self.hasher = Hasher(key)
        self.entries = tuple(entries)
        self.until_us = max((entry.at_us for entry in self.entries), default=-1)
        """What is younger concerns nobody."""
        self._ends = sorted(entry.at_us for entry in self.entries)
        self._finders: dict[int, Finder] = {}

    def __bool__(self) -> bool:
        return bool(self.entries)

    @property
    def open(self) -> tuple[Entry, ...]:
        """Those whose erasure was begun and not ended."""
        return tuple(entry for entry in self.entries if not entry.is_done)

    def finder(self, begun_us: int) -> "Finder | None":
        """Who is to be forgotten in what began then; None: nobody."""
        if begun_us > self.until_us:
            return None
        place = bisect_left(self._ends, begun_us)  # the list is not gone through for each event
        found = self._finders.get(place)
        if found is None:
            concerned = tuple(entry for entry in self.entries if begun_us <= entry.at_us)
            found = self._finders[place] = Finder(self._key, concerned)
        return found

    def with_address(self, raw: bytes, at_us: int, delimiters: bytes) -> "Erased":
        """The list with an address that is to be forgotten up to then; it keeps its word."""
        new = self.hasher.entry(raw, at_us, delimiters)
        kept = [entry for entry in self.entries if entry.address != new.address]
        known = [entry for entry in self.entries if entry.address == new.address]
        if known:
            at_us = max(at_us, known[0].at_us)
            new = new._replace(word=known[0].word, at_us=at_us)
        # In old days a token stands for it: that goes as well, or whoever has the address finds it.
        alias = Hashing(self._key, delimiters).alias(fold(raw))
        token = self.hasher.entry(alias, at_us, delimiters)._replace(word=new.word)
        kept = [entry for entry in kept if entry.address != token.address]
        return Erased(self._key, (*kept, new, token))

    def done(self, addresses: Iterable[str]) -> "Erased":
        """The list with these erasures ended."""
        ended = set(addresses)
        return Erased(
            self._key,
            (
                entry._replace(is_done=True) if entry.address in ended else entry
                for entry in self.entries
            ),
        )


class Finder:
    """Says what stands for a local part of some erased addresses; remembers what it was asked."""

    is_exact = False

    def __init__(self, key: bytes, entries: tuple[Entry, ...]) -> None:
        self._key = key
        self._hasher = Hasher(key)
        self._by_address = {entry.address: entry for entry in entries}
        self._domains = {entry.domain for entry in entries}
        self._by_local: dict[str, list[Entry]] = {}
        for entry in entries:
            self._by_local.setdefault(entry.local, []).append(entry)
        self._hashing = Hashing(key, b"".join(bytes.fromhex(one.delimiters) for one in entries))
        self._delimiters = {bytes.fromhex(entry.delimiters) for entry in entries}
        self._known: dict[bytes, bool] = {}
        self._words: dict[bytes, bytes | None] = {}

    def domain(self, raw: bytes) -> bool:
        """Whether an erased address may be of this domain."""
        known = self._known.get(raw)
        if known is None:
            name = fold(b"x@" + raw)[2:]
            known = self._hasher.of(b"d", name) in self._domains
            _make_room(self._known)
            self._known[raw] = known
        return known

    def word(self, raw: bytes) -> bytes | None:
        """What stands for the local part of a whole address, or for a name without domain."""
        if raw in self._words:
            return self._words[raw]
        _make_room(self._words)
        found = self._words[raw] = self._find(raw)
        return found

    def local(self, local: bytes, domain: bytes) -> bytes | None:
        """The same for the parts of an address."""
        return self.word(local + b"@" + domain)

    def _find(self, raw: bytes) -> bytes | None:
        folded = fold(raw)
        found = self._by_address.get(self._hasher.of(b"a", folded))
        rest = b""
        if found is None:
            for delimiters in self._delimiters:
                whole = mailbox(folded, delimiters)
                entry = self._by_address.get(self._hasher.of(b"a", whole))
                if whole != folded and entry is not None:
                    alias = self._hashing.alias(folded)  # so a token of it has the same
                    found, rest = entry, self._hasher.of(b"a", alias)[:4].encode()
        if found is None:
            return None
        word = WORD + found.word.encode() + rest
        return word if raw == folded else _spelled(word, raw)

    def bare(self, name: bytes, words: Iterable[bytes]) -> bytes | None:
        """What stands for a local part alone, where one of these words is in the same record."""
        if not name:
            return None
        for entry in self._by_local.get(self._hasher.of(b"l", fold(name)), ()):
            word = WORD + entry.word.encode()
            if word in words:
                return word
        return None

    def is_bare(self, name: bytes) -> bool:
        """Whether a name without domain is the local part of any of them."""
        return bool(name) and self._hasher.of(b"l", fold(name)) in self._by_local

    def id(self, message_id: bytes) -> bytes:
        """What stands for the Message-ID of a message that an erased address sent."""
        if is_erased_id(message_id):
            return message_id
        token = self._hashing.id(message_id)  # the same, whether its day was hashed before or not
        digest = blake2b(token, digest_size=8, key=self._key, person=b"erased-m")
        return WORD + digest.hexdigest().encode()


def _spelled(word: bytes, raw: bytes) -> bytes:
    """Another spelling of the word for another spelling of the address: equal once folded."""
    digest = blake2b(raw, digest_size=4).digest()
    bits = int.from_bytes(digest, "big") | 1
    spelled = (
        letter.upper() if bits >> at & 1 else letter for at, letter in enumerate(word.decode())
    )
    return "".join(spelled).encode()


_REMEMBERED: Final = 1 << 14


def _make_room(known: dict[bytes, bool] | dict[bytes, bytes | None]) -> None:
    if len(known) >= _REMEMBERED:
        known.clear()


def load(directory: Path, key: bytes) -> Erased:
    """The list of a journal; empty where there is none."""
    path = directory / NAME
    try:
        lines = path.read_text("ascii").splitlines()
    except FileNotFoundError:
        return Erased(key)
    except (OSError, UnicodeError) as error:
        raise UnavailableError(f"{path} cannot be read: {error}") from None
    if lines[:1] != [_FORMAT]:
        raise UnavailableError(f"journal damaged: {path} does not begin with {_FORMAT!r}")
    return Erased(key, (_entry(line, path, at) for at, line in enumerate(lines[1:], 2)))


def _entry(line: str, path: Path, number: int) -> Entry:
    try:
        at_us, address, domain, local, word, delimiters, state = line.split()
        bytes.fromhex(address + domain + local + word)
        delimiters = "" if delimiters == "-" else bytes.fromhex(delimiters).hex()
        return Entry(int(at_us), address, domain, local, word, delimiters, is_done=state == "done")
    except ValueError:
        raise UnavailableError(f"journal damaged: {path} line {number} is no entry") from None


def carry_over(before: Path, after: Path) -> None:
    """Who was erased in a journal stays so in an older copy that takes its place.

    Their erasures are open again: the next trackd ends them. The KEY of the journal before is not
    asked: it may be what was lost, and what another key hashed is nobody here.
    """
    key = bytes.fromhex((after / "KEY").read_text("ascii"))
    new = load(after, key)
    entries = {entry.address: entry for entry in new.entries}
    for entry in load(before, key).entries:
        known = entries.get(entry.address)
        if known is None or known.at_us < entry.at_us:
            entries[entry.address] = entry._replace(is_done=False)
    if tuple(entries.values()) != new.entries:
        save(after, Erased(key, entries.values()), None)


def save(directory: Path, erased: Erased, gid: int | None) -> None:
    """Make the list durable: the new one whole, or the old one. Raises OSError."""
    new = directory / f".new-{NAME}"
    with new.open("w", encoding="ascii") as file:
        file.write("\n".join((_FORMAT, *(entry.line() for entry in erased.entries))) + "\n")
        file.flush()
        os.fsync(file.fileno())
    set_owner(new, DATA_MODE, gid)
    new.rename(directory / NAME)
    sync_directory(directory)
