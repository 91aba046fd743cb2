"""Record golden logs anew from real parts: ``python -m tests.golden.record DIR [CASE...]`` (root).

Parts: the private Postfix (posttrail.demo.lab) and Dovecot (tests.integration.dovecot), amavis,
spamd with spamc, postgrey. All log to one syslog socket of ours, which stands in the place of
/dev/log in a mount namespace of this process only; there Postfix's private configuration is
/etc/postfix, too, so that a filter's sendmail(1) reaches it. Writes DIR/CASE/mail.log. What must
come of a case is reasoned by hand in its expected.json. Debian 12: postfix, dovecot-core,
dovecot-lmtpd, dovecot-sieve, amavisd-new, spamd, spamc, postgrey.
"""

import os
import pwd
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from posttrail.demo.lab import Lab, free_base
from posttrail.demo.sinks import all_at
from tests.integration.dovecot import LDA, Dovecot, User, route

INSIDE = "RECORD_INSIDE"  # set where the namespace is ours already
HOST = b"mx"
NODE = socket.gethostname().encode()
WAIT_S = 30
DATE = "Wed, 25 Nov 2026 12:00:00 +0000"
LONG = ("x" * 70 + "\n") * 50
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

USERS = (
    User(name="alice@example.com"),
    User(name="bob@example.com", sieve="keep;\n"),
    User(
        name="carol@example.com",
        sieve='require ["fileinto", "mailbox"];\n'
        'if header :is "X-Spam-Flag" "YES" { fileinto :create "Junk"; }\n',
    ),
    User(name="alice@lda.example.com"),
    User(
        name="carol@lda.example.com",
        sieve='require ["fileinto", "mailbox"];\n'
        'if header :is "X-Spam-Flag" "YES" { fileinto :create "Junk"; }\n',
    ),
    User(
        name="dora@example.com",
        sieve='require ["fileinto", "mailbox"];\nfileinto :create "Entwürfe/Größe & Maß";\n',
    ),
    User(
        name="erin@example.com",
        sieve='require ["fileinto", "mailbox"];\nfileinto :create "INBOX/Spam";\n',
    ),
    User(name="frank@example.com", sieve="discard;\n"),
    User(name="gina@example.com", sieve='require "reject";\nreject "not for me";\n'),
    User(
        name="hans@example.com",
        sieve='require "vacation";\nvacation :addresses "hans@example.com" "on holiday";\n',
    ),
    User(name="ida@example.com", sieve='redirect "friend@example.net";\n'),
    User(
        name="jan@example.com",
        sieve='require "copy";\nredirect :copy "friend@example.net";\n',
    ),
    User(name="kim@example.com", extra="userdb_quota_rule=*:bytes=1k"),
    User(
        name="lea@example.com",
        extra="userdb_quota_rule=*:bytes=1k userdb_quota_full_tempfail=yes",
    ),
    User(name="mia@example.com", sieve='require "fileinto";\nfileinto "No such folder";\n'),
    User(
        name="nina@example.com",
        sieve='require ["fileinto", "mailbox"];\nfileinto :create "Junk"; stop;\n',
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One recording: a mail, or several, and how to tell that it is over."""

    recipients: tuple[str, ...]
    over: str = "removed"
    times: int = 1  # this must be said so often
    port: str = "mx"
    sender: str = "partner@example.net"
    headers: str = ""
    body: str = "hello\n"
    mails: int = 1
    down: bool = False  # Dovecot is
    again: bool = False  # the client comes again


CASES = {
    "dovecot-inbox": Case(recipients=("alice@example.com",)),
    "dovecot-keep": Case(recipients=("bob@example.com",)),
    "dovecot-several-recipients": Case(
        recipients=("alice@example.com", "carol@example.com", "frank@example.com"),
        headers="X-Spam-Flag: YES\n",
    ),
    "dovecot-junk": Case(recipients=("carol@example.com",), headers="X-Spam-Flag: YES\n"),
    "dovecot-junk-below-inbox": Case(recipients=("erin@example.com",)),
    "dovecot-utf8-folder": Case(recipients=("dora@example.com",)),
    "dovecot-discard": Case(recipients=("frank@example.com",)),
    "dovecot-reject": Case(recipients=("gina@example.com",), times=2),
    "dovecot-reject-null-sender": Case(recipients=("gina@example.com",), sender=""),
    "dovecot-vacation": Case(
        recipients=("hans@example.com",),
        headers="To: hans@example.com\n",
        times=2,
    ),
    "dovecot-forward": Case(recipients=("ida@example.com",), times=2),
    "dovecot-forward-copy": Case(recipients=("jan@example.com",), times=2),
    "dovecot-quota": Case(recipients=("kim@example.com",), body=LONG, times=2),
    "dovecot-quota-tempfail": Case(
        recipients=("lea@example.com",), body=LONG, over="status=deferred"
    ),
    "dovecot-script-failed": Case(recipients=("mia@example.com",)),
    "dovecot-forged-message-id": Case(
        recipients=("nina@example.com",),
        headers="Message-ID: <x@example.net>: stored mail into mailbox 'INBOX'\n",
    ),
    "dovecot-no-message-id": Case(recipients=("bob@example.com",), headers="Message-ID: \n"),
    "dovecot-down": Case(recipients=("alice@example.com",), over="status=deferred", down=True),
    "dovecot-lda": Case(recipients=("alice@lda.example.com",)),
    "dovecot-lda-junk": Case(recipients=("carol@lda.example.com",), headers="X-Spam-Flag: YES\n"),
    "amavis-clean": Case(recipients=("alice@example.com",), port="amavis", times=2),
    "amavis-spam-quarantined": Case(
        recipients=("alice@example.com", "bob@example.com"), port="amavis", body=GTUBE + "\n"
    ),
    "amavis-banned-bounced": Case(
        recipients=("alice@example.com",),
        port="amavis",
        headers="MIME-Version: 1.0\nContent-Type: application/octet-stream; name=setup.exe\n",
        times=2,
    ),
    "amavis-proxy-accept": Case(recipients=("alice@example.com",), port="proxy"),
    "amavis-proxy-reject": Case(
        recipients=("alice@example.com",),
        port="proxy",
        body=GTUBE + "\n",
        over="disconnect from",
    ),
    "spamc-pickup": Case(recipients=("alice@example.com",), port="spamc", times=2),
    "spamc-pickup-junk": Case(
        recipients=("carol@example.com",), port="spamc", body=GTUBE + "\n", times=2
    ),
    "greylisted-then-accepted": Case(
        recipients=("alice@example.com",), port="greylist", again=True
    ),
}


def main() -> None:
    """The command line; begins anew in a mount namespace of its own."""
    place = Path(sys.argv[1]).resolve()
    if os.environ.get(INSIDE):
        record(place, sys.argv[2:] or list(CASES))
        return
    place.mkdir(parents=True, exist_ok=True)
    again = [sys.executable, "-m", "tests.golden.record", *sys.argv[1:]]
    environment = {**os.environ, INSIDE: "1", "TZ": "UTC"}
    os.execvpe("unshare", ["unshare", "-m", "--propagation", "private", *again], environment)


def record(place: Path, names: list[str]) -> None:
    """Start the parts, send each case's mail, and keep the lines that it made."""
    work = place / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o755)
    place.chmod(0o755)
    with ExitStack() as stack:
        log = stack.enter_context(syslog(work))
        sink = stack.enter_context(friend())
        parts = Parts(work, log, sink)
        stack.enter_context(parts.running())
        for name in names:
            lines = parts.play(CASES[name])
            (place / name).mkdir(exist_ok=True)
            text = b"".join(lines).replace(bytes(work / "dovecot"), b"/run/dovecot")
            text = text.replace(bytes(work), b"/srv").replace(b"@%s>" % NODE, b"@mx.example.com>")
            (place / name / "mail.log").write_bytes(text)
            print(f"{name}: {len(lines)} lines", flush=True)


class Log:
    """What all parts said, in the order in which it came."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.news = threading.Condition()

    def take(self, datagram: bytes) -> None:
        """One message as syslog(3) writes it: ``<PRI>Mmm dd hh:mm:ss tag: text``."""
        text = datagram.partition(b">")[2].rstrip(b"\n\0")
        with self.news:
            self.lines.append(text[:16] + HOST + b" " + text[16:] + b"\n")
            self.news.notify_all()

    def wait(self, since: int, words: bytes, times: int) -> None:
        """Until these words were said so often since a line."""
        with self.news:
            said = self.news.wait_for(
                lambda: sum(words in line for line in self.lines[since:]) >= times, WAIT_S
            )
        if not said:
            tail = b"".join(self.lines[since:]).decode("utf-8", "replace")
            sys.exit(f"waited in vain for {words!r}:\n{tail}")


@contextmanager
def syslog(work: Path) -> Iterator[Log]:
    """A /dev of our own with a log socket that we read."""
    device = work / "dev"
    device.mkdir()
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (device / name).touch()
        _run("mount", "--bind", f"/dev/{name}", str(device / name))
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0")):
        (device / name).symlink_to(target)
    (device / "shm").mkdir(mode=0o777)
    log = Log()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(device / "log"))
        (device / "log").chmod(0o666)
        _run("mount", "--rbind", str(device), "/dev")

        def read() -> None:
            while True:
                log.take(receiver.recv(65536))

        threading.Thread(target=read, daemon=True).start()
        yield log


@contextmanager
def friend() -> Iterator[int]:
    """An SMTP server of another domain, that takes everything; its port."""
    port = free_base(1)
    command = ("smtp-sink", "-u", "nobody", "-h", "mail.example.net", f"127.0.0.1:{port}", "100")
    with subprocess.Popen(command) as sink:
        try:
            yield port
        finally:
            sink.terminate()


class Parts:
    """All the servers."""

    def __init__(self, work: Path, log: Log, sink: int) -> None:
        self.work = work
        self.log = log
        base = free_base(8)
        names = (
            "amavis",
            "proxy",
            "spamc",
            "greylist",
            "amavisd",
            "amavisd_proxy",
            "spamd",
            "postgrey",
        )
        self.ports = {name: base + number for number, name in enumerate(names)}
        self.lab = Lab(
            work / "postfix",
            sinks=all_at(sink),
            milter=False,
            settings=(
                "maillog_file =",
                "virtual_mailbox_domains = example.com, lda.example.com",
                "lmtp_connection_cache_on_demand = yes",
                "lda_destination_recipient_limit = 1",
                "smtpd_authorized_xclient_hosts = 127.0.0.0/8",
                f"alternate_config_directories = {work}/postfix/etc",
            ),
        )
        self.dovecot = Dovecot(
            work / "dovecot",
            USERS,
            submission_port=self.lab.ports.reinjection,
            log="syslog",
            settings=("syslog_facility = mail",),
        )
        self.ports["mx"] = self.lab.ports.mx

    @contextmanager
    def running(self) -> Iterator[None]:
        """Every server, answering."""
        self.lab.prepare()
        self._configure_postfix()
        etc = self.work / "postfix" / "etc"
        for name in ("postfix-files", "dynamicmaps.cf"):
            shutil.copy(f"/etc/postfix/{name}", etc)
        _run("mount", "--bind", str(etc), "/etc/postfix")
        with ExitStack() as stack:
            _run(*self._postgrey())
            stack.callback(self._end_postgrey)
            for command in (self._amavis(), self._spamd()):
                server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self.work)
                stack.callback(server.wait)
                stack.callback(server.terminate)
            stack.enter_context(self.dovecot)
            self.lab.start()
            stack.callback(self.lab.stop)
            for name in ("amavisd", "amavisd_proxy", "spamd", "postgrey"):
                _until_open(self.ports[name], name)
            time.sleep(1)  # what they say of these connections
            yield

    def play(self, case: Case) -> list[bytes]:
        """The lines of one case."""
        since = len(self.log.lines)
        if case.down:
            self.dovecot.stop()
            since = len(self.log.lines)
        for number in range(case.mails):
            self._send(case, number)
        if case.again:
            time.sleep(2)  # postgrey's delay
            self._send(case, 0)
        self.log.wait(since, case.over.encode(), case.times)
        self.log.wait(since, b" disconnect from ", 1)
        time.sleep(0.5)  # what is said behind the last word
        lines = self.log.lines[since:]
        if case.down:
            subprocess.run(("postsuper", "-d", "ALL"), capture_output=True)
            self.dovecot.start()
        if case.over == "status=deferred":
            subprocess.run(("postsuper", "-d", "ALL"), capture_output=True)
            time.sleep(0.5)
        return lines

    def _send(self, case: Case, number: int) -> None:
        named = "Message-ID" in case.headers
        identity = "" if named else f"Message-ID: <{number + 1}.{case.port}@mail.example.net>\n"
        head = f"From: partner@example.net\nDate: {DATE}\nSubject: hello\n{identity}{case.headers}"
        with smtplib.SMTP(
            "127.0.0.1", self.ports[case.port], local_hostname="mail.example.net", timeout=30
        ) as client:
            client.ehlo()
            client.docmd("XCLIENT", "NAME=mail.example.net ADDR=192.0.2.10 PORT=41161")
            client.ehlo()
            try:
                client.sendmail(case.sender, case.recipients, head + "\n" + case.body)
            except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError):
                pass  # what it was sent for

    def _configure_postfix(self) -> None:
        etc, ports = self.work / "postfix" / "etc", self.ports
        lines = (etc / "main.cf").read_text().splitlines()
        settings = {line.partition("=")[0].strip(): line for line in lines if line.strip()}
        (etc / "main.cf").write_text("\n".join(settings.values()) + "\n")
        route(etc, self.dovecot)
        with (etc / "transport").open("a") as transport:
            transport.write("lda.example.com lda:\n")
        front = "127.0.0.1:{} inet n - n - - smtpd\n"
        services = f"""\
{front.format(ports["amavis"])}  -o content_filter=amavis:[127.0.0.1]:{ports["amavisd"]}
{front.format(ports["proxy"])}  -o smtpd_proxy_filter=127.0.0.1:{ports["amavisd_proxy"]}
  -o content_filter=
{front.format(ports["spamc"])}  -o content_filter=spamc:
{front.format(ports["greylist"])}  -o smtpd_recipient_restrictions=check_policy_service,inet:127.0.0.1:{ports["postgrey"]}
amavis unix - - n - 2 smtp
  -o syslog_name=postfix/amavis
  -o smtp_send_xforward_command=yes
spamc unix - n n - - pipe
  flags=Rq user=nobody argv=/usr/bin/spamc -d 127.0.0.1 -p {ports["spamd"]} -e /usr/sbin/sendmail -oi -f ${{sender}} -- ${{recipient}}
lda unix - n n - - pipe
  flags=DRhu user=nobody argv={LDA} -c {self.dovecot.configuration} -f ${{sender}} -d ${{recipient}}
"""
        master = (etc / "master.cf").read_text()
        (etc / "master.cf").write_text(master + services)

    def _amavis(self) -> tuple[str, ...]:
        home, ports = self.work / "amavis", self.ports
        amavis = pwd.getpwnam("amavis")
        for name in ("", "tmp", "db", "var", "quarantine"):
            (home / name).mkdir(exist_ok=True)
            os.chown(home / name, amavis.pw_uid, amavis.pw_gid)
        (self.work / "amavisd.conf").write_text(f"""\
use strict;
$max_servers = 2;
$daemon_user = 'amavis'; $daemon_group = 'amavis';
$mydomain = 'example.com'; $myhostname = 'mx.example.com';
$MYHOME = '{home}'; $TEMPBASE = '{home}/tmp'; $db_home = '{home}/db';
$pid_file = '{home}/amavisd.pid'; $lock_file = '{home}/amavisd.lock';
$QUARANTINEDIR = '{home}/quarantine';
$enable_db = 0; $nanny_details_level = 0; $enable_zmq = 0;
$log_level = 0; $do_syslog = 1; $syslog_facility = 'mail';
$inet_socket_bind = '127.0.0.1';
$inet_socket_port = [{ports["amavisd"]}, {ports["amavisd_proxy"]}];
@inet_acl = ('127.0.0.0/8'); @mynetworks = ('198.51.100.0/24');
@local_domains_maps = (['.example.com']);
$forward_method = 'smtp:[127.0.0.1]:{self.lab.ports.reinjection}';
$notify_method = $forward_method;
@bypass_virus_checks_maps = (1);
$sa_local_tests_only = 1; $sa_configpath = '{self._rules()}'; $sa_tag_level_deflt = -999; $sa_tag2_level_deflt = 5;
$sa_kill_level_deflt = 6.9; $sa_dsn_cutoff_level = 9999;
$final_spam_destiny = D_DISCARD; $final_banned_destiny = D_BOUNCE;
$final_bad_header_destiny = D_PASS;
$spam_quarantine_method = 'local:spam-%m';
$spam_quarantine_to = 'spam-quarantine'; $virus_admin = undef; $spam_admin = undef;
$warnbannedsender = 0;
$banned_filename_re = new_RE(qr'\\.exe$'i);
$interface_policy{{'{ports["amavisd_proxy"]}'}} = 'PROXY';
$policy_bank{{'PROXY'}} = {{ final_destiny_maps_by_ccat => {{ CC_SPAM, D_REJECT }} }};
$mailfrom_notify_admin = 'postmaster@example.com';
$mailfrom_notify_recip = 'postmaster@example.com';
$mailfrom_notify_spamadmin = 'postmaster@example.com';
$hdrfrom_notify_sender = 'postmaster@example.com';
1;
""")
        return ("/usr/sbin/amavisd", "-c", str(self.work / "amavisd.conf"), "foreground")

    def _rules(self) -> Path:
        """One rule for SpamAssassin, whose own are not in its package."""
        rules = self.work / "rules"
        rules.mkdir(exist_ok=True)
        pattern = re.escape(GTUBE).replace("/", "\\/")
        (rules / "10_one.cf").write_text(
            f"body GTUBE /{pattern}/\nscore GTUBE 1000\nadd_header all Status _YESNO_, score=_SCORE_\n"
            "add_header spam Flag _YESNOCAPS_\nreport_safe 0\nuse_bayes 0\n"
        )
        return rules

    def _spamd(self) -> tuple[str, ...]:
        return (
            *("/usr/sbin/spamd", "-i", "127.0.0.1", "-p", str(self.ports["spamd"])),
            *("-x", "-L", "-u", "nobody", "-m", "2", "--syslog", "mail", "-H", str(self.work)),
            *("-C", str(self._rules())),
        )

    def _postgrey(self) -> tuple[str, ...]:
        database = self.work / "postgrey"
        database.mkdir()
        owner = pwd.getpwnam("postgrey")
        os.chown(database, owner.pw_uid, owner.pw_gid)
        return (
            *("/usr/sbin/postgrey", f"--inet=127.0.0.1:{self.ports['postgrey']}", "--delay=1"),
            *(f"--dbdir={database}", "--auto-whitelist-clients=0"),
            *("-d", f"--pidfile={database}/pid", "--syslogfacility=mail"),  # else it has no syslog
        )

    def _end_postgrey(self) -> None:
        os.kill(int((self.work / "postgrey" / "pid").read_text()), signal.SIGTERM)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _until_open(port: int, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not _open(port):
        if time.monotonic() > deadline:
            sys.exit(f"{what} does not answer")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
