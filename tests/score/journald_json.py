"""journald-json: what a Go reader of the journal makes of two records, and the row of the one that is mail."""

from collections.abc import Iterator
from pathlib import Path

from milterd.lines.journald import JournalParser, entry_of
from tests.score.check import Check, lines_of, read_jsonl, rows

_SOURCE_TIME = (
    "the source has the time when the journal took the record, we have the one when its sender"
    " sent it (_SOURCE_REALTIME_TIMESTAMP), which is what a log file would have"
)


def checks(folder: Path) -> Iterator[Check]:
    """Host, program, process, text and time of each record; then the refusal's row."""
    log = folder / "journal.jsonl"
    parser = JournalParser()
    for number, (raw, expected) in enumerate(
        zip(lines_of(log), read_jsonl(folder / "expected.jsonl"), strict=True), start=1
    ):
        entry, case = entry_of(raw), f"journal.jsonl:{number}"
        assert entry is not None
        yield Check(case, "host", expected["host"], entry.host.decode())
        yield Check(case, "program", expected["program"], entry.tag.decode())
        yield Check(case, "pid", expected["pid"], str(entry.pid))
        yield Check(case, "text", expected["message"], entry.text.decode())
        yield Check(case, "time", expected["time_us"], str(entry.at_us), _SOURCE_TIME)
        line = parser.parse(raw)
        mail = expected["program"].startswith("postfix/")
        yield Check(case, "believed", mail, line is not None and line.instance == b"postfix")
    found = rows([log])
    yield Check("journal.jsonl", "rows", 1, len(found))
    for row in found:
        yield Check("journal.jsonl", "status", "rejected", row["status"])
        yield Check("journal.jsonl", "reason", "relay_denied", row["reason"])
        yield Check("journal.jsonl", "recipient", "verify@test.com", row["recipient"])
        yield Check("journal.jsonl", "client", "91.92.41.82", row["client_ip"])
