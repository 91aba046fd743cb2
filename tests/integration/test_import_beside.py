"""``posttrail import`` beside a tracker that follows a log: handed over, and nobody waits."""

import array
import gzip
import json
import os
import pty
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from journal.writer import Writer
from milterd.track.bulk import Progress, Summary
from milterd.track.control import HandedError, hand_over
from posttrail.errors import TryAgainError, UsageError
from posttrail.run import program
from tests.integration.parts import Load, Parts, client, postfix_and_parts, settled
from tests.waiting import wait_until

OPTIONS: dict[str, Any] = {"host": "", "timezone": "", "year": None, "names": {}, "keep": False}
DAY = timedelta(days=1)


def write_log(path: Path, name: str, count: int, *, age: timedelta = DAY) -> Path:
    """A log of so many relayed messages, each to a recipient of its own."""
    begin = datetime.now(UTC) - age
    with path.open("w") as file:
        for number in range(count):
            stamp = (begin + timedelta(milliseconds=number)).isoformat(timespec="microseconds")
            queue_id = f"4{name[:1].upper()}{number:09d}zzz"
            head = f"{stamp} mx.example.com postfix"
            who = f"{name}{number}@example.net"
            file.write(
                f"{head}/smtpd[91]: {queue_id}: client=mail.example.org[192.0.2.9]\n"
                f"{head}/cleanup[92]: {queue_id}: message-id=<{name}.{number}@example.org>\n"
                f"{head}/qmgr[93]: {queue_id}: from=<a@example.org>, size=500, nrcpt=1 (queue active)\n"
                f"{head}/smtp[94]: {queue_id}: to=<{who}>, relay=mx.example.net[192.0.2.25]:25,"
                " delay=0.5, delays=0.1/0/0.1/0.3, dsn=2.0.0, status=sent (250 2.0.0 Ok)\n"
                f"{head}/qmgr[93]: {queue_id}: removed\n"
            )
    return path


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    with postfix_and_parts() as made:
        made.start_milterd()
        made.start_trackd()
        made.lab.start()
        yield made
        assert made.trackd.is_running(), made.trackd.words()
        assert "Traceback" not in made.trackd.words()
        assert "exception" not in made.trackd.words()


def control(parts: Parts) -> Path:
    return parts.state / "control.sock"


def count(parts: Parts, address: str) -> int:
    done = parts.posttrail("report", address, "--limit", "all", "--format", "json")
    return len(done.stdout.splitlines())


def is_told(parts: Parts, address: str) -> bool:
    return count(parts, address) == 1


def test_an_import_is_handed_over_and_its_summary_comes_back(parts: Parts, tmp_path: Path) -> None:
    log = write_log(tmp_path / "old.log", "plain", 500)
    first = parts.posttrail("import", "--format", "json", str(log))
    assert (first.returncode, first.stderr) == (0, "")
    summary = json.loads(first.stdout)
    facts = {key: summary[key] for key in ("files", "lines", "understood", "messages", "rows")}
    assert facts == {
        "files": [str(log)],
        "lines": 2500,
        "understood": 2500,
        "messages": 500,
        "rows": 500,
    }
    assert is_told(parts, "plain7@example.net")
    for options, lines in ((), 0), (("--again",), 2500):
        told = parts.posttrail("import", *options, "--format", "json", str(log)).stdout
        again = json.loads(told)
        assert (again["lines"], again["messages"], again["rows"]) == (lines, 0, 0)
    imported = [span for span in parts.coverage()["intervals"] if span["source"] == "import"]
    assert [span["gapless"] for span in imported] == [None]


def test_mail_is_followed_while_an_import_goes_on(parts: Parts, tmp_path: Path) -> None:
    log = write_log(tmp_path / "long.log", "long", 30_000)
    seen_before: list[str] = []
    with log.open("rb") as file, Load(parts.lab, "live", rate=10) as load:
        for step in hand_over(control(parts), [(str(log), file.fileno())], OPTIONS):
            if isinstance(step, Summary):
                break
            assert 0 < step.bytes_done <= step.bytes_all == log.stat().st_size
            if not seen_before:
                rows = [row["message_id"] for row in parts.rows_of("load@example.org")]
                seen_before += [name for name in rows if name in load.sent]
        else:
            raise AssertionError("no summary")
    assert seen_before, "no row of live mail appeared before the import had ended"
    assert (step.lines, step.unknown) == (150_000, 0)
    assert count(parts, "long29999@example.net") == 1
    settled(parts, load.sent)


def test_progress_is_shown_on_a_terminal(parts: Parts, tmp_path: Path) -> None:
    log = write_log(tmp_path / "shown.log", "shown", 5000)
    terminal, end = pty.openpty()
    command = (program("posttrail"), "--config", str(parts.config), "import", str(log))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end) as running:
        os.close(end)
        shown = b""
        while chunk := read_terminal(terminal):
            shown += chunk
        assert running.stdout is not None
        told = running.stdout.read().decode()
    os.close(terminal)
    assert running.returncode == 0
    assert b"lines/s" in shown
    assert "rows        5,000 new" in told


def read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # nobody has the other end any more
        return b""


def test_what_a_pipe_brings_is_imported_and_the_tracker_waits_for_none_of_it(
    parts: Parts, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "piped.log", "xpiped", 100)
    command = (program("posttrail"), "--config", str(parts.config), "import", "-")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as running:  # type: ignore[call-overload]
        running.stdin.write(log.read_bytes()[:1000])
        running.stdin.flush()
        send(parts, "meanwhile@void.example")
        wait_until(lambda: is_told(parts, "meanwhile@void.example"))
        out, err = running.communicate(log.read_bytes()[1000:])
    assert (running.returncode, err) == (0, b"")
    assert b"rows        100 new" in out


def send(parts: Parts, recipient: str) -> None:
    with client(parts.lab) as smtp:
        smtp.sendmail("load@example.org", [recipient], "Subject: x\r\n\r\nx\r\n")


def test_a_caller_that_goes_away_does_no_harm(parts: Parts, tmp_path: Path) -> None:
    log = write_log(tmp_path / "gone.log", "gone", 5000)
    with log.open("rb") as file:
        steps = hand_over(control(parts), [(str(log), file.fileno())], OPTIONS)
        assert isinstance(next(steps), Progress)
        steps.close()  # type: ignore[attr-defined]
    wait_until(lambda: is_told(parts, "gone4999@example.net"))


def test_a_caller_that_does_not_listen_holds_nobody(parts: Parts, tmp_path: Path) -> None:
    log = write_log(tmp_path / "deaf.log", "deaf", 20_000)
    with log.open("rb") as file, socket.socket(socket.AF_UNIX) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        deaf.connect(str(control(parts)))
        request(deaf, {"files": ["x" * 4000], "options": OPTIONS}, file.fileno())
        send(parts, "patience@void.example")
        wait_until(lambda: is_told(parts, "deaf19999@example.net"))
        assert is_told(parts, "patience@void.example")


def request(caller: socket.socket, said: object, *descriptors: int) -> None:
    rights = array.array("i", descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
    caller.sendmsg([json.dumps(said).encode() + b"\n"], ancillary)


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        {"files": []},
        {"files": ["a", "b"], "options": {}},
        {"files": ["a"], "options": {}},
        {"files": ["a"], "options": {**OPTIONS, "names": 1}},
        {"files": ["a"], "options": {**OPTIONS, "timezone": "Mars/Olympus"}},
        {"files": [7], "options": OPTIONS},
        {"files": ["a"], "options": OPTIONS, "verb": 7},
        {"files": ["a"], "options": OPTIONS, "verb": "dance"},
    ],
)
def test_nonsense_is_answered_and_harms_nobody(parts: Parts, tmp_path: Path, said: object) -> None:
    open_before = len(os.listdir(f"/proc/{parts.trackd.pid}/fd"))
    with (tmp_path / "x.log").open("w+b") as file, socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(control(parts)))
        caller.settimeout(30)
        request(caller, said, file.fileno())
        answer = json.loads(caller.makefile("rb").readline())
    assert set(answer) == {"error", "exit"}
    assert answer["exit"] in (64, 65)
    wait_until(lambda: len(os.listdir(f"/proc/{parts.trackd.pid}/fd")) <= open_before)


def test_a_caller_that_says_nothing_holds_nobody(parts: Parts, tmp_path: Path) -> None:
    log = write_log(tmp_path / "next.log", "next", 10)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(control(parts)))
        silent.send(b'{"files": ')
        assert parts.posttrail("import", str(log)).returncode == 0
        silent.settimeout(30)
        assert "does not understand" in silent.makefile().readline()  # sent away after a while


def test_a_pipe_handed_over_is_refused(parts: Parts) -> None:
    reading, writing = os.pipe()
    with pytest.raises(HandedError, match="not a regular file") as caught:
        list(hand_over(control(parts), [("pipe", reading)], OPTIONS))
    assert caught.value.exit_code == 65
    os.close(reading)
    os.close(writing)


def test_too_many_files_are_refused_beforehand(parts: Parts) -> None:
    with pytest.raises(UsageError, match="at most 200 files"):
        list(hand_over(control(parts), [("x", 0)] * 201, OPTIONS))


def test_two_imports_at_once_both_end_well(parts: Parts, tmp_path: Path) -> None:
    command = (program("posttrail"), "--config", str(parts.config), "import")
    logs = [write_log(tmp_path / f"{name}.log", name, 5000) for name in ("one", "two", "three")]
    pipe = subprocess.PIPE
    running = [subprocess.Popen((*command, str(log)), stdout=pipe, stderr=pipe) for log in logs]
    for one in running:
        _, err = one.communicate(timeout=60)
        assert (one.returncode, err) == (0, b"")
    assert all(is_told(parts, f"{name}4999@example.net") for name in ("one", "two", "three"))


def test_an_import_beside_another_without_a_tracker_is_told_to_try_again(
    parts: Parts, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "busy.log", "busy", 10)
    journal = tmp_path / "journal"
    command = (program("posttrail"), "--journal", str(journal), "import", str(log))
    with Writer.open(journal):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (75, "")
    assert "another process writes to the journal" in done.stderr
    assert done.stderr.count("\n") == 1


def test_days_past_retention_are_refused_unless_kept(parts: Parts, tmp_path: Path) -> None:
    log = write_log(tmp_path / "ancient.log", "ancient", 10, age=60 * DAY)
    refused = parts.posttrail("import", str(log))
    assert (refused.returncode, refused.stdout) == (65, "")
    assert refused.stderr == (
        "posttrail: the log begins more than 30 days ago, beyond this journal's retention;"
        " --keep imports it all the same\n"
    )
    assert count(parts, "ancient1@example.net") == 0
    assert parts.posttrail("import", "--keep", str(log)).returncode == 0
    assert count(parts, "ancient1@example.net") == 1


def test_what_is_wrong_with_a_handed_file_is_told_as_without_a_tracker(
    parts: Parts, tmp_path: Path
) -> None:
    whole = gzip.compress(write_log(tmp_path / "cut.log", "cut", 500).read_bytes())
    cut = tmp_path / "cut.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    done = parts.posttrail("import", str(cut))
    assert done.returncode == 65
    assert "ends early at byte" in done.stderr
    assert is_told(parts, "cut0@example.net")


def test_an_import_is_told_that_the_tracker_stops(parts: Parts, tmp_path: Path) -> None:
    log = write_log(tmp_path / "ended.log", "ended", 20_000)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with log.open("rb") as file:
            steps = hand_over(control(parts), [(str(log), file.fileno())], OPTIONS)
            assert isinstance(next(steps), Progress)
            parts.trackd.signal(number)
            with pytest.raises((HandedError, TryAgainError)) as caught:
                list(steps)
        assert caught.value.exit_code == 75
        parts.trackd.kill()
        parts.start_trackd()
    done = parts.posttrail("import", "--format", "json", str(log))
    assert done.returncode == 0
    assert count(parts, "@example.net") >= 20_000
