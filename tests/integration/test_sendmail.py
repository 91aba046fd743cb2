"""posttrail-milterd and posttrail-trackd beside a real Sendmail: milter and log make one record.

Every case is one message; what it came to is told by both, and by one row for each recipient.
"""

import contextlib
import json
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from posttrail.demo.sinks import Sinks
from posttrail.demo.stage import programs
from posttrail.run import program
from tests.integration.sendmail_lab import LOGIN, NAMELESS, OUTSIDE, SendmailLab, unpacked
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(unpacked()), reason=unpacked() or "ready")

HERE = Path(__file__).parent
FILTER = "S=local:/mnt/milter/{name}.sock, F=, T=C:10s;S:10s;R:10s;E:10s"
WAIT_S = 60.0

Row = dict[str, Any]
Fate = tuple[str | None, str | None, str, str]

CONFIG = """
[journal]
directory = {journal}
group = "root"
[milter]
socket = {socket}
spool = {spool}
[log]
files = [{log}]
[mta]
host = "mx"
local_domains = ["example.com"]
inside_networks = ["127.0.0.1/32"]
[run]
directory = {run}
"""


class Scene:
    """Sendmail with another filter, and posttrail behind it."""

    def __init__(self, lab: SendmailLab, config: Path) -> None:
        self.lab = lab
        self.config = config

    def rows(self) -> list[Row]:
        done = subprocess.run(
            [program("posttrail"), "--config", str(self.config), "report", "--limit", "all",
             "--format", "json"],
            capture_output=True, text=True, timeout=WAIT_S,
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]

    def send(self, name: str, sender: str, *recipients: str, source: str = "127.0.0.1") -> None:
        """One message; who is refused is no error here."""
        message = f"Message-ID: <{name}@mail.example.net>\r\nSubject: {name}\r\n\r\nbody\r\n"
        with contextlib.suppress(smtplib.SMTPException), self.lab.client(source) as client:
            client.sendmail(sender, list(recipients), message)

    def settled(self, wanted: Callable[[Row], bool], count: int) -> list[Row]:
        """The rows of a message, once there are so many and both have told of it."""
        deadline = time.monotonic() + WAIT_S
        while True:
            found = [row for row in self.rows() if wanted(row)]
            ready = all("milter" in row["sources"] and "log" in row["sources"] for row in found)
            waiting = any(row["status"] == "in_progress" for row in found)
            if len(found) == count and ready and not waiting:
                return found
            assert time.monotonic() < deadline, (found, self.lab.lines()[-20:])
            time.sleep(0.2)


def by_id(name: str) -> Callable[[Row], bool]:
    return lambda row: row["message_id"] == f"{name}@mail.example.net"


def by_sender(sender: str) -> Callable[[Row], bool]:
    return lambda row: row["sender"] == sender


def fates(rows: list[Row]) -> list[Fate]:
    named = [(r["recipient"], r["final_recipient"], r["status"], r["reason"]) for r in rows]
    return sorted(named, key=repr)


def one_message(rows: list[Row]) -> Row:
    """That all rows are of one message; the first."""
    assert len({row["id"] for row in rows}) == 1
    assert {tuple(row["sources"]) for row in rows} == {("milter", "log")}
    return rows[0]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posttrail-sm-")))
        sinks = stack.enter_context(Sinks())
        lab = SendmailLab(
            directory / "lab",
            sinks=sinks.ports,
            filters={name: FILTER.format(name=name) for name in ("filter", "posttrail")},
        )
        sockets = lab.directory / "milter"
        sockets.mkdir(parents=True)
        stack.enter_context(other_filter(sockets / "filter.sock"))
        state = directory / "state"
        state.mkdir()
        config = directory / "posttrail.toml"
        places = {
            "journal": state / "journal", "spool": state / "spool", "log": lab.log,
            "socket": f"unix:{sockets / 'posttrail.sock'}", "run": state / "run",
        }  # fmt: skip
        config.write_text(
            CONFIG.format(**{name: json.dumps(str(place)) for name, place in places.items()})
        )
        stack.enter_context(programs(config, directory / "programs.log"))
        wait_until((sockets / "posttrail.sock").exists)
        stack.enter_context(lab)
        yield Scene(lab, config)


@contextlib.contextmanager
def other_filter(socket: Path) -> Iterator[None]:
    running = subprocess.Popen(
        [sys.executable, str(HERE / "sendmail_filter.py"), str(socket)], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(socket.exists)
        yield
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


# -- the cases ------------------------------------------------------------------------------


def test_accepted_and_stored_here(scene: Scene) -> None:
    scene.send("stored", "s@example.net", "alice@example.com", source=OUTSIDE)
    rows = scene.settled(by_id("stored"), 1)
    assert fates(rows) == [("alice@example.com", "alice@example.com", "delivered", "stored")]
    row = one_message(rows)
    assert (row["subject"], row["helo"], row["direction"]) == (
        "stored", "client.example.org", "inbound",
    )  # fmt: skip
    assert (row["client_ip"], row["client_name"]) == (OUTSIDE, "client.example.org")
    assert row["client_port"]


def test_accepted_and_relayed(scene: Scene) -> None:
    scene.send("relayed", "alice@example.com", "someone@partner.example")
    rows = scene.settled(by_id("relayed"), 1)
    assert fates(rows) == [
        ("someone@partner.example", "someone@partner.example", "delivered", "relayed")
    ]
    assert one_message(rows)["direction"] == "outbound"


def test_two_fates_of_one_message_and_an_alias(scene: Scene) -> None:
    recipients = ("team@example.com", "someone@partner.example", "nobody@gone.example")
    scene.send("fates", "alice@example.com", *recipients)
    rows = scene.settled(by_id("fates"), 4)
    assert fates(rows) == [
        ("nobody@gone.example", "nobody@gone.example", "error", "bounced"),
        ("someone@partner.example", "someone@partner.example", "delivered", "relayed"),
        ("team@example.com", "alice", "delivered", "stored"),
        ("team@example.com", "bob", "delivered", "stored"),
    ]
    one_message(rows)


def test_refused_by_sendmail_and_by_a_ruleset(scene: Scene) -> None:
    recipients = ("nosuch@example.com", "closed@example.com", "bob@example.com")
    scene.send("refused", "s@example.net", *recipients, source=OUTSIDE)
    rows = scene.settled(by_id("refused"), 3)
    assert fates(rows) == [
        ("bob@example.com", "bob@example.com", "delivered", "stored"),
        ("closed@example.com", None, "rejected", "policy"),
        ("nosuch@example.com", None, "rejected", "unknown_user"),
    ]
    one_message(rows)


def test_all_recipients_refused(scene: Scene) -> None:
    scene.send("none", "none@example.net", "victim@partner.example", source=OUTSIDE)
    rows = scene.settled(by_sender("none@example.net"), 1)
    assert fates(rows) == [("victim@partner.example", None, "rejected", "relay_denied")]
    one_message(rows)


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("to.reply@bad.example", [
            ("alice@example.com", "alice@example.com", "delivered", "stored"),
            ("carol@example.com", None, "rejected", "policy"),
        ]),
        ("eom.reply@bad.example", [
            ("alice@example.com", None, "rejected", "policy"),
            ("carol@example.com", None, "rejected", "policy"),
        ]),
        ("eom.tempfail@bad.example", [
            ("alice@example.com", None, "rejected", "temporary"),
            ("carol@example.com", None, "rejected", "temporary"),
        ]),
        ("eom.discard@bad.example", [
            ("alice@example.com", "alice@example.com", "filtered", "discarded"),
            ("carol@example.com", "carol@example.com", "filtered", "discarded"),
        ]),
        ("eom.quarantine@bad.example", [
            ("alice@example.com", "alice@example.com", "filtered", "quarantined"),
            ("carol@example.com", "carol@example.com", "filtered", "quarantined"),
        ]),
    ],
)  # fmt: skip
def test_refused_or_kept_by_another_filter(scene: Scene, sender: str, expected: list[Fate]) -> None:
    scene.send(sender, sender, "alice@example.com", "carol@example.com", source=OUTSIDE)
    rows = scene.settled(by_sender(sender), 2)
    assert fates(rows) == expected
    one_message(rows)


def test_deferred_then_sent(scene: Scene) -> None:
    scene.send("later", "alice@example.com", "u@down.example", "u@grey.example")
    rows = scene.settled(by_id("later"), 2)
    assert ("u@down.example", "u@down.example", "deferred", "connection") in fates(rows)
    deadline = time.monotonic() + WAIT_S
    while ("u@grey.example", "u@grey.example", "delivered", "relayed") not in fates(rows):
        assert time.monotonic() < deadline, rows
        scene.lab.flush()
        rows = scene.settled(by_id("later"), 2)
    one_message(rows)


def test_bounced_with_a_notice(scene: Scene) -> None:
    scene.send("bounced", "carol@example.com", "nobody@gone.example")
    rows = scene.settled(by_id("bounced"), 1)
    assert fates(rows) == [("nobody@gone.example", "nobody@gone.example", "error", "bounced")]
    assert rows[0]["reply_code"] == 550
    one_message(rows)
    notices = [
        row
        for row in scene.rows()
        if row["sender"] == "" and row["recipient"] == "carol@example.com"
    ]
    assert [(row["status"], row["reason"]) for row in notices] == [("delivered", "stored")]


def test_submission_goes_on_in_the_daemon_and_is_one_message(scene: Scene) -> None:
    scene.lab.submit("dave@example.com", ["bob@example.com"], "Subject: from a program\n\nx\n")
    rows = scene.settled(by_sender("dave@example.com"), 1)
    assert fates(rows) == [("bob@example.com", "bob@example.com", "delivered", "stored")]
    row = one_message(rows)
    assert len(row["queue_ids"]) == 2
    assert (row["login"], row["direction"]) == ("uid=root", "internal")
    assert row["subject"] == "from a program"


def test_discarded_by_a_ruleset(scene: Scene) -> None:
    scene.send("quiet", "quiet@bad.example", "alice@example.com", source=OUTSIDE)
    rows = scene.settled(by_sender("quiet@bad.example"), 1)
    assert fates(rows) == [("alice@example.com", "alice@example.com", "filtered", "discarded")]
    one_message(rows)


def test_tls_and_a_client_without_name(scene: Scene) -> None:
    message = "Message-ID: <tls@mail.example.net>\r\n\r\nbody\r\n"
    with scene.lab.client(NAMELESS) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.sendmail("tls@example.net", ["alice@example.com"], message)
    row = one_message(scene.settled(by_id("tls"), 1))
    assert row["tls"].startswith("TLSv1.3 TLS_")
    assert (row["client_name"], row["client_ip"]) == ("unknown", NAMELESS)
    assert any("STARTTLS=server" in line for line in scene.lab.lines())


def test_a_login_is_told_by_both(scene: Scene) -> None:
    message = "Message-ID: <login@mail.example.net>\r\n\r\nbody\r\n"
    with scene.lab.client(OUTSIDE) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.login(*LOGIN)
        client.sendmail("carol@example.com", ["someone@partner.example"], message)
    row = one_message(scene.settled(by_id("login"), 1))
    assert row["login"].startswith("carol")
    assert (row["status"], row["direction"]) == ("delivered", "outbound")


def test_abandoned_transactions_have_no_rows(scene: Scene) -> None:
    for words in (["RSET", "QUIT"], ["QUIT"]):
        client = scene.lab.client(OUTSIDE)
        client.ehlo()
        client.docmd("MAIL FROM:<gone@example.net>")
        client.docmd("RCPT TO:<alice@example.com>")
        for word in words:
            client.docmd(word)
        client.close()
    scene.send("after", "after@example.net", "alice@example.com", source=OUTSIDE)
    scene.settled(by_sender("after@example.net"), 1)
    assert [row for row in scene.rows() if row["sender"] == "gone@example.net"] == []


def test_mail_flows_where_nobody_listens(tmp_path: Path) -> None:
    with (
        Sinks() as sinks,
        SendmailLab(
            tmp_path / "lab",
            sinks=sinks.ports,
            filters={"posttrail": FILTER.format(name="nobody")},
        ) as lab,
    ):
        with lab.client(OUTSIDE) as client:
            assert client.sendmail("s@example.net", ["alice@example.com"], "\r\nx\r\n") == {}
        wait_until(lambda: any("stat=Sent" in line for line in lab.lines()), told=lab.lines)
