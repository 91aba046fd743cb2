"""kill -9 of posttrail-queryd while it answers and writes: no row without its audit, no link twice."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.crash.figures import Clock, tell
from tests.crash.replay import Replay
from tests.unit.query.serving import Unix, served
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

LONGEST_S = 0.4  # from being ready to the kill
BASE = "http://127.0.0.1:8025"


class Clients:
    """Look-ups that each can be told by the end of their window, and links that are used again."""

    def __init__(self, socket: Path) -> None:
        self.given: set[str] = set()
        self.links: list[str] = []
        self.opened: list[str] = []
        self._socket = socket
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(3)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, part: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                self.look(f"2100-01-01T00:0{part}:00.{number:06d}Z")
                self.use(part, number)
            except (OSError, HTTPException, ValueError):
                self._stop.wait(0.02)  # it was killed

    def look(self, word: str) -> None:
        """A look-up that shows rows, with a time in its filters that no other has."""
        status, body = self.ask("GET", f"/v1/messages?limit=5&until={word}")
        if status == 200 and json.loads(body)["rows"]:
            self.given.add(word)

    def use(self, part: int, number: int) -> None:
        if part == 0 and number % 4 == 0:
            status, body = self.ask("POST", "/v1/links", {"address": "alice@example.com"})
            assert status == 201, body
            self.links.append(urlsplit(json.loads(body)["url"]).path)
        for link in self.links[-2:]:
            if self.ask("POST", link)[0] == 303:
                self.opened.append(link)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = Unix(self._socket)
        try:
            headers = {"Content-Type": "application/json", "Origin": BASE}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def killed(directory: Path, journal: Path, count: int) -> tuple[int, int]:
    """So many kills of one queryd; how many look-ups were given, and links were made."""
    chance = random.Random(directory.name)
    directory.mkdir()
    state = directory / "state" / "state.sqlite"
    with Clients(directory / "queryd.sock") as clients:
        for _ in range(count):
            with served(directory, journal) as running:
                time.sleep(chance.random() * LONGEST_S)
                running.process.kill()
                running.process.wait()
        with served(directory, journal):
            reached, opened = len(clients.given), len(clients.opened)
            wait_until(lambda: len(clients.given) > reached and len(clients.opened) > opened)
    db = sqlite3.connect(state)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    audited = " ".join(row[0] for row in db.execute("SELECT filters FROM audit"))
    db.close()
    assert [word for word in clients.given if f'"{word}"' not in audited] == []
    assert len(clients.opened) == len(set(clients.opened))
    return len(clients.given), len(clients.links)


@pytest.mark.parametrize(
    ("count", "abreast"), [(2, 1), pytest.param(500, 2, marks=pytest.mark.soak)]
)
def test_what_queryd_remembers_outlasts_its_kills(
    part: Path, tmp_path: Path, count: int, abreast: int
) -> None:
    clock = Clock()
    replay = Replay(part, tmp_path / "replay")
    for name in ("mail.log", "spool/current"):
        (replay.directory / name).write_bytes((part / name).read_bytes())
    replay.whole()
    with ThreadPoolExecutor(abreast) as pool:
        done = list(
            pool.map(
                lambda seed: killed(tmp_path / f"queryd{seed}", replay.journal, count // abreast),
                range(abreast),
            )
        )
    tell(
        f"queryd: {count} kills, {sum(given for given, _ in done)} look-ups given: all in the "
        f"audit; {sum(links for _, links in done)} links: none used twice, {clock}"
    )
