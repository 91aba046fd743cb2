"""``posttrail link ADDRESS``: a link that opens the page of one mailbox, once, within 5 minutes.

posttrail-queryd makes it, for operators and for the logins of query.link_logins. Exit codes: 0, and
those of ``errors``.
"""

import sys
from dataclasses import asdict, dataclass

import click

from posttrail.cli import Globals
from posttrail.errors import UsageError
from query import export
from query.options import text_or_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What ``POST /v1/links`` answers."""

    address: str
    url: str
    expires: str


@click.command("link")
@click.argument("address")
@text_or_json
@click.pass_obj
def verb(options: Globals, /, address: str, form: str) -> int:
    """A link that opens the page of ADDRESS, once, within 5 minutes."""
    from query.remote import Remote

    if options.journal_named:
        raise UsageError("posttrail-queryd makes links: name its --socket, or no --journal")
    asked = Remote(options.socket or options.config.query.socket)
    made = asked.post(Made, "/v1/links", {"address": address})
    if form == "json":
        sys.stdout.write(export.json_line(asdict(made), sys.stdout))
    else:
        print(made.url)
    return 0
