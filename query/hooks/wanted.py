"""A hook of the configuration as it is used: whose mail, which rows, and what of them is sent.

Raises ConfigError, naming the hook and the key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from journal.records import Message, Recipient
from posttrail.config import Config
from posttrail.errors import ConfigError, UsageError
from posttrail.hook import Hook
from query import match, rows
from query.filters import parse
from query.hooks.silence import Usual
from query.scope import Scope

_AS_LIST: Final = ("direction", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One hook."""

    hook: Hook
    scope: Scope
    kinds: frozenset[str]
    digest: str  # of what it asks for and where it goes: another one begins anew
    usual: tuple[Usual, ...]
    fits: Callable[[Message, Recipient], bool]  # of a message and row as the scope sees them

    @property
    def name(self) -> str:
        """The hook's."""
        return self.hook.name


def of_config(settings: Config) -> list[Wanted]:
    """All hooks there are."""
    return [_made(hook, settings) for hook in settings.hooks]


def _made(hook: Hook, settings: Config) -> Wanted:
    delimiters = settings.query.delimiters
    for name in hook.fields:
        if name not in rows.FIELDS:
            raise ConfigError(
                f"hooks.{hook.name}.fields has {name!r}; known: {', '.join(rows.FIELDS)}"
            )
    try:
        return Wanted(
            hook=hook,
            scope=_scope(hook, delimiters),
            kinds=frozenset(hook.on),
            digest=_digest(hook),
            usual=tuple(Usual.of(text) for text in hook.usual),
            fits=_fits(hook, delimiters),
        )
    except (UsageError, ValueError) as error:
        raise ConfigError(f"hooks.{hook.name}: {error}") from None


def _scope(hook: Hook, delimiters: bytes) -> Scope:
    if not hook.addresses:
        return Scope.all(delimiters=delimiters)
    names = [name.encode() for name in hook.addresses]
    return Scope.of(
        domains=[name[1:] for name in names if name[:1] == b"@"],
        mailboxes=[name for name in names if name[:1] != b"@"],
        delimiters=delimiters,
    )


def _fits(hook: Hook, delimiters: bytes) -> Callable[[Message, Recipient], bool]:
    asked = {
        "recipient": hook.recipient or None,
        "sender": hook.sender or None,
        **{name: ",".join(getattr(hook, name)) or None for name in _AS_LIST},
    }
    query = parse(asked, now_us=0, delimiters=delimiters)
    row_fits, sender = match.row_test(query), query.sender

    def fits(message: Message, row: Recipient) -> bool:
        if sender is not None and (
            message.sender is None or not match.names(sender, message.sender, delimiters)
        ):
            return False
        return row_fits(message, row)

    return fits


def _digest(hook: Hook) -> str:
    where = (hook.url, hook.exec)
    what = (
        hook.on, hook.addresses, hook.sender, hook.recipient, hook.direction, hook.reason,
        hook.usual,
    )  # fmt: skip
    return blake2b(repr((where, what)).encode(), digest_size=16).hexdigest()
