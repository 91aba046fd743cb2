"""Who watches hears what becomes of mail through a real Postfix: all of their own, nothing else."""

import json
import subprocess
import time
from typing import Any

import pytest

from posttrail.demo import mails
from posttrail.demo.stage import Stage
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


def heard(stream: Listener, wanted: dict[Key, Any], *before: dict[str, Any]) -> dict[Key, Any]:
    """The newest of each row that a stream tells, until it is what is wanted."""
    found = {(row["id"], row["row"]): row for row in before}
    deadline = time.monotonic() + 30
    while found != wanted:
        assert time.monotonic() < deadline, set(found) ^ set(wanted)
        row = stream.rows(1)[0]
        key = row["id"], row["row"]
        assert found.get(key) != row, "told twice"
        found[key] = row
    return found


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
        rows = report(watched)
        assert (first["id"], first["row"]) in rows
        assert heard(everything, rows, first).keys() == rows.keys()
        own = report(watched, **alice)
        assert own
        for row in heard(hers, own).values():
            names = row["recipient"], row["final_recipient"], row["login"]
            assert mails.ALICE in names or "alice" in names
