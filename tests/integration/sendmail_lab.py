"""A private Sendmail on loopback: unpacked, never installed, with its own /etc, /dev/log and queue.

``make sendmail`` unpacks Debian's packages below .sendmail/. Everything runs in a mount namespace of its
own, where a few files of /etc and all of /dev are the lab's; syslog(3) there reaches a socket that
the lab reads, and what arrives is written to ``mail.log`` as a syslogd would. Raises LabError
where the machine does not let us.
"""

import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from posttrail.demo.stage import free_port

ROOT: Final = Path(os.environ.get("POSTTRAIL_SENDMAIL", Path(__file__).parents[2] / ".sendmail"))
HOST: Final = "mx"
FQDN: Final = "mx.example.com"
OUTSIDE: Final = "127.0.0.2"  # a client that may not relay
NAMELESS: Final = "127.0.0.3"  # one without a name
LOGIN: Final = ("carol", "secret")  # of who may relay from anywhere
SASL: Final = Path("/usr/lib/x86_64-linux-gnu/sasl2")  # plugins and, in the lab, their settings
USERS: Final = ("alice", "bob", "carol", "dave")
ROUTES: Final = {
    # domain → mailer: each mailer of cf/mailer/smtp.m4 leads to another sink
    "partner.example": ("esmtp", "accepts"),
    "example.net": ("esmtp", "accepts"),
    "gone.example": ("smtp", "unknown"),
    "grey.example": ("smtp8", "greylists"),
    "full.example": ("dsmtp", "full"),
    "strict.example": ("relay", "refuses"),
}
DOWN: Final = "down.example"  # nobody listens
WAIT_S: Final = 30.0
BASE: Final = "/mnt"  # where the lab's folder is inside: Sendmail wants no world-writable parents

_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_STAMP: Final = re.compile(rb"<\d+>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) ")


class LabError(Exception):
    """Sendmail cannot run here; says why."""


class SendmailLab:
    """A Sendmail that listens while the ``with`` block runs."""

    def __init__(
        self,
        directory: Path,
        *,
        sinks: Mapping[str, int],
        filters: Mapping[str, str] | None = None,
        log_level: int = 9,
        options: str = "",
    ) -> None:
        self.directory = directory
        self.log = directory / "mail.log"
        self.port = free_port()
        self.milter_socket = directory / "milter" / "milter.sock"
        self._sinks = sinks
        self._filters = filters or {}
        self._log_level = log_level
        self._options = options
        self._holder: subprocess.Popen[bytes] | None = None
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._syslog: socket.socket | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- files ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Write all files and open the namespace."""
        if not (ROOT / "usr/libexec/sendmail/sendmail").exists():
            raise LabError("Sendmail is not unpacked: run make sendmail")
        for name in ("mqueue", "client", "mail", "home", "etc", "dev", "cf", "milter"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        os.chown(self.directory / "client", 4100, 4100)
        (self.directory / "client").chmod(0o770)
        os.chown(self.directory / "mail", 4101, 4101)
        (self.directory / "robot").touch()
        os.chown(self.directory / "robot", 4101, 4101)
        self._write_etc()
        self._write_maps()
        self._write_certificate()
        self._write_logins()
        self._open_syslog()
        self._enter()
        self._write_cf("sendmail", self._sendmail_mc())
        self._write_cf("submit", self._submit_mc())
        for name in ("mailertable", "access", "virtusertable"):
            self._makemap(name)
        self._newaliases()

    def _write_etc(self) -> None:
        etc = self.directory / "etc"
        users = [
            f"{name}:x:{4200 + at}:4200:{name}:{BASE}/home/{name}:/bin/sh"
            for at, name in enumerate(USERS)
        ]
        (etc / "passwd").write_text("\n".join([
            "root:x:0:0:root:/root:/bin/sh", "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin",
            "smmsp:x:4100:4100::/nonexistent:/usr/sbin/nologin",
            "mailnull:x:4101:4101::/nonexistent:/usr/sbin/nologin", *users, ""]))  # fmt: skip
        (etc / "group").write_text(
            "root:x:0:\nmail:x:8:\nsmmsp:x:4100:\nmailnull:x:4101:\nusers:x:4200:\n"
        )
        (etc / "hosts").write_text(
            f"127.0.0.1 localhost {FQDN} mx\n{OUTSIDE} client.example.org\n"
            "198.51.100.7 pc.example.com\n203.0.113.9 spam.example.org\n"
        )
        (etc / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        (etc / "shells").write_text("/bin/sh\n")
        (etc / "service.switch").write_text("hosts files\naliases files\npasswd files\n")
        for at, name in enumerate(USERS):
            home = self.directory / "home" / name
            home.mkdir()
            os.chown(home, 4200 + at, 4200)
        deliver = self.directory / "deliver"
        deliver.write_text(f'#!/bin/sh\nexec cat >> {BASE}/mail/"$1"\n')
        deliver.chmod(0o755)

    def _write_maps(self) -> None:
        etc = self.directory / "etc"
        routes = [f"{domain}\t{mailer}:[127.0.0.1]" for domain, (mailer, _) in ROUTES.items()]
        routes += [f"{DOWN}\tesmtp:[127.0.0.9]", "nowhere.example\terror:5.1.2:550 no such host"]
        (etc / "mailertable").write_text("\n".join(routes) + "\n")
        (etc / "access").write_text(
            "From:spammer@bad.example\tERROR:5.7.1:550 We do not take mail from you\n"
            "From:quiet@bad.example\tDISCARD\n"
            "To:closed@example.com\tERROR:5.2.1:550 Mailbox disabled for this recipient\n"
            "From:odd@bad.example\tQUARANTINE:looks odd\n"
            "Connect:198.51.100.7\tRELAY\n"
        )
        (etc / "virtusertable").write_text("sales@example.com\talice\n")
        (etc / "aliases").write_text(
            "postmaster: root\nMAILER-DAEMON: postmaster\nteam: alice, bob\nmixed: alice, "
            f"someone@partner.example\narchive: {BASE}/mail/archive.mbox\n"
            f'robot: "|/bin/cat > {BASE}/robot"\nnull: /dev/null\n'
            "friends: someone@partner.example, nobody@gone.example\nowner-list: carol\n"
            "list: alice, bob\n"
        )
        (etc / "local-host-names").write_text("example.com\nmx.example.com\n")

    def _write_certificate(self) -> None:
        etc = self.directory / "etc"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", f"/CN={FQDN}", "-keyout", str(etc / "key.pem"), "-out", str(etc / "cert.pem")],
            check=True, capture_output=True,
        )  # fmt: skip
        (etc / "key.pem").chmod(0o600)

    def _write_logins(self) -> None:
        """Who may log in: SASL's plugins and settings are in one folder, the lab's copy of it."""
        if not SASL.is_dir() or shutil.which("saslpasswd2") is None:
            return
        place = self.directory / "sasl2"
        shutil.copytree(SASL, place, symlinks=True)
        (place / "Sendmail.conf").write_text(
            f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {BASE}/etc/sasldb2\n"
            "mech_list: PLAIN LOGIN\n"
        )
        user, password = LOGIN
        subprocess.run(
            ["saslpasswd2", "-p", "-c", "-f", str(self.directory / "etc" / "sasldb2"),
             "-u", FQDN, user],
            input=password.encode(), check=True, capture_output=True,
        )  # fmt: skip

    def _sendmail_mc(self) -> str:
        etc, ports = f"{BASE}/etc", self._sinks
        mailers = {mailer: ports[sink] for mailer, sink in ROUTES.values()}
        names = {"esmtp": "ESMTP", "smtp": "SMTP", "smtp8": "SMTP8", "dsmtp": "DSMTP",
                 "relay": "RELAY"}  # fmt: skip
        arguments = "".join(
            f"define(`{names[mailer]}_MAILER_ARGS', `TCP $h {port}')dnl\n"
            for mailer, port in mailers.items()
        )
        filters = "".join(
            f"INPUT_MAIL_FILTER(`{name}', `{where}')dnl\n" for name, where in self._filters.items()
        )
        return f"""{self._common_mc()}{arguments}\
define(`ALIAS_FILE', `{etc}/aliases')dnl
define(`QUEUE_DIR', `{BASE}/mqueue')dnl
define(`confPID_FILE', `{BASE}/sendmail.pid')dnl
define(`confCW_FILE', `{etc}/local-host-names')dnl
define(`confDELIVERY_MODE', `background')dnl
define(`confMAX_MESSAGE_SIZE', `200000')dnl
define(`confMIN_QUEUE_AGE', `0')dnl
define(`confTO_QUEUERETURN_NORMAL', `5d')dnl
define(`LOCAL_MAILER_PATH', `{BASE}/deliver')dnl
define(`LOCAL_MAILER_ARGS', `deliver $u')dnl
define(`LOCAL_SHELL_PATH', `/bin/sh')dnl
define(`confAUTH_MECHANISMS', `PLAIN LOGIN')dnl
TRUST_AUTH_MECH(`PLAIN LOGIN')dnl
define(`confCACERT_PATH', `{etc}')dnl
define(`confCACERT', `{etc}/cert.pem')dnl
define(`confSERVER_CERT', `{etc}/cert.pem')dnl
define(`confSERVER_KEY', `{etc}/key.pem')dnl
{self._options}
FEATURE(`use_cw_file')dnl
FEATURE(`nocanonify')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`delay_checks', `friend')dnl
FEATURE(`access_db', `hash -T<TMPF> {etc}/access')dnl
FEATURE(`blocklist_recipients')dnl
FEATURE(`mailertable', `hash -o {etc}/mailertable')dnl
FEATURE(`virtusertable', `hash -o {etc}/virtusertable')dnl
DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=0.0.0.0, Port={self.port}')dnl
{filters}MAILER(local)dnl
MAILER(smtp)dnl
MAILER(procmail)dnl
"""

    def _submit_mc(self) -> str:
        return f"""{self._common_mc()}\
define(`MSP_QUEUE_DIR', `{BASE}/client')dnl
define(`confPID_FILE', `{BASE}/client.pid')dnl
define(`confRUN_AS_USER', `smmsp:smmsp')dnl
define(`confUSE_MSP', `True')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {self.port}')dnl
FEATURE(`msp', `[127.0.0.1]')dnl
"""

    def _common_mc(self) -> str:
        etc = f"{BASE}/etc"
        cf = ROOT / "usr/share/sendmail/cf"
        return f"""divert(-1)
include(`{cf}/m4/cf.m4')
divert(0)dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `{FQDN}')dnl
define(`confLOG_LEVEL', `{self._log_level}')dnl
define(`STATUS_FILE', `{BASE}/statistics')dnl
define(`HELP_FILE', `{ROOT}/etc/mail/helpfile')dnl
define(`confSERVICE_SWITCH_FILE', `{etc}/service.switch')dnl
define(`confHOSTS_FILE', `/etc/hosts')dnl
define(`confTO_IDENT', `0')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confTO_ICONNECT', `2s')dnl
define(`confDONT_BLAME_SENDMAIL', `safe')dnl
define(`confDEF_USER_ID', `mailnull:mailnull')dnl
"""

    def _write_cf(self, name: str, mc: str) -> None:
        cf = ROOT / "usr/share/sendmail/cf"
        (self.directory / "cf" / f"{name}.mc").write_text(mc)
        done = subprocess.run(
            ["m4", f"-D_CF_DIR_={cf}/", str(self.directory / "cf" / f"{name}.mc")],
            capture_output=True, text=True, cwd=cf, check=True,
        )  # fmt: skip
        if done.stderr:
            raise LabError(f"m4: {done.stderr.strip()}")
        (self.directory / "cf" / f"{name}.cf").write_text(done.stdout)

    def _makemap(self, name: str) -> None:
        path = self.directory / "etc" / name
        makemap = ROOT / "usr/libexec/sendmail/makemap"
        cf = f"{BASE}/cf/sendmail.cf"
        self.inside(str(makemap), "-C", cf, "hash", f"{BASE}/etc/{name}", stdin=path.read_bytes())

    def _newaliases(self) -> None:
        self.inside(*self._sendmail("sendmail"), "-bi")

    # -- the namespace ----------------------------------------------------------------------

    def _open_syslog(self) -> None:
        self._syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._syslog.bind(str(self.directory / "dev" / "log"))
        (self.directory / "dev" / "log").chmod(0o666)
        self._reader = threading.Thread(target=self._read_syslog, daemon=True)
        self._reader.start()

    def _read_syslog(self) -> None:
        assert self._syslog is not None
        with self.log.open("ab", buffering=0) as log:
            while True:
                try:
                    raw = self._syslog.recv(65536)
                except OSError:
                    return
                if not raw:
                    return
                stamp = _STAMP.match(raw)
                if stamp is not None:
                    words = raw[stamp.end() :].rstrip(b"\0\n")
                    log.write(stamp[1] + b" " + HOST.encode() + b" " + words + b"\n")

    def _enter(self) -> None:
        """A process that holds the namespace, with the lab's files over the machine's."""
        dev, etc = self.directory / "dev", self.directory / "etc"
        script = ["set -e"]
        for name in _DEVICES:
            (dev / name).touch()
            script.append(f"[ ! -e /dev/{name} ] || mount --bind /dev/{name} {dev}/{name}")
        script.append(f"mount --rbind {dev} /dev")
        script.append(f"mount --bind {self.directory} {BASE}")
        for name in ("passwd", "group", "hosts", "resolv.conf", "nsswitch.conf", "shells"):
            script.append(
                f"[ ! -e /etc/{name} ] || mount --bind {etc}/{name} $(readlink -f /etc/{name})"
            )
        if (self.directory / "sasl2").is_dir():
            script.append(f"mount --bind {self.directory}/sasl2 {SASL}")
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

    def inside(self, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command inside the namespace to its end."""
        done = subprocess.run(
            self.command(*command), input=stdin, capture_output=True, timeout=WAIT_S
        )
        if done.returncode not in (0, 75):  # 75: queued for later
            raise LabError(f"{command}: {done.returncode} {done.stdout + done.stderr!r}")
        return done

    # -- Sendmail ---------------------------------------------------------------------------

    def _sendmail(self, name: str) -> list[str]:
        binary = str(ROOT / "usr/libexec/sendmail/sendmail")
        return [binary, f"-C{BASE}/cf/{name}.cf"]

    def start(self) -> None:
        """Start the daemon; returns when it listens."""
        with (self.directory / "sendmail.err").open("ab") as errors:
            daemon = subprocess.Popen(
                self.command(*self._sendmail("sendmail"), "-L", "sm-mta", "-bD"),
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
            )  # fmt: skip
        self._daemons.append(daemon)
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline and daemon.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        words = (self.directory / "sendmail.err").read_text(errors="replace")
        raise LabError(f"Sendmail does not come up: {words.strip()}")

    def flush(self) -> None:
        """One run of the queue."""
        self.inside(*self._sendmail("sendmail"), "-L", "sm-mta", "-q")

    def flush_client(self) -> None:
        """One run of the submission queue."""
        self.inside(*self._sendmail("submit"), "-L", "sm-msp-queue", "-Ac", "-q")

    def submit(self, sender: str, recipients: list[str], message: str) -> None:
        """The sendmail command, as a program of this machine calls it."""
        self.inside(
            *self._sendmail("submit"), "-Ac", "-i", "-f", sender, *recipients,
            stdin=message.encode(),
        )  # fmt: skip

    def submit_header(self, message: str) -> None:
        """The same for a message whose header names the recipients."""
        self.inside(*self._sendmail("submit"), "-Ac", "-t", "-i", stdin=message.encode())

    def queue(self, *options: str, stdin: bytes = b"") -> None:
        """Sendmail itself with these options: a queue run, or a message straight into the queue."""
        self.inside(*self._sendmail("sendmail"), *options, stdin=stdin)

    def forward(self, user: str, words: str) -> None:
        """A user's .forward."""
        path = self.directory / "home" / user / ".forward"
        path.write_text(words + "\n")
        os.chown(path, 4200 + USERS.index(user), 4200)

    def client(self, source: str = "127.0.0.1") -> smtplib.SMTP:
        """A client of the daemon."""
        return smtplib.SMTP(
            "127.0.0.1", self.port, local_hostname="client.example.org", timeout=WAIT_S,
            source_address=(source, 0),
        )  # fmt: skip

    def lines(self) -> list[str]:
        """The log as it stands."""
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def end(self) -> None:
        """End the daemon; ``start`` starts another."""
        for daemon in self._daemons:
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait(WAIT_S)
        self._daemons.clear()

    def stop(self) -> None:
        """End all of it."""
        self.end()
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()
            self._holder = None
        if self._syslog is not None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bye:
                bye.sendto(b"", str(self.directory / "dev" / "log"))
            if self._reader is not None:
                self._reader.join(WAIT_S)
            self._syslog.close()
            self._syslog = None


def unpacked() -> str:
    """Why Sendmail cannot run here; "" where it can."""
    if shutil.which("unshare") is None or shutil.which("m4") is None:
        return "no unshare or no m4"
    if not (ROOT / "usr/libexec/sendmail/sendmail").exists():
        return "Sendmail is not unpacked: make sendmail"
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    return "" if probe.returncode == 0 else "no mount namespace here"
