"""The tables [[hooks]]: whom posttrail-hookd tells of what, and how.

Format: docs/man/posttrail.toml.5, "[[hooks]]". ``name``, ``on`` and one of ``url`` and ``exec``
must be there, the rest has defaults. What only the journal's words can tell (reasons, fields) is
checked where it is used (``query.hooks.wanted``). Raises ValueError, naming the key and what may
stand there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

KINDS: Final = (
    "delivered", "error", "rejected", "filtered", "deferred", "late_bounce", "silence",
)  # fmt: skip
"""What can be told: the final statuses, the first deferral, a late bounce, a silent sender."""
MOST: Final = 32
"""Hooks there may be: each has threads."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_MOST_OF: Final = {"timeout_s": 120, "retry_hours": 168, "per_minute": 60_000, "parallel": 16}
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One table."""

    name: str = ""
    on: tuple[str, ...] = ()
    url: str = ""
    exec: tuple[str, ...] = ()
    secret_file: str = ""
    addresses: tuple[str, ...] = ()  # none: all mail of the server
    sender: str = ""
    recipient: str = ""
    direction: tuple[str, ...] = ()
    reason: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()  # of a row; none: all
    usual: tuple[str, ...] = ()
    usual_hours: int = 0  # 0: learned
    timeout_s: int = 10
    retry_hours: int = 24
    per_minute: int = 600
    parallel: int = 1


def parse(tables: object) -> tuple[Hook, ...]:
    """The hooks of a file, in its order."""
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ValueError("hooks is no list of tables: write [[hooks]] above each")
    if len(tables) > MOST:
        raise ValueError(f"hooks: {len(tables)} tables; {MOST} at most")
    made = tuple(_hook(number, table) for number, table in enumerate(tables, 1))
    names = [hook.name for hook in made]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"hooks: two have the name {name}")
    return made


def _hook(number: int, table: Mapping[str, object]) -> Hook:
    where = f"hooks {number}"
    if isinstance(table.get("name"), str):
        where = f"hooks.{table['name']}"
    default = Hook()
    known = {part.name for part in fields(Hook)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise ValueError(f"{where}: unknown key {key}")
        try:
            values[key] = _value(key, value, getattr(default, key))
        except ValueError as error:
            raise ValueError(f"{where}.{key} {error}") from None
    try:
        return _checked(Hook(**values))
    except ValueError as error:
        raise ValueError(f"{where}{error}") from None


def _value(key: str, value: object, default: object) -> object:
    if isinstance(default, tuple):
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValueError("is not a list of strings")
        return tuple(value)
    if isinstance(default, int):
        least = 0 if key == "usual_hours" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"is not a whole number from {least} on")
        if value > _MOST_OF.get(key, value):
            raise ValueError(f"is above {_MOST_OF[key]}")
        return value
    if not isinstance(value, str):
        raise ValueError("is not a string")
    return value


def _checked(hook: Hook) -> Hook:
    if not _NAME.fullmatch(hook.name):
        raise ValueError(".name is not 1 to 40 of a-z, 0-9, _ and -")
    wrong = [kind for kind in hook.on if kind not in KINDS]
    if wrong or not hook.on:
        raise ValueError(f".on has {', '.join(wrong) or 'nothing'}; known: {', '.join(KINDS)}")
    if bool(hook.url) == bool(hook.exec):
        raise ValueError(" wants one of url and exec")
    if hook.url:
        address_of(hook.url)
        if not hook.secret_file:
            raise ValueError(".secret_file is missing: what is sent is signed")
    elif not Path(hook.exec[0]).is_absolute():
        raise ValueError(f".exec begins with no absolute path: {hook.exec[0]!r}")
    if hook.secret_file and not Path(hook.secret_file).is_absolute():
        raise ValueError(".secret_file is no absolute path")
    if ("silence" in hook.on) != bool(hook.usual):
        raise ValueError('.usual names the senders of on = ["silence"]: one wants the other')
    for name in hook.addresses:
        if "@" not in name or name.endswith("@"):
            raise ValueError(f".addresses has no address and no @domain in {name!r}")
    return hook


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a webhook goes."""

    tls: bool
    host: str
    port: int
    target: str  # path and query


def address_of(url: str) -> Address:
    """The parts of a URL: https, or http to this machine. ValueError for another."""
    from urllib.parse import urlsplit

    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(".url has characters that no URL has")
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ValueError(".url has no port between 1 and 65535") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f".url is not https://HOST/...: {url!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(".url has a password in it, and everybody may read this file")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError(
            f".url would send mail data to {parts.hostname} in the clear: write https, or http to"
            " 127.0.0.1"
        )
    tls = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(tls=tls, host=parts.hostname, port=port or (443 if tls else 80), target=target)
