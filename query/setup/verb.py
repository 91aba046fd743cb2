"""``posttrail setup``: show what Postfix needs to have posttrail as a milter; apply it, undo it.

Exit codes: 0, 69 where mail does not flow (main.cf is then as it was) or Postfix is not there, 77
without root, 78 where Postfix cannot read its own configuration.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from posttrail.cli import Globals
from posttrail.errors import RefusedError, UnavailableError, UsageError
from posttrail.postconf import Settings
from posttrail.text import safe
from query import export
from query.options import text_or_json
from query.setup import plan, work
from query.setup.mailer import Mailer
from query.setup.plan import Change, Plan
from query.setup.proof import Proof
from query.setup.work import Done, Place

SENDMAIL_MC: Final = Path("/etc/mail/sendmail.mc")


@click.command("setup")
@click.option("--apply", "applies", is_flag=True, help="Change main.cf, and reload Postfix.")
@click.option("--undo", "undoes", is_flag=True, help="Take back what --apply did.")
@click.option("--postfix-config", default="", metavar="DIR", help="As postconf -c.")
@click.option("--test-mail", default="postmaster", metavar="ADDRESS", help="Who gets it.")
@click.option("--no-test-mail", is_flag=True, help="Do not prove that mail flows.")
@text_or_json
@click.pass_obj
def setup(
    options: Globals,
    /,
    applies: bool,
    undoes: bool,
    postfix_config: str,
    test_mail: str,
    no_test_mail: bool,
    form: str,
) -> int:
    """Show the lines of main.cf that posttrail needs; --apply them, --undo them."""
    if applies and undoes:
        raise UsageError("--apply and --undo exclude each other")
    if not postfix_config and shutil.which("postconf") is None and SENDMAIL_MC.exists():
        sys.stdout.writelines(_sendmail(options.config.milter.socket))
        return 0
    mailer = Mailer(postfix_config)
    settings = mailer.settings()
    place = Place(
        mailer=mailer,
        ours=plan.endpoint(options.config.milter.socket, settings.get("queue_directory")),
        file=options.config.milter.spool.parent / "setup.json",
        spool=options.config.milter.spool,
        recipient=None if no_test_mail else test_mail,
    )
    wanted = plan.plan(settings, mailer.written(), place.ours)
    if undoes:
        return _tell(_done(place, None), Plan(changes=(), notes=()), place, settings, form)
    if not applies and form == "text":
        sys.stdout.writelines(lines(wanted, mailer, settings))
        applies = bool(wanted.changes) and _asks(place)
        if not applies:
            return 0
    done = _done(place, wanted) if applies and wanted.changes else None
    return _tell(done, wanted, place, settings, form)


def _done(place: Place, wanted: Plan | None) -> Done:
    if os.geteuid() != 0:
        raise RefusedError("setup changes main.cf: run it as root")
    try:
        return work.undo(place) if wanted is None else work.apply(place, wanted.changes)
    except OSError as error:
        raise UnavailableError(f"{error.filename}: {error.strerror}") from None


def _asks(place: Place) -> bool:
    """On a terminal, ask; elsewhere say how it is done."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return click.confirm(f"Change {place.mailer.main_cf} so?", default=False)
    print("Nothing is changed. To do it: posttrail setup --apply", file=sys.stderr)
    return False


def _tell(done: Done | None, wanted: Plan, place: Place, settings: Settings, form: str) -> int:
    if form == "json":
        told = document(done, wanted, place, settings)
        sys.stdout.write(export.json_line(told, sys.stdout))
    elif done is None:
        sys.stdout.writelines(lines(wanted, place.mailer, settings))
    else:
        sys.stdout.writelines(_result(done, wanted, place))
    return 0


def document(
    done: Done | None, wanted: Plan, place: Place, settings: Settings
) -> dict[str, object]:
    """The document of ``setup`` (docs/schema/setup.json)."""
    return {
        "postfix": settings.version,
        "directory": str(place.mailer.directory),
        "done": done is not None,
        "changes": [asdict(each) for each in (done or wanted).changes],
        "notes": list(wanted.notes),
        "mail_before": None if done is None or done.before is None else asdict(done.before),
        "mail_after": None if done is None or done.after is None else asdict(done.after),
        "seen_by_milter": None if done is None else done.seen,
    }


def lines(wanted: Plan, mailer: Mailer, settings: Settings) -> Iterator[str]:
    """What would be changed, for people."""
    yield f"Postfix {settings.version}, {mailer.main_cf}\n"
    for change in wanted.changes:
        yield from _change(change)
    if not wanted.changes:
        yield "\nNothing to do: posttrail is asked as it should be.\n"
    for note in (*wanted.notes, *map(_other, mailer.others())):
        yield f"\nNote: {safe(note)}.\n"
    if wanted.changes:
        yield "\n"


def _change(change: Change) -> Iterator[str]:
    yield f"\n# {change.why}\n"
    if change.before is not None:
        yield f"- {change.name} = {safe(change.before)}\n"
    if change.after is not None:
        yield f"+ {change.name} = {safe(change.after)}\n"


def _other(directory: str) -> str:
    return f"another instance is set up with --postfix-config {directory}"


def _result(done: Done, wanted: Plan, place: Place) -> Iterator[str]:
    for change in done.changes:
        yield from _change(change)
    yield f"\n{place.mailer.main_cf} is changed.\n" if done.changes else "Nothing to take back.\n"
    if done.before is not None:
        yield _flow("before", done.before)
    if done.after is not None:
        yield _flow("after", done.after)
    elif done.changes:
        yield "Postfix does not run, or no test mail was wanted: not proven that mail flows.\n"
    if done.seen:
        yield "posttrail-milterd saw it.\n"
    elif done.seen is False:
        yield "posttrail-milterd did not see it: systemctl enable --now posttrail-milterd\n"
    for note in wanted.notes:
        yield f"Note: {safe(note)}.\n"


def _flow(when: str, proof: Proof) -> str:
    flows = "mail flows" if proof.flows else "MAIL DOES NOT FLOW"
    return f"{flows} {when}: {safe(proof.said)}\n"


def _sendmail(socket: str) -> Iterator[str]:
    kind, _, where = socket.partition(":")
    spec = f"local:{where}" if kind == "unix" else socket
    yield "Sendmail: behind all other INPUT_MAIL_FILTER lines of sendmail.mc\n\n"
    yield f"INPUT_MAIL_FILTER(`posttrail', `S={spec}, F=, T=C:2s;S:5s;R:5s;E:5s')dnl\n\n"
    yield "then make sendmail.cf of it and restart Sendmail. posttrail changes nothing here.\n"
