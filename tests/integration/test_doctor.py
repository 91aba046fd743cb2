"""posttrail doctor beside a real Postfix and the four programs: one thing broken, that is found.

What depends on the machine (its clock, name servers, limits) has its tests in tests/unit/query/doctor.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posttrail import cli
from posttrail.config import Config, Trace
from query.doctor import resolver
from query.doctor.examine import examine
from query.doctor.finding import State
from query.doctor.holders import holder
from query.doctor.names import FAMILIES
from query.doctor.place import Place
from query.doctor.verb import place_of
from tests.integration.knot import Knot
from tests.integration.parts import WAIT_S, Parts, postfix_and_parts
from tests.waiting import wait_until

OWN = ("milter", "mta", "log", "disk", "daemons", "capture", "permissions", "journal")
Findings = list[dict[str, Any]]


class Patient:
    """All of it, running, and doctor to look at it."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.journal = parts.state / "journal"
        self.spool = parts.state / "spool"

    def look(self, *options: str, config: Path | None = None, code: int | None = None) -> Findings:
        """The findings of ``posttrail doctor``."""
        command = (
            sys.executable,
            "-m",
            "posttrail.cli",
            "--config",
            str(config or self.parts.config),
        )
        done = subprocess.run(
            [*command, "doctor", "--format", "json", *options],
            capture_output=True, text=True, timeout=WAIT_S,
        )  # fmt: skip
        told = json.loads(done.stdout)
        assert done.returncode == (1 if told["problem"] else 0), done.stderr
        if code is not None:
            assert done.returncode == code
        findings: Findings = told["findings"]
        for state in ("ok", "warning", "problem", "not_checked"):
            assert told[state] == sum(each["state"] == state for each in findings)
        return findings

    def wrong(self, *families: str, config: Path | None = None) -> dict[str, str]:
        """Checks that are not well, with their states; asked in this process."""
        until = time.monotonic() + WAIT_S
        options = cli.settle(None, None, str(config or self.parts.config))
        found = examine(place_of(options, until=until), families or OWN, until=until)
        return {each.check: each.state.value for each in found
                if each.state in (State.WARNING, State.PROBLEM)}  # fmt: skip

    def configured(self, place: Path, old: str, new: str) -> Path:
        """A configuration that differs."""
        text = self.parts.config.read_text()
        assert old in text
        made = place / "posttrail.toml"
        made.write_text(text.replace(old, new))
        made.chmod(0o644)
        return made


@pytest.fixture(scope="module")
def patient() -> Iterator[Patient]:
    with postfix_and_parts() as parts:
        parts.both.start()
        parts.lab.prepare()
        wait_until(parts.lab.milter_socket.exists)
        parts.lab.start()
        run = parts.state / "run"
        names = ("milterd.prom", "trackd.prom", "queryd.prom", "traced.sock", "queryd.sock")
        wait_until(lambda: all((run / name).exists() for name in names))
        made = Patient(parts)
        sent = made.look("--only", "message", "--send", "alice@example.com", code=0)
        assert sent[0]["state"] == "ok", sent
        wait_until(lambda: made.wrong() == {})
        yield made


def test_a_test_message_is_seen_from_the_door_to_its_row(patient: Patient) -> None:
    (found,) = patient.look("--only", "message", "--send", "bob@example.com", code=0)
    assert (found["check"], found["state"]) == ("test-message", "ok")
    port = patient.parts.lab.ports.mx
    assert found["seen"][0] == {
        "where": "bob@example.com",
        "what": f"sent by SMTP to 127.0.0.1:{port}",
    }
    assert "delivered after" in found["seen"][1]["what"]
    (row,) = patient.parts.rows_of("bob@example.com")
    assert row["sources"] == ["milter", "log"]
    assert found["seen"][1]["where"] == f"posttrail show {row['id']}"


def test_nothing_is_said_of_what_works(patient: Patient) -> None:
    findings = patient.look(*(word for name in OWN for word in ("--only", name)), code=0)
    assert {each["family"] for each in findings} == set(OWN)
    assert [each["check"] for each in findings if each["state"] == "ok" and not each["seen"]] == []
    unchecked = {each["check"] for each in findings if each["state"] == "not_checked"}
    assert unchecked == {"log-rotation", "log-generations"}  # no logrotate for a private log


def chmod(place: Callable[[Patient], Path], mode: int) -> Callable[[Patient], Callable[[], None]]:
    """Breaks by a mode; gives what mends it."""

    def broken(patient: Patient) -> Callable[[], None]:
        path = place(patient)
        before = path.stat().st_mode & 0o7777
        path.chmod(mode)
        return lambda: path.chmod(before)

    return broken


def put_aside(patient: Patient) -> Callable[[], None]:
    path = patient.journal / "bad-2026-11-20"
    path.mkdir()
    return path.rmdir


def stopped(patient: Patient) -> Callable[[], None]:
    pid = holder(patient.spool / "LOCK")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


BROKEN: dict[str, tuple[Callable[[Patient], Callable[[], None]], dict[str, str]]] = {
    "the milter hangs": (stopped, {"milter-answers": "problem"}),
    "the socket is closed to Postfix": (
        chmod(lambda it: it.parts.lab.milter_socket, 0o700), {"milter-reach": "problem"}),
    "the socket's folder is closed to Postfix": (
        chmod(lambda it: it.parts.lab.milter_socket.parent, 0o700), {"milter-reach": "problem"}),
    "the journal's key is open to all": (
        chmod(lambda it: it.journal / "KEY", 0o644), {"journal-permissions": "problem"}),
    "the spool is open to all": (
        chmod(lambda it: it.spool, 0o755), {"spool-permissions": "problem"}),
    "the journal is closed to its readers": (
        chmod(lambda it: it.journal, 0o700), {"journal-permissions": "problem"}),
    "the configuration cannot be read": (
        chmod(lambda it: it.parts.config, 0o600), {"config-file": "problem"}),
    "everybody may write the configuration": (
        chmod(lambda it: it.parts.config, 0o666), {"config-file": "problem"}),
    "tokens are readable": (
        chmod(lambda it: it.parts.state / "state" / "state.sqlite", 0o644),
        {"state-permissions": "problem"}),
    "a day was damaged": (put_aside, {"damaged-days": "problem"}),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_one_thing_broken_is_found_alone(patient: Patient, name: str) -> None:
    broken, expected = BROKEN[name]
    mend = broken(patient)
    try:
        assert patient.wrong() == expected
    finally:
        mend()


@pytest.mark.parametrize("name", ["queryd", "traced"])
def test_a_program_that_does_not_listen_is_named(
    patient: Patient, name: str, tmp_path: Path
) -> None:
    config = patient.configured(tmp_path, f"{name}.sock", f"{name}-none.sock")
    state = "problem" if name == "queryd" else "warning"
    assert patient.wrong("daemons", config=config) == {name: state}


def test_another_log_than_postfix_writes_is_told(patient: Patient, tmp_path: Path) -> None:
    other = tmp_path / "other.log"
    other.write_text("Nov 25 13:00:00 mx postfix/qmgr[1]: 4XyZ: removed\n")
    config = patient.configured(
        tmp_path, f'files = ["{patient.parts.lab.log}"]', f'files = ["{other}"]'
    )
    assert patient.wrong("log", config=config) == {"log-source": "problem"}
    (found,) = [
        each
        for each in patient.look("--only", "log", config=config)
        if each["check"] == "log-source"
    ]
    subprocess.run(found["mend"][0], shell=True, check=True)  # the rest restarts the system's own
    assert patient.wrong("log", config=config) == {}


def test_a_damaged_page_is_a_finding_not_a_crash(patient: Patient, tmp_path: Path) -> None:
    copy = tmp_path / "journal"
    shutil.copytree(patient.journal, copy)
    (day,) = [path for path in copy.iterdir() if path.name[:2] == "20"]
    pages = (day / "data.mdb").read_bytes()
    (day / "data.mdb").write_bytes(pages[:8192] + b"\xff" * (len(pages) - 8192))
    config = patient.configured(tmp_path, str(patient.journal), str(copy))
    assert patient.wrong("journal", config=config) == {"journal-check": "problem"}
    findings = patient.look(config=config)  # every family ends, whatever it meets
    assert {each["family"] for each in findings} == set(FAMILIES)


def test_who_is_not_root_is_told_what_root_would_see(patient: Patient) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "posttrail.cli", "--config", str(patient.parts.config), "doctor",
         "--format", "json", *(word for name in OWN for word in ("--only", name))],
        user="nobody", group="nogroup", extra_groups=[], capture_output=True, text=True,
        timeout=WAIT_S, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    told = json.loads(done.stdout)
    problems = [each for each in told["findings"] if each["state"] == "problem"]
    assert problems == []
    hidden = {each["check"] for each in told["findings"] if each["needs_root"]}
    assert {"milter-socket", "spool-depth", "journal-permissions"} <= hidden
    assert "only root can check" in done.stderr
    assert done.returncode == 0


def test_the_deadline_holds_whatever_hangs(patient: Patient) -> None:
    mend = stopped(patient)
    try:
        began = time.monotonic()
        findings = patient.look("--only", "milter", "--only", "permissions", "--deadline", "1")
        took = time.monotonic() - began
    finally:
        mend()
    assert took < 10
    states = {each["check"]: each["state"] for each in findings}
    assert states["milter-answers"] == "not_checked"
    assert states["config-file"] == "ok"


def rewrite(patient: Patient, **who: Any) -> dict[str, Any]:
    """The finding on Postfix's resolver."""
    done = subprocess.run(
        [sys.executable, "-m", "posttrail.cli", "--config", str(patient.parts.config), "doctor",
         "--format", "json", "--only", "resolver"],
        capture_output=True, text=True, timeout=WAIT_S, cwd=Path(__file__).parents[2], **who,
    )  # fmt: skip
    (found,) = [
        each for each in json.loads(done.stdout)["findings"] if each["check"] == "rewrite-socket"
    ]
    return dict(found)


def test_postfixs_own_resolver_answers_root_and_says_whom_else(patient: Patient) -> None:
    found = rewrite(patient)
    assert found["state"] == "ok"
    assert found["seen"][-1]["what"] == "answers root, postfix"
    other = rewrite(patient, user="nobody", group="nogroup", extra_groups=[])
    assert (other["state"], other["needs_root"]) == ("not_checked", True)
    assert "posttrail-rw unix" in other["said"]


@pytest.mark.skipif(not shutil.which("knotd"), reason="no Knot: tools/setup dns installs it")
def test_a_real_name_server_answers_until_it_is_stopped(tmp_path: Path) -> None:
    with Knot(tmp_path / "knot", {"plain.test": "@ A 192.0.2.1"}) as knot:
        server = f"{knot.address}:{knot.port}"
        place = Place(config=Config(trace=Trace(nameservers=(server,))), journal=tmp_path, now_us=0)
        good = resolver.name_servers(resolver.gather(place), place)
    bad = resolver.name_servers(resolver.gather(place), place)
    assert good.state is State.OK
    assert good.seen == ((server, "answers"),)
    assert bad.state is State.PROBLEM
    assert bad.seen == ((server, "Connection refused"),)


def test_when_nothing_runs_each_program_is_named(patient: Patient) -> None:
    patient.parts.both.stop()
    for path in (patient.parts.state / "run").glob("*.prom"):
        os.utime(path, (1, 1))
    assert patient.wrong() == {
        "milter-socket": "problem",
        "milterd": "problem",
        "trackd": "problem",
        "queryd": "problem",
        "traced": "warning",
    }
    (found,) = patient.look(
        "--only", "message", "--send", "carol@example.com", "--deadline", "3", code=1
    )
    assert (found["check"], found["state"]) == ("test-message", "problem")
    assert "not in the journal" in found["said"]
    patient.parts.lab.stop()
    asleep = rewrite(patient)
    assert asleep["state"] == "warning"
    assert asleep["mend"] == [f"postfix -c {patient.parts.lab.etc} start"]
    subprocess.run(asleep["mend"][0], shell=True, check=True, capture_output=True)
    wait_until(lambda: rewrite(patient)["state"] == "ok")
