"""Two feeds of one story, and a tracker of them that may be killed at any time."""

from datetime import UTC, datetime
from pathlib import Path

from journal.locality import Locality
from journal.reader import Reader
from journal.records import Record
from journal.writer import Writer
from milterd import spool
from milterd.lines.syslog import LineParser
from milterd.track.correlate import Correlator
from milterd.track.intake import Intake, take_record

HOST = b"mx.example.com"
BASE_US = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z
SECOND = 1_000_000


def stamp(at_s: float) -> str:
    """RFC 3339 with microseconds, as rsyslog and Postfix write it."""
    moment = datetime.fromtimestamp(BASE_US / 1e6 + at_s, UTC)
    return moment.isoformat(timespec="microseconds")


def line(at_s: float, tag: str, text: str) -> bytes:
    """A line of Postfix."""
    return f"{stamp(at_s)} mx postfix/{tag}: {text}".encode()


def other(at_s: float, tag: str, text: str) -> bytes:
    """A line of another program."""
    return f"{stamp(at_s)} mx {tag}: {text}".encode()


def transaction(at_s: float, queue_id: str, rcpts: list[list[object]], **more: object) -> bytes:
    body: spool.Body = {
        "v": 1, "t": "txn", "at": BASE_US + int(at_s * SECOND), "id": queue_id,
        "end": BASE_US + int((at_s + 1) * SECOND), "stage": "eom", "aborted": False,
        "ip": "192.0.2.5", "port": 4000, "name": "mail.example.net", "helo": "mail.example.net",
        "tls": "", "login": "", "auth": "", "daemon": "", "sender": "s@example.net", "params": [],
        "size": None, "rcpts": rcpts, "message_id": "", "subject": "s", "from": "", "date": "",
        "verdicts": [],
    }  # fmt: skip
    return spool.format_line(spool.encode_body(body | more)).removesuffix(b"\n")


def rcpt(address: str, *, refused: bool = False) -> list[object]:
    if refused:
        return [address, "error", "", 1, "5.1.1", "User unknown", []]
    return [address, "virtual", "example.com", 0, "", "", []]


class Story:
    """What happened, as the two sources tell it."""

    def __init__(self) -> None:
        self.log: list[bytes] = []
        self.spool: list[bytes] = []


class Run:
    """A tracker that may be killed: what it has committed is all that the next one knows."""

    def __init__(self, directory: Path, story: Story) -> None:
        self.directory = directory
        self.story = story
        self.read = {"log": 0, "spool": 0}
        self.start()

    def start(self) -> None:
        self.writer = Writer.open(self.directory)
        self.correlator = Correlator(self.writer, locality=Locality(local_domains=["example.com"]))
        saved = self.writer.context("sessions")
        if saved is not None:
            self.correlator.sessions.load(saved)
        parser = LineParser(timezone=UTC, reference_us=BASE_US)
        self.intake = Intake(parser, self.correlator, self.writer, host=HOST)

    def take(self, feed: str, count: int) -> None:
        lines = self.story.log if feed == "log" else self.story.spool
        for raw in lines[self.read[feed] : self.read[feed] + count]:
            if feed == "log":
                self.intake.take(raw)
            else:
                assert take_record(raw, self.correlator, HOST) is not None
        self.read[feed] = min(self.read[feed] + count, len(lines))

    def commit(self, keep: int = 1000) -> None:
        self.correlator.flush()
        self.writer.set_context("sessions", self.correlator.sessions.dump())
        self.writer.commit()
        self.correlator.evict(keep)

    def restart(self, back: int) -> None:
        """Die without a commit, and read ``back`` lines of each feed again."""
        self.writer.close()
        self.read = {feed: max(0, at - back) for feed, at in self.read.items()}
        self.start()

    def finish(self) -> list[Record]:
        self.take("log", len(self.story.log))
        self.take("spool", len(self.story.spool))
        self.commit()
        self.writer.close()
        reader = Reader.open(self.directory)
        records = [reader.record(id) for id, _ in reader.scan(0, 1 << 62)]
        counted = reader.counters()
        reader.close()
        found = [record for record in records if record is not None]
        rows = [row for record in found for row in record.message.rows]
        assert sum(counted.values()) == len(rows)
        return found


def told(records: list[Record]) -> list[object]:
    """Records without their ids, in an order of their own."""
    return sorted(
        ((record.message._replace(id=b""), record.events, record.dropped) for record in records),
        key=repr,
    )
