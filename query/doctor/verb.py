"""``posttrail doctor``: what is wrong with this installation, and the command that mends it.

Exit codes: 0 no problem was found; 1 one was; 64 usage; and those of ``errors`` for the
configuration. Nothing is changed; a mail is sent only with ``--send``.
"""

import os
import sys
import time
from pathlib import Path
from typing import Final

import click

from posttrail import config
from posttrail.cli import Globals
from posttrail.errors import UsageError
from query import export, text_table
from query.doctor import draw
from query.doctor.examine import examine, share
from query.doctor.finding import State
from query.doctor.names import FAMILIES
from query.doctor.place import Place, found, is_root
from query.options import text_or_json

LIMIT_S: Final = 30.0
FULL_S: Final = 3600.0


@click.command("doctor")
@click.option(
    "--only", multiple=True, type=click.Choice(FAMILIES), help="This family of checks; repeatable."
)
@click.option("--full", is_flag=True, help="Check every day of the journal.")
@click.option("--send", metavar="ADDRESS", default="", help="Send a test message, and wait for it.")
@click.option(
    "--deadline", type=click.FloatRange(min=1.0), metavar="SECONDS", help="End after so long."
)
@text_or_json
@click.pass_obj
def doctor(
    options: Globals,
    /,
    only: tuple[str, ...],
    *,
    full: bool,
    send: str,
    deadline: float | None,
    form: str,
) -> int:
    """Find what is wrong with this installation, and the command that mends it."""
    if options.socket is not None:
        raise UsageError("doctor looks at this machine itself: it takes no --socket")
    if send and not _is_address(send):
        raise UsageError(f"--send {send}: not an address")
    until = time.monotonic() + (deadline or (FULL_S if full else LIMIT_S))
    place = place_of(options, until=until, send=send, full=full)
    findings = examine(place, only or FAMILIES, until=until)
    if form == "json":
        told = draw.document(findings, now_us=place.now_us, mta=mta_name(place), root=is_root())
        sys.stdout.write(export.json_line(told, sys.stdout))
    else:
        draw.write(findings, sys.stdout)
    hidden = [each.check for each in findings if each.needs_root]
    if hidden:
        text_table.say(f"only root can check {', '.join(dict.fromkeys(hidden))}")
    return int(any(each.state is State.PROBLEM for each in findings))


def mta_name(place: Place) -> str:
    """``postfix 3.7.11``, ``exim``."""
    return f"{place.mta} {place.postfix.version}" if place.postfix else place.mta


def place_of(options: Globals, *, until: float, send: str = "", full: bool = False) -> Place:
    """What is to be looked at, as the options and the environment say; in time, or without it."""
    mta, postfix, why_not = found(options.config.trace, until=share(until))
    return Place(
        config=options.config,
        journal=options.journal,
        now_us=time.time_ns() // 1000,
        config_file=options.config_file
        or Path(os.environ.get(config.VARIABLE) or config.DEFAULT_PATH),
        mta=mta,
        postfix=postfix,
        why_not=why_not,
        full=full,
        send=send,
    )


def _is_address(text: str) -> bool:
    """Something, an at sign, a domain; nothing that ends a line of SMTP."""
    local, at, domain = text.rpartition("@")
    return bool(local and at and domain) and text.isprintable() and not set(text) & set(" <>")
