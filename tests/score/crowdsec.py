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
