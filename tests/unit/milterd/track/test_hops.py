"""A hop to a filter that listens on one of this host's own addresses: the Message-ID proves it."""

from datetime import UTC
from pathlib import Path

import pytest

from journal.locality import Locality
from journal.reader import Reader
from journal.writer import Writer
from milterd.lines.syslog import LineParser
from milterd.track.correlate import Correlator
from milterd.track.intake import Intake

BASE_US = 1_790_000_000_000_000
AFTER = "delay=0.1, delays=0.1/0/0/0, dsn=2.0.0, status=sent"
LOG = [
    "smtpd[1]: AB12: client=mail.example.net[192.0.2.5]",
    "cleanup[2]: AB12: message-id=<one@example.net>",
    "qmgr[3]: AB12: from=<s@example.net>, size=9, nrcpt=1 (queue active)",
    "smtpd[4]: CD34: client=mx.example.com[198.51.100.2]",
    "cleanup[2]: CD34: message-id=<one@example.net>",
    "qmgr[3]: CD34: from=<s@example.net>, size=99, nrcpt=1 (queue active)",
    "smtp[5]: AB12: to=<r@example.org>, relay=198.51.100.2[198.51.100.2]:2501,"
    f" {AFTER} (250 2.0.0 Ok: queued as CD34)",
    "qmgr[3]: AB12: removed",
    f"smtp[6]: CD34: to=<r@example.org>, relay=mx.example.org[203.0.113.9]:25, {AFTER} (250 ok)",
    "qmgr[3]: CD34: removed",
]


@pytest.mark.parametrize("cut", range(1, len(LOG)))
@pytest.mark.parametrize("backwards", [False, True])
def test_two_queue_files_are_one_message_whatever_was_read_first(
    tmp_path: Path, cut: int, backwards: bool
) -> None:
    halves = [LOG[:cut], LOG[cut:]]
    with Writer.open(tmp_path) as writer:
        for half in halves[::-1] if backwards else halves:
            correlator = Correlator(writer, locality=Locality())
            parser = LineParser(timezone=UTC, reference_us=BASE_US)
            intake = Intake(parser, correlator, writer, host=b"mx")
            for text in half:
                intake.take(f"Sep 21 10:00:00 mx postfix/{text}".encode())
            correlator.adopt_orphans()
            correlator.flush()
            writer.commit()
    with Reader.open(tmp_path) as reader:
        found = [
            message for key, _ in reader.scan() if (message := reader.message(key)) is not None
        ]
    assert [(m.queue_ids, m.sender, m.size_bytes) for m in found] == [
        ((b"AB12", b"CD34"), b"s@example.net", 9)
    ]
    (row,) = found[0].rows
    assert row.relay == b"mx.example.org[203.0.113.9]:25"
