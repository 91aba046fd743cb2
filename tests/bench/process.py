"""Running a program and knowing what it cost: wall, CPU, peak memory.

CPU and ``ru_maxrss`` come from wait4(2) and include the children a program waited for.
``ru_maxrss`` is never below this process's own size (the child was its copy before it
became the program), so VmHWM is sampled as well; both count mapped file pages (a journal
is mapped memory that the kernel can take back), so RssAnon is sampled, too.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_SAMPLE_S: Final = 0.02


class Cost(NamedTuple):
    """What one run of a program cost."""

    wall_s: float
    cpu_s: float
    maxrss_mib: float
    peak_mib: float  # highest sample of VmHWM: with mapped pages; 0 if too quick
    anonymous_mib: float  # highest sample of the whole family's RssAnon; 0 if too quick
    status: int


class ProgramError(Exception):
    """A measured program failed, so its figure means nothing."""


def family(pid: int) -> list[int]:
    """A process and its descendants that are alive."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += map(int, task.read_text(encoding="ascii").split())
            except OSError:
                continue
    return found


def memory_mib(pid: int) -> tuple[float, float]:
    """VmHWM and RssAnon of a process; nothing when it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0, 0.0
    parts = (status.partition(name)[2].split(maxsplit=1) for name in ("VmHWM:", "RssAnon:"))
    peak, anonymous = (int(words[0]) / 1024 if words else 0.0 for words in parts)
    return peak, anonymous


def cpu_s(pid: int) -> float:
    """CPU seconds a living process has used so far, all threads, ended ones included."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def run(
    command: Sequence[str | Path],
    *,
    output: Path,
    env: dict[str, str] | None = None,
    accept: Sequence[int] = (0,),
) -> Cost:
    """Run to the end, standard output into a file (never the null device: grep would cheat)."""
    begin = time.perf_counter()
    errors = output.with_suffix(".stderr")
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=err, env=env)
        peak, anonymous, status, usage = 0.0, 0.0, 0, None
        while usage is None:
            pid, status, spent = os.wait4(process.pid, os.WNOHANG)
            if pid:
                usage = spent
                break
            sizes = [memory_mib(each) for each in family(process.pid)]
            peak = max(peak, *(size[0] for size in sizes))
            anonymous = max(anonymous, sum(size[1] for size in sizes))
            time.sleep(_SAMPLE_S)
    wall = time.perf_counter() - begin
    process.returncode = code = os.waitstatus_to_exitcode(status)
    if code not in accept:
        raise ProgramError(f"{command[0]} ended with {code}: {last_words(errors)}")
    return Cost(
        wall_s=wall,
        cpu_s=usage.ru_utime + usage.ru_stime,
        maxrss_mib=usage.ru_maxrss / 1024,
        peak_mib=peak,
        anonymous_mib=anonymous,
        status=code,
    )


def last_words(errors: Path) -> str:
    """The end of what a program said on its standard error."""
    return errors.read_text(encoding="utf-8", errors="replace").strip()[-500:]


def wait_for(reached: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    """Poll until something holds; ProgramError when it does not in time."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise ProgramError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.005)


def settle(pids: Sequence[int], *, quiet_s: float = 0.4, seconds: float = 60.0) -> float:
    """Wait until some processes use (nearly) no CPU any more; how long it took."""
    begin = time.monotonic()
    before, since = sum(map(cpu_s, pids)), time.monotonic()
    while time.monotonic() - since < quiet_s:
        time.sleep(quiet_s / 8)
        now = sum(map(cpu_s, pids))
        if now - before > 1.5 * TICK_S:
            before, since = now, time.monotonic()
        if time.monotonic() - begin > seconds:
            raise ProgramError("the programs do not come to rest")
    return time.monotonic() - begin - quiet_s


class Service:
    """A program that runs beside the measurement; ``with`` ends it by SIGTERM."""

    def __init__(
        self, command: Sequence[str | Path], *, errors: Path, env: dict[str, str] | None = None
    ) -> None:
        self._errors = errors
        with errors.open("ab") as err:
            self._process = subprocess.Popen(
                list(map(str, command)), stdout=subprocess.DEVNULL, stderr=err, env=env
            )
        self.pid = self._process.pid

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ready(self, reached: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
        """Wait until it serves; ProgramError with its last words when it ends instead."""

        def look() -> bool:
            if self._process.poll() is not None:
                raise ProgramError(f"{what}: {last_words(self._errors)}")
            return reached()

        wait_for(look, what, seconds=seconds)
