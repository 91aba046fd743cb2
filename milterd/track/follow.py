"""Follow a file that is appended to and rotated, without losing or doubling a line.

Works on logs (rename and create, late writers, copytruncate, compressed generations) and
on the milter's spool. On rename the old file is read on beside the new one until it has
been quiet; on start the chain of rotated files is walked back to the kept position. The
position is opaque JSON and moves only over what was returned: commit it with the lines.
A line without its newline waits for it. Runs of NUL bytes, which a crash leaves, are
skipped; lines over ``max_line`` are cut to one byte more, for the reader to count.

What cannot be read any more is a gap, and so is every copytruncate: lines written between
copy and cut are in no file, and nothing tells whether there were any. Raises ValueError for
a position it did not make, OSError where the file may not be read.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, NamedTuple

from milterd.lines.syslog import MAX_LINE
from milterd.track.generations import (
    Content,
    Generation,
    Kept,
    Position,
    older_generations,
    parse_position,
)

_MAX_OPEN: Final = 32
_QUIET_S: Final = 30.0
_TICK_US: Final = 20_000


Chain = list[tuple[Path, tuple[int, int] | None]]
"""The followed name first, then its generations; each with device and inode."""


class FollowGap(NamedTuple):
    """Lines were lost before they could be read."""

    reason: str  # "rotated_away", "truncated"
    at_us: int


class Follower:
    """Reads one file and its generations; make a new one from the position to go on."""

    def __init__(
        self,
        path: Path,
        *,
        older: Callable[[], list[Path]] | None = None,
        position: bytes | None = None,
        history: bool | None = None,
        max_line: int = MAX_LINE,
        quiet_s: float = _QUIET_S,
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Begin at ``position``; without one at the file's first byte.

        ``older`` lists the rotated files, newest first. ``history``: without a position
        begin with the oldest of them (by default where ``older`` is given: a spool is
        ours from its first line, a log is begun where it is). ``max_line``: bytes of the
        longest line. ``quiet_s``: how long a renamed file must have been silent before it
        is let go.
        """
        self._path = path
        self._older = older or (lambda: older_generations(path))
        self._max_line = max_line
        self._quiet_s = quiet_s
        self._clock = clock
        self._now_us = now_us
        self._files: list[Generation] = []  # oldest first, generations without a hole
        whole = older is not None if history is None else history
        known = parse_position(position)
        self._kept = known.files
        # The clock of file systems ticks coarsely, and is behind by up to a tick.
        start_us = 0 if whole else now_us() - _TICK_US
        self._since_us = start_us if known.since is None else known.since
        begun = _stat(path) if position is None else None
        self._inode = begun[1] if begun else known.inode
        self._cuts = known.cuts
        self._walked: Chain = []  # the files as they were last looked through
        self._gaps: list[FollowGap] = []
        self.caught_up = False
        """Whether the last read came to the end of the newest file."""

    # What the caller sees

    def read(self, limit_bytes: int = 1 << 20) -> tuple[list[bytes], bytes]:
        """New whole lines, and the position to commit once they are folded. Never blocks."""
        self._refresh()
        lines: list[bytes] = []
        left = limit_bytes
        index = 0
        while left > 0 and index < len(self._files):
            file = self._files[index]
            left -= self._take(file, left, lines)
            if index < len(self._files) and self._files[index] is file:
                index += 1  # else it was replaced by what it is now known to be
        for file in self._files[index:]:
            file.ended = False  # not looked at, so it must not be let go
        self._retire()
        self.caught_up = (
            left > 0 and all(file.ended for file in self._files) and self._newest_is_path()
        )
        return lines, self.position

    @property
    def position(self) -> bytes:
        """Where the next read goes on."""
        kept = [file.kept() for file in self._files if file.head] or self._kept
        known = Position(kept, self._since_us, self._cuts, self._inode)
        return json.dumps({"v": 1, **known._asdict()}).encode()

    def gaps(self) -> list[FollowGap]:
        """What was lost since this was asked last."""
        gaps, self._gaps = self._gaps, []
        return gaps

    def close(self) -> None:
        """Let go of every file."""
        for file in self._files:
            file.close()
        self._files = []

    # Reading

    def _take(self, file: Generation, left: int, lines: list[bytes]) -> int:
        """Append the whole lines of the next bytes of a file; how many bytes were looked at."""
        if file.unsure and not self._settle(file):
            return 0
        if file not in self._files:
            return 0
        chunk, ended = self._look(file, left)
        if not file.intact():  # asked after the read: what was read is the file's own
            self._replace(file)
            return 0
        looked = min(len(chunk), left)
        file.ended = ended
        start = len(chunk) - len(chunk.lstrip(b"\0")) if chunk[:1] == b"\0" else 0
        end = chunk.rfind(b"\n", start, left) + 1 or chunk.find(b"\n", start) + 1
        if end:
            file.ended = file.ended and end == chunk.rfind(b"\n") + 1
            found = chunk[start : end - 1].split(b"\n")
            if file.skipping:
                del found[0]
                file.skipping = False
            most = self._max_line
            lines.extend(line if len(line) <= most else line[: most + 1] for line in found)
        elif len(chunk) - start > self._max_line:
            if not file.skipping:
                lines.append(chunk[start : start + self._max_line + 1])
            file.skipping, end = True, len(chunk)
        else:
            end = start
        if end:
            file.at += end
            file.touched = self._clock()
        if file.torn and file.ended:  # told where it is: behind the copy, before what came then
            file.torn = False
            self._gap("truncated")
        return looked

    def _look(self, file: Generation, left: int) -> tuple[bytes, bool]:
        """The next bytes, more where the first line is longer; whether there are no others."""
        size = max(left, MAX_LINE + 2)
        chunk = file.content.read_at(file.at, size)
        ended = len(chunk) < size
        while not ended and len(chunk) < self._max_line + 2 and b"\n" not in chunk:
            more = file.content.read_at(file.at + len(chunk), len(chunk))
            ended = len(more) < len(chunk)
            chunk += more
        return chunk, ended

    def _settle(self, file: Generation) -> bool:
        """What is a file that was met without a whole line? False: it still has none.

        Until then nothing tells whether it was filled, copied and cut meanwhile.
        """
        if file.key == _stat(self._path):
            if not file.content.head and self._chain()[0] == self._walked:
                file.ended = True
                return False
            self._replace(file)
            return file not in self._files
        if not (file.intact() and file.head):
            file.ended = True
            return False
        file.unsure = False
        if self._has_twin(file):  # a copy in the making, when it was met
            self._drop(file.key)
        return True

    def _retire(self) -> None:
        """Leave old files that nobody writes to any more."""
        while len(self._files) > 1:
            file = self._files[0]
            quiet = self._clock() - file.touched >= self._quiet_s
            crowded = len(self._files) > _MAX_OPEN
            done = file.ended and (quiet or crowded or file.content.packed)
            if not done or not self._files[1].head:  # a position needs a file with content
                return
            file.close()
            del self._files[0]

    def _newest_is_path(self) -> bool:
        status = _stat(self._path)
        return status is None or (bool(self._files) and status == self._files[-1].key)

    # Finding files

    def _refresh(self) -> None:
        """Open what has come since the newest file that is known."""
        if self._files:
            if not self._newest_is_path():
                self._append_unseen()
        elif self._kept:
            self._restore()
        elif (found := self._walk(lambda _content: False)) is not None:
            # Rotated since following began, and the file is the same: it was copied and cut.
            path = self._walked[0][1]
            cut = bool(self._since_us and path and path[1] == self._inode)
            cut = cut and not any(file.content.packed for file in found[0])  # freed, used again
            self._adopt(found[0], since_us=self._since_us, torn=cut)

    def _append_unseen(self) -> None:
        """The newest known file is not ``path`` any more: open what came after it."""
        found = self._walk(self._known(self._files))
        if found is None:
            return
        unseen, hit = found
        self._cuts = False
        # Without a hit the newest known file has left the chain: what is younger is new.
        since_us = 0 if hit else self._files[-1].mtime_us
        findable = any(file.head for file in self._files)  # else only the inode could tell
        if self._adopt(unseen, since_us=since_us) > 1 and not hit and findable:
            self._gap("rotated_away")

    def _restore(self) -> None:
        """Find the files of the kept position, and all that came after them."""
        missing = dict(enumerate(self._kept))
        matched: dict[int, Generation] = {}

        def known(file: Generation) -> bool:
            for index, one in missing.items():
                if one.is_head_of(file.head):
                    file.at, file.skipping, file.torn = one.at, one.skipping, one.torn
                    matched[index] = file
                    del missing[index]
                    return True
            return False

        found = self._walk(known, until=lambda: not missing, keep=matched.values())
        if found is None:
            return
        unseen, hit = found
        for _, file in sorted(matched.items()):
            self._add(file)
        newest = len(self._kept) - 1
        cut = newest in matched and self._was_cut(matched[newest], self._kept[newest], unseen)
        if cut:
            matched[newest].torn = self._cuts = True
        self._adopt(unseen, since_us=0 if hit else self._kept[newest].mtime_us, torn=cut)
        if self._files:  # where there is none at all, one may be about to be made
            self._kept = []
            if newest not in matched:
                self._gap("rotated_away")

    def _was_cut(self, file: Generation, kept: Kept, later: Collection[Generation]) -> bool:
        """Was the newest known file copied and cut, while nobody followed it?"""
        if not file.is_copy_of(kept, self._walked[0][1]):
            return False
        # Of several packed rotations later the inode alone would tell it, and it tells too little.
        return self._cuts or not file.content.packed or len(later) == 1

    def _replace(self, file: Generation) -> None:
        """A file was cut, or may have been: what it held is in a generation, if anywhere."""
        others = [other for other in self._files if other is not file]
        if file.key != _stat(self._path):
            if file.unsure:  # renamed just now
                file.ended = False
                return
            self._files = others
            file.close()
            self._gap("truncated")
            return
        kept = file.kept()
        held = file.head and not file.unsure
        is_other = self._known(others)
        copies: list[Generation] = []

        def known(other: Generation) -> bool:
            if held and other.key != file.key and kept.is_head_of(other.head):
                copies.append(other)
                return True
            return is_other(other)

        found = self._walk(known, keep=copies)
        if found is None:
            file.ended = False
            return
        unseen, hit = found
        file.close()
        self._files = others
        cut = file.key == self._walked[0][1]  # else renamed while the files were looked through
        self._cuts = self._cuts or bool(copies)
        for copy in copies:
            copy.at, copy.skipping, copy.torn = file.at, file.skipping, True
            self._drop(copy.key)  # met before, when it was still empty
            self._add(copy)
        self._adopt(unseen, since_us=0 if hit else file.mtime_us, torn=cut)
        if held and not copies:
            self._gap("truncated")

    def _drop(self, key: tuple[int, int]) -> None:
        for file in [file for file in self._files if file.key == key]:
            self._files.remove(file)
            file.close()

    def _has_twin(self, file: Generation) -> bool:
        return any(file.is_twin(other) for other in self._files if other is not file)

    @staticmethod
    def _known(files: list[Generation]) -> Callable[[Generation], bool]:
        """Is it one of these files, or a packed or copied form of it?"""
        inodes = {file.key for file in files}
        kept = [file.kept() for file in files if file.intact() and file.head]
        return lambda file: file.key in inodes or any(one.is_head_of(file.head) for one in kept)

    def _walk(
        self,
        known: Callable[[Generation], bool],
        *,
        until: Callable[[], bool] = lambda: True,
        keep: Collection[Generation] = (),
    ) -> tuple[deque[Generation], bool] | None:
        """Open files from the newest back to a known one; what is not known, newest first.

        ``until``: whether enough known ones were met. ``keep``: known ones that stay
        open. None where files were moved meanwhile; the next read tries again.
        """
        unseen: deque[Generation] = deque()
        hit = False
        before, paths = self._chain()
        try:
            for path in paths:
                file = Generation(Content(path))
                if known(file):
                    hit = True
                    if file not in keep:
                        file.close()
                    if until():
                        break
                elif hit or any(file.is_twin(other) for other in unseen):
                    file.close()  # a twin: the copy of copytruncate that is being made
                else:
                    unseen.append(file)
                    if len(unseen) > _MAX_OPEN:  # the oldest come first, these are met again
                        unseen.popleft().close()
            if self._chain()[0] == before:
                self._walked = before
                return unseen, hit
        except FileNotFoundError:
            pass
        for file in (*unseen, *keep):
            file.close()
        return None

    def _chain(self) -> tuple[Chain, list[Path]]:
        """What tells whether a file was moved, and the files there are, newest first."""
        paths = [self._path, *self._older()]
        status = [(path, _stat(path)) for path in paths]
        return status, paths if status[0][1] else paths[1:]

    def _adopt(self, unseen: Collection[Generation], *, since_us: int, torn: bool = False) -> int:
        """Take on the files that are new, the oldest first; how many they were.

        ``torn``: the rotated ones are copies, made before the file was cut.
        """
        path = _stat(self._path)
        walked = self._walked[0][1]
        count = 0
        for file in reversed(list(unseen)):
            if file.mtime_us >= since_us or file.key == path:
                file.torn = torn and file.key != walked
                self._cuts = self._cuts or file.torn
                self._add(file)
                count += 1
            else:
                file.close()
        return count

    def _add(self, file: Generation) -> None:
        file.touched = self._clock()
        self._files.append(file)

    def _gap(self, reason: str) -> None:
        self._gaps.append(FollowGap(reason, self._now_us()))


def _stat(path: Path) -> tuple[int, int] | None:
    """Device and inode of what has the name now; None between rename and create."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
