"""Log files open the same way whatever they are packed in, and say where they are damaged."""

import bz2
import gzip
import io
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from milterd.lines.syslog import MAX_LINE
from milterd.track.compressed import LogFile
from posttrail.errors import DataError, NoInputError

LINES = [b"Nov 23 18:30:01 mx postfix/qmgr[1]: %08X: removed" % number for number in range(20_000)]
TEXT = b"\n".join(LINES) + b"\n"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
    "two gz in one": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
}


@pytest.mark.parametrize("packer", PACKERS)
def test_every_packing_gives_the_same_lines(tmp_path: Path, packer: str) -> None:
    path = tmp_path / "mail.log.old"  # the name tells nothing
    path.write_bytes(PACKERS[packer](TEXT))
    with LogFile.open(str(path)) as log:
        assert log.head()[0] == LINES[0]
        assert list(log.lines()) == LINES
        assert log.consumed == log.size == path.stat().st_size
        assert not log.unterminated


@pytest.mark.parametrize("packer", ["gz", "bz2", "xz"])
def test_a_truncated_file_gives_what_is_there_and_then_says_where_it_ends(
    tmp_path: Path, packer: str
) -> None:
    data = PACKERS[packer](TEXT)
    data = data[: len(data) * 3 // 4]
    path = tmp_path / "mail.log.gz"
    path.write_bytes(data)
    found: list[bytes] = []
    with (
        LogFile.open(str(path)) as log,
        pytest.raises(DataError, match=f"ends early at byte {len(data)}$"),
    ):
        found.extend(log.lines())
    whole = found[:-1]  # the last one is cut
    assert whole == LINES[: len(whole)]
    assert len(found) > 1 or packer == "bz2"  # whose blocks are as large as this file


def test_damage_is_named_with_its_place(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(os.urandom(1 << 20)))
    data[-8:-4] = b"\0\0\0\0"  # RFC 1952 2.3.1: CRC32
    path = tmp_path / "x.gz"
    path.write_bytes(data)
    with LogFile.open(str(path)) as log, pytest.raises(DataError, match="is damaged at byte"):
        list(log.lines())


def test_the_header_of_gzip_knows_when_the_log_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(TEXT, mtime=1_700_000_000))
    with LogFile.open(str(path)) as log:
        assert log.reference_us == 1_700_000_000_000_000
        assert list(log.lines()) == LINES
    path.write_bytes(gzip.compress(TEXT, mtime=0))
    os.utime(path, (1_600_000_000, 1_600_000_000))
    with LogFile.open(str(path)) as log:
        assert log.reference_us == 1_600_000_000_000_000


def test_a_last_line_without_newline_is_given_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one\ntwo")
    with LogFile.open(str(path)) as log:
        assert list(log.lines()) == [b"one", b"two"]
        assert log.unterminated


def test_a_line_over_the_cap_is_cut_to_one_byte_more(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 10 * MAX_LINE + b"\n" + b"\0" * 10 * MAX_LINE + b"after\n")
    with LogFile.open(str(path)) as log:
        first, second = log.lines()
    assert len(first) > MAX_LINE
    assert first.strip(b"x") == b""
    assert second.lstrip(b"\0") == b"after"


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    with LogFile.open(str(path)) as log:
        assert (list(log.lines()), log.unterminated) == ([], False)


def test_a_pipe_is_read_as_it_comes() -> None:
    read, write = os.pipe()
    with open(write, "wb") as pipe:
        pipe.write(gzip.compress(b"one\ntwo\n"))
    with LogFile("-", io.FileIO(read)) as log:
        assert (log.size, list(log.lines())) == (0, [b"one", b"two"])


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(NoInputError, match="missing" if name == "missing" else "directory"):
        LogFile.open(str(tmp_path / name))
