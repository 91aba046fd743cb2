"""A recorded pair of feeds, played to a journal again, and what has become of it.

A journal of a replay begins with two more days, imported from an older log: one is past its
retention, and yesterday's is to be compacted, so that each start of posttrail-trackd has
something to tidy. A third old log is handed over while trackd runs.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from journal.reader import Reader
from journal.writer import Writer
from milterd import spool
from milterd.track.main import make
from posttrail import config
from posttrail.run import program

WAIT_S = 60.0
OLD = {"expired.log": 40, "yesterday.log": 1, "handed.log": 2}
"""Logs of other days, and how many days ago that is."""
MESSAGES = 150  # in each of them

Told = tuple[list[str], dict[tuple[str, str], int]]
"""All rows, ordered, and the counters."""


class Piece(NamedTuple):
    """Bytes to append to one of the two files."""

    at_us: int
    file: str
    data: bytes


def pieces(feeds: Path) -> list[Piece]:
    """Both feeds as one stream, each source in its own order, the two by their stamps."""
    found = []
    for raw in (feeds / "mail.log").read_bytes().splitlines(keepends=True):
        found.append(Piece(_stamp(raw), "mail.log", raw))
    for path in [*spool.segments(feeds / "spool"), feeds / "spool" / "current"]:
        for raw in path.read_bytes().splitlines(keepends=True):
            record = spool.parse_line(raw)
            assert record is not None
            found.append(Piece(record.get("end") or record["at"], "spool/current", raw))
    latest = {"mail.log": 0, "spool/current": 0}
    for number, piece in enumerate(found):  # a source's own order is the truth
        latest[piece.file] = max(latest[piece.file], piece.at_us)
        found[number] = piece._replace(at_us=latest[piece.file])
    return sorted(found, key=lambda piece: piece.at_us)


def _stamp(raw: bytes) -> int:
    """The RFC 3164 or RFC 3339 stamp of a line, near enough to interleave by."""
    try:
        return int(datetime.fromisoformat(raw.split(b" ", 1)[0].decode()).timestamp() * 1e6)
    except ValueError:
        year = datetime.now().astimezone().year
        text = f"{year} {raw[:15].decode()}"
        return int(datetime.strptime(text, "%Y %b %d %H:%M:%S").astimezone().timestamp() * 1e6)


def old_log(days_ago: int, *, messages: int = MESSAGES) -> bytes:
    """Plain deliveries of one earlier day, by Postfix."""
    begin = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0)
    lines = []
    for number in range(messages):
        at = begin - timedelta(days=days_ago) + timedelta(seconds=number)
        name = f"0D{days_ago:02X}{number:04X}"
        for program_, text in (
            ("smtpd[100]", "client=mail.example.net[192.0.2.7]"),
            ("cleanup[101]", f"message-id=<old.{days_ago}.{number}@example.net>"),
            ("qmgr[102]", "from=<ann@example.net>, size=500, nrcpt=1 (queue active)"),
            (
                "smtp[103]",
                f"to=<user{number}@example.org>, relay=mx.example.org[192.0.2.9]:25, "
                "delay=0.2, delays=0.1/0/0/0.1, dsn=2.0.0, status=sent (250 2.0.0 Ok)",
            ),
            ("qmgr[102]", "removed"),
        ):
            stamp = at.isoformat(timespec="microseconds")
            lines.append(f"{stamp} mx.example.com postfix/{program_}: {name}: {text}\n")
    return "".join(lines).encode()


class Replay:
    """One journal that trackd fills from two files that grow."""

    def __init__(self, feeds: Path, directory: Path, *, old: Path | None = None) -> None:
        """``old``: a journal to begin with."""
        self.directory = directory
        self.journal = directory / "journal"
        (directory / "spool").mkdir(parents=True)
        (directory / "mail.log").touch()
        (directory / "spool" / "current").touch()
        self.config = directory / "posttrail.toml"
        self.config.write_text(configuration(feeds, directory))
        if old is not None:
            shutil.copytree(old, self.journal)

    def append(self, batch: list[Piece]) -> None:
        for piece in batch:
            with (self.directory / piece.file).open("ab") as file:
                file.write(piece.data)

    def start(self, *before: str) -> subprocess.Popen[bytes]:
        """trackd, behind the words of another program where some are given."""
        command = (*before, program("posttrail-trackd"), "--config", str(self.config))
        with (self.directory / "trackd.log").open("ab") as log:
            return subprocess.Popen(command, stderr=log)

    def stop(self, running: subprocess.Popen[bytes]) -> None:
        """End trackd as systemd does; it may not have got as far as to take the signal."""
        running.terminate()
        code = running.wait(WAIT_S)
        assert code in (0, -signal.SIGTERM), self.words()

    def words(self) -> str:
        """What trackd has said."""
        return (self.directory / "trackd.log").read_text()

    def bring(self, log: Path, *, keep: bool = False) -> int:
        """``posttrail import``, beside trackd where it runs; the exit code."""
        options = ["--keep"] if keep else []
        command = (program("posttrail"), "--config", str(self.config), "import", *options, str(log))
        done = subprocess.run(command, capture_output=True, timeout=WAIT_S, check=False)
        return done.returncode

    def settled(self, truth: Told) -> Told:
        """What a last trackd makes of all that is left to read."""
        running = self.start()
        deadline = time.monotonic() + WAIT_S
        while self.told() != truth and time.monotonic() < deadline:
            time.sleep(0.2)
        self.stop(running)
        return self.told()

    def told(self) -> Told:
        """The rows and counters that there are."""
        return told(self.journal)

    def whole(self) -> Told:
        """What one tracker in this process makes of everything at once."""
        take_all(self.config)
        return self.told()


def configuration(feeds: Path, directory: Path) -> str:
    """posttrail.toml of a replay of these feeds."""
    settings = config.load(feeds / "posttrail.toml")
    tables: dict[str, dict[str, object]] = {
        "journal": {"directory": str(directory / "journal")},
        "milter": {"spool": str(directory / "spool")},
        "log": {"files": [str(directory / "mail.log")]},
        "mta": {"host": settings.mta.host, "local_domains": list(settings.mta.local_domains)},
        "run": {"directory": str(directory)},
    }
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def take_all(file: Path) -> list[str]:
    """Read all that a configuration follows, in this process; the parts put aside as damaged."""
    settings = config.load(file)
    with Writer.open(settings.journal.directory) as writer:
        tracker = make(settings, writer)
        while tracker.turn():
            pass
        tracker.stop()
        return writer.bad_days


def told(journal: Path) -> Told:
    """All rows and counters; ids differ from journal to journal and are left out."""
    if not (journal / "FORMAT").exists() or not (journal / "state").exists():
        return [], {}
    with Reader.open(journal) as reader:
        records = [reader.record(id) for id, _ in reader.scan(0, 1 << 62)]
        rows = [
            repr((record.message._replace(id=b""), record.events, record.dropped))
            for record in records
            if record is not None
        ]
        return sorted(rows), reader.counters()


def fates(journal: Path) -> Told:
    """Each recipient's fate and the counters, without the evidence.

    What a refusal without a queue id belongs to may be told otherwise where a journal is built
    again: of two refusals of the same second one log line fits both.
    """
    with Reader.open(journal) as reader:
        messages = [reader.message(id) for id, _ in reader.scan(0, 1 << 62)]
        rows = [
            repr((found.host, found.queue_ids[:1], found.sender, row.recipient,
                  row.final_recipient, row.status, row.reason))
            for found in messages if found is not None for row in found.rows
        ]  # fmt: skip
        return sorted(rows), reader.counters()


def differences(told: Told, truth: Told) -> list[str]:
    """Rows that are missing or too many, and counters that differ; the first of them, cut."""
    rows = Counter(told[0])
    rows.subtract(truth[0])
    found = [f"{count:+d} {row}" for row, count in rows.items() if count]
    found += [f"counter {item}" for item in told[1].items() ^ truth[1].items()]
    return [text[:2000] for text in found[:4]]
