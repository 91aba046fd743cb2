"""An address as tokens, the way trivial-rewrite(8) sees it: operators outside quotes only.

After RFC 822 3.3 with ``%`` and ``!`` as operators of their own. Pure; raises nothing.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

ATOM: Final = "atom"
QUOTED: Final = "quoted"
LITERAL: Final = "literal"
_OPERATORS: Final = frozenset('<>(),;:@.!%"\\[]')


class Token(NamedTuple):
    """``kind`` is ATOM, QUOTED, LITERAL or the operator itself; ``text`` has no quotes."""

    kind: str
    text: str


AT: Final = Token("@", "@")
DOT: Final = Token(".", ".")


def scan(address: str) -> list[Token]:
    """Comments and white space outside quotes only separate."""
    found: list[Token] = []
    place = 0
    while place < len(address):
        character = address[place]
        if character == '"':
            text, place = _until(address, place + 1, '"')
            found.append(Token(QUOTED, text))
        elif character == "[":
            text, place = _until(address, place + 1, "]")
            found.append(Token(LITERAL, f"[{text}]"))
        elif character == "(":
            _, place = _until(address, place + 1, ")")
        elif character == "\\" and place + 1 < len(address):
            found.append(Token(QUOTED, address[place + 1]))
            place += 2
        elif character in _OPERATORS:
            found.append(Token(character, character))
            place += 1
        elif character.isspace():
            place += 1
        else:
            end = place
            while end < len(address) and not (address[end] in _OPERATORS or address[end].isspace()):
                end += 1
            found.append(Token(ATOM, address[place:end]))
            place = end
    return found


def _until(text: str, place: int, closing: str) -> tuple[str, int]:
    taken = ""
    while place < len(text) and text[place] != closing:
        if text[place] == "\\" and place + 1 < len(text):
            place += 1
        taken += text[place]
        place += 1
    return taken, place + 1


def internal(tokens: Sequence[Token]) -> str:
    """Without quotes; words that stand side by side are parted by a space."""
    words = (ATOM, QUOTED, LITERAL)
    text, before = "", ""
    for kind, part in tokens:
        text += f" {part}" if before in words and kind in words else part
        before = kind
    return text


def first(tokens: Sequence[Token], kind: str) -> int:
    """Where the first of this kind stands; -1: nowhere."""
    return next((at for at, token in enumerate(tokens) if token.kind == kind), -1)


def last(tokens: Sequence[Token], kind: str) -> int:
    """Where the last of this kind stands; -1: nowhere."""
    return next((at for at in reversed(range(len(tokens))) if tokens[at].kind == kind), -1)


def undotted(tokens: list[Token]) -> list[Token]:
    """Without one dot at the end of the domain; ``..`` and ``@.`` are left as they are."""
    if len(tokens) > 1 and tokens[-1].kind == "." and tokens[-2].kind not in (".", "@"):
        return tokens[:-1]
    return tokens
