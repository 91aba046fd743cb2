"""posttrail token, link and audit, as users call them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.query.conftest import Ran, Shelf, row
from tests.unit.query.serving import ROOT, Served, configuration, served


def posttrail(config: Path, *arguments: str) -> Ran:
    clean = {name: value for name, value in os.environ.items() if "POSTTRAIL" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "posttrail.cli", "--config", str(config), *arguments],
        cwd=ROOT, env=clean | {"TZ": "UTC", "PYTHONUTF8": "1"}, capture_output=True, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def running(shelf: Shelf, tmp_path: Path) -> Iterator[Served]:
    shelf.put(row(b"alice@example.com"))
    shelf.put(row(b"bob@example.com"))
    shelf.close()
    with served(tmp_path, shelf.directory) as service:
        yield service


def test_a_token_is_shown_once_works_and_is_revoked(running: Served) -> None:
    config = running.config
    made = posttrail(
        config, "token", "add", "--scope", "alice@example.com", "--label", "t", "--expires", "1d"
    )
    assert made.code == 0
    token = made.out.strip()
    bearer = {"Authorization": f"Bearer {token}"}
    rows = json.loads(running.get("/v1/messages", **bearer)[2])["rows"]
    assert [each["recipient"] for each in rows] == ["alice@example.com"]
    listed = posttrail(config, "token", "list", "--format", "json")
    told = json.loads(listed.out)
    assert token not in listed.out
    assert (told["scope"], told["label"], told["revoked"]) == ("alice@example.com", "t", None)
    assert told["id"] == token.split("_")[1]
    assert told["used"] is not None
    assert posttrail(config, "token", "revoke", told["id"]).code == 0
    assert running.get("/v1/messages", **bearer)[0] == 401
    assert posttrail(config, "token", "revoke", told["id"]).code == 1
    assert token.split("_", 2)[2] not in running.log.read_text()


@pytest.mark.parametrize(
    "arguments",
    [("--scope", "alice"), ("--scope", ""), ("--scope", "a@b.test", "--expires", "0s"),
     ("--scope", "a@b.test", "--expires", "9999d"), ("--scope", "a@b.test", "--expires", "x")],
)  # fmt: skip
def test_a_token_that_means_nothing_is_not_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    config = configuration(tmp_path, tmp_path / "journal")
    assert posttrail(config, "token", "add", *arguments).code == 64


def test_without_a_state_there_are_no_tokens(tmp_path: Path) -> None:
    done = posttrail(configuration(tmp_path, tmp_path / "journal"), "token", "list")
    assert done.code == 69
    assert "start posttrail-queryd once" in done.err


def test_a_link_is_made_by_the_service(running: Served, tmp_path: Path) -> None:
    made = posttrail(running.config, "link", "alice@example.com")
    assert made.code == 0
    path = made.out.strip().removeprefix("http://127.0.0.1:8025")
    status, _, body = running.get(path)
    assert status == 200
    assert b"alice@example.com" in body
    assert posttrail(running.config, "link", "@example.com").code == 64
    assert posttrail(running.config, "--journal", str(tmp_path), "link", "a@b.test").code == 64


def test_looks_by_the_service_and_at_the_files_are_in_the_audit(
    running: Served, tmp_path: Path
) -> None:
    assert posttrail(running.config, "report", "alice@example.com").code == 0
    running.process.terminate()
    running.process.wait(30)
    assert posttrail(running.config, "report", "bob@example.com").code == 0
    told = [
        json.loads(line)
        for line in posttrail(running.config, "audit", "--format", "json").out.splitlines()
    ]
    assert [(each["how"], each["filters"], each["rows"]) for each in told] == [
        ("journal", {"address": "bob@example.com"}, 1),
        ("peer", {"address": "alice@example.com"}, 1),
    ]
    one = posttrail(running.config, "audit", "alice@example.com")
    assert one.out.count("\n") == 1
    assert "root (peer)  report address=alice@example.com  1 row of alice@example.com" in one.out
    assert posttrail(running.config, "audit", "carol@example.com").code == 1


def test_the_audit_is_asked_page_by_page(running: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from query import audit_verb
    from query.remote import Remote

    for _ in range(5):
        running.get("/v1/messages")
    monkeypatch.setattr(audit_verb, "MOST", 2)
    found = list(audit_verb._asked(Remote(running.socket), {}, "", None))
    assert len({each.time for each in found}) == 5
    assert len(list(audit_verb._asked(Remote(running.socket), {}, "", 3))) == 3


def test_a_look_that_cannot_be_recorded_is_503_and_others_are_answered(running: Served) -> None:
    import sqlite3

    running.get("/v1/messages")
    other = sqlite3.connect(running.config.parent / "state" / "state.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    status, headers, body = running.get("/v1/messages")
    assert (status, json.loads(body)["type"]) == (503, "urn:posttrail:problem:state")
    assert headers["retry-after"] == "5"
    assert b"alice" not in body
    assert running.get("/v1/coverage")[0] == 200
    other.close()
    assert running.get("/v1/messages")[0] == 200
