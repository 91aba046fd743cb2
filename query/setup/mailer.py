"""A Postfix on this machine: what its main.cf says, and changes to it by its own commands.

postconf(1), postfix(1). Raises UnavailableError where there is none, SettingsError with the words
of the command that failed.
"""

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from posttrail import postconf as settings
from posttrail.postconf import Settings, SettingsError
from query.setup.plan import Change

TIMEOUT_S: Final = 60.0


class Mailer:
    """The instance with that configuration directory; "" is the one that postconf finds."""

    def __init__(self, directory: str = "") -> None:
        self._where = ["-c", directory] if directory else []
        self.directory = Path(directory or self._value("config_directory"))
        self.main_cf = self.directory / "main.cf"

    def settings(self) -> Settings:
        """All parameters, expanded."""
        return settings.read(str(self.directory))

    def written(self) -> Mapping[str, str]:
        """What main.cf itself says, not expanded."""
        return settings.main_of(self._run("postconf", "-n"))

    def others(self) -> tuple[str, ...]:
        """Configuration directories of further instances, postmulti(1)."""
        return settings.split(self._value("multi_instance_directories"))

    def is_running(self) -> bool:
        """Whether its master(8) is there."""
        done = self._call("postfix", "status")
        return done.returncode == 0

    def change(self, changes: Iterable[Change]) -> None:
        """Edit main.cf: one postconf for all that is set, one for all that goes."""
        wanted = list(changes)
        sets = [f"{each.name}={each.after}" for each in wanted if each.after is not None]
        goes = [each.name for each in wanted if each.after is None]
        if sets:
            self._run("postconf", "-e", *sets)
        if goes:
            self._run("postconf", "-X", *goes)

    def write(self, text: str) -> None:
        """Replace main.cf as a whole, with its owner and mode."""
        was = self.main_cf.stat()
        new = self.main_cf.with_name(".main.cf.posttrail")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chown(new, was.st_uid, was.st_gid)
        new.chmod(was.st_mode & 0o7777)
        new.replace(self.main_cf)

    def text(self) -> str:
        """main.cf as it stands; bytes that are no UTF-8 are kept."""
        return self.main_cf.read_text("utf-8", "surrogateescape")

    def check(self) -> None:
        """postfix check; SettingsError where it finds fault."""
        self._run("postfix", "check")

    def reload(self) -> None:
        """Have the running daemons read main.cf again."""
        self._run("postfix", "reload")

    def _value(self, name: str) -> str:
        return self._run("postconf", "-xh", name).strip()

    def _run(self, command: str, *arguments: str) -> str:
        done = self._call(command, *arguments)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise SettingsError(f"{command} {arguments[0]}: {said[-1] if said else 'failed'}")
        return done.stdout

    def _call(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                [settings.program(command), *self._where, *arguments],
                capture_output=True, text=True, errors="surrogateescape", timeout=TIMEOUT_S,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise SettingsError(f"{command} gave no answer within {TIMEOUT_S:.0f} s") from None
