"""``posttrail setup``: show what Postfix needs to have posttrail as a milter; apply it, undo it.

Exit codes: 0; 64 with --apply where another mail server runs; 69 where mail does not flow (main.cf
is then as it was), or no mail server is there; 77 without root; 78 where Postfix cannot read its
own configuration.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from posttrail.cli import Globals
from posttrail.errors import RefusedError, UnavailableError, UsageError
from posttrail.postconf import Settings
from posttrail.text import safe
from query import export
from query.doctor import mta_sendmail
from query.doctor.place import EXIM, POSTFIX, SENDMAIL, mta_of
from query.options import text_or_json
from query.setup import kept, plan, work
from query.setup.mailer import Mailer
from query.setup.plan import Change, Ours, Plan
from query.setup.proof import Proof
from query.setup.work import Done, Place

_OTHERS: Final = (SENDMAIL, EXIM)


@click.command("setup")
@click.option("--apply", "applies", is_flag=True, help="Change main.cf, and reload Postfix.")
@click.option("--undo", "undoes", is_flag=True, help="Take back what --apply did.")
@click.option("--postfix-config", default="", metavar="DIR", help="As postconf -c.")
@click.option("--state", default="", metavar="FILE", help="Where what was is kept.")
@click.option("--test-mail", default="", metavar="ADDRESS", help="Who gets it: nobody.")
@click.option("--no-test-mail", is_flag=True, help="Do not prove that mail flows.")
@text_or_json
@click.pass_obj
def setup(
    options: Globals,
    /,
    applies: bool,
    undoes: bool,
    postfix_config: str,
    state: str,
    test_mail: str,
    no_test_mail: bool,
    form: str,
) -> int:
    """Show the lines of main.cf that posttrail needs; --apply them, --undo them."""
    if applies and undoes:
        raise UsageError("--apply and --undo exclude each other")
    settings = options.config
    mta, why = (POSTFIX, "") if postfix_config else mta_of(settings.trace)
    if mta in _OTHERS:
        return _other_mta(mta, settings.milter.socket, applies=applies, form=form)
    if not mta:
        raise UnavailableError(why)
    file = Path(state) if state else settings.milter.spool.parent / "setup.json"

    def place(directory: str) -> Place:
        mailer = Mailer(directory)
        queue = Path(mailer.settings().get("queue_directory"))
        return Place(
            mailer=mailer,
            ours=Ours(socket=settings.milter.socket, queue=queue),
            file=file,
            spool=settings.milter.spool,
            test_mail=not no_test_mail,
            recipient=test_mail,
        )

    if undoes:
        _root_only()
        first = place(postfix_config or settings.trace.config)
        known = [] if postfix_config else kept.directories(file)
        others = sorted(set(known) - {str(first.mailer.directory)})
        return _undo([first, *map(place, others)], form)
    return _set_up(place(postfix_config or settings.trace.config), applies, form)


def _set_up(place: Place, applies: bool, form: str) -> int:
    """Show it, and do it where that is wanted."""
    settings = place.mailer.settings()
    wanted = plan.plan(settings, place.mailer.written(), place.ours)
    if not applies and form == "text":
        sys.stdout.writelines(lines(wanted, place.mailer, settings))
        applies = bool(wanted.changes) and _asks(place)
        if not applies:
            return 0
    if applies:
        _root_only()
    if applies and (wanted.changes or work.is_unfinished(place)):
        with _errors_of_files():
            done = work.apply(place, wanted.changes)
        return _tell(done, wanted, place, settings, form)
    return _tell(None, wanted, place, settings, form)


def _undo(instances: Iterable[Place], form: str) -> int:
    """Take it back: in the instance that was named, else in all that were set up."""
    for each in instances:
        with _errors_of_files():
            done = work.undo(each)
        _tell(done, Plan(changes=(), notes=()), each, each.mailer.settings(), form)
        if done.after is not None and not done.after.flows:
            raise UnavailableError(f"it is taken back, but mail does not flow: {done.after.said}")
    return 0


def _root_only() -> None:
    if os.geteuid() != 0:
        raise RefusedError("setup changes main.cf: run it as root")


@contextmanager
def _errors_of_files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{error.filename}: {error.strerror}") from None


def _asks(place: Place) -> bool:
    """On a terminal, ask; elsewhere say how it is done."""
    if sys.stdin.isatty() and sys.stdout.isatty() and os.geteuid() == 0:
        return click.confirm(f"Change {place.mailer.main_cf} so?", default=False)
    print("Nothing is changed. To do it, as root: posttrail setup --apply", file=sys.stderr)
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
    for note in (*wanted.notes, *map(_instance, mailer.others())):
        yield f"\nNote: {safe(note)}.\n"
    if wanted.changes:
        yield "\n"


def _change(change: Change) -> Iterator[str]:
    yield f"\n# {change.why}\n"
    if change.before is not None:
        yield f"- {change.name} = {safe(change.before)}\n"
    if change.after is not None:
        yield f"+ {change.name} = {safe(change.after)}\n"


def _instance(directory: str) -> str:
    name = Mailer(directory).name()
    called = f" ({name})" if name else ""
    return f"the instance{called} in {directory} is set up with --postfix-config {directory}"


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
        yield (
            "posttrail-milterd does not run; mail flows without it, and the log alone is read:"
            " systemctl enable --now posttrail-milterd\n"
        )
    for note in wanted.notes:
        yield f"Note: {safe(note)}.\n"


def _flow(when: str, proof: Proof) -> str:
    flows = "mail flows" if proof.flows else "MAIL DOES NOT FLOW"
    return f"{flows} {when}: {safe(proof.said)}\n"


def _other_mta(mta: str, socket: str, *, applies: bool, form: str) -> int:
    """What somebody with another mail server does by hand."""
    told = list(_sendmail(socket) if mta == SENDMAIL else _exim())
    if form == "json":
        nothing = {"done": False, "mail_before": None, "mail_after": None, "seen_by_milter": None}
        notes = [line.strip() for line in told if line.strip()]
        document = {"postfix": "", "directory": "", "changes": [], "notes": notes, **nothing}
        sys.stdout.write(export.json_line(document, sys.stdout))
    else:
        sys.stdout.writelines(told)
    if applies:
        raise UsageError(f"setup changes Postfix only; this is {mta.capitalize()}")
    return 0


def _sendmail(socket: str) -> Iterator[str]:
    yield "Sendmail: behind all other INPUT_MAIL_FILTER lines of sendmail.mc\n\n"
    yield f"{mta_sendmail.written('posttrail', socket)}\n\n"
    yield "then make sendmail.cf of it and restart Sendmail. posttrail changes nothing here.\n"


def _exim() -> Iterator[str]:
    yield "Exim asks no milter: its main log alone is read. Name it in [log] of posttrail.toml.\n"
