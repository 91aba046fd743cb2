"""``posttrail run`` starts again what dies, waits longer each time, and stops all it started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posttrail.daemon import Stop
from posttrail.run import LONGEST_WAIT_S, Child, program, supervise

ExpectedLog = Callable[[str], None]


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def ended(child: Child) -> None:
    """Waits for the process without taking its exit code away from the child."""
    assert child._process is not None
    os.waitid(os.P_PID, child._process.pid, os.WEXITED | os.WNOWAIT)


def starts(tmp_path: Path) -> tuple[Child, Callable[[], int]]:
    """A program that ends at once, and how often it was started."""
    file = tmp_path / "starts"
    child = Child("short", python(f"open({str(file)!r}, 'a').write('x')"))
    return child, lambda: len(file.read_text()) if file.exists() else 0


def test_a_dead_program_is_started_again_after_its_wait(
    tmp_path: Path, expected_log: ExpectedLog
) -> None:
    expected_log("ended, starting it again program=short code=0 wait_s=1")
    child, count = starts(tmp_path)
    child.step(100.0)
    ended(child)
    assert child.step(100.5) is None  # sees that it ended
    child.step(101.4)
    assert count() == 1
    child.step(101.5)
    child.wait(time.monotonic() + 30)
    assert count() == 2


def test_the_wait_doubles_up_to_a_limit(tmp_path: Path, expected_log: ExpectedLog) -> None:
    for wait in (1, 2, 4, 8, 16, 30):
        expected_log(f"wait_s={wait}")
    child, count = starts(tmp_path)
    now = 0.0
    for _ in range(8):
        child.step(now)
        ended(child)
        child.step(now)
        now += LONGEST_WAIT_S
    assert count() == 8


def test_a_program_that_ran_long_starts_with_the_shortest_wait(
    tmp_path: Path, expected_log: ExpectedLog
) -> None:
    expected_log("wait_s=1")
    child, count = starts(tmp_path)
    for now in (0.0, 1000.0):
        child.step(now)
        ended(child)
        child.step(now + 500.0)
    assert count() == 2


def test_wrong_configuration_is_not_tried_again(expected_log: ExpectedLog) -> None:
    expected_log("ended for good program=wrong code=78")
    child = Child("wrong", python("raise SystemExit(78)"))
    child.step(0.0)
    ended(child)
    assert child.step(0.0) == 78


@pytest.fixture
def stop() -> Iterator[Stop]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield Stop()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_code_of_a_program_that_cannot_run_is_ours(
    stop: Stop, expected_log: ExpectedLog
) -> None:
    expected_log("ended for good")
    steady = Child("steady", python("import signal; signal.pause()"))
    assert supervise([steady, Child("wrong", python("raise SystemExit(77)"))], stop) == 77
    assert steady._process is not None
    assert steady._process.returncode == -signal.SIGTERM


def test_sigterm_stops_the_programs() -> None:
    source = (
        "import sys; from posttrail.run import *\n"
        "program = [sys.executable, '-c', 'import os; os.write(1, b\"up\"); input()']\n"
        "sys.exit(supervise([Child('one', program), Child('two', program)], Stop()))"
    )
    with subprocess.Popen(python(source), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        try:
            heard = running.stdout.read(4)
        finally:
            running.terminate()  # ``with`` waits for it, whatever was heard
        assert heard == b"upup"
        # The pipe ends when the last of the three has gone.
        assert running.stdout.read() == b""
        assert running.wait(30) == 0


def test_programs_are_found_beside_this_python() -> None:
    assert Path(program("posttrail-trackd")).parent == Path(sys.executable).parent


def test_one_that_is_not_vital_ends_alone(expected_log: ExpectedLog) -> None:
    expected_log("ended for good program=traced code=78")
    child = Child("traced", python("raise SystemExit(78)"), vital=False)
    child.step(0.0)
    ended(child)
    assert child.step(1.0) is None
    child.step(1e9)
    assert child._process is None  # not started again
