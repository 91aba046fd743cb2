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
from query.setup.kept import replace
from query.setup.plan import Change

TIMEOUT_S: Final = 60.0


class Mailer:
    """The instance with that configuration directory; "" is the one that postconf finds."""

    def __init__(self, directory: str = "") -> None:
        self._where = ["-c", directory] if directory else []
        found = directory or self._value("config_directory")
        self.directory = Path(os.path.abspath(found))  # the commands run anywhere
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

    def name(self) -> str:
        """The name of the instance; "" where it has none."""
        return self._value("multi_instance_name")

    def is_running(self) -> bool:
        """Whether its master(8) is there."""
        done = self._call("postfix", "status")
        return done.returncode == 0

    def change(self, changes: Iterable[Change]) -> None:
        """Edit main.cf: one postconf for all that is set, one for all that goes."""
        wanted = list(changes)
        sets = [f"{each.name}={each.after}" for each in wanted if each.after is not None]
        goes = [each.name for each in wanted if each.after is None]
        real = self.main_cf.resolve()
        link = os.readlink(self.main_cf) if self.main_cf.is_symlink() else None
        if sets:
            self._run("postconf", "-e", *sets)
        if goes:
            self._run("postconf", "-X", *goes)
        if link is not None and not self.main_cf.is_symlink():
            self._link_again(link, real)

    def _link_again(self, link: str, real: Path) -> None:
        """postconf puts a file in a link's place: what it wrote belongs where the link leads."""
        replace(real, self.main_cf.read_bytes(), real.stat())
        new = self.main_cf.with_name(".main.cf.link")
        new.unlink(missing_ok=True)
        new.symlink_to(link)
        new.replace(self.main_cf)

    def write(self, text: str) -> None:
        """Replace main.cf as a whole, with its owner and mode; a link to it stays one."""
        real = self.main_cf.resolve()
        replace(real, text.encode("utf-8", "surrogateescape"), real.stat())

    def text(self) -> str:
        """main.cf as it stands, each byte; those that are no UTF-8 are kept."""
        return self.main_cf.read_bytes().decode("utf-8", "surrogateescape")

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
