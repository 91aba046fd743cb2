"""``posttrail doctor`` as users call it: text, JSON that keeps to its schema, exit codes."""

import io
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator

from posttrail.config import Config, Milter
from query.doctor import draw
from query.doctor.examine import examine
from query.doctor.finding import Check, Seen, State
from query.doctor.names import FAMILIES, checks
from query.doctor.place import Place

if TYPE_CHECKING:
    from tests.unit.query.conftest import Run

SCHEMA = Path(__file__).resolve().parents[4] / "docs" / "schema" / "doctor.json"
THIS = Check("milter", "milter-socket")
FINDINGS = [
    THIS.ok("it is there", Seen("/a", "socket"), Seen("/b", "more")),
    THIS.problem("it is \x1b[31mred", Seen("/a\x07", "bell"), mend=("one", "two")),
    Check("mta", "milter-last").warning("behind", Seen("/l", "x"), mend="one"),
    Check("mta", "milter-list").unchecked("no mail server"),
]


def test_what_was_not_checked_for_one_reason_is_one_line() -> None:
    out = io.StringIO()
    draw.write([each.unchecked("Exim runs here") for each in checks("limits")], out)
    assert out.getvalue().splitlines() == [
        "limits:",
        "  not checked    journald-limit, rsyslog-limit: Exim runs here",
        "2 not checked",
    ]


def test_several_are_counted_in_the_plural() -> None:
    out = io.StringIO()
    draw.write([THIS.problem(word, Seen("/a", "b"), mend="x") for word in "ab"], out)
    assert out.getvalue().splitlines()[-1] == "2 problems"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_the_text_says_each_word_and_hides_no_control_character() -> None:
    out = io.StringIO()
    draw.write(FINDINGS, out)
    assert out.getvalue().splitlines() == [
        "milter:",
        "  ok             milter-socket: it is there (/a: socket)",
        "  problem        milter-socket: it is \\x1b[31mred",
        "    /a\\x07: bell",
        "    mend: one",
        "    mend: two",
        "mta:",
        "  warning        milter-last: behind",
        "    /l: x",
        "    mend: one",
        "  not checked    milter-list: no mail server",
        "1 problem, 1 warning, 1 not checked, 1 ok",
    ]


def test_a_terminal_has_icon_word_and_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    draw.write(FINDINGS, out)
    shown = out.getvalue()
    assert "✗ problem" in shown
    assert "✓ ok" in shown
    assert "\x1b[1;31m" in shown  # bold red, ours
    assert "\\x1b[31mred" in shown  # theirs


def test_the_schema_knows_every_family_and_state() -> None:
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    finding = schema["properties"]["findings"]["items"]["properties"]
    assert finding["family"]["enum"] == list(FAMILIES)
    assert finding["state"]["enum"] == [state.value for state in State]


def test_json_keeps_to_its_schema(run: "Run", tmp_path: Path) -> None:
    done = run("doctor", "--format", "json", "--only", "permissions", "--only", "mta")
    told = json.loads(done.out)
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(told)
    assert {each["family"] for each in told["findings"]} == {"permissions", "mta"}
    assert done.code == (1 if told["problem"] else 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--send", "nobody"), "not an address"),
        (("--send", "a b@example.com"), "not an address"),
        (("--send", "a@example.com>\r\nRCPT"), "not an address"),
        (("--only", "everything"), "everything"),
        (("--deadline", "0"), "0"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    run: "Run", arguments: tuple[str, ...], words: str
) -> None:
    done = run("doctor", *arguments)
    assert done.code == 64
    assert words in done.err
    assert done.out == ""


def test_a_service_is_not_looked_at_through_its_socket(run: "Run", tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "posttrail.cli", "--socket", str(tmp_path / "s"), "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[4])
    assert done.returncode == 64


def test_a_postconf_that_hangs_holds_nobody(run: "Run", tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "postconf"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec sleep 600\n")
    fake.chmod(0o755)
    config = tmp_path / "posttrail.toml"
    config.write_text('[trace]\nmta = "postfix"\n')
    began = time.monotonic()
    done = run("doctor", "--only", "mta", "--deadline", "2",
               PATH=f"{fake.parent}:/usr/bin:/bin", POSTTRAIL_CONFIG=str(config))  # fmt: skip
    assert time.monotonic() - began < 15
    assert done.code == 0
    assert "milter-list" in done.out
    assert "no answer in time" in done.out


def test_a_machine_with_nothing_is_told_without_a_crash(tmp_path: Path) -> None:
    settings = Config(
        milter=Milter(socket=f"unix:{tmp_path}/m.sock", spool=tmp_path / "spool"),
        run=replace(Config().run, directory=tmp_path / "run"),
    )
    place = Place(config=settings, journal=tmp_path / "journal", now_us=time.time_ns() // 1000,
                  root=tmp_path, why_not="no mail server here")  # fmt: skip
    findings = examine(place, FAMILIES, until=time.monotonic() + 20)
    assert {(each.family, each.check) for each in findings} == {
        each for family in FAMILIES for each in checks(family)
    }
    assert not [each for each in findings if "fault of doctor's own" in each.said]
    by_name = {each.check: each.state for each in findings}
    assert by_name["milter-socket"] is State.PROBLEM
    assert by_name["journal-check"] is State.UNCHECKED
    assert list(tmp_path.iterdir()) == []  # doctor has changed nothing
