"""Functions run in forked children, side by side, each until it ends, dies or the time is over.

A damaged page of the journal kills who touches it, and a file system that is gone holds who looks:
neither must hold doctor. A child's answer is JSON through a pipe. One that does not end in time is
killed, and not waited for longer than a moment (it may hang in the kernel). Raises nothing.
"""

import faulthandler
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from posttrail.errors import PosttrailError

_PIECE: Final = 1 << 16
_GRACE_S: Final = 0.2
Work = Callable[[], Any]
"""What comes back is what json can spell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended."""

    value: Any = None
    why: str = ""  # "": it gave a value


@dataclass(slots=True)
class _Child:
    pid: int
    pipe: int
    said: bytes = b""


def together(works: Mapping[str, Work], *, until: float) -> dict[str, Ended]:
    """All of them at once, until a time of the monotonic clock."""
    sys.stdout.flush()
    sys.stderr.flush()
    children = {name: _start(work) for name, work in works.items()}
    open_pipes = {child.pipe: child for child in children.values()}
    while open_pipes and (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select(list(open_pipes), [], [], left)
        for pipe in ready:
            piece = os.read(pipe, _PIECE)
            open_pipes[pipe].said += piece
            if not piece:
                del open_pipes[pipe]
    late = set(open_pipes)
    return {name: _ended(child, late=child.pipe in late) for name, child in children.items()}


def alone(work: Work, *, until: float) -> Ended:
    """One of them."""
    return together({"": work}, until=until)[""]


def _start(work: Work) -> _Child:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _answer(work, writing)
    os.close(writing)
    return _Child(pid, reading)


def _answer(work: Work, pipe: int) -> NoReturn:
    """The child: its own group, so that what it started ends with it; no core, no dying words."""
    told: dict[str, Any] = {"why": "a fault of doctor's own"}
    try:
        os.setpgid(0, 0)
        faulthandler.disable()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            told = {"value": work()}
        except (PosttrailError, OSError) as failed:
            told = {"why": str(failed)}
    finally:  # whatever it was, the child must not go on with the parent's code
        kind, error = sys.exc_info()[:2]
        if kind is not None:
            told["why"] += f": {kind.__name__}: {error}"
        with suppress(BaseException), os.fdopen(pipe, "wb") as out:
            out.write(json.dumps(told).encode("ascii"))
        os._exit(0)


def _ended(child: _Child, *, late: bool) -> Ended:
    os.close(child.pipe)
    if late:
        with suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        with suppress(OSError):
            os.kill(child.pid, signal.SIGKILL)
    status = _wait(child.pid, grace_s=_GRACE_S if late else None)
    if late:
        return Ended(why="no answer in time; --deadline gives it more")
    if os.WIFSIGNALED(status):
        return Ended(why=f"its reader was killed by {signal.Signals(os.WTERMSIG(status)).name}")
    try:
        told = json.loads(child.said)
    except ValueError:
        return Ended(why="its reader ended without a word")
    return Ended(**told)


def _wait(pid: int, *, grace_s: float | None) -> int:
    """The wait status; 0 where a killed child hangs on in the kernel."""
    if grace_s is None:
        return os.waitpid(pid, 0)[1]
    until = time.monotonic() + grace_s
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done or time.monotonic() > until:
            return status
        time.sleep(0.005)
