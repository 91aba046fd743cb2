"""Copies an environment in a child process, where a damaged page can do no harm.

Within one read transaction (LMDB's compacting copy), while it may be written to. Raises
DiskFullError, and UnavailableError where a page is damaged.
"""

import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from journal import days
from journal.store import DiskFullError, Store
from posttrail.errors import PosttrailError, UnavailableError

_LOOK_S: Final = 0.2


def in_child(source: Path, databases: tuple[bytes, ...], target: Path) -> Iterator[int]:
    """Copy into an empty directory; yields the bytes that are there so far."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        days.expect_death()
        try:
            os.close(reading)
            os.write(writing, _copy(source, databases, target).encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        while not select.select([reading], [], [], _LOOK_S)[0]:
            copy = target / "data.mdb"
            yield copy.stat().st_blocks * 512 if copy.exists() else 0
        said = b""
        while part := os.read(reading, 1 << 16):
            said += part
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    if said != b"done":
        what = said.decode("utf-8", "replace") or f"a damaged page (signal {os.WTERMSIG(status)})"
        kind, _, sentence = what.partition("\0")
        if kind == "full":
            raise DiskFullError(target, "no space left")
        raise UnavailableError(
            f"{source.name} cannot be copied: {sentence or what}; posttrail check, then rebuild it"
        )


def _copy(source: Path, databases: tuple[bytes, ...], target: Path) -> str:
    try:
        with Store(source, databases, writable=False) as opened:
            opened.copy_to(target)
    except DiskFullError:
        return "full\0"
    except PosttrailError as error:
        return f"damaged\0{error}"
    return "done"
