"""``posttrail token add|list|revoke``: tokens with which programs ask posttrail-queryd.

They are written into posttrail-queryd's own state by root or its user; it need not run. Exit
codes: 0, 1 no such token, and those of ``errors``.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

import click

from posttrail.cli import Globals
from posttrail.errors import RefusedError, UsageError
from posttrail.text import rfc3339, safe
from query import export, text_table
from query.httpd.state import State
from query.httpd.tokens import Token, Tokens
from query.options import text_or_json
from query.when import duration

LIFETIME: Final = "90d"
LONGEST_S: Final = 3650 * 86400


@click.group("token")
def verb() -> None:
    """Make, list and revoke tokens for programs."""


@verb.command("add")
@click.option(
    "--scope",
    required=True,
    metavar="A,B|operator|links|metrics",
    help="Addresses and @domains; operator: all mail; links: makes links; metrics: reads metrics.",
)
@click.option("--label", default="", metavar="WORDS", help="What it is for.")
@click.option("--expires", default=LIFETIME, metavar="90d", help="How long it is good.")
@click.pass_obj
def add(options: Globals, /, *, scope: str, label: str, expires: str) -> int:
    """Make a token; it is printed now, and never again."""
    lifetime_s = duration(expires) // 1_000_000
    if not 0 < lifetime_s <= LONGEST_S:
        raise UsageError(f"{expires!r}: a token is good for a second at least, and 3650d at most")
    with _tokens(options) as tokens:
        _, text = tokens.add(scope, label=label, lifetime_s=lifetime_s)
    print(text)
    text_table.say("keep it: it cannot be shown again; send it as Authorization: Bearer TOKEN")
    return 0


@verb.command("list")
@text_or_json
@click.pass_obj
def list_(options: Globals, /, *, form: str) -> int:
    """Every token, the oldest first, without its secret."""
    with _tokens(options) as tokens:
        found = tokens.all()
    if form == "json":
        for each in found:
            sys.stdout.write(export.json_line(_document(each), sys.stdout))
    elif found:
        heading = ("id", "scope", "expires", "last use", "revoked", "label")
        sys.stdout.writelines(text_table.aligned([heading, *map(_line, found)]))
    return 0


@verb.command("revoke")
@click.argument("id")
@click.pass_obj
def revoke(options: Globals, /, id: str) -> int:
    """End a token at once."""
    name = id.removeprefix("pt_").partition("_")[0]
    with _tokens(options) as tokens:
        if tokens.revoke(name):
            return 0
    text_table.say(f"no token {safe(name)} that was not revoked; see: posttrail token list")
    return 1


@contextmanager
def _tokens(options: Globals) -> Iterator[Tokens]:
    """The tokens of the configured state."""
    query = options.config.query
    try:
        query.state.stat()
        query.state.open("ab").close()
    except PermissionError:
        raise RefusedError(
            f"no permission on {query.state}: run as root or as the user of posttrail-queryd"
        ) from None
    except OSError:
        pass  # the state says it better
    state = State(query.state, create=False)
    try:
        yield Tokens(state, delimiters=query.delimiters)
    finally:
        state.close()


def _document(token: Token) -> dict[str, object]:
    """The token as JSON has it, its times as RFC 3339."""
    found = asdict(token)
    return {name.removesuffix("_s"): _time(name, value) for name, value in found.items()}


def _time(name: str, value: object) -> object:
    return rfc3339(value * 1_000_000) if name.endswith("_s") and isinstance(value, int) else value


def _line(token: Token) -> tuple[str, ...]:
    times = (token.expires_s, token.used_s, token.revoked_s)
    shown = ("-" if at is None else text_table.local_us(at * 1_000_000) for at in times)
    return token.id, safe(token.scope), *shown, safe(token.label)
