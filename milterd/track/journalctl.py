"""Follow systemd's journal through a child process, ``journalctl -o json --follow``.

It has the follower's interface: ``read`` never blocks, and its position (opaque JSON: the
cursor of the last record returned, and when that was) is committed with the data. The child
begins *at* the cursor, not after it: its first record must be the one that was returned last,
which proves that nothing was vacuumed between; where it is another one, that is a gap. The
same record tells a child that works from one that hangs.

A child that ends is started again after 1, 2, 4 ... 60 s; one that says nothing for ten minutes
is replaced, which costs nothing, for what is read twice is the same. Raises ValueError for a
position it did not make, OSError where journalctl cannot be started.

Log messages: ``journalctl ended, starting it again ...`` (warning).
"""

import fcntl
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from milterd.lines.journald import FIELDS, cursor_of
from milterd.lines.syslog import MAX_LINE
from milterd.track.follow import FollowGap
from posttrail.text import safe

log = logging.getLogger(__name__)

BACKOFF_MOST_S: Final = 60.0
QUIET_S: Final = 600.0
"""After such a silence the child is replaced: it may hang (systemd #27489)."""
GREETING_S: Final = 30.0
"""So long may a child take to show the record at the cursor."""
SETTLED_S: Final = 1.0
RECORD_MOST: Final = 8 * MAX_LINE
"""Bytes of a record; MESSAGE as a list of bytes takes four a byte."""

_MAIL: Final = "SYSLOG_FACILITY=2"
_JOURNALD: Final = ("_TRANSPORT=driver", "SYSLOG_IDENTIFIER=systemd-journald")
"""journald's own words: ``Suppressed N messages from UNIT``."""


class JournalFollower:
    """Reads records, one JSON object each; make a new one from the position to go on."""

    def __init__(
        self,
        *,
        position: bytes | None = None,
        units: Sequence[str],
        directory: Path | None = None,
        since_us: int = 0,
        command: Sequence[str] = ("journalctl",),
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Begin at ``position``; without one at ``since_us``. ``directory``: of journal files."""
        self._units = tuple(units)
        self._directory = directory
        self._command = tuple(command)
        self._clock = clock
        self._now_us = now_us
        self._cursor, self._at_us = _parse(position)  # of the last record returned
        if position is None:
            self._at_us = since_us
        self._child: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._skipping = False  # in a record that is too long
        self._greeting = False  # the child has yet to show the record at the cursor
        self._by_time = False  # the cursor leads nowhere any more
        self._ended = False  # all that the child said was read
        self._told = ""  # why it ended last
        self._wait_s = 1.0
        self._start_at = 0.0
        self._heard = 0.0
        self._gaps: list[FollowGap] = []
        self.skipped = 0
        """Records too long to be read."""
        self.restarts = 0

    # What the caller sees

    def read(self, limit_bytes: int = 1 << 20) -> tuple[list[bytes], bytes]:
        """New whole records, and the position to commit once they are folded. Never blocks."""
        if self._child is None and not self._start():
            return [], self.position
        lines = self._lines(self._take(limit_bytes))
        if lines and self._greeting:
            lines = self._greeted(lines)
        if self._ended:
            self._bury()
        if lines:
            self._told = ""
            last = next((found for raw in reversed(lines) if (found := cursor_of(raw))), None)
            if last is not None:
                self._cursor, self._at_us = last
                self._by_time = False
        return lines, self.position

    @property
    def position(self) -> bytes:
        """Where the next read goes on."""
        return json.dumps({"v": 1, "cursor": self._cursor, "at": self._at_us}).encode()

    def gaps(self) -> list[FollowGap]:
        """What was lost since this was asked last."""
        gaps, self._gaps = self._gaps, []
        return gaps

    @property
    def caught_up(self) -> bool:
        """Whether the child has nothing more to say, as far as can be known."""
        quiet = self._clock() - self._heard >= SETTLED_S
        return self._child is not None and quiet and not self._greeting and not self._rest

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        self._rest, self._skipping, self._ended = b"", False, False
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()

    # The child

    def _start(self) -> bool:
        """Start a child, where it is time for one."""
        now = self._clock()
        if now < self._start_at:
            return False
        self._start_at = now + self._wait_s
        self._wait_s = min(self._wait_s * 2, BACKOFF_MOST_S)
        self._child = subprocess.Popen(
            self._arguments(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
        )
        for pipe in (self._child.stdout, self._child.stderr):
            assert pipe is not None
            flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
            fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        self._heard = now
        self._greeting = bool(self._cursor) and not self._by_time
        return True

    def _arguments(self) -> list[str]:
        # It ends with us, however we end (setpriv is util-linux's). In a unit systemd sees to
        # that, and setpriv may not: it sets capabilities.
        loose = not os.environ.get("NOTIFY_SOCKET") and shutil.which("setpriv")
        leash = ["setpriv", "--pdeathsig", "KILL"] if loose else []
        begin = f"--cursor={self._cursor}"
        if not self._cursor or self._by_time:
            begin = f"--since=@{self._at_us // 1_000_000}"
        place = [f"--directory={self._directory}"] if self._directory else ["--system"]
        # Without --merge a follower sees the current boot alone, without the match other machines.
        here = [] if self._directory else _this_machine()
        named = [f"_SYSTEMD_UNIT={unit}" for unit in self._units if not set(unit) & set("*?[")]
        return [
            *leash,
            *self._command,
            "--output=json",
            "--all",
            "--merge",
            "--follow",
            "--no-tail",
            "--no-pager",
            "--quiet",
            f"--output-fields={','.join(FIELDS)}",
            begin,
            *place,
            *(_MAIL, *here),
            *("+", *_JOURNALD, *here),
            *(("+", *named, *here) if named else ()),
        ]

    def _take(self, most: int) -> bytes:
        """What the child has said; sees to it that there is one that speaks."""
        child = self._child
        assert child is not None
        assert child.stdout is not None
        parts: list[bytes] = []
        size = 0
        while size < most:
            try:
                part = os.read(child.stdout.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not part:
                self._ended = True
                break
            parts.append(part)
            size += len(part)
        now = self._clock()
        if size:
            self._heard = now
            self._wait_s = 1.0
        elif not self._ended:
            self._watch(now)
        return b"".join(parts)

    def _watch(self, now: float) -> None:
        """A silent child: is it one that hangs?"""
        silent = now - self._heard
        if self._greeting and silent >= GREETING_S:
            self._restart(by_time=True, why="the record at the cursor does not come")
        elif silent >= QUIET_S and not self._rest:
            self.close()
            self._start_at = now

    def _bury(self) -> None:
        """The child has ended: why?"""
        child = self._child
        assert child is not None
        assert child.stderr is not None
        try:
            said = (os.read(child.stderr.fileno(), 4096) or b"").strip().splitlines()
        except BlockingIOError:
            said = []
        code = child.wait()
        why = safe(said[-1][:200]) if said else f"exit code {code}"
        self._restart(by_time=self._greeting and b"cursor" in b" ".join(said), why=why)

    def _restart(self, *, by_time: bool, why: str) -> None:
        if why != self._told:
            log.warning("journalctl ended, starting it again in %d s: %s", self._wait_s, why)
            self._told = why
        self.close()
        self.restarts += 1
        self._start_at = self._clock() + self._wait_s
        if by_time and not self._by_time:
            self._by_time = True
            self._gaps.append(FollowGap("rotated_away", self._now_us()))

    # Records

    def _lines(self, data: bytes) -> list[bytes]:
        """The whole records; the beginning of another one is kept."""
        found = (self._rest + data).split(b"\n")
        self._rest = found.pop()
        if self._skipping and found:
            del found[0]
            self._skipping = False
        if len(self._rest) > RECORD_MOST:
            self.skipped += not self._skipping
            self._skipping, self._rest = True, b""
        return [line for line in found if line]

    def _greeted(self, lines: list[bytes]) -> list[bytes]:
        """The records behind the one at the cursor; a gap where that is not there any more."""
        self._greeting = False
        first = cursor_of(lines[0])
        if first is not None and first[0] == self._cursor:
            return lines[1:]
        self._gaps.append(FollowGap("rotated_away", self._now_us()))
        return lines


def _this_machine() -> list[str]:
    """The match for records of this machine, where it has an id (machine-id(5))."""
    try:
        number = Path("/etc/machine-id").read_text("ascii").strip()
    except (OSError, ValueError):
        return []
    return [f"_MACHINE_ID={number}"] if number.isalnum() else []


def _parse(position: bytes | None) -> tuple[str, int]:
    """Cursor and time of a position."""
    if position is None:
        return "", 0
    try:
        known = json.loads(position)
        return str(known["cursor"]), int(known["at"])
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a journal follower's position: {position!r}") from error
