"""kill -9 of posttrail-milterd while it is spoken to: what was written stays, and it goes on.

A client speaks the recorded transactions. At a kill every record that can be read in the spool
stays as it is, byte by byte; a torn one is skipped. What was answered a moment before and
is in no record comes from the log alone: through Postfix no row is missing.
"""

from __future__ import annotations

import random
import struct
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from milterd.spool import parse_line, segments
from posttrail.run import program
from tests.crash.figures import Clock, tell
from tests.integration.milter_client import Mta
from tests.integration.parts import Load, Program, answers, postfix_and_parts, settled
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

LONGEST_S = 0.25  # from the first answer to the kill

Spoken = tuple[bytes, list[bytes]]
"""Sender and recipients of a transaction."""


def recorded(feeds: Path) -> list[Spoken]:
    """The envelopes of the recording."""
    found = []
    for raw in (feeds / "spool" / "current").read_bytes().splitlines():
        record = parse_line(raw) or {}
        if record.get("t") == "txn" and record.get("sender") and record["rcpts"]:
            recipients = [b"<%s>" % rcpt[0].encode() for rcpt in record["rcpts"]]
            found.append((b"<%s>" % record["sender"].encode(), recipients))
    return found


class Client:
    """Speaks one transaction after the other, whatever happens to the milter."""

    def __init__(self, socket: Path, spoken: list[Spoken]) -> None:
        self.answered: set[str] = set()
        self._socket, self._spoken = socket, spoken
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._number = 0

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with Mta(self._socket) as mta:
                    mta.connect()
                    mta.helo()
                    while not self._stop.is_set():
                        self._transaction(mta)
            except (OSError, AssertionError, struct.error):
                self._stop.wait(0.01)  # it was killed

    def _transaction(self, mta: Mta) -> None:
        sender, recipients = self._spoken[self._number % len(self._spoken)]
        self._number += 1
        queue_id = f"4Q{self._number:08X}"
        mta.mail(sender)
        for recipient in recipients:
            mta.rcpt(recipient, mailer=b"smtp", host=b"example.org", addr=recipient)
        mta.data(queue_id.encode())
        mta.header(b"Subject", b"x")
        mta.end(queue_id.encode())
        self.answered.add(queue_id)


def spooled(directory: Path) -> bytes:
    """All bytes of a spool, in their order."""
    return b"".join(path.read_bytes() for path in [*segments(directory), directory / "current"])


class Outcome:
    """What some kills came to."""

    def __init__(self) -> None:
        self.kills = self.answered = self.unwritten = self.torn = 0

    def add(self, other: Outcome) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def killed(directory: Path, spoken: list[Spoken], count: int, seed: int) -> Outcome:
    """So many kills of one milterd."""
    directory.mkdir()
    socket, spool = directory / "milter.sock", directory / "spool"
    config = directory / "posttrail.toml"
    config.write_text(
        f'[milter]\nsocket = "unix:{socket}"\nspool = "{spool}"\n[run]\ndirectory = "{directory}"\n'
    )
    milterd = Program(
        directory / "milterd.log", program("posttrail-milterd"), "--config", str(config)
    )
    chance, before, outcome = random.Random(seed), b"", Outcome()
    with Client(socket, spoken) as client:
        for _ in range(count):
            milterd.start()
            if chance.random() < 0.8:  # the others at their start
                wait_until(lambda: answers(socket))
            time.sleep(chance.random() * LONGEST_S)
            milterd.kill()
            data = spooled(spool) if spool.exists() else b""
            assert data.startswith(before), "what was written has changed"
            before = data
            outcome.kills += 1
        milterd.start()
        wait_until(lambda: answers(socket))
        reached = len(client.answered)
        wait_until(lambda: len(client.answered) > reached)
    assert milterd.stop() == 0, milterd.words()
    lines = spooled(spool).splitlines()
    records = [parse_line(raw) for raw in lines]
    found = Counter(record["id"] for record in records if record and record.get("t") == "txn")
    assert max(found.values()) == 1, "a record came twice"
    outcome.torn = sum(
        record is None and bool(raw) for record, raw in zip(records, lines, strict=True)
    )
    assert outcome.torn <= outcome.kills
    outcome.answered = len(client.answered)
    outcome.unwritten = len(client.answered - found.keys())
    return outcome


@pytest.mark.parametrize(
    ("count", "abreast"), [(6, 1), pytest.param(500, 2, marks=pytest.mark.soak)]
)
def test_what_milterd_wrote_outlasts_its_kills(
    feeds: Path, tmp_path: Path, count: int, abreast: int
) -> None:
    clock, spoken, outcome = Clock(), recorded(feeds), Outcome()
    with ThreadPoolExecutor(abreast) as pool:
        for done in pool.map(
            lambda seed: killed(tmp_path / f"{seed}", spoken, count // abreast, seed),
            range(abreast),
        ):
            outcome.add(done)
    assert outcome.kills == count
    tell(
        f"milterd: {count} kills, {outcome.answered} transactions answered: 0 records changed or "
        f"doubled, {outcome.torn} torn and skipped, {outcome.unwritten} not yet written (the log has "
        f"them), {clock}"
    )


@pytest.mark.parametrize("count", [2, pytest.param(40, marks=pytest.mark.soak)])
def test_mail_is_accepted_and_told_while_milterd_is_killed(count: int) -> None:
    clock, chance = Clock(), random.Random(count)
    with postfix_and_parts() as parts:
        parts.start_milterd()
        parts.start_trackd()
        parts.lab.start()
        with Load(parts.lab, "killed") as load:
            for _ in range(count):
                load.more(5)
                time.sleep(chance.random() * LONGEST_S)
                parts.milterd.kill()
                parts.milterd.start()
            load.more(20)
        assert load.refused == []
        settled(parts, load.sent)
        tell(
            f"milterd behind Postfix: {count} kills, {len(load.sent)} mails: all 250, every row "
            f"there once, {clock}"
        )
