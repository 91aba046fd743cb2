"""Group lines that were not understood: by their program, and by their shape.

A shape is the text with everything that differs from message to message taken out, so that one
kind of line is told of once, with its number. Raises nothing.
"""

import re
from typing import Final, NamedTuple

from milterd.lines.syslog import Line

KINDS_MOST: Final = 200
"""Kinds that are told apart; lines of further ones count as one kind more."""

_WORDS_MOST: Final = 12
_TEXT_MOST: Final = 400
_VARIABLE: Final = re.compile(rb'<[^>]*>|"[^"]*"|\S*\[[^\]]*\]\S*|\S*\d\S*|\S+@\S+')
_OTHER: Final = ("", "(other kinds)")


class Kind(NamedTuple):
    """Lines of one program and one shape."""

    program: str
    shape: str
    lines: int
    example: bytes


class Kinds:
    """Counts lines by kind; keeps the first of each."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, bytes]] = {}

    def add(self, line: Line | None, raw: bytes) -> None:
        """One more line; ``line`` is None where it has no header."""
        kind = (_program(line), shape(raw if line is None else line.text))
        if kind not in self._found and len(self._found) >= KINDS_MOST:
            kind = _OTHER
        self._count(kind, 1, raw[:1000])

    def merge(self, others: "Kinds") -> None:
        """Take in what another one counted."""
        for kind, (count, example) in others._found.items():
            full = kind not in self._found and len(self._found) >= KINDS_MOST
            self._count(_OTHER if full else kind, count, example)

    def _count(self, kind: tuple[str, str], count: int, example: bytes) -> None:
        known = self._found.get(kind)
        self._found[kind] = (count, example) if known is None else (known[0] + count, known[1])

    def most(self) -> list[Kind]:
        """The kinds, the most frequent first."""
        ordered = sorted(self._found.items(), key=lambda item: (-item[1][0], item[0]))
        return [Kind(*kind, count, example) for kind, (count, example) in ordered]


def _program(line: Line | None) -> str:
    if line is None:
        return ""
    name = line.instance if line.instance == line.daemon else line.instance + b"/" + line.daemon
    return name.decode("utf-8", "replace")


def shape(text: bytes) -> str:
    """What the lines of a kind have in common."""
    words = _VARIABLE.sub(b"*", text[:_TEXT_MOST]).split()
    shown = b" ".join(words[:_WORDS_MOST])
    return shown.decode("utf-8", "replace") + (" ..." if len(words) > _WORDS_MOST else "")
