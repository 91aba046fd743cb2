"""What crowdsec and fail2ban state of single lines of Exim's main log."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from milterd.lines import programs
from milterd.lines.exim_header import EximParser
from milterd.lines.syslog import Line, zone
from tests.score.check import Check, lines_of, read_jsonl, told_of

_BEFORE = (
    "Exim writes it before the line that refuses the recipient (smtp_in.c): one refusal, not two"
)
_LISTED = {
    "source_ip": "client_ip",
    "source_port": "client_port",
    "source_user": "sender",
    "target_user": "recipient",
}


def crowdsec(folder: Path) -> Iterator[Check]:
    """The fields of refusals; failed logins are known to tell nothing of a mail."""
    lines = {raw.replace(b"\\", b""): raw for raw in lines_of(folder / "exim-logs.log")}
    for case in read_jsonl(folder / "exim-logs.expected.jsonl"):
        fields = case["fields"]
        if case["stage"] != "s01-parse" or "meta.log_type" not in fields:
            continue
        name = f"exim event {case['index']}"
        line = _split(lines[fields["message"].replace("\\", "").encode()])
        yield Check(name, "time", fields["date"], _at(line)[: len(fields["date"])])
        found = told_of(programs.parse(line))
        if " authenticator failed for " in fields["message"]:
            yield Check(name, "kind", "nothing", found)
            continue
        event: dict[str, Any] = found[0] if isinstance(found, list) else {}
        before = _BEFORE if " sender verify " in fields["message"] else ""
        yield Check(name, "kind", "door", event.get("kind"), before)
        if before:
            continue
        for theirs, ours in _LISTED.items():
            if theirs in fields:
                yield Check(name, "fields", fields[theirs], event.get(ours))
        if "source_dns" in fields:
            yield Check(name, "fields", fields["source_dns"], event.get("client_name"))
        if "rbl_url" in fields:
            yield Check(name, "fields", True, fields["rbl_url"] in str(event.get("text")))


def fail2ban(folder: Path) -> Iterator[Check]:
    """Time and client of each line; a refusal or a verdict is an event of that client."""
    lines = lines_of(folder / "exim-spam.log")
    for case in read_jsonl(folder / "exim-spam.expected.jsonl"):
        name = f"exim-spam.log:{case['line']}"
        line = _split(lines[case["line"] - 1])
        yield Check(name, "time", case["time"], _at(line).replace(" ", "T")[:19])
        found = told_of(programs.parse(line))
        event: dict[str, Any] = found[0] if isinstance(found, list) else {}
        yield Check(name, "kind", True, event.get("kind") in ("door", "verdict"))
        yield Check(name, "client", case["host"], event.get("client_ip"))


def _split(raw: bytes) -> Line:
    line = EximParser(timezone=zone("UTC"), reference_us=0).parse(raw)
    assert line is not None, raw
    return line


def _at(line: Line) -> str:
    """The stamp as the log has it."""
    return datetime.fromtimestamp(line.at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
