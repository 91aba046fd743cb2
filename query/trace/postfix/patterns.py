"""Which tables are asked how: patterns, random answers, and rules that security forbids.

After regexp_table(5), pcre_table(5), DATABASE_README and the man pages of trivial-rewrite(8),
local(8) and virtual(8). A table of patterns gets whole addresses only; a union or pipe of tables
is what its first table is. Some programs skip each rule whose result takes text from the address
(``$1``), and some take no answer from the network: see ``Trust``. Raises nothing.
"""

import enum
import re
from collections.abc import Callable, Iterator
from typing import Final

from posttrail.postconf import split

_WRAPPED: Final = ("proxy", "debug")
_BUNDLES: Final = ("unionmap", "pipemap")
_PATTERNS: Final = frozenset(
    ("regexp", "pcre", "cidr", "socketmap", "tcp", "randmap", "fail")
)  # all else is asked with parts of addresses, too
_NETWORK: Final = re.compile(r"(?<![\w-])(?:socketmap|tcp):")
_PROXY: Final = re.compile(r"(?<![\w-])proxy:")
_RULES: Final = re.compile(r"(?<![\w-])(regexp|pcre):(?=[/{])")
_TAKES: Final = re.compile(r"\$(?:\d+|\{\d+\}|\(\d+\))")


class Trust(enum.Enum):
    """What a program takes from a table."""

    ANY = "any"
    LITERAL = "no_regsub"  # trivial-rewrite(8), transports in local(8): no $1 from the address
    PARANOID = "paranoid"  # aliases and commands in local(8), mailboxes in virtual(8): nor network


def is_pattern(table: str) -> bool:
    """Is it asked with full addresses only?"""
    kind, _, name = table.partition(":")
    if kind in _WRAPPED:
        return is_pattern(name)
    if kind in _BUNDLES:
        inside = split(name[1:-1])
        return bool(inside) and is_pattern(inside[0])
    return kind in _PATTERNS


def is_random(table: str) -> bool:
    """May it answer otherwise the next time?"""
    return re.search(r"(?<![\w-])randmap:", table) is not None


def forbidden(table: str) -> str | None:
    """Why a program that trusts no network does not open the table; None: it does."""
    found = _NETWORK.search(table)
    if found is None:
        return None
    return f"{found[0]} is not allowed for security sensitive data"


def direct(table: str) -> str:
    """Without proxymap(8), whose socket is closed to others."""
    return _PROXY.sub("", table)


def literal(table: str, read: Callable[[str], str], kept: Callable[[str], str]) -> str:
    """The table without rules that take ``$1`` from the address; itself where it has none.

    ``read`` gives the text of a file; ``kept`` takes the text of the rules that are left and
    gives the name of a file with them. Raises what they raise.
    """
    place, made = 0, ""
    for found in _RULES.finditer(table):
        if found.start() < place:
            continue
        end = _end(table, found.end())
        rules = _rules(table[found.end() : end], read)
        left = [rule for rule in rules if not takes_text(rule)]
        made += table[place : found.start()]
        if len(left) == len(rules):
            made += table[found.start() : end]
        else:
            made += f"{found[1]}:" + kept("".join(f"{rule}\n" for rule in left))
        place = end
    return made + table[place:]


def _end(table: str, start: int) -> int:
    """Where a table's name ends: at its closing brace, else before white space, comma, brace."""
    if table[start] != "{":
        found = re.compile(r"[\s,{}]").search(table, start)
        return found.start() if found else len(table)
    depth = 0
    for place in range(start, len(table)):
        depth += (table[place] == "{") - (table[place] == "}")
        if depth == 0:
            return place + 1
    return len(table)


def _rules(name: str, read: Callable[[str], str]) -> list[str]:
    if name.startswith("{"):
        return [_bare(each) for each in split(name[1:-1])]
    return list(logical_lines(read(name)))


def _bare(rule: str) -> str:
    return rule[1:-1].strip() if rule.startswith("{") else rule


def logical_lines(text: str) -> Iterator[str]:
    """Lines of a table or of master.cf: white space continues one, ``#`` begins no line."""
    current = ""
    for line in text.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and current:
            current += line
            continue
        if current:
            yield current
        current = line
    if current:
        yield current


def takes_text(rule: str) -> bool:
    """Does the result of ``/pattern/flags result`` take text from the address?"""
    return _TAKES.search(_result(rule).replace("$$", "")) is not None


def _result(rule: str) -> str:
    """Behind the pattern, or behind both of ``/pattern/!/pattern/``; ``""`` of if and endif."""
    text = rule.strip()
    if re.match(r"(?:if|endif)(?![A-Za-z0-9])", text, re.IGNORECASE):
        return ""
    while text:
        text = text.lstrip("!").lstrip()
        closed = _closed(text)
        text = text[closed:].lstrip("imxsADEGUXZ0123456789")
        if not text.startswith("!"):
            break
    return text.strip()


def _closed(text: str) -> int:
    place = 1
    while place < len(text) and text[place] != text[0]:
        place += 2 if text[place] == "\\" else 1
    return place + 1
