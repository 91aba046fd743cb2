"""A private Exim: unpacked, never installed, with its own /etc, name server and spool; it only answers.

``make exim`` unpacks Debian's packages below .exim/. Exim wants the user Debian-exim, and asks the name
server of resolv.conf(5) on port 53, so it runs in a mount namespace with the lab's files over the
machine's. Router names are those of cPanel. Raises LabError where the machine does not let us.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

ROOT: Final = Path(os.environ.get("POSTTRAIL_EXIM", Path(__file__).parents[2] / ".exim"))
PROGRAM: Final = ROOT / "usr/sbin/exim4"
BASE: Final = "/mnt"  # where the lab's folder is inside
NAME_SERVER: Final = "127.0.0.78"
ALIASES: Final = """\
team: alice, bob
mixed: alice, someone@plain.test
chain: team, x@nx.test
null: :blackhole:
robot: "|/bin/cat > /dev/null"
robots: robot, alice
archive: /mnt/mail/archive
bad: :fail: no longer here
later: :defer: come back
loop1: loop2
loop2: loop1
list: :include:/mnt/etc/members
badlist: :include:/mnt/etc/none
"""
CONFIGURATION: Final = r"""
primary_hostname = mx.example.com
domainlist local_domains = example.com : mx.example.com
spool_directory = /mnt/spool
log_file_path = /mnt/log/%slog
keep_environment =
tls_advertise_hosts =
disable_ipv6 = true
begin routers
relayed:
  driver = manualroute
  domains = relay.test
  route_list = * "mx1.plain.test:192.0.2.9::2525" byname
  transport = remote_smtp
literal:
  driver = ipliteral
  domains = !+local_domains
  transport = remote_smtp
valiases:
  driver = redirect
  domains = virt.example
  data = ${lookup{$local_part@$domain}lsearch{/mnt/etc/valiases}}
virtual_user:
  driver = accept
  domains = virt.example
  condition = ${lookup{$local_part@$domain}lsearch{/mnt/etc/vusers}{1}}
  transport = virtual_userdelivery
virtual_unknown:
  driver = redirect
  domains = virt.example
  allow_fail
  data = :fail: No such person at this address.
lookuphost:
  driver = dnslookup
  domains = !+local_domains
  transport = remote_smtp
  no_more
bysender:
  driver = accept
  senders = boss@example.net
  local_parts = sendy
  transport = dovecot
smarthost:
  driver = accept
  local_parts = smart
  transport = smart_smtp
system_aliases:
  driver = redirect
  allow_fail
  allow_defer
  data = ${lookup{$local_part}lsearch{/mnt/etc/aliases}}
  file_transport = address_file
  pipe_transport = address_pipe
  user = mail
localuser:
  driver = accept
  check_local_user
  local_part_suffix = +*
  local_part_suffix_optional
  transport = local_delivery
begin transports
remote_smtp:
  driver = smtp
smart_smtp:
  driver = smtp
  hosts = 192.0.2.7
virtual_userdelivery:
  driver = appendfile
  directory = /mnt/mail/box
  user = mail
local_delivery:
  driver = appendfile
  file = /mnt/mail/$local_part
dovecot:
  driver = lmtp
  socket = /run/dovecot/lmtp
address_pipe:
  driver = pipe
address_file:
  driver = appendfile
"""


class LabError(Exception):
    """Exim cannot run here; says why."""


def unpacked() -> str:
    """Why Exim cannot run here; "" where it can."""
    if not PROGRAM.exists():
        return "Exim is not unpacked: make exim"
    if shutil.which("unshare") is None:
        return "no unshare here"
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    return "" if probe.returncode == 0 else "no mount namespace here"


class EximLab:
    """The files and the namespace, while the ``with`` block runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._holder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._write()
        self._enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()

    def _write(self) -> None:
        for name in ("etc", "spool", "log", "mail"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        files: Mapping[str, str] = {
            "etc/passwd": "root:x:0:0::/root:/bin/sh\nmail:x:8:8::/var/mail:/bin/sh\n"
            "Debian-exim:x:4102:4102::/nonexistent:/bin/false\n"
            "alice:x:4200:4200::/mnt/mail:/bin/sh\nbob:x:4201:4200::/mnt/mail:/bin/sh\n",
            "etc/group": "root:x:0:\nmail:x:8:\nDebian-exim:x:4102:\nusers:x:4200:\n",
            "etc/hosts": "127.0.0.1 localhost mx.example.com mx\n",
            "etc/resolv.conf": f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n",
            "etc/aliases": ALIASES,
            "etc/members": "alice\nother@implicit.test\n",
            "etc/valiases": "sales@virt.example: alice@example.com\n"
            "fan@virt.example: team@example.com, x@implicit.test\n",
            "etc/vusers": "box@virt.example: box\n",
            "exim.conf": CONFIGURATION,
        }
        for name, text in files.items():
            (self.directory / name).write_text(text)

    def _enter(self) -> None:
        script = ["set -e", f"mount --bind {self.directory} {BASE}"]
        for name in ("passwd", "group", "hosts", "resolv.conf"):
            place = f"/etc/{name}"
            script.append(
                f"[ ! -e {place} ] || mount --bind {self.directory}{place} $(readlink -f {place})"
            )
        script += ["echo ready", "exec sleep 100000"]
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", "\n".join(script)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline() != b"ready\n":
            words = self._holder.stderr.read().decode(errors="replace").strip()
            raise LabError(f"no mount namespace here: {words}")

    def command(self, *command: str) -> list[str]:
        """A command as it runs inside the namespace."""
        assert self._holder is not None
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--wd=/", *command]
