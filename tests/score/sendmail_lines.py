"""Sendmail's lines in folders that hold lines of many programs: fail2ban, awstats, rare-shapes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from milterd.lines import programs
from milterd.lines.syslog import LineParser, zone
from tests.score.check import Check, lines_of, read_jsonl, rows_of_lines, told_of

_NO_MAIL = (b"did not issue MAIL", b"[rejected]", b"lost input channel")
"""The source bans whoever does this; it is no refusal of a message."""

_FAIL2BAN_NOW_US = 1_124_020_800_000_000  # 2005-08-14T12:00:00Z


def of_fail2ban(folder: Path) -> Iterator[Check]:
    """sendmail-reject: the client of each refusal, and the local time of each line."""
    cases = read_jsonl(folder / "sendmail-reject.expected.jsonl")
    expected = {case["line"]: case for case in cases}
    clients: dict[bytes, str] = {}  # queue id → client: a refusal may name none, from= does
    waiting: list[tuple[str, bytes, str]] = []
    for number, raw in enumerate(lines_of(folder / "sendmail-reject.log"), start=1):
        name, case = f"sendmail-reject.log:{number}", expected.get(number, {})
        line = LineParser(timezone=zone("UTC"), reference_us=_FAIL2BAN_NOW_US).parse(raw)
        if line is None:
            yield Check(name, "header", "a header", None)
            continue
        if "time" in case:
            at = datetime.fromtimestamp(line.at_us / 1_000_000, UTC).isoformat()[:19]
            yield Check(name, "time", case["time"], at)
        parsed = programs.parse(line)
        found = told_of(parsed)
        if any(words in raw for words in _NO_MAIL):
            yield Check(name, "kind", "nothing", found)
            continue
        if not isinstance(found, list):
            yield Check(name, "kind", "door", found)
            continue
        queue_id = found[0]["queue_id"].encode() or b"line %d" % number
        if ip := found[0].get("client_ip"):
            clients[queue_id] = ip
        if found[0]["kind"] != "client":
            yield Check(name, "kind", "door", found[0]["kind"])
        if case.get("match"):
            waiting.append((name, queue_id, case["host"]))
    for name, queue_id, host in waiting:
        yield Check(name, "client", host, clients.get(queue_id))


def of_awstats(line: str, name: str) -> Iterator[Check]:
    """A refusal each: who was refused, for whom, with which code."""
    found = rows_of_lines([line])
    yield Check(name, "rows", 1, len(found))
    for row in found:
        yield Check(name, "status", "rejected", row["status"])
        words = line.partition("reject=")[2]
        yield Check(name, "reply_code", int(words[:3]), row["reply_code"])
        yield Check(name, "reply", words, row["reply"])
        if "check_rcpt" in line:
            recipient = line.partition("arg1=<")[2].partition(">")[0]
            yield Check(name, "recipient", recipient, row["recipient"])
        if "relay=" in line:
            ip = line.partition("relay=")[2].partition("[")[2].partition("]")[0]
            yield Check(name, "client", ip, row["client_ip"])


RARE = {
    "sendmail client hands on to the local daemon": ("delivered", "stored", "root@SERVER", "server"),
    "sendmail: mailer missing": (
        "deferred", "other", "root@server.domain.local", "root@server.domain.local",
    ),
}  # fmt: skip
"""By shape: status, reason, recipient and final recipient; of a line alone."""


def of_rare_shapes(line: str, name: str, shape: str) -> Iterator[Check]:
    """Single lines; the source's words for their shapes are not always Sendmail's."""
    if shape in RARE:
        (row,) = rows_of_lines([line])
        got = row["status"], row["reason"], row["recipient"], row["final_recipient"]
        yield Check(name, "row", RARE[shape], got)
    elif shape == "sendmail: queued only":  # "Cannot send message within 2 days": a notice
        line_ = LineParser(timezone=zone("UTC"), reference_us=_FAIL2BAN_NOW_US).parse(line.encode())
        assert line_ is not None
        found = told_of(programs.parse(line_))
        kinds = [event["kind"] for event in found] if isinstance(found, list) else found
        yield Check(name, "kinds", ["expired", "notice"], kinds)
