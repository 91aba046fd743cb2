"""A command: what a mail says reaches it on standard input and nowhere else."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from posttrail.hook import Hook
from query.hooks import run
from query.hooks.state import NOBODY, Call
from tests.unit.query.conftest import Shelf, row
from tests.unit.query.hooks.conftest import Desk, hook
from tests.waiting import wait_until

HOSTILE = b"$(touch x);`id`' \"|&\n--help\0\xff\xe2\x80\xae@example.org"


def call(body: bytes = b"{}") -> Call:
    return Call("evt_1", "delivered", b"", NOBODY, body, 0, 0)


def python(source: str, *arguments: str, timeout_s: int = 30) -> Hook:
    return hook(exec=(sys.executable, "-c", source, *arguments), timeout_s=timeout_s)


def test_hostile_mail_is_on_standard_input_and_nowhere_else(
    shelf: Shelf, desk: Desk, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    source = (
        "import json, os, sys; out, = sys.argv[1:];"
        "json.dump([sys.argv, dict(os.environ), sys.stdin.read(), os.getcwd()], open(out, 'w'))"
    )
    desk.start(hook())
    shelf.put(row(HOSTILE, reply=HOSTILE), sender=HOSTILE, subject=HOSTILE)
    told = json.dumps(desk.told()[0]).encode()
    assert run.execute(python(source, str(out)), call(told)).ok
    arguments, environment, text, folder = json.loads(out.read_text())
    assert arguments == ["-c", str(out)]
    environment.pop("LC_CTYPE", None)  # Python's own
    assert environment == {
        "PATH": run.PATH, "LANG": "C.UTF-8", "POSTTRAIL_EVENT": "delivered", "POSTTRAIL_ID": "evt_1",
    }  # fmt: skip
    assert folder == "/"
    assert json.loads(text)["data"]["recipient"] == HOSTILE.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise SystemExit(3)", "exit status 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", "killed by signal 40"),
    ],
)
def test_a_command_that_fails_is_not_taken(source: str, said: str) -> None:
    outcome = run.execute(python(source), call())
    assert (outcome.ok, outcome.said) == (False, said)


def test_a_command_that_is_not_there_is_an_error_in_words() -> None:
    outcome = run.execute(hook(exec=("/nonexistent/x",)), call())
    assert (outcome.ok, outcome.said) == (False, "/nonexistent/x: no such file or directory")


def test_a_command_that_reads_nothing_of_much_is_taken() -> None:
    assert run.execute(python("pass"), call(b"x" * (1 << 20))).ok


def test_a_command_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    out = tmp_path / "pid"
    source = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])\n"
        "open(sys.argv[1], 'w').write(str(child.pid)); time.sleep(99)"
    )
    outcome = run.execute(python(source, str(out), timeout_s=2), call())
    assert (outcome.ok, outcome.said) == (False, "not done in 2 s, killed")
    pid = int(out.read_text())
    wait_until(lambda: not is_running(pid), 10)


def test_who_left_the_group_and_keeps_standard_input_holds_nobody(tmp_path: Path) -> None:
    out = tmp_path / "pid"
    source = (
        "import os, sys, time\n"
        "child = os.fork()\n"
        "if child: open(sys.argv[1], 'w').write(str(child))\n"
        "else: os.setsid()\n"
        "time.sleep(30)"
    )
    began = time.monotonic()
    try:
        outcome = run.execute(python(source, str(out), timeout_s=2), call(b"x" * (1 << 20)))
        assert outcome.said == "not done in 2 s, killed"
        assert time.monotonic() - began < 20
    finally:
        os.kill(int(out.read_text()), signal.SIGKILL)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"
