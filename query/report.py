"""``posttrail report``: what happened to mail, newest first.

Exit codes: 0, 1 nothing found, and those of ``errors``. On stderr: ``next: CURSOR``
where more rows follow, and a sentence where nothing was found.
"""

import os
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address

import click

from journal import address
from journal.records import REASONS, Direction, Status
from posttrail.cli import Globals
from posttrail.errors import UsageError
from query import export, local, text_table, when
from query.local import Local, Page
from query.match import Query
from query.scope import Scope

FORMATS = ("table", "json", "csv")
DEFAULT_LIMIT = 50

_STATUSES = {status.token: int(status) for status in Status}
_DIRECTIONS = {way.token: int(way) for way in Direction}


@click.command("report")
@click.argument("address", required=False, metavar="[ADDRESS|@DOMAIN]")
@click.option("--since", default="", metavar="TIME", help="Not older: 30d, a date, RFC 3339.")
@click.option("--until", default="", metavar="TIME", help="Older than this.")
@click.option("--status", default="", metavar="A,B", help=f"Any of {', '.join(_STATUSES)}.")
@click.option("--reason", default="", metavar="A,B", help="Any of these reason tokens.")
@click.option("--direction", default="", metavar="A,B", help=f"Any of {', '.join(_DIRECTIONS)}.")
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
    query = parse(filters, now_us=time.time_ns() // 1000)
    rows = parse_limit(limit)

    def work(source: Local) -> int:
        counted = form == "table"
        page = source.page(query, Scope.all(), limit=rows, cursor=cursor, count=counted)
        return write(page, form)

    return local.read(options, work)


def write(page: Page, form: str) -> int:
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


def parse(filters: dict[str, str | None], *, now_us: int) -> Query:
    """The query that the options of a report spell."""

    def given(name: str, meaning: Callable[[str], bytes]) -> bytes | None:
        text = filters[name]
        return None if text is None else meaning(text)

    silent, text = filters["silent_for"], filters["text"]
    return Query(
        window=when.window(filters["since"] or "", filters["until"] or "", now_us=now_us),
        address=given("address", mailbox),
        sender=given("sender", sender),
        recipient=given("recipient", mailbox),
        login=given("login", mailbox),
        message_id=given("message_id", lambda id: os.fsencode(id.strip("<> "))),
        queue_id=given("queue_id", os.fsencode),
        client_ip=given("client_ip", client_ip),
        text=text.casefold() if text else None,
        statuses=frozenset(_tokens(filters["status"], _STATUSES, "status").values()),
        reasons=frozenset(_tokens(filters["reason"], dict.fromkeys(REASONS, 0), "reason")),
        directions=frozenset(_tokens(filters["direction"], _DIRECTIONS, "direction").values()),
        silent_for_us=None if silent is None else when.duration(silent),
        now_us=now_us,
    )


def parse_limit(text: str) -> int | None:
    """How many rows; None is all."""
    if text == "all":
        return None
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise UsageError(f"{text!r} is no limit; write a number above 0, or all")
    return int(text)


def mailbox(text: str) -> bytes:
    """A mailbox, folded, or a domain with its "@"."""
    name = sender(text)
    if name in (b"", b"@"):
        raise UsageError(f"{text!r} is no address and no @domain")
    return name


def sender(text: str) -> bytes:
    """A mailbox or domain, or nothing: the null sender."""
    raw = os.fsencode(text.strip())
    return b"@" + address.fold_domain(raw) if raw[:1] == b"@" else address.fold(raw)


def client_ip(text: str) -> bytes:
    """An IP address in its usual spelling (RFC 5952)."""
    try:
        return str(ip_address(text.strip())).encode()
    except ValueError:
        raise UsageError(f"{text!r} is no IP address") from None


def _tokens(text: str | None, known: dict[str, int], what: str) -> dict[str, int]:
    """The tokens of a comma-separated list, each with its number."""
    wanted = [token.strip() for token in (text or "").split(",") if token.strip()]
    for token in wanted:
        if token not in known:
            raise UsageError(f"unknown {what} {token!r}; known: {', '.join(known)}")
    return {token: known[token] for token in wanted}
