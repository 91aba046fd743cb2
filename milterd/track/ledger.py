"""Which files imports have read into this journal, and how far: what makes an import resumable.

A file is known by its first bytes, unpacked, together with the options that decide what its lines
mean and the release that read them, so that a renamed, packed or grown file is still the same. Its
place is a number of lines. All of it is one blob in the journal's state, committed with the
data: what it says was read is in the journal. Raises nothing.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, Final

from journal.writer import Writer
from milterd.track.compressed import LogFile

CONTEXT: Final = "imports"
FILES_MOST: Final = 1_000
"""Files that are remembered; the one that was read longest ago is let go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a file was read, and what its parser needs to go on."""

    name: str
    lines: int  # of it, that were read
    sizes: list[int]  # on disk (plain, packed) when it was read to its end; none: it was not
    year: int | None  # of the last line, where the file was given years from its first line on
    last_us: int | None  # the parser's
    first_us: int  # period
    newest_us: int


class Ledger:
    """The places of all files; changed ones are saved with a commit of everything."""

    def __init__(self, writer: Writer, options: str, *, again: bool = False) -> None:
        """``options``: text that differs where lines would be read differently. ``again``: what
        earlier imports read does not count."""
        self._writer = writer
        self._options = options.encode("utf-8", "surrogateescape")
        self._kept: dict[str, dict[str, Any]] = _load(writer.context(CONTEXT))
        self._own: set[str] = set()
        self._changed = False
        self._again = again

    def place(self, file: LogFile) -> Place | None:
        """How far the file was read; None where it was not, or cannot be known again."""
        key = self._key(file)
        if not key or key not in self._kept or (self._again and key not in self._own):
            return None
        try:
            return Place(**self._kept[key])
        except TypeError:
            return None

    def is_own(self, file: LogFile) -> bool:
        """Whether this very import has read it, under another name."""
        return self._key(file) in self._own

    def note(self, file: LogFile, place: Place) -> None:
        """The file was read so far; ``save`` it when all that its lines said goes to the writer."""
        key = self._key(file)
        if not key:
            return
        self._kept.pop(key, None)
        self._kept[key] = asdict(place)
        self._own.add(key)
        while len(self._kept) > FILES_MOST:
            del self._kept[next(iter(self._kept))]
        self._changed = True

    def save(self) -> None:
        """Have the places committed with what goes to the writer now: all that was read."""
        if self._changed:
            self._changed = False
            self._writer.set_context(CONTEXT, json.dumps(self._kept).encode())

    def _key(self, file: LogFile) -> str:
        head = file.identity()
        if not head:
            return ""
        return blake2b(head, digest_size=12, key=blake2b(self._options).digest()).hexdigest()


def forget(writer: Writer) -> None:
    """A part of the journal is lost: whatever was read may be wanted again."""
    writer.set_context(CONTEXT, b"{}")


def _load(saved: bytes | None) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(saved or b"{}")
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}
