"""``posttrail explain CODE|TEXT``: a reply in plain words, without asking anybody.

Exit codes: 0, 1 where nothing is known of it, and those of ``errors``.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict

import click

from posttrail.cli import Globals
from posttrail.errors import UsageError
from posttrail.text import safe
from query import export, text_table
from query.explain import Explanation, explain
from query.options import text_or_json


@click.command("explain")
@click.argument("words", nargs=-1, required=True, metavar="CODE|TEXT")
@text_or_json
@click.pass_obj
def verb(_options: Globals, /, words: tuple[str, ...], form: str) -> int:
    """What a reply means: an enhanced status code, a reply code, or the text of a server."""
    text = " ".join(words).strip()
    if not text:
        raise UsageError("nothing to explain; name a code such as 5.1.1, or the text of a reply")
    found = explain(text)
    if found is None:
        text_table.say(f"no explanation is known of {safe(text)}")
        return 1
    if form == "json":
        sys.stdout.write(export.json_line(asdict(found), sys.stdout))
    else:
        sys.stdout.writelines(lines(found))
    return 0


def lines(found: Explanation) -> Iterator[str]:
    """The explanation for eyes."""
    said = (
        ("code", found.code and f"{found.code} {found.outcome or ''}".strip()),
        ("text of", found.who),
        ("meaning", found.says),
        ("next", found.next),
    )
    yield from text_table.aligned([(name, value) for name, value in said if value])
