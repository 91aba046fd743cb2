"""``posttrail report``: what happened to mail, newest first.

Exit codes: 0, 1 nothing found, and those of ``errors``. On stderr: ``next: CURSOR``
where more rows follow, and a sentence where nothing was found.
"""

import sys
import time
from typing import TYPE_CHECKING

import click

from posttrail.cli import Globals
from query import export, never, source, text_table
from query.filters import DEFAULT_LIMIT, DIRECTIONS, STATUSES, parse, parse_limit
from query.options import not_older, older_than

if TYPE_CHECKING:
    from query.answers import Answers, Page

FORMATS = ("table", "json", "csv")


@click.command("report")
@click.argument("address", required=False, metavar="[ADDRESS|@DOMAIN]")
@not_older
@older_than
@click.option("--status", default="", metavar="A,B", help=f"Any of {', '.join(STATUSES)}.")
@click.option("--reason", default="", metavar="A,B", help="Any of these reason tokens.")
@click.option("--direction", default="", metavar="A,B", help=f"Any of {', '.join(DIRECTIONS)}.")
@click.option("--sender", metavar="ADDRESS|@DOMAIN", help="Sent by it; '<>' is the null sender.")
@click.option("--recipient", metavar="ADDRESS|@DOMAIN", help="For it, before or after aliases.")
@click.option("--message-id", metavar="ID", help="With this Message-ID.")
@click.option("--queue-id", metavar="ID", help="With this queue id, here or at the next host.")
@click.option("--client-ip", metavar="IP", help="From this client.")
@click.option("--login", metavar="NAME|@DOMAIN", help="Sent under this login.")
@click.option("--text", metavar="WORDS", help="Words in a subject, an address, a reply.")
@click.option("--silent-for", metavar="2h", help="Not final, and nothing heard for so long.")
@click.option("--limit", default=str(DEFAULT_LIMIT), metavar="50|all", help="Rows of a page.")
@click.option("--cursor", metavar="C", help="The page behind this: the 'next' of the one before.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", help="How rows come out."
)
@click.pass_obj
def report(
    options: Globals, /, *, form: str, limit: str, cursor: str | None, **filters: str | None
) -> int:
    """What happened to mail to or from ADDRESS, newest first; without it, to all mail."""
    rows = parse_limit(limit)
    query = parse(filters, now_us=time.time_ns() // 1000)  # what means nothing is said first

    def work(answers: "Answers") -> int:
        page = answers.page(filters, limit=rows, cursor=cursor, count=form == "table")
        code = write(page, form)
        if code and form == "table" and cursor is None and never.asked_by(query):
            found = answers.never(filters)
            if not found.rows:
                for line in never.statement(found):
                    text_table.say(line.strip())
        return code

    return source.ask(options, work)


def write(page: "Page", form: str) -> int:
    """Write a page to stdout, and where the next one begins to stderr."""
    out = sys.stdout
    if form == "json":
        count = export.write_json(page.rows, out)
    elif form == "csv":
        count = export.write_csv(page.rows, out)
    else:
        heading = text_table.heading(page.counts, page.counted, out)
        count = text_table.write_rows(page.rows, out, heading=heading)
    out.flush()
    if not count:
        text_table.say("nothing found")
    if page.next:
        print(f"next: {page.next}", file=sys.stderr)
    return 0 if count else 1
