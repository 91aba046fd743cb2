"""Whose path is drawn: the mail server that runs here, or that the configuration names.

``auto`` takes the one that runs; where none does, the one that is installed; Postfix before
Sendmail before Exim. The command ``sendmail`` of Postfix and others is not Sendmail. Raises
UnavailableError where there is no mail server, and what the walkers raise.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from posttrail import config
from posttrail.errors import UnavailableError
from query.trace.tree import Question, Trace

if TYPE_CHECKING:
    from query.trace.dns import Dns

POSTFIX: Final = "postfix"
SENDMAIL: Final = "sendmail"
EXIM: Final = "exim"


class Walker(Protocol):
    """What each mail server's module has."""

    def trace(self, question: Question) -> Trace: ...


def walker(settings: config.Trace) -> Walker:
    """The walker of the mail server that ``settings`` mean, with the name servers they name."""
    return maker(settings)()


def maker(settings: config.Trace) -> Callable[[], Walker]:
    """Makes walkers that share what DNS has said."""
    from query.trace.dns import Dns  # dnspython takes its time to load: who only asks has no use

    dns = Dns(settings.nameservers)
    return lambda: _made(settings, dns)


def _made(settings: config.Trace, dns: "Dns") -> Walker:
    chosen = settings.mta if settings.mta != "auto" else choose(INSTALLED, RUNNING)
    if chosen == SENDMAIL:
        from query.trace.sendmail import sendmail_walker

        return sendmail_walker(settings, dns)
    if chosen == EXIM:
        from query.trace.exim import exim_walker

        return exim_walker(settings, dns)
    from query.trace.postfix.walker import postfix_walker

    return postfix_walker(settings, dns)


Test = Callable[[], bool]


def choose(installed: Mapping[str, Test], running: Mapping[str, Test]) -> str:
    """The name of the first that runs, else of the first that is installed."""
    here = [name for name, is_here in installed.items() if is_here()]
    if not here:
        raise UnavailableError(
            "no mail server here: neither Postfix, Sendmail nor Exim is on the path;"
            " run this where the mail server is, or name it as mta in [trace] of posttrail.toml"
        )
    if len(here) == 1:
        return here[0]
    return next((name for name in here if running[name]()), here[0])


def _has_postfix() -> bool:
    from posttrail.postconf import program

    try:
        program("postconf")
    except UnavailableError:
        return False
    return True


def _has_sendmail() -> bool:
    from query.trace.sendmail import sendmail_program

    return sendmail_program() is not None


def _has_exim() -> bool:
    from query.trace.exim import exim_program

    return exim_program() is not None


def runs(pid_files: tuple[str, ...], commands: frozenset[str]) -> bool:
    """Does a pid file name a living process of one of these commands?"""
    return any(_command_of(path) in commands for path in pid_files)


def _command_of(pid_file: str) -> str:
    """The command of the process that a pid file names; "" where there is none to be seen."""
    try:
        with open(pid_file, encoding="ascii", errors="replace") as file:
            pid = int(file.readline(20))
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except (OSError, ValueError):
        return ""


def _postfix_runs() -> bool:
    # master's pid file is root's to read; its public folder says as much to everybody
    return runs(("/var/spool/postfix/pid/master.pid",), frozenset({"master"})) or os.path.exists(
        "/var/spool/postfix/public/pickup"
    )


def _sendmail_runs() -> bool:
    files = ("/run/sendmail/mta/sendmail.pid", "/run/sendmail.pid", "/var/run/sendmail.pid")
    return runs(files, frozenset({"sendmail", "sendmail-mta"}))


def _exim_runs() -> bool:
    files = ("/run/exim4/exim.pid", "/run/exim.pid", "/var/spool/exim/exim-daemon.pid")
    return runs(files, frozenset({"exim", "exim4"}))


INSTALLED: Final[Mapping[str, Test]] = {
    POSTFIX: _has_postfix,
    SENDMAIL: _has_sendmail,
    EXIM: _has_exim,
}
RUNNING: Final[Mapping[str, Test]] = {
    POSTFIX: _postfix_runs,
    SENDMAIL: _sendmail_runs,
    EXIM: _exim_runs,
}
