"""ossec: lines that must trigger a rule: refusals are events of their client, others none."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.score.check import Check, only, read_jsonl, rows_of_lines

_REASONS = {"3306": "blocklist", "3301": "relay_denied"}
"""Rules whose name says why; 3303 (domain not found) is also tried on a postscreen 450."""


def checks(folder: Path) -> Iterator[Check]:
    """The files whose programs are read."""
    for case in read_jsonl(folder / "mailscanner.expected.jsonl"):  # none is about a message
        yield Check(case["case"], "kind", "nothing", only(case["line"].encode())["kind"])
    for case in read_jsonl(folder / "postfix.expected.jsonl"):
        name, line = case["case"], case["line"]
        event = only(line.encode())
        refused = case["decoder"] == "postfix-reject"
        yield Check(name, "kind", "door" if refused else "nothing", event["kind"])
        if not refused:
            continue
        client = re.search(r" from [^[ ]*\[([^]]*)\]", line)
        assert client is not None
        yield Check(name, "client", client[1], event.get("client_ip"))
        (row,) = rows_of_lines([line])
        yield Check(name, "status", "rejected", row["status"])
        if case["rule"] in _REASONS and case["expect"] == "pass":
            yield Check(name, "reason", _REASONS[case["rule"]], row["reason"])
