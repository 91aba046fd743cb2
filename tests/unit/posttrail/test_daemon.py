"""What every daemon of ours needs, each part against the real thing."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from posttrail import daemon
from posttrail.errors import TryAgainError


def test_notices_reach_the_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        daemon.notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_notices_reach_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"posttrail-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        daemon.notify("WATCHDOG=1")
        assert manager.recv(100) == b"WATCHDOG=1"


def test_a_manager_that_does_not_read_holds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "NOTIFY_S", 0.01)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        limit = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
        for _ in range(limit + 3):
            daemon.notify("WATCHDOG=1")


def test_no_manager_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    daemon.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    daemon.notify("READY=1")


def test_the_watchdog_is_for_the_process_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert daemon.watchdog_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert daemon.watchdog_s() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert daemon.watchdog_s() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert daemon.watchdog_s() == 30.0


@pytest.mark.parametrize(
    ("usual", "told"),
    [
        ("60000000", [b"WATCHDOG_USEC=120000000", b"WATCHDOG_USEC=60000000"]),
        ("180000000", []),  # enough as it is
        ("", []),
    ],
)
def test_work_that_takes_long_is_granted_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usual: str, told: list[bytes]
) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", usual)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        with daemon.patience(120):
            assert [manager.recv(100) for _ in told[:1]] == told[:1]
        assert [manager.recv(100) for _ in told[1:]] == told[1:]
        with pytest.raises(BlockingIOError):
            manager.recv(100)


STOPPING = """
import sys
from posttrail.daemon import Stop
stop = Stop()
print("waiting", flush=True)
while not stop.wait(60):
    pass
print("stopping", stop.is_set(), flush=True)
sys.stdin.read()
"""


def start(program: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert child.stdout
    assert child.stdout.readline() == "waiting\n"
    return child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_the_second_ends(number: signal.Signals) -> None:
    with start(STOPPING) as child:
        assert child.stdout
        child.send_signal(number)
        assert child.stdout.readline() == "stopping True\n"
        child.send_signal(number)
        assert child.wait(10) == 128 + number


def test_stopping_for_a_reason_of_our_own() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        stop = daemon.Stop()
        assert not stop.wait(0)
        stop.set()
        assert stop.wait(60)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_a_lock_is_held_by_one_and_names_its_holder(tmp_path: Path) -> None:
    with daemon.lock_file(tmp_path / "LOCK"):
        with pytest.raises(TryAgainError, match=f"process {os.getpid()} holds .*LOCK") as caught:
            daemon.lock_file(tmp_path / "LOCK")
        assert caught.value.exit_code == 75
    daemon.lock_file(tmp_path / "LOCK").close()


def test_gauges_are_prometheus_text_that_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "milterd.prom"
    name = "posttrail_trackd_commit_duration_seconds"
    daemon.write_prom(path, {"posttrail_milter_queue_records": 1})
    told = {
        "posttrail_milter_queue_records": 3,
        f'{name}_bucket{{le="+Inf"}}': 1,
        f"{name}_sum": 0.5,
    }
    daemon.write_prom(path, {**told, "posttrail_milter_records_total": 9})
    assert path.read_text() == (
        "# TYPE posttrail_milter_queue_records gauge\nposttrail_milter_queue_records 3\n"
        f'# TYPE {name} histogram\n{name}_bucket{{le="+Inf"}} 1\n{name}_sum 0.5\n'
        "# TYPE posttrail_milter_records_total counter\nposttrail_milter_records_total 9\n"
    )
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(KeyError):
        daemon.write_prom(path, {"posttrail_undeclared": 1})
