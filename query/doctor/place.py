"""Where doctor looks: the configuration, the mail server's settings, and what the journal shows.

Taken once, before the families begin. Nothing is raised: what cannot be had has a sentence instead.
"""

import os
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from posttrail import postconf as postfix_settings
from posttrail.config import DEFAULT_PATH, Config, Trace
from posttrail.errors import PosttrailError
from posttrail.postconf import Service, Settings
from query.doctor import apart
from query.doctor.seen import JournalSeen
from query.trace import choose

POSTFIX: Final = choose.POSTFIX
SENDMAIL: Final = choose.SENDMAIL
EXIM: Final = choose.EXIM


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One installation."""

    config: Config
    journal: Path
    now_us: int
    config_file: Path = DEFAULT_PATH
    mta: str = ""  # "postfix", "sendmail", "exim"; "": none
    postfix: Settings | None = None
    why_not: str = ""  # why there are no settings of Postfix
    seen: JournalSeen = field(default_factory=JournalSeen)
    root: Path = Path("/")  # of the machine's own files; a test has its own
    full: bool = False  # check every day of the journal
    send: str = ""  # to whom the test message goes
    left_s: Callable[[], float] = lambda: 10.0

    def file(self, path: str) -> Path:
        """A file of the machine."""
        return self.root / path.lstrip("/")

    @property
    def queue(self) -> Path:
        """Postfix's queue directory."""
        named = self.postfix.get("queue_directory") if self.postfix else ""
        return Path(named or "/var/spool/postfix")

    @property
    def no_postfix(self) -> str:
        """Why what is for Postfix is not checked."""
        if self.mta == POSTFIX:
            return f"Postfix's settings cannot be read: {self.why_not}"
        return f"this is for Postfix: {self.why_not}"

    @property
    def etc(self) -> str:
        """Postfix's configuration directory where it is not its own; ""."""
        return self.config.trace.config if self.mta == POSTFIX else ""

    def postconf(self, *arguments: str) -> str:
        """A postconf command for this Postfix, and its reload."""
        where = f"-c {shlex.quote(self.etc)} " if self.etc else ""
        words = " ".join(map(shlex.quote, arguments))
        return f"postconf {where}{words} && postfix {where}reload"

    def restart(self, program: str) -> str:
        """The command that starts a program of ours anew."""
        return f"systemctl restart posttrail-{program}"

    def setting(self, key: str, value: str) -> str:
        """The command that sets a key (with the TOML text of its value) in posttrail.toml."""
        section, _, name = key.partition(".")
        file = shlex.quote(str(self.config_file))
        script = rf"/^\[{section}\]/,/^\[/s|^#*{name} = .*|{name} = {value}|"
        return f"sed -i {shlex.quote(script)} {file}"


def found(settings: Trace, *, until: float) -> tuple[str, Settings | None, str]:
    """The mail server here, Postfix's settings, and why there are none; by then, or not at all."""
    ended = apart.alone(lambda: _found(settings), until=until)
    if ended.why:
        return settings.mta if settings.mta != "auto" else "", None, ended.why
    mta, told, why = ended.value
    if told is None:
        return mta, None, why
    services = tuple(Service._make([*each[:-1], tuple(each[-1])]) for each in told["services"])
    return mta, Settings(**{**told, "services": services}), why


def _found(settings: Trace) -> tuple[str, dict[str, Any] | None, str]:
    mta, why = mta_of(settings)
    postfix, why_not = postfix_of(mta, settings)
    return mta, asdict(postfix) if postfix is not None else None, why or why_not


def mta_of(settings: Trace) -> tuple[str, str]:
    """The mail server here, and why there is none."""
    if settings.mta != "auto":
        return settings.mta, ""
    try:
        return choose.choose(choose.INSTALLED, choose.RUNNING), ""
    except PosttrailError as error:
        return "", str(error)


def postfix_of(mta: str, settings: Trace) -> tuple[Settings | None, str]:
    """Postfix's settings, and why there are none."""
    if mta != POSTFIX:
        return None, f"the mail server here is {mta.capitalize()}" if mta else "no mail server here"
    try:
        return postfix_settings.read(settings.config), ""
    except PosttrailError as error:
        return None, str(error)


def is_root() -> bool:
    """May we look everywhere?"""
    return os.geteuid() == 0
