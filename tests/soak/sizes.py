"""How large a process and the maps of an object are, and how many descriptors it has."""

import os
from pathlib import Path
from typing import Any

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_mib() -> float:
    """The memory of this process that is not shared with a file."""
    with open("/proc/self/statm", encoding="ascii") as file:
        fields = file.read().split()
    return (int(fields[1]) - int(fields[2])) * _PAGE / (1 << 20)


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process, and the part that no file stands behind (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    told = dict(line.split(":", 1) for line in status.splitlines())
    return int(told["VmRSS"].split()[0]) / 1024, int(told["RssAnon"].split()[0]) / 1024


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def sessions(path: Path) -> int:
    """How many connections a listener on a Unix socket has not closed yet."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(f" {path}") for line in lines) - 1  # the listener itself


def maps(thing: object, name: str = "", seen: set[int] | None = None) -> dict[str, int]:
    """The lengths of all containers that an object of ours and its parts hold; inner ones are added."""
    seen = set() if seen is None else seen
    found: dict[str, int] = {}
    if id(thing) in seen:
        return found
    seen.add(id(thing))
    for key, value in _attributes(thing).items():
        place = f"{name}.{key}".lstrip(".")
        if isinstance(value, dict):
            inner = [len(one) for one in value.values() if isinstance(one, dict | list)]
            found[place] = len(value) + sum(inner)
        elif isinstance(value, list | set):
            found[place] = len(value)
        elif type(value).__module__.split(".")[0] in {"milterd", "journal"}:
            found |= maps(value, place, seen)
    return found


def _attributes(thing: object) -> dict[str, Any]:
    """The attributes of an object, with or without ``__slots__``."""
    names = [*getattr(thing, "__dict__", {})]
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}
