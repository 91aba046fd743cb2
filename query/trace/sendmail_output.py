"""What ``sendmail -v -bv ADDRESS`` prints, line by line.

    ADDRESS... deliverable: mailer M, host H, user U    an end; host and user may be missing
    ADDRESS... aliased to LIST         aliases(5); cut in its middle beyond 200 characters
    FILE: line N: forwarding to LIST   a user's .forward
    FILE: line N: sending to LIST      a member of an :include: file
    ADDRESS... including file FILE, ... duplicate suppressed
    ADDRESS... WORDS                   an end: User unknown, an error: of a table
    WORDS                              a fault of no address: a loop, the configuration

With ``-d0.1`` a head with version and host name stands before (Sendmail 8.17). Pure; raises
nothing.
"""

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

CUT: Final = 190  # Sendmail shortens what it prints to about 200 characters
_HEAD: Final = re.compile(r"Version (\S+)\n(?:.*\n)*?=+ SYSTEM IDENTITY.*\n(?:.*\n)*?=+\n")
_NAME: Final = re.compile(r"\(canonical domain name\) \$j = (\S+)")
_DELIVERABLE: Final = re.compile(
    r"(.*)\.\.\. deliverable: mailer ([^ ,]+)(?:, host (.*?))?(?:, user (.*))?"
)
_ALIASED: Final = re.compile(r"(.*?)\.\.\. aliased to (.*)")
_LINE: Final = re.compile(r"(/.*?): line \d+: (forwarding|sending) to (.*)")
_INCLUDING: Final = re.compile(r"(.*)\.\.\. including file (.*)")
_COMMENT: Final = re.compile(r"\s*\([^()\"]*\)\s*")


class Deliverable(NamedTuple):
    """One end, as Sendmail's three words for it."""

    address: str
    mailer: str
    host: str
    user: str


class Fault(NamedTuple):
    """An address that Sendmail refuses, with its words."""

    address: str
    text: str


@dataclass(slots=True, kw_only=True)
class Output:
    """Everything that was said of an address."""

    version: str = ""
    host_name: str = ""
    ends: list[Deliverable] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    aliases: dict[str, list[str]] = field(default_factory=dict)  # address → members
    includes: dict[str, str] = field(default_factory=dict)  # address → file
    members: dict[str, list[str]] = field(default_factory=dict)  # :include: file → members
    forwards: dict[str, list[str]] = field(default_factory=dict)  # .forward file → members
    duplicates: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)  # whose list was shortened by Sendmail
    words: list[str] = field(default_factory=list)  # of no address


def parse(text: str) -> Output:
    """What the lines say."""
    said = Output()
    head = _HEAD.match(text)
    if head is not None:
        said.version = head[1]
        name = _NAME.search(head[0])
        said.host_name = name[1] if name else ""
        text = text[head.end() :]
    for line in text.splitlines():
        if line.strip():
            _take(said, line.rstrip())
    return said


def _take(said: Output, line: str) -> None:
    if found := _DELIVERABLE.fullmatch(line):
        said.ends.append(Deliverable(plain(found[1]), found[2], found[3] or "", found[4] or ""))
    elif found := _LINE.fullmatch(line):
        table = said.forwards if found[2] == "forwarding" else said.members
        _list(said, table, found[1], found[3])
    elif found := _ALIASED.fullmatch(line):
        _list(said, said.aliases, plain(found[1]), found[2])
    elif found := _INCLUDING.fullmatch(line):
        said.includes[plain(found[1])] = found[2]
    elif line.endswith("... duplicate suppressed"):
        said.duplicates.add(plain(line.removesuffix("... duplicate suppressed")))
    elif "... " in line:
        address, _, words = line.partition("... ")
        said.faults.append(Fault(plain(address), words))
    else:
        said.words.append(line)


def _list(said: Output, table: dict[str, list[str]], name: str, text: str) -> None:
    known = table.setdefault(name, [])
    known += [each for each in split(text) if each not in known]
    if len(text) > CUT and "..." in text:
        said.cut.add(name)


def split(text: str) -> list[str]:
    """The members of a list: commas outside quotes, brackets and comments part them."""
    found, depth, quoted, escaped, now = [], 0, False, False, ""
    for letter in text:
        if letter == "," and not quoted and not depth:
            found.append(now)
            now = ""
            continue
        now += letter
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
        elif not quoted:
            depth += (letter in "(<") - (letter in ")>" and depth > 0)
    found.append(now)
    return [plain(each) for each in found if each.strip()]


def plain(address: str) -> str:
    """The address without its comment and angle brackets."""
    bare = address.strip()
    if bare.startswith(('"', "|", "/", ":include:")):
        return bare
    bare = _COMMENT.sub("", bare)
    if bare.endswith(">") and "<" in bare:
        bare = bare[bare.rindex("<") + 1 : -1]
    return bare.strip()
