"""``posttrail demo``, as a person starts it: the six statuses, and nothing left behind."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from posttrail.demo.mails import expected
from posttrail.demo.main import unsettled
from posttrail.demo.stage import Stage
from posttrail.run import program

STATUSES = {"delivered", "in_progress", "deferred", "error", "rejected", "filtered"}
LIMIT_S = 150


def below(directory: Path) -> list[int]:
    """The processes that work below a directory, or were told of it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + os.fsencode(os.readlink(process / "cwd"))
        except OSError:
            continue  # it ended meanwhile
        if os.fsencode(directory) in told and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


def test_once_shows_the_six_statuses_and_leaves_nothing() -> None:
    directory = Path("/tmp/posttrail-demo-once")
    done = subprocess.run(
        [program("posttrail"), "demo", "--once", "--directory", str(directory)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    assert all(status.replace("_", " ") in done.stdout.replace("_", " ") for status in STATUSES)
    assert not directory.exists()
    assert below(directory) == []


def test_ctrl_c_stops_all_that_was_started() -> None:
    directory = Path("/tmp/posttrail-demo-ctrl-c")
    command = [program("posttrail"), "demo", "--directory", str(directory)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        assert running.stderr is not None
        while b"Ctrl-C" not in (line := running.stderr.readline()):
            assert line, "ended before it had settled"
        assert len(below(directory)) > 5  # it can find what it looks for below
        running.send_signal(signal.SIGINT)
        assert running.wait(LIMIT_S) == 0
    assert not directory.exists()
    assert below(directory) == []


def test_a_folder_in_use_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("do not delete\n")
    done = subprocess.run(
        [program("posttrail"), "demo", "--once", "--directory", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 64
    assert f"{tmp_path} is not empty" in done.stderr
    assert (tmp_path / "precious").exists()


def test_every_row_settles_with_its_reason(settled: Stage) -> None:
    rows = settled.rows()
    assert unsettled(rows) == []
    told = {(row["sender"], row["recipient"], row["status"], row["reason"]) for row in rows}
    for sender, fate in expected():
        assert (sender, fate.recipient, fate.status, fate.reason) in told


@pytest.mark.skipif(
    not all(parent.stat().st_mode & 0o001 for parent in Path(__file__).resolve().parents),
    reason="only root may enter this checkout",
)
def test_without_root_the_bundled_log_is_reported_on() -> None:
    nobody = 65534
    done = subprocess.run(
        [program("posttrail"), "demo"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        user=nobody,
        group=nobody,
        extra_groups=[],
        env={**os.environ, "HOME": "/nonexistent", "TMPDIR": "/tmp"},
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    assert "not root" in done.stderr
    assert all(status.replace("_", " ") in done.stdout.replace("_", " ") for status in STATUSES)


def test_the_bundled_log_settles_like_the_demonstration(tmp_path: Path) -> None:
    log = Path(__file__).parents[2] / "posttrail" / "demo" / "sample.log.gz"
    posttrail = [program("posttrail"), "--journal", str(tmp_path / "journal")]
    host = ["--host", "mx.example.com", "--timezone", "UTC", "--local-domain", "example.com"]
    subprocess.run([*posttrail, "import", *host, str(log)], check=True, capture_output=True)
    report = subprocess.run(
        [*posttrail, "report", "--limit", "all", "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert unsettled([json.loads(line) for line in report.stdout.splitlines()]) == []


def test_both_sources_speak_of_each_message_the_milter_can_see(settled: Stage) -> None:
    # Postfix shows no milter its own notices, nor what postscreen turns away.
    unseen = {"", "bot@spam.example"}
    rows = [row for row in settled.rows() if row["sender"] not in unseen]
    assert {row["recipient"]: row["sources"] for row in rows} == {
        row["recipient"]: ["milter", "log"] for row in rows
    }
