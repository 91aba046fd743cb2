"""Whatever fails in posttrail-milterd, a real Postfix takes every mail, unchanged and in time.

The daemon is started by a program that wraps its callbacks and pymilter's context; what is to fail is
named in a file that it looks at. Each fault is met by sessions that reach every stage: STARTTLS, a
login, an accepted and a refused recipient, RSET, a client that hangs up, local mail.
"""

import os
import re
import resource
import signal
import smtplib
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from milterd.spool import parse_line, segments
from posttrail.demo.postfix_files import LOGIN
from tests.integration.milterd_process import PROGRAM
from tests.integration.parts import Parts, Program, client, postfix_and_parts
from tests.waiting import wait_until

pytest.importorskip("milter")

FAULTY = """
import os
from milterd import callbacks, main, recorder
from milterd.callbacks import Connection

FAULT = os.environ["FAULT"]
main.TURN_S, main.GAUGES_S = 0.05, 0.0

def meet(name):
    try:
        with open(FAULT) as file:
            wanted = file.read()
    except FileNotFoundError:
        return
    if wanted == name:
        with open(FAULT + ".met", "a") as met:
            met.write(name + "\\n")
        raise RuntimeError("on purpose")

class Context:
    def __init__(self, ctx, stage):
        self._ctx, self._stage = ctx, stage
    def __getattr__(self, name):
        function = getattr(self._ctx, name)
        def call(*arguments):
            asked = f" {arguments[0]}" if name == "getsymval" else ""
            meet(f"{self._stage}: {name}{asked}")
            return function(*arguments)
        return call

def failing(owner, name, stage):
    before = getattr(owner, name)
    def call(*arguments, **more):
        meet(f"{stage}: begin")
        found = before(*arguments, **more)
        meet(f"{stage}: end")
        return found
    call.__name__ = name
    setattr(owner, name, call)

def wrapping(make, stage_of):
    def made(sink, *given, **more):
        callback = make(sink, *given, **more)
        stage = stage_of(*given)
        return lambda ctx, *rest: callback(Context(ctx, stage), *rest)
    return made

callbacks._guarded = wrapping(callbacks._guarded, lambda method: method.__name__)
callbacks._negotiation = wrapping(callbacks._negotiation, lambda: "negotiate")
for name in ("negotiate", "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "eom",
             "abort", "close"):
    failing(Connection, name, name)
failing(recorder.Recorder, "put", "put")
failing(callbacks, "record", "record")
failing(recorder.Recorder, "_take", "writer")
""" + PROGRAM  # fmt: skip

STAGES = (
    "negotiate", "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "eom", "abort", "close",
)  # fmt: skip
MACROS = {
    "connect": ("{client_port}", "{daemon_name}"),
    "helo": ("{tls_version}", "{cipher}"),
    "mail": ("{auth_authen}", "{auth_type}", "i"),
    "rcpt": ("{rcpt_mailer}", "{rcpt_host}", "{rcpt_addr}", "i"),
    "data": ("i",),
    "eom": ("i",),
}
FAULTS = [
    *(f"{stage}: {where}" for stage in STAGES for where in ("begin", "end")),
    *(f"{stage}: getsymval {name}" for stage, names in MACROS.items() for name in names),
    *(f"{stage}: getpriv" for stage in STAGES if stage != "negotiate"),
    "negotiate: setpriv", "negotiate: setsymlist",
    "put: begin", "put: end", "record: begin", "record: end",
]  # fmt: skip
SLOWEST_S = 4.0  # a milter that Postfix waits for in vain costs 5 s, see the lab's main.cf
HEAD = (
    b"From: Ann <ann@example.org>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"Subject: number %d\r\nMessage-ID: <%d@example.org>\r\nX-Spam-Flag: NO\r\n"
)
BODY = b"".join(b"line %d of a mail: caf\xc3\xa9 \xff\r\n" % number for number in range(50))
UNVERIFIED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
UNVERIFIED.check_hostname = False
UNVERIFIED.verify_mode = ssl.CERT_NONE


class Faulty:
    """A Postfix with a milter that fails where it is told to."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.lab = parts.lab
        self.fault = parts.directory / "fault"
        self.met_file = parts.directory / "fault.met"
        text = parts.config.read_text()
        parts.config.write_text(text.replace("[milter]\n", "[milter]\nqueue_records = 20\n"))
        command = (sys.executable, "-c", FAULTY, "--config", str(parts.config))
        parts.milterd = Program(parts.directory / "milterd.log", *command)
        self.sent = 0

    def start(self) -> None:
        """The daemon, with the name of the file that it looks at."""
        os.environ["FAULT"] = str(self.fault)
        try:
            self.parts.start_milterd()
        finally:
            del os.environ["FAULT"]

    def met(self) -> int:
        """How often a fault was met so far."""
        return self.met_file.read_text().count("\n") if self.met_file.exists() else 0

    def is_met_after(self, met: int) -> bool:
        """Whether one more was met since there were so many."""
        return self.met() > met

    def gauge(self, name: str) -> float:
        """A number that the daemon exports."""
        gauges = (self.parts.state / "run" / "milterd.prom").read_text()
        return float(gauges.split(f"\nposttrail_milter_{name} ")[1].split()[0])

    def recorded(self) -> list[str]:
        """The subjects in the spool."""
        spool = self.parts.state / "spool"
        files = [*segments(spool), spool / "current"]
        found = [parse_line(line) for file in files for line in file.read_bytes().splitlines()]
        return [record["subject"] for record in found if record and record["t"] == "txn"]

    def message(self) -> bytes:
        """The next one, none like another."""
        self.sent += 1
        return HEAD % (self.sent, self.sent) + b"\r\n" + BODY

    def sessions(self) -> None:
        """To every stage; each must be done before Postfix gives up a milter."""
        for session in (self._with_login, self._hasty, self._local):
            begun = time.monotonic()
            session()
            spent = time.monotonic() - begun
            assert spent < SLOWEST_S, f"{session.__name__} took {spent:.1f} s"

    def _with_login(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.lab.ports.submission, timeout=30) as smtp:
            smtp.ehlo("client.example.org")
            smtp.starttls(context=UNVERIFIED)
            smtp.ehlo("client.example.org")
            smtp.login(*LOGIN)
            for last in (False, True):
                assert smtp.mail("ann@example.org")[0] == 250
                assert smtp.rcpt("alice@example.com")[0] == 250
                assert smtp.rcpt("nobody.here@example.com")[0] == 550
                assert smtp.rcpt("anyone@void.example")[0] == 250
                if not last:
                    assert smtp.rset()[0] == 250
            assert smtp.data(self.message())[0] == 250

    def _hasty(self) -> None:
        smtp = client(self.lab)
        smtp.sendmail("ann@example.org", ["alice@example.com"], self.message())
        assert smtp.mail("ann@example.org")[0] == 250
        assert smtp.rcpt("alice@example.com")[0] == 250
        smtp.close()

    def _local(self) -> None:
        message = self.message().replace(b"\r\n", b"\n")
        self.lab.sendmail(message, sender="ann@example.org", recipients=["alice@example.com"])

    def delivered(self) -> list[bytes]:
        """What came into alice's mailbox."""
        new = self.lab.directory / "mailboxes" / "alice" / "new"
        return [path.read_bytes() for path in new.glob("*")]

    def complaints(self) -> list[str]:
        """What Postfix said about its milter."""
        lines = self.lab.log.read_text(errors="replace").splitlines()
        return [line for line in lines if "warning:" in line and "ilter" in line]


@pytest.fixture(scope="module")
def faulty() -> Iterator[Faulty]:
    with postfix_and_parts() as parts:
        made = Faulty(parts)
        made.start()
        parts.lab.start()
        yield made


def test_an_exception_at_every_place_costs_no_mail(faulty: Faulty) -> None:
    """Each fault is met, counted, and felt by nobody; the next session is recorded as ever."""
    faulty.sessions()
    assert faulty.met() == 0
    for fault in FAULTS:
        met = faulty.met()
        faulty.fault.write_text(fault)
        faulty.sessions()
        wait_until(partial(faulty.is_met_after, met))  # what makes records comes later
        faulty.fault.unlink()
    faulty.sessions()
    wait_until(lambda: faulty.gauge("callback_failures_total") == faulty.met())  # each counted once
    wait_until(lambda: f"number {faulty.sent}" in faulty.recorded())
    assert {f"number {faulty.sent - back}" for back in range(3)} < set(faulty.recorded())
    wait_until(lambda: len(faulty.delivered()) == faulty.sent)
    for mail in faulty.delivered():
        number = int(re.findall(rb"(?m)^Subject: number (\d+)$", mail)[0])
        sent = HEAD % (number, number) + b"\r\n" + BODY
        assert mail.endswith(b"\n" + sent.replace(b"\r\n", b"\n"))
    assert faulty.complaints() == []
    assert faulty.parts.milterd.is_running()


# -- what fails behind the callbacks --------------------------------------------------------


def test_a_writer_that_dies_costs_no_mail(faulty: Faulty) -> None:
    """The daemon ends, so that it is started again; Postfix goes on without it at once."""
    faulty.fault.write_text("writer: begin")
    wait_until(lambda: not faulty.parts.milterd.is_running())
    faulty.sessions()
    faulty.fault.unlink()
    assert faulty.parts.milterd.stop() == 69
    assert "the recorder thread has ended" in faulty.parts.milterd.words()
    faulty.start()
    faulty.sessions()
    wait_until(lambda: f"number {faulty.sent}" in faulty.recorded())


def test_a_full_queue_and_a_full_disk_cost_no_mail(faulty: Faulty) -> None:
    limit = (4000, resource.RLIM_INFINITY)
    resource.prlimit(faulty.parts.milterd.pid, resource.RLIMIT_FSIZE, limit)
    (faulty.parts.state / "spool" / "current").write_bytes(b"x" * 4000)
    begun = faulty.sent
    while faulty.gauge("lost_records_total") == 0:
        faulty.sessions()
    assert faulty.sent - begun < 300, "nothing was full"
    assert faulty.gauge("spool_failing") == 1
    wait_until(lambda: len(faulty.delivered()) == faulty.sent)
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(faulty.parts.milterd.pid, resource.RLIMIT_FSIZE, unlimited)
    wait_until(lambda: faulty.gauge("spool_failing") == 0)
    faulty.sessions()
    wait_until(lambda: f"number {faulty.sent}" in faulty.recorded())


# -- a daemon that stands still -------------------------------------------------------------

TIMEOUT_S = 2.0
SHORT = "{{ unix:posttrail/milter.sock, default_action=accept, {} }}".format(
    ", ".join(f"{name}_timeout={TIMEOUT_S:.0f}s" for name in ("connect", "command", "content"))
)
MESSAGES = 5  # a session


def timed_session(parts: Parts, number: int, begun: threading.Barrier | None = None) -> float:
    """Seconds that a session of several messages took; every one must be accepted."""
    start = time.monotonic()
    with client(parts.lab) as smtp:
        for message in range(MESSAGES):
            if begun is not None and message == 1:
                begun.wait()  # the daemon stands still from here on
                start = time.monotonic()
            text = f"Message-ID: <{number}.{message}@example.org>\r\n\r\nx\r\n"
            smtp.sendmail("ann@example.org", ["alice@example.com"], text)
    return time.monotonic() - start


def test_a_milter_that_stands_still_costs_a_session_one_timeout() -> None:
    """Sessions that are open, sessions that begin, eight at a time; afterwards all is as before."""
    settings = (f"smtpd_milters = {SHORT}", f"non_smtpd_milters = {SHORT}")
    with postfix_and_parts(settings=settings) as parts, ThreadPoolExecutor(8) as pool:
        parts.start_milterd()
        parts.start_trackd()
        parts.lab.start()
        begun = threading.Barrier(5, timeout=30)
        opened = [pool.submit(timed_session, parts, number, begun) for number in range(4)]
        wait_until(lambda: begun.n_waiting == 4)
        parts.milterd.signal(signal.SIGSTOP)
        begun.wait()
        fresh = [pool.submit(timed_session, parts, number) for number in range(4, 8)]
        spent = [one.result() for one in [*opened, *fresh]]
        parts.milterd.signal(signal.SIGCONT)
        again = timed_session(parts, 8)
        names = {f"{number}.{message}@example.org" for number in range(9) for message in range(5)}
        wait_until(lambda: fates(parts) == Counter(dict.fromkeys(names, 1)))
        seen = {row["message_id"] for row in parts.rows() if "milter" in row["sources"]}
    assert min(spent) > 0.9 * TIMEOUT_S  # it did stand still
    assert max(spent) < 2 * TIMEOUT_S - 0.1
    assert again < TIMEOUT_S
    assert {f"8.{message}@example.org" for message in range(5)} <= seen


def fates(parts: Parts) -> Counter[str]:
    """How many delivered rows each message has."""
    return Counter(row["message_id"] for row in parts.rows() if row["status"] == "delivered")
