"""What ``exim -bt ADDRESS`` prints, an answer for each address that comes of it.

    ADDRESS                                      delivered; lines of router and hosts follow
    PARENT -> |COMMAND, PARENT -> /FILE          a pipe or a file of an alias
    mail to ADDRESS is discarded
    ADDRESS is undeliverable: WORDS
    ADDRESS cannot be resolved at this time: WORDS
    syntax error: WORDS
        <-- PARENT                               how it came about, nearest first
      router = R, transport = T
      host NAME   [ADDRESS] MX=N port=N          one line for each address of a host

Read from Exim 4.96. Pure; raises nothing.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

_FATES: Final = (
    (re.compile(r"mail to (.*) is discarded()"), "discarded"),
    (re.compile(r"(.*?) is undeliverable(?:: (.*))?"), "undeliverable"),
    (re.compile(r"(.*?) cannot be resolved at this time(?:: (.*))?"), "unresolved"),
    (re.compile(r"()syntax error: (.*)"), "syntax"),
    (re.compile(r"(.*?) -> ([|/>].*)"), "handed"),
)
_ROUTED: Final = re.compile(r"(?:router = (.*?), )?transport = (.*)")
_HOST: Final = re.compile(r"host (\S+) +(?:\[(.*?)\] *)?(?:MX=(\d+) *)?(?:port=(\d+) *)?(.*)")


class Fate(Enum):
    """What becomes of an address."""

    ROUTED = "routed"
    HANDED = "handed"  # to a command, a file or an automatic reply
    DISCARDED = "discarded"
    UNDELIVERABLE = "undeliverable"
    UNRESOLVED = "unresolved"
    SYNTAX = "syntax"


class HostLine(NamedTuple):
    """One address of a host."""

    name: str
    address: str  # "" where Exim found none
    preference: int | None
    port: int | None
    remark: str  # "** unusable **"


@dataclass(slots=True, kw_only=True)
class Answer:
    """One address and its fate."""

    address: str  # of a pipe or file: the address whose alias names it
    fate: Fate = Fate.ROUTED
    text: str = ""  # the words of a failure; the command or file
    parents: list[str] = field(default_factory=list)  # nearest first
    router: str = ""
    transport: str = ""
    hosts: list[HostLine] = field(default_factory=list)


def parse(text: str) -> list[Answer]:
    """The answers in their order."""
    found: list[Answer] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if not line[0].isspace():
            found.append(_begun(line))
        elif found:
            _take(found[-1], line.strip())
    return _joined(found)


def _begun(line: str) -> Answer:
    for pattern, word in _FATES:
        if match := pattern.fullmatch(line):
            return Answer(address=match[1], fate=Fate(word), text=match[2] or "")
    return Answer(address=line)


def _take(answer: Answer, line: str) -> None:
    if line.startswith("<-- "):
        answer.parents.append(line.removeprefix("<-- "))
    elif match := _ROUTED.fullmatch(line):
        answer.router, answer.transport = match[1] or "", match[2]
        if answer.router and answer.fate is Fate.HANDED:  # an address that looks like it
            answer.address, answer.fate = f"{answer.address} -> {answer.text}", Fate.ROUTED
    elif match := _HOST.fullmatch(line):
        name, address, preference, port, remark = match.groups()
        answer.hosts.append(
            HostLine(
                name,
                address if address and address != "unknown" else "",
                int(preference) if preference else None,
                int(port) if port else None,
                remark.strip(),
            )
        )


def _joined(answers: list[Answer]) -> list[Answer]:
    """A line that says nothing by itself goes on with the words of a failure before it."""
    found: list[Answer] = []
    for each in answers:
        empty = each.fate is Fate.ROUTED and not each.transport and not each.parents
        if empty and found and found[-1].text:
            found[-1].text += " " + each.address
        else:
            found.append(each)
    return found


def transports(text: str) -> dict[str, dict[str, str]]:
    """Name → options of each transport, from ``exim -bP transports``."""
    found: dict[str, dict[str, str]] = {}
    options: dict[str, str] = {}
    for line in text.splitlines():
        if line.endswith(" transport:"):
            options = found.setdefault(line.removesuffix(" transport:"), {})
            continue
        name, sign, value = line.partition(" = ")
        if sign and value:
            options[name.removeprefix("*")] = value
    return found
