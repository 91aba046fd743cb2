"""crowdsec: the fields that the source reads of each line."""

from collections.abc import Iterator
from pathlib import Path

from tests.score import exim_lines, oracle
from tests.score.check import Check, lines_of, only, read_jsonl, split

_NAMES = {
    "command": "stage",
    "action": "action",
    "helo": "helo",
    "remote_addr": "client_ip",
    "remote_host": "client_name",
    "smtp_basic_status_code": "reply_code",
    "smtp_enhanced_status_code": "enhanced_status",
}
_HELO = "the source takes the sender for the HELO; its own kvItems have ours"


def checks(folder: Path) -> Iterator[Check]:
    """The files whose programs are read."""
    yield from _postfix(folder)
    yield from _logins(folder)
    yield from _mailscanner(folder)
    yield from exim_lines.crowdsec(folder)
    for path in sorted(folder.glob("postfix-*.log")):
        yield from oracle.checks(path)


def _postfix(folder: Path) -> Iterator[Check]:
    """Refusals; the source's other lines are logins and noise."""
    lines = lines_of(folder / "postfix-logs.log")
    for case in read_jsonl(folder / "postfix-logs.expected.jsonl"):
        if case["stage"] != "s01-parse":
            continue
        fields = case["fields"]
        message = fields["message"].replace("\\\\", "\\").encode()
        raw = next((line for line in lines if line.endswith(message)), b"")
        name, line, event = f"event {case['index']}", split(raw), only(raw)
        if line is None:
            yield Check(name, "header", "a header", None)
            continue
        tag = b"/".join(part for part in (line.instance, line.service, line.daemon) if part)
        yield Check(name, "header", fields["program"], tag.decode())
        yield Check(name, "header", fields["pid"], str(line.pid))
        yield Check(name, "header", fields["meta.machine"], line.host.decode())
        if "action" not in fields:
            yield Check(name, "kind", "nothing", event["kind"])
            continue
        for theirs, ours in _NAMES.items():
            if theirs in fields:
                wrong = theirs == "helo" and f"helo=<{event.get('helo')}>" in fields["kvItems"]
                argued = _HELO if wrong else ""
                yield Check(name, "fields", fields[theirs], event.get(ours), argued)


def _events(folder: Path, name: str) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Case, fields and line of what the source parsed of a file."""
    lines = lines_of(folder / f"{name}.log")
    for case in read_jsonl(folder / f"{name}.expected.jsonl"):
        message = case["fields"].get("message", "").replace("\\\\", "\\").encode()
        raw = next((line for line in lines if message and line.endswith(message)), b"")
        if case["stage"] == "s01-parse":
            yield f"{name} {case['index']}", case["fields"], raw


def _logins(folder: Path) -> Iterator[Check]:
    """Dovecot's logins: lines that are known and tell nothing of a message."""
    for name, fields, raw in _events(folder, "dovecot-logs"):
        line = split(raw)
        yield Check(name, "header", fields["meta.machine"], line.host.decode() if line else None)
        yield Check(name, "header", fields["program"], line.daemon.decode() if line else None)
        yield Check(name, "kind", "nothing", only(raw)["kind"])


_SCANNED = {"source_ip": "client_ip", "from_email": "sender", "message_id": "queue_id"}


def _mailscanner(folder: Path) -> Iterator[Check]:
    """Client, sender, queue id and score; the recipient's domain alone names no recipient."""
    for name, fields, raw in _events(folder, "mailscanner-logs"):
        line, event = split(raw), only(raw)
        yield Check(name, "header", fields["pid"], str(line.pid) if line else None)
        yield Check(name, "kind", "verdict", event["kind"])
        yield Check(name, "fields", "spam", event.get("reason"))
        for theirs, ours in _SCANNED.items():
            yield Check(name, "fields", fields[theirs], event.get(ours))
        if "spam_score" in fields:
            yield Check(name, "fields", float(fields["spam_score"]), float(event.get("score", 0)))
