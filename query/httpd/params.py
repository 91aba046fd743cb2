"""The parameters of a URL as the texts that verbs take.

Percent-encoded bytes become text as arguments of a command do (PEP 383), so that an address of
any bytes can be asked for. Raises Problem (400): twice the same, unknown, too many.
"""

import os
from collections.abc import Collection
from datetime import UTC, tzinfo
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes
from zoneinfo import ZoneInfo

from starlette.requests import Request

from posttrail.text import safe
from query.filters import NAMES, parse_limit
from query.httpd.problem import Kind, Problem

MOST: Final = 64
REPEATED: Final = frozenset({"status", "reason", "direction", "columns"})
"""Lists: given twice they are joined (what a form's check boxes send)."""
COMMON: Final = frozenset({"format", "lang"})
PAGING: Final = frozenset({"limit", "cursor"})


def of(request: Request, known: Collection[str]) -> dict[str, str]:
    """The parameters by name."""
    raw: bytes = request.scope["query_string"]
    try:
        pairs = parse_qsl(
            raw.decode("latin-1"),
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=MOST,
        )
    except ValueError:
        raise Problem(Kind.BAD_FILTER, f"more than {MOST} parameters") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known and name not in COMMON:
            raise Problem(
                Kind.BAD_FILTER, f"unknown parameter {name!r}; known: {', '.join(sorted(known))}"
            )
        if name in found and name not in REPEATED:
            raise Problem(Kind.BAD_FILTER, f"{name} is given twice")
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def tail(request: Request, prefix: str) -> str:
    """What the path has behind a prefix, slashes and bytes that are no UTF-8 included."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    return os.fsdecode(unquote_to_bytes(raw.partition(b"?")[0])).removeprefix(prefix)


def filters(given: dict[str, str]) -> dict[str, str | None]:
    """Those that are filters; an empty one asks for nothing, save for the null sender as <>."""
    return {name: given.get(name) or None for name in NAMES}


def zone(name: str) -> tzinfo:
    """A time zone by its name in the tz database; UTC without one."""
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):
        raise Problem(Kind.BAD_FILTER, f"{safe(name)!r} names no time zone") from None


def limit(given: dict[str, str], *, default: int, most: int | None) -> int | None:
    """How many rows; above ``most`` is refused, and so is "all" where there is a most."""
    found = parse_limit(given["limit"]) if given.get("limit") else default
    if most is not None and (found is None or found > most):
        raise Problem(Kind.BAD_FILTER, f"limit is at most {most} in this form")
    return found
