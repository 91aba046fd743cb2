"""posttrail(1): the global options and the table of verbs, each imported on use.

A verb is a click command that takes ``Globals`` as its object and returns an
exit code. It raises PosttrailError for what it cannot do; see ``process`` for
what becomes of that, and docs/man/posttrail.1 for all options and exit codes.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO, cast

import click

from posttrail import __version__, config, process
from posttrail.errors import UsageError


class Verb(NamedTuple):
    """Where a verb's command is, and what ``--help`` says of it."""

    place: str  # "module:command"
    does: str


VERBS: Final[dict[str, Verb]] = {
    "import": Verb("milterd.track.importer:import_", "Read mail logs into the journal."),
    "report": Verb("query.report:report", "What happened to mail, newest first."),
    "show": Verb("query.show:show", "One message with all that is known of it."),
    "stats": Verb("query.stats:stats", "Count rows by status, domain or hour."),
    "summary": Verb("query.summary:summary", "What was sent, by domain, login or sender."),
    "never": Verb("query.never:never", "Whether mail never reached this server."),
    "watch": Verb("query.watch:watch", "Rows as they appear and change."),
    "coverage": Verb("query.coverage:coverage", "When capture was up, and the gaps."),
    "explain": Verb("query.explain_verb:verb", "What a reply means, in plain words."),
    "explain-line": Verb("milterd.track.explain_line:verb", "What a log line is understood as."),
    "check": Verb("query.check:check", "Read the whole journal and name damage."),
    "rebuild": Verb("milterd.track.rebuild_verb:rebuild", "Fill a damaged day again."),
    "prune": Verb("milterd.track.prune_verb:prune", "Drop the oldest days."),
    "backup": Verb("milterd.track.backup_verb:backup", "Copy the journal while it is written."),
    "restore": Verb("milterd.track.backup_verb:restore", "Put a backup in place."),
    "erase": Verb("milterd.track.erase_verb:erase", "Forget an address."),
    "trace": Verb("query.trace.verb:trace", "The path that mail to an address will take."),
    "token": Verb("query.token_verb:verb", "Make, list and revoke tokens for programs."),
    "link": Verb("query.link_verb:verb", "A link that opens one mailbox's page, once."),
    "audit": Verb("query.audit_verb:verb", "Who looked at whose mail."),
    "setup": Verb("query.setup.verb:setup", "The lines that Postfix needs: show, apply, undo."),
    "doctor": Verb("query.doctor.verb:doctor", "What is wrong here, and what mends it."),
    "hooks": Verb("query.hooks.verb:verb", "What other programs are still to be told."),
    "run": Verb("posttrail.run:run", "Run the programs in the foreground."),
    "demo": Verb("posttrail.demo.main:demo", "Try it out on a private Postfix."),
}


BESIDE: Final = ("query.forget:queryd", "query.forget:hookd")
"""What of ``erase`` is the readers' work: writers and readers import nothing of each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Globals:
    """What the options before the verb, the environment and the file say together."""

    journal: Path
    socket: Path | None  # asked for instead of the journal
    config: config.Config
    journal_named: bool = False  # by --journal or the environment: nothing else is to be asked
    config_file: Path | None = None  # as named by --config


def reach(place: str) -> Any:
    """What has a place of this table, "module:name"; imported now."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


class _Verbs(click.Group):
    """The verb table as a click group; ``--help`` of the group imports no verb."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        return cast(click.Command, reach(verb.place))

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.does) for name, verb in VERBS.items()])


@click.group(
    cls=_Verbs,
    no_args_is_help=False,
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--journal", metavar="DIR", help="Read this journal ($POSTTRAIL_JOURNAL).")
@click.option("--socket", metavar="PATH", help="Ask posttrail-queryd there ($POSTTRAIL_SOCKET).")
@click.option("--config", "file", metavar="FILE", help="Configuration file ($POSTTRAIL_CONFIG).")
@click.version_option(__version__, prog_name="posttrail", message="%(prog)s %(version)s")
@click.pass_context
def posttrail(
    context: click.Context, journal: str | None, socket: str | None, file: str | None
) -> None:
    """What happened to that message? The delivery tracker for Postfix."""
    context.obj = settle(journal, socket, file)


def settle(journal: str | None, socket: str | None, file: str | None) -> Globals:
    """Option beats environment beats configuration; a journal and a socket exclude each other."""
    if journal and socket:
        raise UsageError("--journal and --socket exclude each other")
    if not journal and not socket:
        journal = os.environ.get("POSTTRAIL_JOURNAL")
        socket = os.environ.get("POSTTRAIL_SOCKET")
        if journal and socket:
            raise UsageError("POSTTRAIL_JOURNAL and POSTTRAIL_SOCKET exclude each other")
    named = Path(file) if file else None
    settings = config.load(named)
    return Globals(
        journal=Path(journal) if journal else settings.journal.directory,
        socket=Path(socket) if socket else None,
        config=settings,
        journal_named=bool(journal),
        config_file=named,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    sys.stdout, sys.stderr = _or_nothing(sys.stdout), _or_nothing(sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a locale may lack the letters of an address
            stream.reconfigure(errors="backslashreplace")
    return process.outcome(lambda: _called(arguments))


def _or_nothing(stream: TextIO | None) -> TextIO:
    """The stream; where the caller closed it, one that takes its descriptor and leads nowhere."""
    return stream or open(os.devnull, "w")


def _called(arguments: Sequence[str] | None) -> int:
    try:
        code = posttrail.main(arguments, prog_name="posttrail", standalone_mode=False)
    except click.Abort:
        return process.EX_INTERRUPTED
    except click.ClickException as error:
        raise UsageError(" ".join(error.format_message().split())) from None
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
