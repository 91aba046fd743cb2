"""journald's rate limit, as journald.conf(5) and its drop-ins say.

The main file is the first of /etc, /run, /usr/local/lib and /usr/lib; drop-ins (journald.conf.d)
are read in the order of their names, one in a folder named first hiding those of its name in
others. Times are those of systemd.time(7). Pure but for ``read``; raises nothing.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

FOLDERS: Final = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
_UNITS: Final = {
    "us": 1e-6, "usec": 1e-6, "µs": 1e-6, "ms": 1e-3, "msec": 1e-3, "": 1, "s": 1, "sec": 1,
    "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60, "h": 3600,
    "hr": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
    "w": 604800, "week": 604800, "weeks": 604800, "M": 2629800, "month": 2629800,
    "months": 2629800, "y": 31557600, "year": 31557600, "years": 31557600,
}  # fmt: skip
_SPAN: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Zµ]*)")


class Limit(NamedTuple):
    """Lines of one sender that are taken in an interval; the others are dropped."""

    interval_s: float
    burst: int
    source: str  # where it stands

    @property
    def off(self) -> bool:
        """Is nothing dropped?"""
        return self.interval_s <= 0 or self.burst <= 0


DEFAULT: Final = Limit(30.0, 10_000, "default")


def read(root: Path) -> Limit:
    """The limit of the machine below ``root``."""
    return limit((str(path), _text(path)) for path in files(root))


def files(root: Path) -> list[Path]:
    """The files that journald reads, in its order."""
    folders = [root / folder.lstrip("/") for folder in FOLDERS]
    main = next(
        (each / "journald.conf" for each in folders if (each / "journald.conf").exists()), None
    )
    named: dict[str, Path] = {}
    for folder in reversed(folders):
        for path in (folder / "journald.conf.d").glob("*.conf"):
            named[path.name] = path
    return [*([main] if main else []), *(named[name] for name in sorted(named))]


def limit(texts: Iterable[tuple[str, str]]) -> Limit:
    """The limit that files say, name and text: the last one counts."""
    found = DEFAULT
    for name, text in texts:
        section = ""
        for raw in text.splitlines():
            line = raw.strip()
            if line.startswith("["):
                section = line
            key, equal, value = line.partition("=")
            if not equal or section != "[Journal]" or line.startswith(("#", ";")):
                continue
            found = _taken(found, key.strip(), value.strip(), name)
    return found


def _taken(found: Limit, key: str, value: str, name: str) -> Limit:
    if key in ("RateLimitIntervalSec", "RateLimitInterval"):
        seconds = DEFAULT.interval_s if not value else span_s(value)
        return found if seconds is None else found._replace(interval_s=seconds, source=name)
    if key == "RateLimitBurst" and (value.isdecimal() or not value):
        return found._replace(burst=int(value or DEFAULT.burst), source=name)
    return found


def span_s(text: str) -> float | None:
    """A time span in seconds; None where it is none."""
    total, place = 0.0, 0
    while place < len(text):
        found = _SPAN.match(text, place)
        if found is None or found[2] not in _UNITS:
            return None
        total += float(found[1]) * _UNITS[found[2]]
        place = found.end()
    return total if text else None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
