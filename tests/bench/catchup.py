"""How soon posttrail-trackd has caught up after a stop, and that it goes on exactly where it was.

Mail of a day, in both feeds (log and spool), of which trackd has read the first fifth when it is
stopped. The rest comes while it is away, over a rotation of the log and of the spool. Then it is started:
timed until the last message of both feeds is a row. What it read must be the lines that were missing, and the
journal that of a tracker that read everything in one go.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from journal import keys
from journal.reader import Reader
from journal.records import Status
from journal.writer import Writer
from milterd.spool import encode_body, format_line
from milterd.track.main import make
from posttrail import config
from tests.bench.bench import Bench, fresh, program
from tests.bench.figures import Line
from tests.bench.generate import generate
from tests.bench.process import ProgramError, Service, cpu_s, wait_for
from tests.bench.spoken import Spoken
from tests.bench.truth import Fact, found
from tests.bench.world import Client

LIVE: Final = 50  # messages a second that a live server has
LEAST: Final = 20  # times that
BEFORE: Final = 0.2  # the part that is read before the stop
LINES: Final = 'posttrail_trackd_lines_total{source="%s"}'
LAST: Final = "4last0000000ZZ"
BOTH: Final = 3  # the sources of a message: log and milter
PATIENCE_S: Final = 300.0


class Feed(NamedTuple):
    """The lines of one file in their order; the first ``before`` are there before the stop."""

    lines: list[bytes]
    before: int

    @property
    def parts(self) -> tuple[bytes, bytes, bytes]:
        """Before the stop; before the rotation; after it."""
        middle = (self.before + len(self.lines)) // 2
        pieces = self.lines[: self.before], self.lines[self.before : middle], self.lines[middle:]
        first, second, third = (b"".join(piece) for piece in pieces)
        return first, second, third


class Caught(NamedTuple):
    """What was found."""

    messages: int  # that came while it was away
    seconds: float
    cpu_s: float
    read: dict[str, int]  # lines by source
    missing: dict[str, int]
    differ: Counter[Fact]  # rows of the journal and of the tracker that was never away


def feeds(messages: int) -> tuple[Feed, Feed, int]:
    """The mail of yesterday: log, spool, and how many messages come after the stop."""
    start = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    batches = [*generate(messages, 1, start=start)]
    lines = [line for batch in batches for line in batch.lines]
    letters = [letter for batch in batches for letter in batch.letters]
    stop_us = letters[int(len(letters) * BEFORE)].time_us
    stop = time.strftime("%H:%M:%S", time.gmtime(stop_us // 1_000_000)).encode()
    before = next(at for at, line in enumerate(lines) if line[7:15] > stop)  # all of one day
    said = {id(letter.said): letter.said for letter in letters if letter.said}
    last_us = max(batch.last_us for batch in batches)
    last, text = _last(last_us + 1_000_000)
    spoken = [*sorted(said.values(), key=lambda each: each.end_us), last]
    records = [format_line(encode_body(each.body())) for each in spoken]
    early = sum(each.end_us <= stop_us for each in spoken)
    late = sum(letter.time_us > stop_us for letter in letters) + 1
    return Feed(lines + text, before), Feed(records, early), late


def _last(at_us: int) -> tuple[Spoken, list[bytes]]:
    """A message that is the last one in both feeds."""
    client = Client("mx.pine-tulip.test", "192.0.2.7")
    last = Spoken(at_us, "anna@pine-tulip.test", client)
    last.rcpt("emil@example.com")
    last.end(at_us, "eom", LAST, f"{LAST}@pine-tulip.test")
    head = time.strftime("%b %e %H:%M:%S mx1 postfix/", time.gmtime(at_us // 1_000_000))
    texts = (
        f"smtpd[11]: {LAST}: client=mx.pine-tulip.test[192.0.2.7]",
        f"cleanup[12]: {LAST}: message-id=<{LAST}@pine-tulip.test>",
        f"qmgr[13]: {LAST}: from=<anna@pine-tulip.test>, size=900, nrcpt=1 (queue active)",
        f"lmtp[14]: {LAST}: to=<emil@example.com>, relay=mx1[private/lmtp], delay=0.1, "
        "delays=0/0/0/0.1, dsn=2.0.0, status=sent (250 2.0.0 Saved)",
        f"qmgr[13]: {LAST}: removed",
    )
    return last, [f"{head}{each}\n".encode() for each in texts]


class Place:
    """Log, spool and journal below a folder, and the tracker beside them."""

    def __init__(self, bench: Bench, directory: Path) -> None:
        self._bench = bench
        self.state = directory / "state"
        (self.state / "spool").mkdir(parents=True)
        self.log = directory / "mail.log"
        self.log.touch()
        self.current = self.state / "spool" / "current"
        self.config = bench.configuration(self.state, log=self.log, socket=directory / "no.sock")
        text = self.config.read_text().replace("[log]\n", '[log]\ntimezone = "UTC"\n')
        self.config.write_text(text)

    def write(self, log: bytes, records: bytes) -> None:
        """Append to both."""
        for path, data in ((self.log, log), (self.current, records)):
            with path.open("ab") as file:
                file.write(data)

    def rotate(self) -> None:
        """The log as logrotate does, the spool as milterd does."""
        self.log.rename(self.log.with_name("mail.log.1"))
        self.current.rename(self.current.with_name(f"{time.time_ns() // 1000:020d}.seg"))

    def trackd(self) -> Service:
        """The daemon."""
        return Service(
            [program("posttrail-trackd"), "--config", self.config],
            errors=self.state / "trackd.stderr",
            env=self._bench.environment(),
        )

    def read(self) -> dict[str, int]:
        """Lines by source that the running daemon says it has read."""
        try:
            text = (self.state / "run" / "trackd.prom").read_text()
        except FileNotFoundError:
            return {}
        pairs = re.findall(r'^posttrail_trackd_lines_total{source="(\w+)"} (\d+)', text, re.M)
        return {name: int(count) for name, count in pairs}

    def has_last(self, reader: Reader) -> bool:
        """Whether both ends have come."""
        for message_id, _ in reader.hits(keys.QUEUE_ID, LAST.encode()):
            message = reader.message(message_id)
            if message is not None:
                return message.sources == BOTH and message.status == Status.DELIVERED
        return False

    def in_one_go(self) -> dict[str, int]:
        """A tracker in this process reads all there is; its lines by source."""
        settings = config.load(self.config)
        with Writer.open(settings.journal.directory, group=settings.journal.group) as writer:
            tracker = make(settings, writer)
            while tracker.turn():
                pass
            tracker.stop()
            gauges = tracker.gauges()
        return {name: int(gauges[LINES % name]) for name in ("log", "spool")}

    def rows(self) -> Counter[Fact]:
        """Of its journal."""
        return Counter(found(self.state / "journal"))


def caught_up(bench: Bench, messages: int) -> Caught:
    """The daemon reads a fifth, is stopped, and is started when the rest is there."""
    top = fresh(bench.work / "catchup")
    top.mkdir()
    log, spool, late = feeds(messages)
    place = Place(bench, top / "stopped")
    place.write(log.parts[0], spool.parts[0])
    with place.trackd() as trackd:
        before = {"log": log.before, "spool": spool.before}
        trackd.ready(lambda: place.read() == before, "trackd to read what is there", seconds=60)
    (place.state / "run" / "trackd.prom").unlink()
    place.write(log.parts[1], spool.parts[1])
    place.rotate()
    place.write(log.parts[2], spool.parts[2])
    missing = {"log": len(log.lines) - log.before, "spool": len(spool.lines) - spool.before}
    with Reader.open(place.state / "journal") as reader:
        begin = time.perf_counter()
        with place.trackd() as trackd:
            trackd.ready(lambda: place.has_last(reader), "the last row", seconds=PATIENCE_S)
            seconds, used = time.perf_counter() - begin, cpu_s(trackd.pid)
            trackd.ready(lambda: bool(place.read()), "trackd's gauges")
            wait_for(lambda: sum(place.read().values()) >= sum(missing.values()), "all lines")
            read = place.read()
    whole = Place(bench, top / "whole")
    whole.write(b"".join(log.lines), b"".join(spool.lines))
    whole.in_one_go()
    return Caught(late, seconds, used, read, missing, differ(whole.rows(), place.rows()))


def differ(expected: Counter[Fact], rows: Counter[Fact]) -> Counter[Fact]:
    """What is in one of them alone."""
    return (expected - rows) + (rows - expected)


def measure(bench: Bench) -> list[Line]:
    """The median of three; each must be exact."""
    messages = 5_000 if bench.quick else 30_000
    runs = sorted((caught_up(bench, messages) for _ in range(3)), key=lambda each: each.seconds)
    for run in runs:
        if run.read != run.missing or run.differ:
            raise ProgramError(
                f"read {run.read} of {run.missing}, {run.differ.total()} rows differ"
            )
    middle = runs[1]
    speed = middle.messages / middle.seconds
    return [
        Line(
            bench="catchup",
            work=f"catching up after a stop, {middle.messages:,} messages in both feeds, rotated",
            against=f"{LIVE} messages/s live",
            at_least=f"≥ {LEAST}x, exact",
            measured=f"{speed / LIVE:.0f}x ({speed:,.0f}/s, {middle.seconds:.1f} s, "
            f"{middle.cpu_s / middle.messages * 1e6:.0f} µs CPU a message; lines read = lines missing, "
            "0 rows differ)",
            holds=speed >= LEAST * LIVE,
            figures={
                "messages": middle.messages,
                "messages_a_s": speed,
                "slowest_messages_a_s": runs[-1].messages / runs[-1].seconds,
                **{f"{name}_lines": count for name, count in middle.read.items()},
            },
        )
    ]
