"""The files that the programs share: a mail log that rotates, and the milter's spool.

Real files in a temporary folder; their times are the history's, so that a run is the
same on any day.
"""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

from milterd.spool import Body, SpoolWriter, encode_body, format_line


class Disk:
    """Writes as syslogd, logrotate and posttrail-milterd do."""

    def __init__(self, folder: Path, *, rotation: str, segment_bytes: int) -> None:
        self.log = folder / "mail.log"
        self.spool = folder / "spool"
        self._rotation = rotation
        self._segment_bytes = segment_bytes
        self.now_us = 0
        self.spool.mkdir()
        self._file = self._opened()
        self._late: list[int] = []  # lines that still go to the renamed file
        self._records = SpoolWriter(self.spool, segment_bytes=segment_bytes)
        self._touch(self.spool / "current")
        self.rotated = 0

    def _opened(self) -> int:
        file = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        self._touch(self.log)
        return file

    def _touch(self, path: Path | int) -> None:
        os.utime(path, ns=(self.now_us * 1000, self.now_us * 1000))

    def close(self) -> None:
        """Let go of all."""
        os.close(self._file)
        self._records.close()

    # -- the log ----------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Append to the log, to the old file while the writer does not know of the new one."""
        os.write(self._file, data)
        self._touch(self._file)
        if self._late:
            self._late[0] -= 1
            if self._late[0] <= 0:
                self.switch()

    @property
    def late(self) -> bool:
        """Whether the writer is still at the renamed file."""
        return bool(self._late)

    def switch(self) -> None:
        """The writer opens the log anew, as after logrotate's postrotate signal."""
        self._late.clear()
        os.close(self._file)
        self._file = self._opened()

    def rotate(self, lines_late: int) -> None:
        """One rotation, in this disk's style."""
        if self._late:
            self.switch()
        self.rotated += 1
        if self._rotation == "dateext":
            self.log.rename(self.log.with_name(f"mail.log-202611{self.rotated:02d}"))
            self.switch()
            return
        self._shift()
        first = self.log.with_name("mail.log.1")
        if self._rotation == "copytruncate":
            shutil.copyfile(self.log, first)
            self._touch(first)
            os.ftruncate(self._file, 0)
            self._touch(self._file)
            return
        self.log.rename(first)
        if self._rotation == "late" and lines_late:
            os.close(os.open(self.log, os.O_WRONLY | os.O_CREAT, 0o640))
            self._touch(self.log)
            self._late = [lines_late]
            return
        self.switch()
        if self._rotation == "compress":
            self._pack(first)

    def _shift(self) -> None:
        """mail.log.N becomes mail.log.N+1, packed or not; none is dropped."""
        found = {
            int(path.name.split(".")[2]): path for path in self.log.parent.glob("mail.log.[0-9]*")
        }
        for number in sorted(found, reverse=True):
            path = found[number]
            end = ".gz" if path.suffix == ".gz" else ""
            moved = path.with_name(f"mail.log.{number + 1}{end}")
            path.rename(moved)
            if self._rotation == "delaycompress" and number == 1:
                self._pack(moved)

    def _pack(self, path: Path) -> None:
        """gzip(1) keeps the file's time."""
        status = path.stat()
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        os.utime(packed, ns=(status.st_mtime_ns, status.st_mtime_ns))
        path.unlink()

    def generations(self) -> list[Path]:
        """The log and all that was rotated."""
        return sorted(self.log.parent.glob("mail.log*"))

    # -- the spool --------------------------------------------------------------------

    def record(self, body: Body) -> None:
        """One record, as posttrail-milterd appends it; a torn one is followed by a restart."""
        torn = body.get("torn")
        if torn is not None:
            half = format_line(encode_body(torn))[:-20]
            with (self.spool / "current").open("ab") as file:
                file.write(half)
            self._records.close()
            self._records = SpoolWriter(self.spool, segment_bytes=self._segment_bytes)
        else:
            self._records.append([encode_body(body)], now_us=self.now_us)
        self._touch(self.spool / "current")
