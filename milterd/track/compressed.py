"""Read the lines of a log file, compressed or not, and say how far it has come.

Formats: plain text, gzip (RFC 1952), bzip2, xz and Zstandard (RFC 8878), told apart by
their first bytes, never by the name; ``-`` is standard input. What can be read of a
truncated or damaged file is given first, and then the error.

Raises NoInputError for a file that cannot be opened, DataError, which says at which
byte, for compressed data that ends early or is damaged.
"""

import bz2
import gzip
import lzma
import os
import stat
import sys
import time
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Final, Protocol, cast

from milterd.lines.syslog import MAX_LINE
from posttrail.errors import DataError, NoInputError

_CHUNK: Final = 1 << 18
HEAD: Final = 1024
"""So many first bytes tell a file from another."""
_SECOND_US: Final = 1_000_000
_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"


class _Reader(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class _Counted:
    """A raw file that counts what was read of it, and lets its first bytes be seen."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.head = raw.read(6) or b""
        self._pending = self.head
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        data, self._pending = self._pending, b""
        if size < 0 or len(data) < size:
            data += self._raw.read(size - len(data) if size >= 0 else -1) or b""
        elif len(data) > size:
            data, self._pending = data[:size], data[size:]
        self.count += len(data)
        return data

    read1 = read


class _Apart:
    """An open regular file, read from its first byte without moving its own position."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0

    def read(self, size: int) -> bytes:
        data = os.pread(self._descriptor, size, self._at)
        self._at += len(data)
        return data

    def fileno(self) -> int:
        return self._descriptor


def decompressed(raw: IO[bytes]) -> tuple[_Reader, _Counted]:
    """The content of an open file, and the counter of what was read of the file itself."""
    counted = _Counted(raw)
    source = cast(IO[bytes], counted)
    reader: object = counted
    if counted.head.startswith(_GZIP):
        reader = gzip.GzipFile(fileobj=source, mode="rb")
    elif counted.head.startswith(_BZIP2):
        reader = bz2.BZ2File(source)
    elif counted.head.startswith(_XZ):
        reader = lzma.LZMAFile(source)  # noqa: SIM115 - LogFile closes what is below it
    elif counted.head.startswith(_ZSTD):
        reader = _zstd(source)
    return cast(_Reader, reader), counted


def broken() -> tuple[type[Exception], ...]:
    """What reading damaged or truncated compressed data may raise."""
    zstandard = sys.modules.get("zstandard")
    known = (EOFError, zlib.error, lzma.LZMAError, OSError)
    return (*known, zstandard.ZstdError) if zstandard is not None else known


def _zstd(source: IO[bytes]) -> object:
    import zstandard  # only who has such a file pays for it

    return zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)


def open_raw(name: str) -> IO[bytes]:
    """The file of that name as it is on disk, unbuffered; ``-`` is standard input."""
    try:
        descriptor = os.dup(0) if name == "-" else os.open(name, os.O_RDONLY)
        return os.fdopen(descriptor, "rb", 0)
    except OSError as error:
        raise NoInputError(f"{name}: {error.strerror or error}") from error


class LogFile:
    """A log file's lines, read once from the first to the last."""

    def __init__(self, name: str, raw: IO[bytes]) -> None:
        """``raw`` is open for reading at its first byte; it is closed with this object."""
        self.name = name
        self.unterminated = False
        """Whether the last line had no newline: it may be the half of one."""
        self._raw = raw
        self._first: bytes | None = None
        self._broken: Exception | None = None
        try:
            self._reader, self._counted = decompressed(raw)
            status = os.fstat(raw.fileno())
        except OSError as error:
            raise NoInputError(f"{name}: {error.strerror or error}") from error
        self._regular = regular = stat.S_ISREG(status.st_mode)
        self.size: int = status.st_size if regular else 0
        """Bytes of the file as it is on disk, 0 where that is not known."""
        self._mtime_us = int((status.st_mtime if regular else time.time()) * _SECOND_US)
        self._identity: bytes | None = None

    @classmethod
    def open(cls, name: str) -> "LogFile":
        """The file of that name, ``-`` for standard input."""
        return cls(name, open_raw(name))

    @property
    def consumed(self) -> int:
        """Bytes of the file (compressed, where it is) that were read so far."""
        return self._counted.count

    @property
    def reference_us(self) -> int:
        """When the log was last written: gzip's header knows better than the file."""
        if isinstance(self._reader, gzip.GzipFile):
            self.head()
            if self._reader.mtime:
                return self._reader.mtime * _SECOND_US
        return self._mtime_us

    def head(self) -> list[bytes]:
        """The first whole lines, to look at beforehand; ``lines`` gives them again."""
        if self._first is None:
            self._first = self._read()
        lines = self._first.split(b"\n")
        return lines[:-1] or lines

    def identity(self) -> bytes:
        """The first bytes, unpacked, which tell it from other files; b"" where it is no file."""
        if not self._regular:
            return b""
        if self._identity is None:
            apart = LogFile(self.name, cast(IO[bytes], _Apart(self._raw.fileno())))
            data = b""
            while len(data) < HEAD and (more := apart._read()):
                data += more
            self._identity = data[:HEAD] if len(data) >= HEAD else data[: data.rfind(b"\n") + 1]
        return self._identity

    def lines(self, skip: int = 0) -> Iterator[bytes]:
        """Every line, without its newline, but for the first ``skip``."""
        self.head()
        chunk, self._first = self._first or b"", b""
        chunk = self._behind(chunk, skip)
        rest = b""
        while chunk:
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            if len(rest) > MAX_LINE:  # one over the cap, so that it is seen to be cut
                rest = rest.lstrip(b"\0")[: MAX_LINE + 1]
            yield from lines
            chunk = self._read()
        if rest:
            self.unterminated = True
            yield rest
        if self._broken is not None:
            what = "ends early" if isinstance(self._broken, EOFError) else "is damaged"
            raise DataError(f"{self.name}: compressed data {what} at byte {self.consumed}")

    def _behind(self, chunk: bytes, skip: int) -> bytes:
        """The next bytes, behind so many lines."""
        while skip and chunk:
            count = chunk.count(b"\n")
            if count >= skip:
                return chunk.split(b"\n", skip)[-1] or self._read()
            skip -= count
            chunk = self._read()
        return chunk

    def beforehand(self) -> Iterator[bytes]:
        """Every line that can be read, once more than ``lines``; none of what is no file."""
        if not self._regular:
            return
        apart = LogFile(self.name, cast(IO[bytes], _Apart(self._raw.fileno())))
        try:
            yield from apart.lines()
        except DataError:
            return  # ``lines`` tells of it

    def _read(self) -> bytes:
        """The next bytes of the log; b"" at the end, or where the file is damaged."""
        if self._broken is not None:
            return b""
        try:
            return self._reader.read1(_CHUNK)
        except broken() as error:
            self._broken = error
            return b""

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def __enter__(self) -> "LogFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
