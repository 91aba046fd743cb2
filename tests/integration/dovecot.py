"""A private Dovecot in one folder: LMTP, LDA and sieve for a few users, beside ``posttrail.demo.lab``.

Dovecot 2.3, from Debian's dovecot-core, dovecot-lmtpd and dovecot-sieve. It listens on Unix sockets
below its folder only; what a script forwards or answers goes to the private Postfix. Its log is a
file of its own, in Dovecot's own form, or syslog. Raises UnavailableError where it does not start.
"""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from posttrail.errors import UnavailableError

START_S = 20
LDA = "/usr/lib/dovecot/dovecot-lda"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A mailbox, the script that files its mail, and what its user database says besides."""

    name: str
    sieve: str = ""
    extra: str = ""  # userdb fields: userdb_quota_rule=*:storage=1k


def route(etc: Path, dovecot: "Dovecot") -> None:
    """Has the private Postfix, whose files are in ``etc``, hand example.com's mail to Dovecot."""
    virtual, lmtp = "example.com virtual:\n", f"example.com lmtp:unix:{dovecot.socket}\n"
    transport = etc / "transport"
    transport.write_text(transport.read_text().replace(virtual, lmtp, 1))
    (etc / "virtual").write_text("")
    (etc / "mailboxes").write_text("".join(f"{user.name} x/\n" for user in dovecot.users))


class Dovecot:
    """The private Dovecot below ``directory``, running while the ``with`` block does."""

    def __init__(
        self,
        directory: Path,
        users: Sequence[User],
        *,
        submission_port: int,
        log: str = "",
        settings: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.socket = directory / "lmtp"
        self.configuration = directory / "dovecot.conf"
        self.log = log or str(directory / "dovecot.log")
        self.users = users
        self._submission_port = submission_port
        self._settings = settings

    def prepare(self) -> None:
        """Writes every file."""
        if not shutil.which("dovecot"):
            raise UnavailableError("no Dovecot here: tools/setup dovecot installs what is missing")
        nobody = pwd.getpwnam("nobody")
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        self.directory.chmod(0o755)
        self.configuration.write_text(self._configuration())
        lines = []
        for user in self.users:
            home = self.directory / "home" / user.name
            home.mkdir(parents=True, exist_ok=True)
            if user.sieve:
                (home / ".dovecot.sieve").write_text(user.sieve, "utf-8")
            owner = f"{nobody.pw_uid}:{nobody.pw_gid}"
            lines.append(f"{user.name}::{owner}::{home}::{user.extra}\n")
            for path in (home, *home.iterdir()):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        (self.directory / "users").write_text("".join(lines))

    def start(self) -> None:
        """Starts Dovecot and returns once its LMTP answers."""
        self._run("dovecot", "-c", str(self.configuration))
        deadline = time.monotonic() + START_S
        while not self.answers():
            if time.monotonic() > deadline:
                raise UnavailableError(f"the private Dovecot does not answer, see {self.log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops Dovecot, and returns once its socket is closed."""
        self._run("doveadm", "-c", str(self.configuration), "stop", check=False)
        deadline = time.monotonic() + START_S
        while self.answers() and time.monotonic() < deadline:
            time.sleep(0.05)

    def answers(self) -> bool:
        """Does LMTP greet?"""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(self.socket))
                return client.recv(4) == b"220 "
        except OSError:
            return False

    def __enter__(self) -> Self:
        self.prepare()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self, *command: str, check: bool = True) -> None:
        words = self.directory / "stderr"  # a file: a daemon keeps a pipe open
        with words.open("w") as errors:
            done = subprocess.run(command, stdout=errors, stderr=errors, timeout=60)
        if check and done.returncode:
            said = words.read_text().strip().splitlines() or ["it said nothing"]
            raise UnavailableError(f"{command[0]} failed: {said[-1]}")

    def _configuration(self) -> str:
        place = self.directory
        lines = f"""\
base_dir = {place}/run
state_dir = {place}/state
log_path = {self.log}
protocols = lmtp
ssl = no
hostname = mx.example.com
postmaster_address = postmaster@example.com
submission_host = 127.0.0.1:{self._submission_port}
mail_location = maildir:~/Maildir
mail_plugins = quota
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = passwd-file
  args = {place}/users
}}
service lmtp {{
  unix_listener {self.socket} {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener auth-userdb {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
protocol lmtp {{
  mail_plugins = quota sieve
}}
protocol lda {{
  mail_plugins = quota sieve
}}
plugin {{
  quota = maildir:User quota
  sieve = file:~/sieve;active=~/.dovecot.sieve
}}
"""
        return lines + "".join(f"{line}\n" for line in self._settings)
