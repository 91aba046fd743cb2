"""rsyslog's rate limits, in its old form of directives and in RainerScript.

    $ModLoad imuxsock                    module(load="imuxsock" SysSock.RateLimit.Interval="5"
    $SystemLogRateLimitInterval 5               SysSock.RateLimit.Burst="200")
    $IncludeConfig /etc/rsyslog.d/*.conf include(file="/etc/rsyslog.d/*.conf")

Defaults as the pages of imuxsock and imjournal have them: none for the system's socket (interval
0), 20,000 lines in 600 s for systemd's journal. Names do not heed case. Pure but for ``read``;
raises nothing.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

_DEPTH: Final = 10
_OLD: Final = re.compile(r"^\s*\$(\w+)\s+(\S+)", re.MULTILINE)
_MODULE: Final = re.compile(r"\bmodule\s*\(([^)]*)\)", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"([\w.]+)\s*=\s*\"([^\"]*)\"")
_INCLUDE: Final = re.compile(r"\binclude\s*\(([^)]*)\)", re.IGNORECASE)
_COMMENT: Final = re.compile(r"^\s*#.*$|\s#[^\"\n]*$", re.MULTILINE)
_LONG: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_TAKEN: Final = {
    "$systemlogratelimitinterval": ("imuxsock", "interval"),
    "$systemlogratelimitburst": ("imuxsock", "burst"),
    "$imjournalratelimitinterval": ("imjournal", "interval"),
    "$imjournalratelimitburst": ("imjournal", "burst"),
    "imuxsock syssock.ratelimit.interval": ("imuxsock", "interval"),
    "imuxsock syssock.ratelimit.burst": ("imuxsock", "burst"),
    "imjournal ratelimit.interval": ("imjournal", "interval"),
    "imjournal ratelimit.burst": ("imjournal", "burst"),
}


class Limit(NamedTuple):
    """A limit of one input module."""

    module: str
    interval_s: int
    burst: int
    source: str  # the file it stands in, "default"

    @property
    def off(self) -> bool:
        """Is nothing dropped?"""
        return self.interval_s <= 0 or self.burst <= 0


DEFAULTS: Final = {
    "imuxsock": Limit("imuxsock", 0, 200, "default"),
    "imjournal": Limit("imjournal", 600, 20_000, "default"),
}


def read(root: Path) -> list[Limit]:
    """The limits of the input modules that rsyslog below ``root`` loads."""
    return limits(_texts(root, root / "etc/rsyslog.conf", depth=0))


def limits(texts: Iterable[tuple[str, str]]) -> list[Limit]:
    """The same from the texts of its files, with their names."""
    found: dict[str, Limit] = {}
    kept = dict(DEFAULTS)
    for name, text in texts:
        for key, value in _settings(text):
            if key == "load" and value in DEFAULTS:
                found.setdefault(value, kept[value])
            module, what = _TAKEN.get(key, ("", ""))
            if not module or not value.isdecimal():
                continue
            kept[module] = kept[module]._replace(source=name)
            if what == "interval":
                kept[module] = kept[module]._replace(interval_s=int(value))
            else:
                kept[module] = kept[module]._replace(burst=int(value))
    return [kept[module] for module in found]


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """What a file loads and sets: ("load", module), ("$directive", value), ("module name", ...)."""
    text = _COMMENT.sub("", _LONG.sub("", text))
    for name, value in _OLD.findall(text):
        if name.lower() == "modload":
            yield "load", value.lower().rpartition("/")[2].removesuffix(".so")
        else:
            yield f"${name.lower()}", value
    for inside in _MODULE.findall(text):
        parameters = {name.lower(): value for name, value in _PARAMETER.findall(inside)}
        module = parameters.pop("load", "").lower().rpartition("/")[2].removesuffix(".so")
        yield "load", module
        for name, value in parameters.items():
            yield f"{module} {name}", value


def _texts(root: Path, path: Path, *, depth: int) -> Iterator[tuple[str, str]]:
    """A file, then what it includes."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return
    yield str(path), text
    if depth == _DEPTH:
        return
    clean = _COMMENT.sub("", text)
    patterns = [value for name, value in _OLD.findall(clean) if name.lower() == "includeconfig"]
    for inside in _INCLUDE.findall(clean):
        patterns += [value for name, value in _PARAMETER.findall(inside) if name.lower() == "file"]
    for pattern in patterns:
        inner = pattern.lstrip("/") + ("*" if pattern.endswith("/") else "")
        for each in sorted(root.glob(inner)):
            if each.is_file():
                yield from _texts(root, each, depth=depth + 1)
