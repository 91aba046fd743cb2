"""``python -m tests.integration.trace_lab FOLDER``: what Postfix does with each case, and what a trace says.

Runs in namespaces of its own (``unshare -mn``): there lo is the whole network, port 25 is free, and
resolv.conf and passwd are this lab's. For each group of ``trace_cases`` a private Postfix is started,
every case is sent as a real mail, and the log read until nothing moves; then the walker is asked for
the same addresses four times (as root and as nobody, with the resolver's socket and without), while
connections are counted. Standard output: a pickled ``Result``. Raises UnavailableError where a program
is missing or something does not settle.
"""

import contextlib
import grp
import json
import os
import pickle
import pwd
import re
import shutil
import smtplib
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from posttrail import config
from posttrail.errors import UnavailableError
from query.trace.dns import Dns
from query.trace.postfix import computed  # noqa: F401  loaded before privileges are given up
from query.trace.postfix.walker import postfix_walker
from query.trace.tree import Question, Trace
from tests.integration.knot import Knot, Unbound
from tests.integration.trace_cases import (
    BASE,
    FILES,
    GROUPS,
    SOCKETMAP,
    TABLES,
    USERS,
    ZONES,
    Case,
    Group,
)
from tests.integration.trace_servers import MailServer, SocketMap
from tests.integration.trace_truth import Result, read

RESOLVER, AUTHORITY = "127.0.0.78", "127.0.0.77"
SETTLE_S = 60.0
TAKERS = ("127.0.2.1", "127.0.2.2", "127.0.2.3", "127.0.2.4")
DANE_HOST = "127.0.2.50"
MODES = ("root, socket", "root, computed", "nobody, socket", "nobody, computed")
MASTER = """\
smtp inet n - n - - smtpd
%s
submission inet n - n - - smtpd
  -o syslog_name=postfix/submission
%s
pickup unix n - n 1 1 pickup
%s
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
posttrail-rw unix n - n - 1 trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
AGENTS = {"smtp": "smtp", "relay": "smtp", "error": "error", "retry": "error", "discard": "discard",
          "local": "local", "virtual": "virtual", "lmtp": "lmtp"}  # fmt: skip


class TraceLab:
    """The private Postfix of one group, in its own folder."""

    def __init__(self, directory: Path, group: Group) -> None:
        self.directory, self.group = directory, group
        self.etc = directory / "etc"
        self.log = directory / "mail.log"

    def prepare(self) -> None:
        """Writes folders, files and tables."""
        postfix = pwd.getpwnam("postfix")
        for name, owner, mode in (
            ("etc", 0, 0o755),
            ("queue", 0, 0o755),
            ("vmail", 65534, 0o755),
            ("data", postfix.pw_uid, 0o700),
            ("spool", 0, 0o1777),
            ("out", 0, 0o1777),
        ):
            folder = self.directory / name
            folder.mkdir(parents=True)
            os.chown(folder, owner, -1)
            folder.chmod(mode)
        self._write("etc/main.cf", _overridden(BASE, self.group.main))
        submission = "  -o cleanup_service_name=subclean" if "subclean" in self.group.master else ""
        master = MASTER % (self.group.smtp, submission, self.group.pickup)
        for name, program in AGENTS.items():
            private = "n" if program in ("local", "virtual") else "-"
            master += f"{name} unix - {private} n - - {program}\n  -o syslog_name=postfix/{name}\n"
        self._write("etc/master.cf", master + self.group.master)
        for name, text in {**TABLES, **self.group.tables}.items():
            self._write(name, text)
            kind = "lmdb" if name == "virtual2" else "hash"
            if not name.startswith(("virtual.", "union", "virtual3", "aliases.", "transport.")):
                self._run(
                    "postalias" if name.startswith("aliases") else "postmap",
                    f"{kind}:{self.directory / name}",
                )
        for name, text in FILES.items():
            self._write(name, text)
        self._homes()
        for name in ("shut", "secret", "secret.db"):
            if (self.directory / name).exists():
                (self.directory / name).chmod(0o600)

    def _homes(self) -> None:
        for user in USERS:
            home = Path(pwd.getpwnam(user).pw_dir)
            kept = self.directory / "home" / user
            home.mkdir(parents=True, exist_ok=True)
            if kept.is_dir():
                shutil.copytree(kept, home, dirs_exist_ok=True)
            for each in (home, *home.iterdir()):
                os.chown(each, pwd.getpwnam(user).pw_uid, -1)
            if user == "ivan":
                home.chmod(0o700)
            if user == "heidi":
                (home / ".forward").chmod(0o666)

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        places = {
            "$DAEMONS": _default("daemon_directory"),
            "$COMMANDS": _default("command_directory"),
        }
        for word, value in {**places, "$D/": f"{self.directory}/"}.items():
            text = text.replace(word, value)
        path.write_text(text, "utf-8")

    def _run(self, *command: str) -> str:
        name, *words = command
        done = subprocess.run((name, "-c", str(self.etc), *words), capture_output=True, text=True,
                              timeout=60, stdin=subprocess.DEVNULL)  # fmt: skip
        if done.returncode:
            raise UnavailableError(f"{' '.join(command)} failed: {done.stderr or done.stdout}")
        return done.stdout

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Postfix runs while the ``with`` block does."""
        self.prepare()
        self._run("postfix", "start")
        try:
            _until(lambda: _answers(25), "Postfix answers")
            yield
        finally:
            self._run("postfix", "stop")

    def send(self, name: str, case: Case) -> str | None:
        """One mail; gives the reply that refused it."""
        body = f"Message-ID: <{name}@lab.test>\nSubject: x\n\nx\n"
        if case.entry == "pickup":
            command = ("sendmail", "-C", str(self.etc), "-i", "-f", case.sender, "--", case.address)
            subprocess.run(command, input=body.encode(), check=True, timeout=60)
            return None
        port = 25 if case.entry == "smtp" else 587
        source = ("127.0.0.200" if case.outside else "127.0.0.9", 0)
        with smtplib.SMTP("127.0.0.1", port, timeout=30, source_address=source) as client:
            client.ehlo("client.test")
            client.command_encoding = "utf-8"
            options = "" if case.address.isascii() else " SMTPUTF8"
            client.docmd(f"MAIL FROM:<{case.sender}>{options}")
            code, words = client.docmd(f"RCPT TO:<{case.address}>")
            if code < 400:
                code, words = client.data(body)
        return f"{code} {words.decode()}" if code >= 400 else None

    def moving(self) -> bool:
        """Is there mail that is neither done nor put off?"""
        listed = [json.loads(line) for line in self._run("postqueue", "-j").splitlines()]
        if any(one["queue_name"] != "deferred" for one in listed):
            return True
        text = self.log.read_text("utf-8", "surrogateescape")
        deferred = {one["queue_id"] for one in listed}
        known = set(re.findall(r"postfix/\w*?/?(?:cleanup)\[\d+\]: (\w+): message-id=", text))
        return bool(known - set(re.findall(r": (\w+): removed", text)) - deferred)


def _overridden(base: str, more: str) -> str:
    """main.cf with every name once."""
    names = {line.partition("=")[0].strip() for line in more.splitlines() if line[:1].strip()}
    kept = [line for line in base.splitlines() if line.partition("=")[0].strip() not in names]
    return "\n".join(kept) + "\n" + more


def _default(setting: str) -> str:
    done = subprocess.run(
        ("postconf", "-d", "-h", setting), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SETTLE_S
    while not true():
        if time.monotonic() > deadline:
            raise UnavailableError(f"waited in vain: {what}")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError, smtplib.SMTPException):
        smtplib.SMTP("127.0.0.1", port, timeout=5).close()
        return True
    return False


def _isolated(directory: Path) -> None:
    """lo up; resolv.conf and passwd of this lab."""
    subprocess.run(("ip", "link", "set", "lo", "up"), check=True)
    lines = [
        f"{user}:x:{3001 + place}:65534::{directory}/homes/{user}:/bin/sh"
        for place, user in enumerate(USERS)
    ]
    made = {
        "resolv.conf": f"nameserver {RESOLVER}\noptions timeout:2 attempts:1 trust-ad\n",
        "passwd": Path("/etc/passwd").read_text() + "\n".join(lines) + "\n",
        "hosts": "127.0.0.1 localhost\n",
    }
    for name, text in made.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o644)
        subprocess.run(("mount", "--bind", str(directory / name), f"/etc/{name}"), check=True)


def _certificate(directory: Path) -> tuple[ssl.SSLContext, str]:
    """For the DANE host; and the digest of its key (TLSA 3 1 1)."""
    key, cert = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "3", "-subj", "/CN=mx.dane.test", "-addext", "subjectAltName=DNS:mx.dane.test",
         "-keyout", str(key), "-out", str(cert)), check=True, capture_output=True,
    )  # fmt: skip
    script = 'openssl pkey -in "$0" -pubout -outform der | sha256sum'
    done = subprocess.run(
        ("sh", "-c", script, str(key)), check=True, capture_output=True, text=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, done.stdout.split()[0]


def _asked(etc: Path, cases: Sequence[Case], *, socket: str) -> list[Trace]:
    walker = postfix_walker(config.Trace(config=str(etc), rewrite_socket=socket), Dns())
    return [
        walker.trace(Question(address=case.address, sender=case.sender, entry=case.entry))
        for case in cases
    ]


def _as_nobody(ask: Callable[[], list[Trace]]) -> list[Trace]:
    """The same in a process without rights, but for group postdrop."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            nobody = pwd.getpwnam("nobody")
            os.setgroups([grp.getgrnam("postdrop").gr_gid])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            with os.fdopen(writing, "wb") as stream:
                pickle.dump(ask(), stream)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    answers: list[Trace] = pickle.loads(data)
    return answers


def _counters() -> tuple[int, int]:
    """TCP connections opened, and datagrams to ports where nobody listens, in this network."""
    rows = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines()]
    seen = {kind: dict(zip(names, values, strict=True)) for (kind, *names), (_, *values) in
            zip(rows[::2], rows[1::2], strict=True)}  # fmt: skip
    return int(seen["Tcp:"]["ActiveOpens"]), int(seen["Udp:"]["NoPorts"])


def _group(name: str, group: Group, directory: Path, result: Result) -> None:
    lab = TraceLab(directory / name, group)
    began = time.monotonic()
    with lab.running(), SocketMap(lab.directory / "socketmap", SOCKETMAP):
        names = {f"{name}: {case}": f"{name}.{place}" for place, case in enumerate(group.cases)}
        cases = dict(zip(names, group.cases.values(), strict=True))
        replies = {case: lab.send(names[case], cases[case]) for case in cases}
        _until(lambda: not lab.moving(), f"the mails of {name} settle, see {lab.log}")
        truths = read(lab.log.read_text("utf-8", "surrogateescape"))
        for case, reply in replies.items():
            result.truths[case] = truths(f"{names[case]}@lab.test", cases[case].address, reply)
        result.seconds[f"{name}, Postfix"] = time.monotonic() - began
        for mode in MODES:
            _traced(mode, lab, cases, result)
    result.seconds[name] = time.monotonic() - began


def _traced(mode: str, lab: TraceLab, cases: dict[str, Case], result: Result) -> None:
    socket = str(lab.directory / "nosocket") if "computed" in mode else ""

    def ask() -> list[Trace]:
        return _asked(lab.etc, list(cases.values()), socket=socket)

    before, began = _counters(), time.monotonic()
    answers = _as_nobody(ask) if mode.startswith("nobody") else ask()
    after = _counters()
    result.traces.setdefault(mode, {}).update(zip(cases, answers, strict=True))
    result.connections[mode] = result.connections.get(mode, 0) + after[0] - before[0]
    result.strangers[mode] = result.strangers.get(mode, 0) + after[1] - before[1]
    result.seconds[mode] = result.seconds.get(mode, 0) + time.monotonic() - began


def main() -> None:
    """The command line."""
    directory = Path(sys.argv[1])
    chosen = sys.argv[2:] or list(GROUPS)
    _isolated(directory)
    tls, digest = _certificate(directory)
    zones = {**ZONES, "dane.test": f"@ MX 10 mx\nmx A {DANE_HOST}\n_25._tcp.mx TLSA 3 1 1 {digest}"}
    result = Result(truths={}, traces={})
    with contextlib.ExitStack() as stack:
        knot = stack.enter_context(
            Knot(directory / "knot", zones, address=AUTHORITY, port=53, signed={"dane.test"})
        )
        stack.enter_context(Unbound(directory / "unbound", knot, address=RESOLVER, port=53))
        for taker in TAKERS:
            stack.enter_context(MailServer(taker, 25))
        stack.enter_context(MailServer(DANE_HOST, 25, tls=tls))
        stack.enter_context(MailServer("127.0.0.1", 24, lmtp=True))
        stack.enter_context(MailServer("127.0.0.1", 10025, back=("127.0.0.1", 10026)))
        for name in chosen:
            _group(name, GROUPS[name], directory, result)
    sys.stdout.buffer.write(pickle.dumps(result))


if __name__ == "__main__":
    main()
