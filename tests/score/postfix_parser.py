"""postfix-parser: the fields that the source reads of each line or message.

Where the source must read nothing, we must not either. The source keeps status and text in one
and gives the programs' remarks as messages; the latter tell nothing of a mail's fate.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.score.check import Check, only, read_jsonl, split, with_header
from tests.score.understood import of_lines

_NAMES = {
    "qid": "queue_id",
    "relay": "relay",
    "delay": "delay",
    "delays": "delays",
    "dsn": "enhanced_status",
    "message-id": "message_id",
    "from": "sender",
    "size": "size",
    "nrcpt": "nrcpt",
    "uid": "uid",
    "sasl_method": "sasl_method",
    "sasl_username": "login",
    "dsnQid": "notice_queue_id",
    "forwardedAs": "next_queue_id",
}
_NO_ID = "the source was given the line without its queue id: whose it is nobody can tell"


def checks(folder: Path) -> Iterator[Check]:
    """Header, kind, fields."""
    for number, case in enumerate(read_jsonl(folder / "expected.jsonl"), start=1):
        name, fields = f"case {number}", case["fields"]
        whole = case["program"] in (None, "syslog", "empty")
        line = case["line"].encode() if whole else with_header(case["program"], case["line"])
        yield from of_lines(name, [line] if fields and "qid" in fields else [])
        event = only(line)
        if fields is None:
            yield Check(name, "kind", True, event["kind"] in ("nothing", "unknown"))
            continue
        yield from _header(name, line, fields)
        if case["program"] == "syslog":
            continue
        kind = _kind(fields, case["program"])
        bare = kind not in ("nothing", "connect", "disconnect") and "qid" not in fields
        yield Check(name, "kind", kind, event["kind"], _NO_ID if bare else "")
        if kind == event["kind"] != "nothing":
            yield from _fields(name, fields, event)


def _header(name: str, line: bytes, fields: dict[str, Any]) -> Iterator[Check]:
    """Host, program and pid."""
    if "prog" in fields:
        found = split(line)
        assert found is not None
        parts = [part for part in (found.instance, found.service, found.daemon) if part]
        yield Check(name, "header", fields["host"], found.host.decode())
        yield Check(name, "header", fields["prog"], b"/".join(parts).decode())
        yield Check(name, "header", fields["pid"], str(found.pid))


def _kind(fields: dict[str, Any], program: str | None) -> str:
    """What the source's fields amount to."""
    if "to" in fields:
        return "delivery"
    if "message-id" in fields:
        return "message_id"
    if "client" in fields:
        return "client"
    if "uid" in fields:
        return "pickup"
    if "size" in fields:
        return "queued"
    if "dsnQid" in fields:
        return "notice"
    if str(fields.get("status", "")).startswith("expired"):
        return "expired"
    if fields.get("msg") == "removed":
        return "deleted" if "postfix/postsuper" in (program, fields.get("prog")) else "removed"
    return "released" if fields.get("msg") == "released from hold" else "nothing"


def _fields(name: str, fields: dict[str, Any], event: dict[str, str]) -> Iterator[Check]:
    """Each field that both have."""
    for theirs, ours in _NAMES.items():
        if theirs in fields:
            yield Check(name, "fields", fields[theirs], event.get(ours))
    if "client" in fields:
        client = f"{event['client_name']}[{event['client_ip']}]"
        yield Check(name, "fields", fields["client"], client)
    if "to" in fields:
        yield Check(name, "recipient", fields["to"], event["final_recipient"])
        if "orig_to" in fields:
            yield Check(name, "recipient", fields["orig_to"], event["recipient"])
        found = re.fullmatch(r"(\w+)(?: \((.*)\))?", fields["status"])
        assert found is not None
        if found[1] == "forwarded":
            yield Check(name, "status", "forwarded", event["next_hop"])
        else:
            yield Check(name, "status", found[1], event["outcome"])
            yield Check(name, "fields", found[2], event["text"])
