"""``posttrail trace`` on a real Postfix, with and without posttrail-traced, as root and as nobody."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from posttrail.demo.postfix_files import HOST
from posttrail.demo.stage import Stage
from posttrail.run import program
from tests.integration.conftest import Until

NOBODY = 65534


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.out)
        return made


@pytest.fixture
def own(settled: Stage, tmp_path: Path) -> Path:
    """A configuration with a socket at which nobody listens: the walk is the command's own."""
    text = settled.config.read_text("utf-8")
    alone = settled.config.with_name("alone.toml")
    alone.write_text(text.replace("traced.sock", "nobody-is-here.sock"), "utf-8")
    alone.chmod(0o644)
    return alone


def trace(config: Path, *arguments: str, user: int | None = None) -> Said:
    done = subprocess.run(
        [program("posttrail"), "--config", str(config), "trace", *arguments],
        capture_output=True, text=True, timeout=60, user=user, group=user,
        extra_groups=None if user is None else [], cwd="/",
        env={**os.environ, "TZ": "UTC", "PYTHONUTF8": "1"},
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


def timeless(node: Any) -> Any:
    """Without what is as old as the asking, and without the order of the same."""
    if isinstance(node, dict):
        return {name: timeless(value) for name, value in node.items() if name != "as_of"}
    return [timeless(each) for each in node] if isinstance(node, list) else node


@pytest.mark.parametrize(
    "address",
    [
        "team@example.com",
        "staff@lists.example.com",
        "partner@example.net",
        "nobody-of-this-name@example.com",
        "x@void.example",
        "x@later.example",
    ],
)
def test_with_and_without_the_daemon_the_answer_is_the_same(
    settled: Stage, own: Path, address: str, until: Until
) -> None:
    until(lambda: (settled.config.parent / "run" / "traced.sock").exists())
    asked = trace(settled.config, address, "--format", "json")
    walked = trace(own, address, "--format", "json")
    assert (asked.err, walked.err) == ("", "")
    assert timeless(asked.document) == timeless(walked.document)
    assert asked.code == walked.code


@pytest.mark.parametrize(
    ("address", "code", "verdict"),
    [
        ("alice@example.com", 0, "ok"),
        ("x@void.example", 0, "discarded"),
        ("x@later.example", 1, "temporary"),
        ("nobody-of-this-name@example.com", 2, "rejected_at_smtp"),
    ],
)
def test_exit_codes(own: Path, address: str, code: int, verdict: str) -> None:
    said = trace(own, address, "--format", "json")
    assert (said.document["verdict"], said.code) == (verdict, code)


@pytest.mark.parametrize(
    "address", ["a b@example.com", "alice@[300.0.0.1]", "al\x1bice@example.com"]
)
def test_what_is_no_address_ends_with_64(own: Path, address: str) -> None:
    said = trace(own, address)
    assert (said.code, said.out) == (64, "")
    assert said.err.startswith("posttrail: not an address")
    assert "\x1b" not in said.err


def test_the_tree_names_tables_and_ends_in_familiar_words(own: Path) -> None:
    lines = trace(own, "team@example.com").out.splitlines()
    assert lines[1] == "team@example.com  ✓ ok"
    assert any("/etc/virtual: team@example.com → alice@example.com" in line for line in lines)
    ends = [line.lstrip("│├└─ ") for line in lines]
    assert ends.count("virtual_user to local delivery") == 3


def test_the_last_mails_stand_beside_each_end(settled: Stage, own: Path) -> None:
    root = trace(own, "staff@lists.example.com", "--format", "json").document["root"]
    found = {child["address"]: child for child in root["children"]}
    rows = [row for row in settled.rows() if row["final_recipient"] == "partner@example.net"]
    history = found["partner@example.net"]["history"]
    assert [each["id"] for each in history] == [row["id"] for row in rows[:3]]
    assert history[0]["relay"] == rows[0]["relay"]
    assert all("differs" not in child for child in found.values())


def test_without_a_journal_there_is_a_trace_and_a_note(own: Path, tmp_path: Path) -> None:
    text = own.read_text("utf-8")
    text = text.replace(str(own.parent / "journal"), str(tmp_path / "none"))
    other = own.with_name("no-journal.toml")
    other.write_text(text, "utf-8")
    said = trace(other, "alice@example.com", "--format", "json")
    assert said.code == 0
    assert any(words.startswith("no history: ") for words in said.document["warnings"])
    assert "history" not in said.document["root"]


def test_nobody_walks_by_himself_and_is_told_what_is_computed(settled: Stage, own: Path) -> None:
    said = trace(settled.config, "partner@example.net", "--format", "json", user=NOBODY)
    assert said.code == 0, said.err
    assert said.document["root"]["source"] == "computed"
    assert said.document["root"]["nexthop"].startswith("[127.0.0.1]:")
    assert any("computed" in words for words in said.document["warnings"])
    assert "this process has walked by itself" in said.err  # the daemon is not for him
    assert any("no history" in words for words in said.document["warnings"])


def test_the_bare_name_of_a_user_is_completed(own: Path) -> None:
    root = trace(own, "alice", "--format", "json").document["root"]
    end = root
    while end.get("children"):
        end = end["children"][0]
    assert end["address"] == "alice@example.com"  # myorigin
    assert HOST.endswith("example.com")
