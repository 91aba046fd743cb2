"""A private DNS in one folder: Knot with the zones of a test, and Unbound before it, which validates.

Zone texts are master files (RFC 1035 5), relative to their zone, with SOA and NS put before them where
the text has no SOA. The root is a zone too, so that a name of no zone is NXDOMAIN; a zone of None has
no file, and so is SERVFAIL. Knot 3.2 and Unbound 1.17, from Debian's packages (tools/setup dns), on
loopback only. Raises UnavailableError where they are missing or do not start.

    with Knot(folder, {"plain.test": "@ MX 10 mx\\nmx A 192.0.2.1", "broken.test": None}) as knot:
        ...  # knot.address, knot.port

For programs that can use port 53 only (every one that asks through resolv.conf): address="127.0.0.77",
port=53, and a resolv.conf that names it, mounted over /etc/resolv.conf in a mount namespace of theirs.
"""

import shutil
import subprocess
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode

from posttrail.demo.lab import free_base
from posttrail.errors import UnavailableError

START_S = 20
SOA = "$TTL 300\n@ SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 60\n@ NS ns.invalid.\n"
KNOT = """\
server:
    rundir: {place}
    listen: {address}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: {place}/knot.sock
log:
  - target: {place}/knot.log
    any: info
database:
    storage: {place}
    journal-db-max-size: 8M
    kasp-db-max-size: 8M
    timer-db-max-size: 1M
template:
  - id: default
    storage: {place}/zones
    file: "%s.zone"
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
"""
UNBOUND = """\
server:
    directory: "{place}"
    chroot: ""
    username: ""
    pidfile: "{place}/unbound.pid"
    logfile: "{place}/unbound.log"
    use-syslog: no
    do-daemonize: no
    interface: {address}@{port}
    access-control: 127.0.0.0/8 {access}
    do-not-query-localhost: no
    module-config: "validator iterator"
    trust-anchor-file: "{place}/anchors"
    num-threads: 1
    prefetch: no
    infra-keep-probing: yes
    local-zone: "test." nodefault
    local-zone: "invalid." nodefault
    unblock-lan-zones: yes
remote-control:
    control-enable: no
"""


class _Server:
    """A daemon in the foreground of its own process, running while the ``with`` block does."""

    def __init__(self, directory: Path, *, address: str, port: int) -> None:
        self.directory = directory
        self.address = address
        self.port = port or free_base(1)
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> tuple[str, ...]:
        """Writes every file; gives the command that starts the daemon."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Does it answer as it should?"""
        raise NotImplementedError

    def start(self) -> None:
        """Starts the daemon and returns once it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        command = self.prepare()
        if not shutil.which(command[0]):
            raise UnavailableError(
                f"no {command[0]} here: tools/setup dns installs what is missing"
            )
        with (self.directory / "stderr").open("w") as words:
            self._process = subprocess.Popen(command, stdout=words, stderr=words)
        deadline = time.monotonic() + START_S
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.directory / "stderr").read_text().strip()
                self.stop()
                raise UnavailableError(
                    f"{command[0]} does not answer, see {self.directory}: {said}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the daemon and waits for its end."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(START_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def ask(self, name: str, kind: str) -> dns.message.Message:
        """One answer from this server, with DO set; raises what dnspython raises."""
        question = dns.message.make_query(name, kind, want_dnssec=True)
        return dns.query.udp_with_fallback(question, self.address, 1, port=self.port)[0]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class Knot(_Server):
    """The authoritative server; ``zones``: name without final dot -> text, None for no file."""

    def __init__(
        self,
        directory: Path,
        zones: Mapping[str, str | None],
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        signed: Collection[str] = (),
    ) -> None:
        super().__init__(directory, address=address, port=port)
        self.zones: dict[str, str | None] = {"": "", **zones}
        self.signed = frozenset(signed)

    def prepare(self) -> tuple[str, ...]:
        places = {"place": self.directory, "address": self.address, "port": self.port}
        text = KNOT.format(**places)
        (self.directory / "zones").mkdir(exist_ok=True)
        for name, zone in self.zones.items():
            text += f'  - domain: "{name}."\n    file: "{name or "root"}.zone"\n'
            if name in self.signed:
                text += "    dnssec-signing: on\n"
            if zone is not None:
                whole = zone if " SOA " in zone else SOA + zone
                (self.directory / "zones" / f"{name or 'root'}.zone").write_text(whole + "\n")
        self.configuration.write_text(text)
        return ("knotd", "-c", str(self.configuration))

    @property
    def configuration(self) -> Path:
        """Its knot.conf(5)."""
        return self.directory / "knot.conf"

    def ready(self) -> bool:
        """Every zone with a file has its SOA; those to be signed are signed."""
        try:
            return all(self._served(name) for name, text in self.zones.items() if text is not None)
        except (OSError, dns.exception.DNSException):
            return False

    def _served(self, name: str) -> bool:
        answer = self.ask(f"{name}.", "SOA")
        wanted = 2 if name in self.signed else 1  # the RRSIG comes with it
        return answer.rcode() == dns.rcode.NOERROR and len(answer.answer) == wanted

    def anchors(self) -> str:
        """The DS records of the signed zones, as trust anchors of a validating resolver."""
        command = ("keymgr", "-c", str(self.configuration))
        done = [
            subprocess.run(
                (*command, f"{name}.", "ds"), check=True, capture_output=True, text=True, timeout=60
            )
            for name in sorted(self.signed)
        ]
        return "".join(one.stdout for one in done)


class Unbound(_Server):
    """The resolver before a running Knot; what Knot has signed is secure (AD).

    ``refuse``: it answers nothing but REFUSED.
    """

    def __init__(
        self,
        directory: Path,
        knot: Knot,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        refuse: bool = False,
    ) -> None:
        super().__init__(directory, address=address, port=port)
        self._knot = knot
        self._refuse = refuse

    def prepare(self) -> tuple[str, ...]:
        knot, place = self._knot, self.directory
        (place / "anchors").write_text(knot.anchors())
        access = "refuse" if self._refuse else "allow"
        text = UNBOUND.format(place=place, address=self.address, port=self.port, access=access)
        for name in knot.zones:
            text += f'stub-zone:\n    name: "{name}."\n    stub-addr: {knot.address}@{knot.port}\n'
        (place / "unbound.conf").write_text(text)
        return ("unbound", "-p", "-d", "-c", str(place / "unbound.conf"))

    def ready(self) -> bool:
        """The root is answered, and the signed zones are secure."""
        try:
            answers = [self.ask(f"{name}.", "SOA") for name in ("", *self._knot.signed)]
        except (OSError, dns.exception.DNSException):
            return False
        if self._refuse:
            return answers[0].rcode() == dns.rcode.REFUSED
        secure = all(answer.flags & dns.flags.AD for answer in answers[1:])
        return answers[0].rcode() == dns.rcode.NOERROR and secure
