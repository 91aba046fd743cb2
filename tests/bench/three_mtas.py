"""Postfix, Exim and Sendmail with the same users, aliases and domains, for the bench of traces.

All three live in a mount namespace of this process, with a resolv.conf that names a Knot on loopback:
nobody asks anybody outside.
Exim and Sendmail are unpacked, not installed (make sendmail exim). For a process of its own only: the
namespace stays. Raises ProgramError where a part is missing or root is needed.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from posttrail.demo.lab import Lab
from tests.bench.process import ProgramError
from tests.integration import exim_lab, sendmail_lab
from tests.integration.knot import Knot
from tests.integration.sendmail_lab import BASE, SendmailLab

NAME_SERVER: Final = "127.0.0.81"
_CLONE_NEWNS: Final = 0x00020000
_DEAD: Final = "127.0.0.77"
ZONES: Final = {
    "plain.test": f"@ MX 10 mx1\n@ MX 20 mx2\nmx1 A {_DEAD}\nmx2 A {_DEAD}",
    "implicit.test": f"@ A {_DEAD}",
    "nullmx.test": "@ MX 0 .",
    "broken.test": None,
}
ALIASES: Final = {
    "team": "alice, bob",
    "chain": "team, x@implicit.test",
    "deep1": "deep2", "deep2": "deep3", "deep3": "alice",
    "robot": '"|/bin/cat"',
    "archive": f"{BASE}/mail/archive.mbox",
    "loop1": "loop2", "loop2": "loop1",
}  # fmt: skip
VIRTUAL: Final = {
    "sales@virt.example": "alice@example.com",
    "out@virt.example": "x@plain.test",
    "fan@virt.example": "team@example.com",
    "@virt.example": "bob@example.com",
}
ADDRESSES: Final = (
    "alice@example.com", "alice+tag@example.com", "team@example.com", "chain@example.com",
    "deep1@example.com", "robot@example.com", "archive@example.com", "loop1@example.com",
    "nemo@example.com", "sales@virt.example", "out@virt.example", "fan@virt.example",
    "any@virt.example", "x@plain.test", "y@plain.test", "x@implicit.test", "x@nullmx.test",
    "x@nx.test", "x@broken.test", "x@routed.test",
)  # fmt: skip
_EXIM: Final = r"""
primary_hostname = mx.example.com
domainlist local_domains = example.com : mx.example.com
spool_directory = {place}/spool
log_file_path = {place}/%slog
keep_environment =
tls_advertise_hosts =
disable_ipv6 = true
begin routers
routed:
  driver = manualroute
  domains = routed.test
  route_list = * 127.0.0.77
  transport = remote_smtp
  self = send
valiases:
  driver = redirect
  domains = virt.example
  data = ${{lookup{{$local_part@$domain}}lsearch*@{{{place}/virtual}}}}
lookuphost:
  driver = dnslookup
  domains = !+local_domains
  transport = remote_smtp
  ignore_target_hosts = 0.0.0.0
  self = send
  no_more
system_aliases:
  driver = redirect
  data = ${{lookup{{$local_part}}lsearch{{{place}/aliases}}}}
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
local_delivery:
  driver = appendfile
  file = /var/mail/$local_part
address_pipe:
  driver = pipe
address_file:
  driver = appendfile
"""
_USERS: Final = "".join(
    f"{name}:x:{4200 + at}:4200:{name}:/nonexistent:/bin/sh\n"
    for at, name in enumerate(("alice", "bob"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mtas:
    """Where each of them is."""

    postfix: Path  # its configuration directory
    exim: tuple[str, str]  # program, configuration
    sendmail: tuple[str, str]
    name_server: str = NAME_SERVER


class _Sendmail(SendmailLab):
    """The lab with the same tables; only its files are used."""

    def _write_maps(self) -> None:
        super()._write_maps()
        etc = self.directory / "etc"
        (etc / "aliases").write_text("".join(f"{a}: {to}\n" for a, to in ALIASES.items()))
        (etc / "virtusertable").write_text("".join(f"{a}\t{to}\n" for a, to in VIRTUAL.items()))
        (etc / "mailertable").write_text(f"routed.test\tesmtp:[{_DEAD}]\n")
        (etc / "local-host-names").write_text("example.com\nvirt.example\n")
        (etc / "service.switch").write_text("hosts dns files\naliases files\npasswd files\n")
        self.forward_nothing()

    def forward_nothing(self) -> None:
        """No home, no .forward: the users of all three are alike."""
        (self.directory / "home").mkdir(exist_ok=True)


@contextmanager
def three(work: Path) -> Iterator[Mtas]:
    """All of them, ready to be asked; Postfix runs."""
    why = exim_lab.unpacked() or sendmail_lab.unpacked()
    if why or os.geteuid() != 0:
        raise ProgramError(why or "root is needed for a mount namespace")
    place = work / "mtas"
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o755)
    sendmail = _Sendmail(place / "sendmail", sinks=dict.fromkeys(
        ("accepts", "unknown", "greylists", "full", "refuses"), 25
    ))  # fmt: skip
    try:
        sendmail.prepare()
    finally:
        sendmail.stop()
    _enter(place, sendmail.directory)
    exim = _write_exim(place / "exim")
    with (
        Knot(place / "knot", ZONES, address=NAME_SERVER, port=53),
        _postfix(place / "postfix") as lab,
    ):
        yield Mtas(
            postfix=lab.directory / "etc",
            exim=(str(exim_lab.PROGRAM), str(exim)),
            sendmail=(
                str(sendmail_lab.ROOT / "usr/libexec/sendmail/sendmail"),
                f"{BASE}/cf/sendmail.cf",
            ),
        )


def _enter(place: Path, sendmail: Path) -> None:
    """This process and its children see the users and the name server of the bench."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise ProgramError(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    users = Path("/etc/passwd").read_text() + _USERS
    users += "smmsp:x:4100:4100::/:/bin/false\nmailnull:x:4101:4101::/:/bin/false\n"
    users += "Debian-exim:x:4102:4102::/:/bin/false\n"
    groups = Path("/etc/group").read_text() + "smmsp:x:4100:\nmailnull:x:4101:\n"
    files = {
        "passwd": users,
        "group": groups + "Debian-exim:x:4102:\n",
        "hosts": "127.0.0.1 localhost mx.example.com mx\n",
        "resolv.conf": f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n",
    }
    for name, text in files.items():
        (place / name).write_text(text)
        target = os.path.realpath(f"/etc/{name}")
        subprocess.run(["mount", "--bind", str(place / name), target], check=True)
    subprocess.run(["mount", "--bind", str(sendmail), BASE], check=True)


def _write_exim(place: Path) -> Path:
    (place / "spool").mkdir(parents=True, exist_ok=True)
    lines = {name: "".join(f"{a}: {to}\n" for a, to in table.items())
             for name, table in (("aliases", ALIASES), ("virtual", VIRTUAL))}  # fmt: skip
    lines["virtual"] = lines["virtual"].replace("@virt.example: bob", "*@virt.example: bob")
    for name, text in lines.items():
        (place / name).write_text(text)
    (place / "exim.conf").write_text(_EXIM.format(place=place))
    return place / "exim.conf"


@contextmanager
def _postfix(directory: Path) -> Iterator[Lab]:
    etc = directory / "etc"
    settings = (
        "myorigin = example.com", "mydestination = example.com", "virtual_mailbox_domains =",
        "virtual_mailbox_maps =", "virtual_alias_domains = virt.example", "recipient_delimiter = +",
        f"virtual_alias_maps = hash:{etc}/bench-virtual", f"alias_maps = hash:{etc}/bench-aliases",
        f"transport_maps = hash:{etc}/bench-transport",
        "local_recipient_maps = proxy:unix:passwd.byname $alias_maps", "default_transport = smtp",
        "smtp_dns_support_level = enabled", "smtp_host_lookup = dns", "smtpd_sender_restrictions =",
        "smtpd_recipient_restrictions =", "header_checks =", "maximal_backoff_time = 4000",
    )  # fmt: skip
    names = ("accepts", "greylists", "full", "unknown", "refuses")
    lab = Lab(directory, sinks=dict.fromkeys(names, 9), milter=False, settings=settings)
    lab.prepare()
    tables = {
        "bench-virtual": "".join(f"{a} {to}\n" for a, to in VIRTUAL.items()),
        "bench-aliases": "".join(f"{a}: {to}\n" for a, to in ALIASES.items()),
        "bench-transport": f"routed.test smtp:[{_DEAD}]\n",
    }
    for name, text in tables.items():
        (etc / name).write_text(text)
        tool = ["postalias" if name.endswith("aliases") else "postmap"]
        subprocess.run([*tool, "-c", str(etc), f"hash:{etc}/{name}"], check=True)
    try:
        lab.start()
        yield lab
    finally:
        lab.stop()
