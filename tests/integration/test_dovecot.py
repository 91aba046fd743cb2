"""Postfix hands mail to Dovecot, and the logs of both, as they write them, make the rows.

Dovecot writes a log file of its own, in its own form: what it says is joined to what Postfix says.
"""

import json
import shutil
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from posttrail.demo.lab import Lab
from posttrail.demo.sinks import Sinks
from posttrail.demo.stage import folder
from tests.integration.dovecot import Dovecot, User, route
from tests.waiting import wait_until

Row = dict[str, Any]
pytestmark = pytest.mark.skipif(
    not shutil.which("dovecot"), reason="no Dovecot here: tools/setup dovecot installs it"
)

TO_JUNK = 'require ["fileinto", "mailbox"];\nfileinto :create "Junk";\n'
TO_LISTS = 'require ["fileinto", "mailbox"];\nfileinto :create "Lästen/Ä & Ö";\n'
USERS = (
    User(name="alice@example.com"),
    User(name="junk@example.com", sieve=TO_JUNK),
    User(name="lists@example.com", sieve=TO_LISTS),
    User(name="void@example.com", sieve="discard;\n"),
    User(name="refusing@example.com", sieve='require "reject";\nreject "not for me";\n'),
    User(name="away@example.com", sieve='require "vacation";\nvacation "on holiday";\n'),
    User(name="moved@example.com", sieve='redirect "friend@example.net";\n'),
    User(name="full@example.com", extra="userdb_quota_rule=*:bytes=1k"),
)
FATES = {
    "alice@example.com": ("delivered", "stored", "INBOX"),
    "junk@example.com": ("filtered", "junk", "Junk"),
    "lists@example.com": ("delivered", "stored", "Lästen/Ä & Ö"),
    "void@example.com": ("filtered", "discarded", None),
    "refusing@example.com": ("error", "bounced", None),
    "away@example.com": ("delivered", "stored", "INBOX"),
    "moved@example.com": ("delivered", "relayed", None),
    "full@example.com": ("error", "bounced", None),
}
BODY = ("x" * 70 + "\n") * 50


class Servers(NamedTuple):
    lab: Lab
    dovecot: Dovecot

    def send(self, recipients: list[str], name: str) -> None:
        """One mail for all of them."""
        head = f"From: partner@example.net\nTo: {recipients[0]}\nMessage-ID: <{name}@example.net>\n"
        with smtplib.SMTP("127.0.0.1", self.lab.ports.mx, timeout=30) as client:
            client.sendmail("partner@example.net", recipients, f"{head}\n{BODY}")

    def rows(self) -> list[Row]:
        """What an import of both logs makes."""
        with tempfile.TemporaryDirectory() as place:
            posttrail = (sys.executable, "-m", "posttrail.cli", "--journal", f"{place}/journal")
            logs = str(self.lab.log), self.dovecot.log
            _run(*posttrail, "import", "--host", "mx", *logs)
            report = _run(*posttrail, "report", "--limit", "all", "--format", "json")
        return [json.loads(line) for line in report.splitlines()]


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with folder(None, keep=False) as directory, Sinks() as sinks:
        lab = Lab(directory / "postfix", sinks=sinks.ports, milter=False)
        reinjection = lab.ports.reinjection
        dovecot = Dovecot(directory / "dovecot", USERS, submission_port=reinjection)
        lab.prepare()
        route(directory / "postfix" / "etc", dovecot)
        with dovecot:
            lab.start()
            try:
                yield Servers(lab, dovecot)
            finally:
                lab.stop()


def _settled(servers: Servers) -> bool:
    return not servers.lab.pending()


def test_what_dovecot_did_is_in_the_rows(servers: Servers) -> None:
    servers.send(list(FATES), "all")
    for name in FATES:
        servers.send([name], name.partition("@")[0])
    wait_until(lambda: _settled(servers))
    found = servers.rows()
    for name, fate in FATES.items():
        told = {
            (row["message_id"], row["status"], row["reason"], row["folder"])
            for row in found
            if row["recipient"] == name
        }
        ids = ("all@example.net", name.replace("example.com", "example.net"))
        assert told == {(message_id, *fate) for message_id in ids}, name


def test_mail_for_a_dovecot_that_is_down_waits(servers: Servers) -> None:
    servers.dovecot.stop()
    try:
        servers.send(["alice@example.com"], "down")
        wait_until(lambda: servers.lab.deferred("alice@example.com") is not None)
        (row,) = [row for row in servers.rows() if row["message_id"] == "down@example.net"]
        assert (row["status"], row["reason"], row["folder"]) == ("deferred", "connection", None)
    finally:
        servers.dovecot.start()
    servers.lab.flush(servers.lab.deferred("alice@example.com") or "")
    wait_until(lambda: _settled(servers))
    (row,) = [row for row in servers.rows() if row["message_id"] == "down@example.net"]
    assert (row["status"], row["reason"], row["folder"]) == ("delivered", "stored", "INBOX")
    assert row["attempts"] == 2
