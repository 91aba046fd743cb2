"""The parts of sendmail.cf that a trace needs beside Sendmail's own answer.

    Mesmtp, P=[IPC], F=..., A=TCP $h 25      a mailer: program or [IPC], and where it connects
    Kvirtuser hash -o /etc/mail/virtusertable   a map; ``-o``: Sendmail goes on silently without it
    O AliasFile=/etc/mail/aliases            as are FallbackMXhost and FallbackSmartHost
    Cwlocalhost, Fw/etc/mail/local-host-names   names that are this machine
    Djmx.example.com                         its own name

A line that begins with white space goes on with the one before (Sendmail Installation and Operation
Guide, 5). Raises UnavailableError where the file cannot be read.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from posttrail.errors import UnavailableError

DEFAULT: Final = "/etc/mail/sendmail.cf"
IPC: Final = ("[IPC]", "[TCP]")
_FIELD: Final = re.compile(r",\s*([A-Z])=([^,]*(?:,(?!\s*[A-Z]=)[^,]*)*)")
_FILED: Final = {"hash": ".db", "btree": ".db", "cdb": ".cdb", "dbm": ".pag", "text": ""}
_OPTION: Final = re.compile(r"O\s*(\w+)\s*=\s*(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailer:
    """One M line."""

    name: str
    path: str  # a program, or [IPC]
    arguments: str
    flags: str = ""

    @property
    def connects(self) -> bool:
        """Does it open a connection to a host, by SMTP or LMTP?"""
        return self.path in IPC and self.arguments.split()[:1] != ["FILE"]

    @property
    def socket(self) -> str:
        """The Unix-domain socket of an LMTP server; "" where there is none."""
        words = self.arguments.split()
        return words[1] if self.path in IPC and words[:1] == ["FILE"] and words[1:] else ""

    @property
    def port(self) -> int:
        """The port to which it connects."""
        words = self.arguments.split()
        return int(words[2]) if len(words) > 2 and words[2].isdecimal() else 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """One K line, or an alias file, that is kept in a file."""

    name: str
    kind: str
    path: str
    optional: bool

    @property
    def file(self) -> str:
        """The file that Sendmail opens."""
        suffix = _FILED.get(self.kind, "")
        return self.path if self.path.endswith(suffix) else self.path + suffix


@dataclass(slots=True, kw_only=True)
class Cf:
    """The file, as far as it is looked at."""

    path: str
    mailers: dict[str, Mailer] = field(default_factory=dict)
    maps: list[Map] = field(default_factory=list)
    names: set[str] = field(default_factory=set)  # class w, and $j
    name_files: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)


def read(path: str = DEFAULT) -> Cf:
    """The file at ``path``."""
    try:
        text = Path(path).read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from None
    return parse(text, path)


def parse(text: str, path: str = DEFAULT) -> Cf:
    """What the lines say."""
    cf = Cf(path=path)
    for line in _whole(text):
        match line[0]:
            case "M":
                name, _, rest = line[1:].partition(",")
                values = dict(_FIELD.findall("," + rest))
                cf.mailers[name.strip()] = Mailer(
                    name=name.strip(),
                    path=values.get("P", "").strip(),
                    arguments=values.get("A", "").strip(),
                    flags=values.get("F", "").strip(),
                )
            case "K":
                _take_map(cf, line[1:])
            case "O":
                if found := _OPTION.fullmatch(line):
                    cf.options[found[1]] = found[2].strip()
            case "C" if line[1:2] == "w":
                cf.names |= {word.lower() for word in line[2:].split()}
            case "D" if line[1:2] == "j" and "$" not in line:
                cf.names.add(line[2:].strip().lower())
            case "F" if line[1:2] == "w":
                cf.name_files.append(line[2:].removeprefix("-o").strip())
            case _:
                pass
    _take_aliases(cf)
    return cf


def _whole(text: str) -> Iterator[str]:
    now = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t") and now:
            now += " " + line.strip()
            continue
        if now and not now.startswith("#"):
            yield now
        now = line.rstrip()
    if now and not now.startswith("#"):
        yield now


def _take_map(cf: Cf, text: str) -> None:
    words = text.split()
    if len(words) < 3 or words[1] not in _FILED:
        return
    paths = [word for word in words[2:] if word.startswith("/")]
    optional = "-o" in words
    cf.maps += [Map(name=words[0], kind=words[1], path=each, optional=optional) for each in paths]


def _take_aliases(cf: Cf) -> None:
    """Sendmail goes on without an alias file as it does without an optional map."""
    for each in cf.options.get("AliasFile", "").split(","):
        kind, _, rest = each.strip().rpartition(":")
        path = rest.split()[-1] if rest.split() else ""
        if path.startswith("/") and kind.split(":")[0] in ("", *_FILED):
            cf.maps.append(Map(name="aliases", kind=kind or "hash", path=path, optional=True))


def own_names(cf: Cf) -> frozenset[str]:
    """Class w: names that are this machine; a file that cannot be read adds none."""
    names = set(cf.names)
    for file in cf.name_files:
        try:
            lines = Path(file).read_text("utf-8", "surrogateescape").splitlines()
        except OSError:
            continue
        names |= {line.strip().lower() for line in lines if line.strip() and line[0] != "#"}
    return frozenset(names)


def troubles(cf: Cf, *, group: int | None = None) -> Iterator[tuple[Map, str]]:
    """Each map that Sendmail would silently do without, with a sentence; ``group``: its set-gid."""
    for each in cf.maps:
        where = f"{cf.path}: map {each.name}: {each.file}"
        try:
            found = os.stat(each.file)
        except FileNotFoundError:
            yield each, f"{where} is missing, and Sendmail answers as if nothing stood in it"
            continue
        except OSError as error:
            yield each, f"{where}: {error.strerror}"
            continue
        by_group = group is not None and found.st_gid == group and found.st_mode & stat.S_IRGRP
        if not by_group and not os.access(each.file, os.R_OK):
            yield each, f"{where} cannot be read by this user, and so perhaps not by Sendmail"


def uses_dns(cf: Cf) -> bool:
    """Does the service switch name dns for hosts? Without the file Sendmail takes DNS."""
    path = cf.options.get("ServiceSwitchFile", "/etc/mail/service.switch")
    try:
        text = Path(path).read_text("utf-8", "surrogateescape")
    except OSError:
        return True
    lines = (line.split("#")[0].split() for line in text.splitlines())
    return all("dns" in words[1:] for words in lines if words[:1] == ["hosts"])
