"""A writer of delivery lines and what is done to its file while it writes.

Every line is a delivery of a message of its own, numbered, so that what a follower makes of
the file can be counted: lost and doubled. Rotation shifts ``.1`` to ``.2`` and so on and deletes
nothing: a perfect follower loses nothing.
"""

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

LATE_S = 0.01
"""How long a late writer keeps the old file: between logrotate's create and its postrotate."""

_TICK_S = 0.002


class Storm(NamedTuple):
    """How a file is rotated while it is written."""

    how: str  # rename, late, copytruncate
    rotations: int
    seconds: float
    rate: int  # lines a second


def line(number: int) -> bytes:
    """The delivery of message ``number``, stamped now."""
    stamp = datetime.now(UTC).isoformat(timespec="microseconds").encode()
    return (
        b"%s mx.example.com postfix/smtp[8]: %011X: to=<n%d@example.net>, relay=mx.example.net"
        b"[192.0.2.25]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok)\n"
        % (stamp, number, number)
    )


class Log:
    """The file as the MTA's syslog daemon has it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        self.generations = 0
        self._file = open(path, "ab", 0)  # noqa: SIM115 - reopened as a daemon does

    def write(self, count: int) -> None:
        """The next lines, each with a write of its own as syslogd does."""
        for number in range(self.written, self.written + count):
            self._file.write(line(number))
        self.written += count

    def shift(self) -> Path:
        """Make room for a new ``.1``; its name."""
        for number in range(self.generations, 0, -1):
            os.rename(self.named(number), self.named(number + 1))
        self.generations += 1
        return self.named(1)

    def named(self, number: int) -> Path:
        """The name of a generation."""
        return self.path.with_name(f"{self.path.name}.{number}")

    def rename(self) -> None:
        """Rename and create; the old file is written to until ``reopen``."""
        os.rename(self.path, self.shift())
        self.path.touch()

    def reopen(self) -> None:
        """Go over to the file that has the name now."""
        self._file.close()
        self._file = open(self.path, "ab", 0)  # noqa: SIM115

    def copy(self) -> None:
        """The first half of copytruncate."""
        shutil.copyfile(self.path, self.shift())

    def truncate(self) -> None:
        """The second."""
        os.truncate(self.path, 0)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def blow(log: Log, storm: Storm) -> None:
    """Write and rotate for as long as the storm lasts, both at their own pace."""
    began = time.monotonic()
    rotated = 0
    reopen_at = 0.0
    while (past := time.monotonic() - began) < storm.seconds:
        log.write(int(past * storm.rate) - log.written)
        if reopen_at and past >= reopen_at:
            log.reopen()
            reopen_at = 0.0
        if rotated < storm.rotations and past >= (rotated + 1) * storm.seconds / (
            storm.rotations + 1
        ):
            rotated += 1
            reopen_at = rotate(log, storm.how, past)
        time.sleep(_TICK_S)
    if reopen_at:
        log.reopen()
    log.write(storm.rate // 100)  # what a follower that is not lost sees last
    assert rotated == storm.rotations, "this machine is too busy for the storm"


def rotate(log: Log, how: str, past: float) -> float:
    """Rotate once; when the writer is to go over to the new file, 0.0: it has."""
    if how == "copytruncate":
        log.copy()
        log.truncate()
        return 0.0
    log.rename()
    if how == "late":
        return past + LATE_S
    log.reopen()
    return 0.0
