"""Programs that write, and say of what they wrote that it is kept from now on; run under a trace.

    python -m tests.crash.acked (journal|spool|state) DIRECTORY [--no-sync]

Everything is written below DIRECTORY/disk but for what was acknowledged: a line in
DIRECTORY/acked as soon as the call that promises it has returned.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import lmdb

from journal.events import Event
from journal.writer import Writer
from milterd.spool import SpoolWriter, encode_body
from milterd.track.main import make
from posttrail import config
from query.httpd.links import Links
from query.httpd.state import State
from query.httpd.tokens import Tokens
from tests.crash.replay import pieces

LINES = 60  # of the feeds, in one group
RECORDS = 400
SEGMENT = 4096  # bytes: rotated every ten records or so


def main() -> None:
    kind, directory = sys.argv[1], Path(sys.argv[2])
    acked = os.open(directory / "acked", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if "--no-sync" in sys.argv:
        without_sync()
    {"journal": journal, "spool": spool, "state": state}[kind](directory, acked)


def without_sync() -> None:
    """The control: nothing is ever synced."""
    patch.object(lmdb, "open", partial(lmdb.open, sync=False, metasync=False)).start()
    patch.object(os, "fsync").start()
    patch.object(os, "fdatasync").start()


def mark(event: Event) -> int:
    """Enough of an event to know it again."""
    return zlib.crc32(repr(event).encode())


def journal(directory: Path, acked: int) -> None:
    """A trackd that follows feeds which grow; of each group ids and their events."""
    todo = pieces(directory / "feeds")
    settings = config.load(directory / "posttrail.toml")
    with Writer.open(settings.journal.directory) as writer:
        tracker = make(settings, writer)
        for at in range(0, len(todo), LINES):
            for piece in todo[at : at + LINES]:
                with (directory / piece.file).open("ab") as file:
                    file.write(piece.data)
            tracker.turn()
            group = list[bytes]()
            with patch.object(writer, "commit", partial(noted, group, writer, writer.commit)):
                tracker.commit()
            for id in group:
                record = writer.get(id)
                assert record is not None
                marks = ",".join(str(mark(event)) for event in record.events)
                os.write(acked, f"{id.hex()} {marks}\n".encode())
        tracker.stop()


def noted(
    group: list[bytes],
    writer: Writer,
    commit: Callable[[dict[str, bytes]], int],
    positions: dict[str, bytes],
) -> int:
    """A commit, of which is known what it keeps."""
    group.extend(writer._pending)
    return commit(positions)


def spool(directory: Path, acked: int) -> None:
    """A milterd's spool; of each synced group how many records there are by now."""
    writer = SpoolWriter(directory / "disk" / "spool", segment_bytes=SEGMENT)
    for number in range(RECORDS):
        body = encode_body({"v": 1, "t": "beat", "at": number + 1, "n": number, "x": "y" * 300})
        writer.append([body], now_us=number + 1)
        if number % 5 == 4:
            writer.sync()
            os.write(acked, b"%d\n" % (number + 1))
    writer.close()


def state(directory: Path, acked: int) -> None:
    """A queryd's state: tokens, and links that were used."""
    kept = State(directory / "disk" / "state.sqlite")
    kept.prepare()
    tokens, links = Tokens(kept, delimiters=b"+"), Links(kept, delimiters=b"+")
    for number in range(60):
        id, _ = tokens.add("operator", label=str(number))
        os.write(acked, f"token {id}\n".encode())
        link = links.read(links.mint(b"alice@example.com")[0])
        assert link is not None
        assert links.use(link) is not None
        os.write(acked, f"nonce {link.nonce.hex()}\n".encode())
        if number % 3 == 0:
            assert tokens.revoke(id)
            os.write(acked, f"revoked {id}\n".encode())
    kept.close()


if __name__ == "__main__":
    main()
