"""Who watches hears what becomes of mail through a real Postfix: all of their own, nothing else."""

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread
from typing import Any

import pytest

from posttrail.demo import mails
from posttrail.demo.stage import Stage
from query.sse import Event
from tests.integration.conftest import MakeStage, Until
from tests.unit.query.serving import Unix
from tests.unit.query.watching import Listener, listening

Key = tuple[str, int]


@pytest.fixture
def watched(make_stage: MakeStage, until: Until) -> Stage:
    running = make_stage()

    def answers() -> bool:
        try:
            return report(running) == {}
        except (OSError, KeyError):
            return False

    until(answers)
    return running


def token(stage: Stage, scope: str) -> str:
    command = (stage.posttrail()[0], "--config", stage.config, "token", "add", "--scope", scope)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()[0]


def heard(
    stream: Listener, wanted: Callable[[], dict[Key, Any]], *before: dict[str, Any]
) -> dict[Key, Any]:
    """What a stream tells, until that is what the report has."""
    found = {(row["id"], row["row"]): row for row in before}
    events: Queue[Event] = Queue()
    Thread(target=_listen, args=(stream, events), daemon=True).start()
    deadline = time.monotonic() + 60
    while found != wanted():
        assert time.monotonic() < deadline, set(found) ^ set(wanted())
        with suppress(Empty):
            event = events.get(timeout=0.2)
            told = json.loads(event.data)
            key = told["id"], told["row"]
            if event.name == "gone":  # milter and log turned out to speak of one message
                found.pop(key, None)
                continue
            assert found.get(key) != told, "told twice"
            found[key] = told
    return found


def _listen(stream: Listener, events: "Queue[Event]") -> None:
    """Until the stream is closed."""
    with suppress(OSError, ValueError, AttributeError):
        while event := stream.next():
            events.put(event)


def report(stage: Stage, **headers: str) -> dict[Key, Any]:
    connection = Unix(stage.socket)
    try:
        connection.request("GET", "/v1/messages?limit=1000", headers=headers)
        rows = json.loads(connection.getresponse().read())["rows"]
    finally:
        connection.close()
    return {(row["id"], row["row"]): row for row in rows}


def test_everybody_hears_of_their_own_mail_and_of_nothing_else(
    watched: Stage, until: Until, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = {"Authorization": f"Bearer {token(watched, mails.ALICE)}"}
    with (
        listening(watched.socket) as everything,
        listening(watched.socket, **alice) as hers,
    ):
        begun = time.monotonic()
        mails.send(watched.lab, mails.MAILS[0], 1)
        first = everything.rows(1)[0]
        with capsys.disabled():
            print(f" first event {time.monotonic() - begun:.3f} s after the mail began")
        for number, mail in enumerate(mails.MAILS[:8], 2):
            mails.send(watched.lab, mail, number)
        until(lambda: len(watched.rows()) > 8 and all(row["done_at"] for row in watched.rows()))
        assert len(heard(everything, lambda: report(watched), first)) > 8
        own = heard(hers, lambda: report(watched, **alice))
        assert own
        for row in own.values():
            names = row["recipient"], row["final_recipient"], row["login"]
            assert mails.ALICE in names or "alice" in names
