"""Postfix's lists of milters: read, and changed in nothing but one entry.

Format: MILTER_README, postconf(5) ``smtpd_milters``: words parted by commas and white space. A word
is an endpoint (``unix:PATH``, ``inet:HOST:PORT``), ``{ endpoint, name=value, ... }`` or a reference
``$name``, ``${name}``, ``$(name)``, which stays as it is. Pure. Raises nothing.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from posttrail.milter_socket import socket_path
from posttrail.postconf import split

LISTS: Final = ("smtpd_milters", "non_smtpd_milters")
TIMES: Final = {"connect": "2s", "command": "5s", "content": "5s"}
"""How long our milter may be waited for; Postfix's own limits are 30, 30 and 300 s."""
LONGEST_S: Final = 10
"""A milter that hangs holds each session so long; what is not longer is left as it is."""
_SETTINGS: Final = ", ".join(
    ("default_action=accept", *(f"{each}_timeout={time}" for each, time in TIMES.items()))
)
_REFERENCE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)\}|\((\w+)\))")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True, kw_only=True)
class Milter:
    """One milter of a list."""

    text: str  # as it stands
    endpoint: str  # unix:PATH, inet:HOST:PORT
    own: Mapping[str, str]  # its own settings, in braces

    def setting(self, name: str, default: str) -> str:
        """Its own setting, else Postfix's ``milter_NAME``, which ``default`` is."""
        return self.own.get(name) or default


class Word(NamedTuple):
    """One word of a list and where it stands."""

    text: str
    start: int
    end: int


def milter(word: str) -> Milter:
    """What a word of a list says."""
    if not word.startswith("{"):
        return Milter(text=word, endpoint=word, own={})
    parts = [_bare(part) for part in split(word[1:].removesuffix("}"))]
    pairs = (part.partition("=") for part in parts[1:])
    own = {name.strip(): value.strip() for name, _, value in pairs}
    return Milter(text=word, endpoint=parts[0] if parts else "", own=own)


def _bare(part: str) -> str:
    """``{ name = value }`` without its braces."""
    return part[1:-1].strip() if part[:1] == "{" and part[-1:] == "}" else part


def words(value: str) -> list[Word]:
    """The words of a list, in its order."""
    found: list[Word] = []
    at = 0
    for text in split(value):
        at = value.index(text, at)
        found.append(Word(text, at, at + len(text)))
        at += len(text)
    return found


def reference(word: str) -> str | None:
    """The parameter that a word stands for; None where it is no plain reference."""
    whole = _REFERENCE.fullmatch(word)
    return next(filter(None, whole.groups())) if whole else None


def expanded(value: str, values: Mapping[str, str]) -> list[str]:
    """The words with references to ``values`` in their place; what is unknown stays."""
    return list(_expanded(value, values, frozenset()))


def _expanded(value: str, values: Mapping[str, str], seen: frozenset[str]) -> Iterable[str]:
    for word in split(value):
        name = reference(word)
        if name is None or name not in values or name in seen:
            yield word
        else:
            yield from _expanded(values[name], values, seen | {name})


def without(value: str, leaves: Callable[[str], bool]) -> str:
    """The list without the words that ``leaves`` says so of, and what parted them from the rest."""
    found = words(value)
    for index in reversed(range(len(found))):
        if not leaves(found[index].text):
            continue
        start = found[index - 1].end if index else found[0].start
        end = found[index].end
        if not index and len(found) > 1:
            end = found[1].start
        value = value[:start] + value[end:]
        found = words(value)
    return value


def with_last(value: str, entry: str) -> str:
    """The list with ``entry`` behind all others, parted from them as they are from each other."""
    if not split(value):
        return entry
    found = words(value)
    between = [value[a.end : b.start] for a, b in pairwise(found)]
    by_blanks = bool(between) and not any("," in each for each in between)
    return f"{value[: found[-1].end]}{' ' if by_blanks else ', '}{entry}"


def seconds(text: str) -> int | None:
    """A time of Postfix (``5s``, ``2m``, ``30``) in seconds; None for what is none."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    return int(number) * _UNITS[unit] if number.isdecimal() else None


def is_long(text: str) -> bool:
    """Is a time of Postfix longer than LONGEST_S, or none at all?"""
    found = seconds(text)
    return not found or found > LONGEST_S


def endpoint(socket: str, queue: Path) -> str:
    """``milter.socket`` as Postfix names it: relative where it is in the queue directory."""
    path = socket_path(socket)
    if path is None:
        port, _, host = socket.partition(":")[2].partition("@")
        return f"inet:{host or '127.0.0.1'}:{port}"
    return f"unix:{path.relative_to(queue) if queue in path.parents else path}"


def entry(socket: str, queue: Path) -> str:
    """The line for our milter: mail flows without it, and it is not waited for long."""
    return f"{{ {endpoint(socket, queue)}, {_SETTINGS} }}"


def is_ours(name: str, socket: str, queue: Path) -> bool:
    """Does an endpoint of Postfix lead to ``milter.socket``?"""
    kind, _, rest = name.partition(":")
    path = socket_path(socket)
    if kind in ("unix", "local") and path is not None:
        return queue / rest == path
    if kind in ("inet", "inet6") and path is None:
        return f"inet:{rest}" == endpoint(socket, queue)
    return False
