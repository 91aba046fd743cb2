"""Records the logs of sendmail-*: ``python -m tests.golden.record_sendmail FOLDER``, as root.

A private Sendmail (tests/integration/sendmail_lab.py) in a network of its own, where clients have
the addresses of RFC 5737. Each case writes FOLDER/sendmail-CASE/mail.log; what must come of it
is reasoned by hand. Options of a case: the log level, Sendmail's settings, whether a filter runs.
"""

import os
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from posttrail.demo.sinks import Sinks
from tests.integration.sendmail_lab import LOGIN, SendmailLab

INSIDE: Final = "198.51.100.7"
OUTSIDE: Final = "203.0.113.9"
ALICE: Final = "alice@example.com"
BOB: Final = "bob@example.com"
CAROL: Final = "carol@example.com"
STRANGER: Final = "sender@example.net"
FILTER: Final = Path(__file__).parents[1] / "integration" / "sendmail_filter.py"
NOISE: Final = ("gethostbyaddr(", "safesasl(")
SETTLE_S: Final = 1.5


class Recorder:
    """One Sendmail and the folder for its cases."""

    def __init__(self, lab: SendmailLab, folder: Path) -> None:
        self.lab = lab
        self._folder = folder

    def client(self, source: str) -> smtplib.SMTP:
        return smtplib.SMTP(
            "127.0.0.1", self.lab.port, local_hostname="client.example.org",
            source_address=(source, 0), timeout=30,
        )  # fmt: skip

    def send(
        self, name: str, sender: str, *recipients: str, source: str = OUTSIDE, head: str = ""
    ) -> None:
        with suppress(smtplib.SMTPException), self.client(source) as client:
            client.sendmail(sender, recipients, head + message(name))

    def talk(self, *words: str, data: str = "") -> None:
        """A client that says this and hangs up."""
        client = self.client(OUTSIDE)
        for word in words:
            client.docmd(word)
        if data:
            client.send(data)
        client.close()

    def run(self, name: str, *options: str) -> None:
        """A queue run for one message."""
        line = next(line for line in self.lab.lines() if name in line)
        queue_id = line.split(": ")[1]
        self.lab.queue(f"-qI{queue_id}", *options)

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        begin = len(self.lab.lines())
        yield
        time.sleep(SETTLE_S)
        lines = [line for line in self.lab.lines()[begin:] if not any(n in line for n in NOISE)]
        place = self._folder / f"sendmail-{name}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "mail.log").write_text("\n".join(lines) + "\n")


def message(name: str, body: str = "body\r\n") -> str:
    return f"Subject: test\r\nMessage-ID: <{name}@mail.example.net>\r\n\r\n{body}"


def plain(of: Recorder) -> None:
    """Without anything special."""
    with of.case("plain-delivery"):
        of.send("plain-1", STRANGER, ALICE)
        of.send("plain-2", ALICE, "someone@partner.example", source=INSIDE)
    several = ("someone@partner.example", "other@partner.example", "nobody@gone.example")
    with of.case("several-recipients-one-line"):
        of.send("several-1", ALICE, *several, "noone@gone.example", source=INSIDE)
    with of.case("deferred-then-sent"):
        of.send("grey-1", ALICE, "someone@grey.example", source=INSIDE)
        time.sleep(SETTLE_S)
        of.lab.flush()
    with of.case("unknown-user"):
        of.send("unknown-1", STRANGER, "nosuch@example.com", BOB)
        of.send("unknown-2", STRANGER, "nosuch@example.com")
    with of.case("relaying-denied"):
        of.send("relay-1", STRANGER, "victim@partner.example")
    with of.case("bounce-with-dsn"):
        of.send("bounce-1", ALICE, "nobody@gone.example", source=INSIDE)
    with of.case("double-bounce"):
        of.send("double-1", "ghost@example.org", "nobody@gone.example", source=INSIDE)
    with of.case("refused-at-data"):
        of.send("strict-1", ALICE, "someone@strict.example", source=INSIDE)
    with of.case("null-sender"):
        of.send("null-1", "", ALICE, source=INSIDE)
    with of.case("success-dsn"), of.client(INSIDE) as client:
        client.ehlo()
        client.mail(ALICE)
        client.rcpt(BOB, ["NOTIFY=SUCCESS"])
        client.data(message("succ-1"))


def submissions(of: Recorder) -> None:
    """Through the sendmail command."""
    with of.case("submission"):
        of.lab.submit(ALICE, [BOB, "someone@partner.example"], "Subject: cmd\n\nhello\n")
    with of.case("addresses-of-a-header"):
        head = '"Smith, Al" <alice@example.com>, carol@example.com (Carol)'
        of.lab.submit_header(f"From: Bob <bob@example.com>\nTo: {head}\nSubject: t\n\nx\n")
    with of.case("queue-only"):
        of.lab.queue(
            "-odq", "-f", ALICE, BOB, "someone@partner.example", stdin=b"Subject: q\n\nhello\n"
        )
    with of.case("submission-deferred"):
        of.lab.end()
        of.lab.submit(ALICE, [BOB], "Subject: later\n\nhello\n")
        time.sleep(SETTLE_S)
        of.lab.start()
        of.lab.flush_client()


def filters(of: Recorder) -> None:
    """What another filter and rulesets do."""
    with of.case("milter-reject"):
        of.send("mrej-1", "to.reply@bad.example", CAROL, ALICE)
        of.send("mrej-2", "to.reject@bad.example", CAROL)
        of.send("mrej-3", "eom.reply@bad.example", ALICE, BOB)
        of.send("mrej-4", "from.reject@bad.example", ALICE)
        of.send("mrej-5", "data.reply@bad.example", ALICE)
    with of.case("milter-tempfail"):
        of.send("mtemp-1", "eom.tempfail@bad.example", ALICE)
        of.send("mtemp-2", "to.tempfail@bad.example", CAROL)
    with of.case("milter-discard"):
        of.send("mdis-1", "eom.discard@bad.example", ALICE, BOB)
        of.send("mdis-2", "to.discard@bad.example", CAROL)
    with of.case("milter-quarantine"):
        of.send("mqua-1", "eom.quarantine@bad.example", ALICE)
    with of.case("milter-quarantine-and-release"):
        of.send("mqua-2", "eom.quarantine@bad.example", BOB)
        time.sleep(SETTLE_S)
        of.run("mqua-2", "-qQ", "-Q")
        of.lab.flush()
    with of.case("ruleset-quarantine"):
        of.send("rqua-1", "odd@bad.example", ALICE)
    with of.case("ruleset-discard"):
        of.send("rdis-1", "quiet@bad.example", ALICE)
    with of.case("access-denied"):
        of.send("acc-1", "spammer@bad.example", ALICE)
        of.send("acc-2", STRANGER, "closed@example.com", ALICE)


def aliases(of: Recorder) -> None:
    """Aliases, .forward, programs and files."""
    with of.case("alias-expansion"):
        of.send("team-1", STRANGER, "team@example.com")
        of.send("team-2", STRANGER, "sales@example.com")
    with of.case("list-with-owner"):
        of.send("list-1", STRANGER, "list@example.com")
    of.lab.forward("dave", '"|/bin/cat >/dev/null"')
    of.lab.forward("carol", "\\carol, someone@partner.example")
    with of.case("forward-to-program"):
        of.send("fwd-1", STRANGER, "dave@example.com", "robot@example.com")
    with of.case("forward-and-keep"):
        of.send("fwd-2", STRANGER, CAROL)
    with of.case("files"):
        of.send("files-1", STRANGER, "archive@example.com", "null@example.com")


def hostile(of: Recorder) -> None:
    """What is too large, forged, left off or loops."""
    large = ("y" * 70 + "\r\n") * 4000
    begin = ("MAIL FROM:<x@example.org>", f"RCPT TO:<{ALICE}>")
    with of.case("oversize"):
        with suppress(smtplib.SMTPException), of.client(OUTSIDE) as client:
            client.sendmail(STRANGER, [ALICE], message("big-1", large))
        with of.client(OUTSIDE) as client:
            for word in ("HELO x", f"MAIL FROM:<{STRANGER}>", begin[1]):
                client.docmd(word)
            client.data(message("big-2", large))
    with of.case("abandoned"):
        of.talk("EHLO x", *begin)
        of.talk("EHLO x", *begin, "DATA", data="Subject: x\r\n\r\nhalf")
        of.talk("EHLO x", *begin, "RSET", "QUIT")
        of.talk("VRFY alice")
        of.talk()
    with of.case("silent-client"):
        client = of.client(OUTSIDE)
        for word in ("EHLO x", *begin, "DATA"):
            client.docmd(word)
        time.sleep(3)
        client.close()
    with of.case("forged-status"):
        of.send(
            "forged-1",
            '"a\\"@x>, size=7, class=0, nrcpts=0, relay=[192.0.2.66]"@example.net',
            '"x\\"@y>, delay=00:00:00, xdelay=00:00:00, mailer=local, stat=Sent (y"@gone.example',
            source=INSIDE,
        )
        of.send(
            "forged-2, proto=SMTP, daemon=MTA, relay=evil.example [192.0.2.66]", STRANGER, ALICE,
            source=INSIDE,
        )  # fmt: skip
    with of.case("looped"):
        of.send("loop-1", STRANGER, ALICE, head="Received: from a by b; x\r\n" * 60)


def late(of: Recorder) -> None:
    """What takes days elsewhere."""
    for case, name, option in (
        ("expired", "exp-1", "Timeout.queuereturn=1s"),
        ("delay-notice", "dly-1", "Timeout.queuewarn=1s"),
    ):
        with of.case(case):
            of.send(name, ALICE, "u@down.example", source=INSIDE)
            time.sleep(2)
            of.run(name, "-L", "sm-mta", "-O", option)


def sessions(of: Recorder) -> None:
    """TLS and login."""
    with of.case("tls-and-login"):
        for login, sender, recipient, name in (
            (LOGIN, CAROL, "someone@partner.example", "login-1"),
            (None, STRANGER, ALICE, "tls-1"),
        ):
            with of.client(OUTSIDE) as client:
                client.starttls(context=ssl._create_unverified_context())
                if login:
                    client.login(*login)
                client.sendmail(sender, [recipient], message(name))


def talkative(of: Recorder) -> None:
    """A higher log level."""
    with of.case("log-level-11"):
        of.send("level-1", STRANGER, "team@example.com", "nosuch@example.com")
        of.talk("EHLO x", "MAIL FROM:<x@example.org>", f"RCPT TO:<{ALICE}>", "QUIT")
        of.send("level-2", "quiet@bad.example", ALICE, BOB)


@contextmanager
def recorder(folder: Path, *, is_filtered: bool, log_level: int) -> Iterator[Recorder]:
    """A Sendmail, with the other filter where that is asked for."""
    directory = Path(tempfile.mkdtemp(prefix="posttrail-sm-"))
    socket = directory / "lab" / "milter" / "filter.sock"
    socket.parent.mkdir(parents=True)
    filters = {"filter": "S=local:/mnt/milter/filter.sock, F=, T=C:10s;S:5s;R:5s;E:10s"}
    running = subprocess.Popen([sys.executable, str(FILTER), str(socket)]) if is_filtered else None
    while running is not None and not socket.exists():
        time.sleep(0.1)
    try:
        with (
            Sinks() as sinks,
            SendmailLab(
                directory / "lab",
                sinks=sinks.ports,
                filters=filters if is_filtered else {},
                log_level=log_level,
                options="define(`confTO_DATABLOCK', `2s')dnl",
            ) as lab,
        ):
            time.sleep(SETTLE_S)
            yield Recorder(lab, folder)
    finally:
        if running is not None:
            running.send_signal(signal.SIGKILL)
            running.wait()
        shutil.rmtree(directory, ignore_errors=True)


CASES: Final[tuple[Callable[[Recorder], None], ...]] = (
    plain, submissions, aliases, hostile, late, sessions,
)  # fmt: skip


def main() -> None:
    """All cases, in a network of their own."""
    folder = Path(sys.argv[1]).absolute()
    if "POSTTRAIL_NETWORK" not in os.environ:
        addresses = "; ".join(f"ip addr add {ip}/32 dev lo" for ip in (INSIDE, OUTSIDE))
        again = [sys.executable, "-m", "tests.golden.record_sendmail", str(folder)]
        script = f"ip link set lo up; {addresses}; exec {' '.join(again)}"
        os.environ["POSTTRAIL_NETWORK"] = "own"
        os.execvp("unshare", ["unshare", "--net", "/bin/sh", "-c", script])
    with recorder(folder, is_filtered=False, log_level=9) as of:
        for record in CASES:
            record(of)
    with recorder(folder, is_filtered=True, log_level=9) as of:
        filters(of)
    with recorder(folder, is_filtered=False, log_level=11) as of:
        talkative(of)


if __name__ == "__main__":
    main()
