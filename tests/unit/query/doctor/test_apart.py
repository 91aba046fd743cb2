"""Children that die, hang or talk much: whoever waits has an answer in time."""

import os
import signal
import subprocess
import time
from pathlib import Path

from posttrail.errors import UnavailableError
from query.doctor.apart import Ended, alone, together


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


def test_what_a_child_found_comes_back() -> None:
    big = "x" * 1_000_000  # more than a pipe holds
    ended = together({"one": lambda: [1, {"two": None}], "big": lambda: big}, until=soon())
    assert ended == {"one": Ended(value=[1, {"two": None}]), "big": Ended(value=big)}


def test_a_child_killed_by_a_damaged_page_is_told_by_its_signal() -> None:
    ended = alone(lambda: os.kill(os.getpid(), signal.SIGBUS), until=soon())
    assert ended.why == "its reader was killed by SIGBUS"


def test_an_error_of_ours_is_its_sentence_and_any_other_a_fault() -> None:
    def ours() -> None:
        raise UnavailableError("no journal at /nowhere")

    def other() -> None:
        raise ZeroDivisionError("by zero")

    ended = together({"ours": ours, "other": other}, until=soon())
    assert ended["ours"].why == "no journal at /nowhere"
    assert ended["other"].why == "a fault of doctor's own: ZeroDivisionError: by zero"


def test_who_hangs_is_ended_with_all_that_it_started_and_holds_nobody_up(tmp_path: Path) -> None:
    told = tmp_path / "pid"

    def hangs() -> None:
        with subprocess.Popen(["sleep", "600"]) as started:
            told.write_text(str(started.pid))
            signal.pause()

    began = time.monotonic()
    ended = together({"hangs": hangs, "quick": lambda: 7}, until=soon(1.0))
    assert ended["hangs"] == Ended(why="no answer in time; --deadline gives it more")
    assert ended["quick"] == Ended(value=7)
    assert time.monotonic() - began < 10
    assert not _lives(int(told.read_text()))


def _lives(pid: int) -> bool:
    """Not gone, and no corpse that its new parent has yet to bury."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
    return True
