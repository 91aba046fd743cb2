"""logrotate(8)'s configuration, as far as it says what becomes of a log.

    "/var/log/mail.log" /var/log/mail.err
    { rotate 4
      weekly
      copytruncate }

What stands before the files is the default of all that follow; ``include`` names a file or a
folder. Pure but for ``read``; raises nothing.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

_DAYS: Final = {"hourly": 1 / 24, "daily": 1, "weekly": 7, "monthly": 30, "yearly": 365}
_IGNORED: Final = (
    ".rpmsave", ".rpmorig", ".rpmnew", ".dpkg-old", ".dpkg-dist", ".dpkg-new", ".dpkg-bak",
    ".dpkg-del", ".bak", ".disabled", ".swp", ".cfsaved", "~", ",v",
)  # fmt: skip
_SCRIPTS: Final = ("postrotate", "prerotate", "firstaction", "lastaction", "preremove")
_TOKEN: Final = re.compile(r'"([^"]*)"|\'([^\']*)\'|(\S+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What a stanza says of its files."""

    source: str  # the file it stands in
    patterns: tuple[str, ...]
    copytruncate: bool = False
    generations: int = 0
    days: float | None = None  # between rotations; None: by size alone

    def rotates(self, path: str) -> bool:
        """Is this log one of its files?"""
        return any(fnmatchcase(path, pattern) for pattern in self.patterns)


def read(main: Path, folder: Path) -> list[Rotation]:
    """The stanzas of the main file and of a folder; logrotate reads what is included in place."""
    texts = [(str(path), _text(path)) for path in (main, *_files(folder))]
    return rotations(texts)


def rotations(texts: Iterable[tuple[str, str]]) -> list[Rotation]:
    """The stanzas of files, name and text, in their order."""
    defaults: list[str] = ["weekly", "rotate 0"]
    found = []
    for name, text in texts:
        heads: list[str] = []
        inside: list[str] | None = None
        for line in _lines(text):
            if inside is not None and line == "}":
                found.append(_rotation(name, heads, [*defaults, *inside]))
                heads, inside = [], None
            elif inside is not None:
                inside.append(line)
            elif line == "{":
                inside = []
            elif line.startswith(("/", '"', "'")):
                heads += _words(line)
            elif not line.startswith("include"):
                defaults.append(line)
    return found


def _lines(text: str) -> Iterator[str]:
    """Directives without comments and scripts; braces stand alone."""
    script = False
    for raw in text.splitlines():
        line = raw.strip()
        if script:
            script = line != "endscript"
        elif line in _SCRIPTS:
            script = True
        elif line and not line.startswith("#"):
            parts = line.replace("{", "\n{\n").replace("}", "\n}\n").split("\n")
            yield from filter(None, map(str.strip, parts))


def _rotation(source: str, heads: Sequence[str], directives: Sequence[str]) -> Rotation:
    copytruncate, generations = False, 0
    every: float | None = 7.0
    for directive in directives:
        word, _, value = directive.replace("=", " ").partition(" ")
        if word in _DAYS:
            every = _DAYS[word]
        elif word == "size":
            every = None
        elif word in ("copytruncate", "nocopytruncate", "copy"):
            copytruncate = word == "copytruncate"
        elif word == "rotate":
            generations = int(value) if value.strip().lstrip("-").isdecimal() else 0
    return Rotation(
        source=source,
        patterns=tuple(heads),
        copytruncate=copytruncate,
        generations=generations,
        days=every,
    )


def _words(line: str) -> list[str]:
    return ["".join(parts) for parts in _TOKEN.findall(line)]


def _files(folder: Path) -> list[Path]:
    try:
        names = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in names if path.is_file() and not path.name.endswith(_IGNORED)]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
