"""What becomes of mail through a real Postfix is told, by webhook and by command, once."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from posttrail.demo.mails import GREYLISTED
from posttrail.run import program
from tests.integration.parts import Parts, Program, client
from tests.integration.test_late_bounces import come_back, sent_out
from tests.unit.query.hooks.receiver import Receiver, is_signed, secret_file
from tests.waiting import wait_until

KEPT = """\
import os, sys
name = os.environ["POSTTRAIL_EVENT"] + "." + os.environ["POSTTRAIL_ID"]
with open(os.path.join(sys.argv[1], name), "xb") as file:
    file.write(sys.stdin.buffer.read())
"""


class Told:
    """A hook of each kind, and what they were told."""

    def __init__(self, parts: Parts, receiver: Receiver, folder: Path) -> None:
        self.parts = parts
        self.receiver = receiver
        self.folder = folder
        secret = secret_file(parts.directory)
        state = parts.directory / "hooks" / "state.sqlite"
        on = '["delivered", "error", "rejected", "filtered", "deferred", "late_bounce"]'
        hooks = (
            f"\n[hookd]\nstate = {json.dumps(str(state))}\n"
            f'[[hooks]]\nname = "web"\non = {on}\nurl = "{receiver.url}"\n'
            f'secret_file = "{secret}"\nper_minute = 6000\n'
            f'[[hooks]]\nname = "command"\non = {on}\naddresses = ["alice@example.com"]\n'
            f"exec = {json.dumps([sys.executable, '-c', KEPT, str(folder)])}\n"
        )
        with parts.config.open("a") as file:
            file.write(hooks)
        command = (program("posttrail-hookd"), "--config", str(parts.config))
        self.hookd = Program(parts.directory / "hookd.log", *command)

    def start(self) -> None:
        before = self.hookd.words().count("ready")
        self.hookd.start()
        wait_until(lambda: self.hookd.words().count("ready") > before)
        wait_until(lambda: (self.parts.state / "run" / "hookd.prom").exists())

    def web(self) -> list[tuple[str, str, str]]:
        """Recipient, event and reason of each call that was taken."""
        found = []
        for got in self.receiver.taken():
            document = json.loads(got.body)
            data = document["data"]
            found.append(
                (data["final_recipient"] or data["recipient"], document["event"], data["reason"])
            )
        return found

    def previous(self, recipient: str) -> list[str | None]:
        documents = [json.loads(got.body) for got in self.receiver.taken()]
        mine = [each for each in documents if each["data"]["final_recipient"] == recipient]
        return [each["previous_status"] for each in mine]

    def ends(self) -> set[tuple[str, int, str]]:
        documents = [json.loads(got.body) for got in self.receiver.taken()]
        return {(each["data"]["id"], each["data"]["row"], each["event"]) for each in documents}

    def waiting(self) -> int:
        done = self.parts.posttrail("hooks", "list", "--format", "json")
        return sum(json.loads(line)["waiting"] for line in done.stdout.splitlines())

    def command(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.iterdir())]


@pytest.fixture
def told(parts: Parts, tmp_path: Path) -> Iterator[Told]:
    with Receiver() as receiver:
        made = Told(parts, receiver, tmp_path)
        wait_until(lambda: (parts.state / "journal" / "FORMAT").exists())
        made.start()
        wait_until(lambda: "hook begins name=command" in made.hookd.words())
        yield made
        if made.hookd.is_running():
            assert made.hookd.stop() == 0, made.hookd.words()


def ends(parts: Parts) -> set[tuple[str, int, str]]:
    rows = parts.rows()
    return {
        (row["id"], row["row"], row["status"])
        for row in rows
        if row["done_at"] is not None and row["reason"] != "late_bounce"
    }


def send(parts: Parts, sender: str, recipient: str) -> None:
    with client(parts.lab) as smtp:
        smtp.sendmail(sender, [recipient], "Subject: hooks\r\n\r\nx\r\n")


def test_a_bounce_a_deferral_a_discard_and_a_late_bounce_arrive_once(told: Told) -> None:
    parts = told.parts
    send(parts, "alice@example.com", "buyer@gone.example")
    send(parts, "alice@example.com", "anyone@void.example")
    send(parts, "alice@example.com", GREYLISTED)
    sent_out(parts, "lost")
    come_back(parts, "lost", "Undelivered Mail Returned to Sender")
    wanted = {
        ("buyer@gone.example", "error", "bounced"),
        ("anyone@void.example", "filtered", "discarded"),
        ("partner@example.net", "delivered", "relayed"),
        ("partner@example.net", "late_bounce", "late_bounce"),
        (GREYLISTED, "deferred", "greylisted"),
    }
    told.receiver.wait(lambda _: wanted <= set(told.web()), 60)
    parts.lab.flush(parts.lab.deferred(GREYLISTED) or "")
    told.receiver.wait(lambda _: (GREYLISTED, "delivered", "relayed") in told.web(), 60)
    first, second = told.previous(GREYLISTED)
    assert first in (None, "in_progress")  # as it was seen, if it was
    assert second == "deferred"
    wait_until(lambda: len(told.command()) >= 2)  # the bounce that came to alice, and the notice
    wait_until(lambda: told.waiting() == 0)  # each answer is noted: the death doubles none
    told.hookd.kill()
    told.start()
    send(parts, "bob@example.com", "anyone@void.example")  # the last, after a death
    told.receiver.wait(
        lambda _: told.web().count(("anyone@void.example", "filtered", "discarded")) == 2, 60
    )
    assert len({got.id for got in told.receiver.got}) == len(told.receiver.got)
    assert all(is_signed(got) for got in told.receiver.got)
    told.receiver.wait(lambda _: ends(parts) <= told.ends(), 60)  # the whole report
    for each in told.command():
        data = each["data"]
        names = (data["recipient"], data["final_recipient"], data["login"])
        assert "alice@example.com" in names
        assert each["event"] == "delivered"
