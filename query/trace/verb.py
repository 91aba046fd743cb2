"""``posttrail trace ADDRESS``: the path mail will take, and what became of the last mails.

posttrail-traced is asked where its socket is there and we may; else the walk is our own. Exit
codes: 0 ok or discarded; 1 temporary or unknown; 2 permanent, rejected at SMTP or a loop; 64 no
address; 69 no mail server; and those of ``errors``.
"""

import socket
import sys
from dataclasses import replace
from typing import Final

import click

from posttrail import process
from posttrail.cli import Globals
from posttrail.errors import PosttrailError
from query import text_table
from query.options import text_or_json
from query.trace import asked, choose, document
from query.trace.ask import NobodyError, ask
from query.trace.tree import Question, Trace, Verdict

CODES: Final = {
    Verdict.OK: 0,
    Verdict.DISCARDED: 0,
    Verdict.UNKNOWN: 1,
    Verdict.TEMPORARY: 1,
    Verdict.PERMANENT: 2,
    Verdict.LOOP: 2,
    Verdict.REJECTED_AT_SMTP: 2,
}


@click.command("trace")
@click.argument("address", metavar="ADDRESS")
@click.option("--from", "sender", metavar="SENDER", help="The sender; <> is the null sender.")
@click.option(
    "--entry",
    type=click.Choice(asked.ENTRIES),
    default="smtp",
    help="Where the mail comes in.",
)
@click.option("--probe", is_flag=True, help="Ask the remote hosts, too; no mail is sent.")
@text_or_json
@click.pass_obj
def trace(
    options: Globals, /, address: str, sender: str | None, entry: str, *, probe: bool, form: str
) -> int:
    """The path that mail to ADDRESS will take: aliases, tables, hosts, and the last outcomes."""
    question = asked.question(address, sender, entry)
    found, second_best = answer(options, question)

    def work() -> int:
        _show(_probed(options, _with_history(options, found), wanted=probe), form)
        return CODES[found.root.verdict]

    try:
        code = process.in_child(work, journal=options.journal)
    except process.JournalDamagedError as error:  # before anything was shown
        _show(_probed(options, _without(found, str(error)), wanted=probe), form)
        code = CODES[found.root.verdict]
    if second_best:
        text_table.say(second_best)
    return code


def answer(options: Globals, question: Question) -> tuple[Trace, str]:
    """The trace, and what is to be said where it is not the daemon's that should be there."""
    try:
        return ask(options.config.trace.socket, question), ""
    except NobodyError as error:
        found = choose.walker(options.config.trace).trace(question)
        return found, "" if error.absent else f"{error}; this process has walked by itself"


def _with_history(options: Globals, found: Trace) -> Trace:
    """With the last outcomes of the journal; where that cannot be read, it says so."""
    if options.socket is not None:
        return _without(found, "the journal is not read where --socket is given")
    from journal.reader import Reader
    from query.scope import Scope
    from query.trace import history

    try:
        with Reader.open(options.journal) as reader:
            return history.beside(found, history.newest(reader, Scope.all()))
    except PosttrailError as error:
        return _without(found, str(error))


def _without(found: Trace, why: str) -> Trace:
    return replace(found, warnings=(*found.warnings, f"no history: {why}"))


def _probed(options: Globals, found: Trace, *, wanted: bool) -> Trace:
    """With the answers of the remote hosts."""
    if not wanted:
        return found
    from query.trace.probe import How, probed

    helo, source = socket.getfqdn(), ""
    if found.mta.startswith(choose.POSTFIX):
        from posttrail.postconf import SettingsCache

        settings = SettingsCache(options.config.trace.config).read()
        helo = settings.get("smtp_helo_name", "smtp/unix") or helo
        source = settings.get("smtp_bind_address", "smtp/unix")
    return probed(found, How(helo=helo, source=source))


def _show(found: Trace, form: str) -> None:
    if form == "json":
        sys.stdout.write(document.line(found))
    else:
        from query.trace import draw

        draw.write(found, sys.stdout)
