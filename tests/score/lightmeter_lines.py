"""lightmeter-lines: each field that the source reads of a line, and nothing of lines it does not."""

import re
from calendar import month_name
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.score.check import Check, only, read_jsonl, split

_KINDS = {
    "SmtpSentStatus": "delivery",
    "CleanupMessageAccepted": "message_id",
    "Pickup": "pickup",
    "SmtpdConnect": "connect",
    "SmtpdDisconnect": "disconnect",
    "SmtpdMailAccepted": "client",
    "SmtpdReject": "door",
    "QmgrMessageQueued": "queued",
    "QmgrMessageExpired": "expired",
    "QmgrReturnedToSender": "expired",
    "QmgrRemoved": "removed",
    "BounceCreated": "notice",
}
_OUTCOMES = {
    "SentStatus": "sent",
    "BouncedStatus": "bounced",
    "DeferredStatus": "deferred",
    "ExpiredStatus": "expired",
}
_MONTHS = {name: number for number, name in enumerate(month_name) if name}


def checks(folder: Path) -> Iterator[Check]:
    """Header, kind and payload."""
    for number, case in enumerate(read_jsonl(folder / "expected.jsonl"), start=1):
        name, line, expected = f"line {number}", case["line"].encode(), case["expect"]
        yield from _header(name, line, expected)
        event = only(line)
        if case["kind"] is None:
            if b" postfix" in line.partition(b"[")[0]:  # what filters say is not the source's
                yield Check(name, "kind", "nothing", event["kind"])
        elif case["kind"] in _KINDS:
            yield Check(name, "kind", _KINDS[case["kind"]], event["kind"])
            yield from _payload(name, event, expected)


def _header(name: str, line: bytes, expected: dict[str, Any]) -> Iterator[Check]:
    """Stamp, host, process and pid; the source cuts the address from a process's name."""
    found = split(line)
    if found is None:
        yield Check(name, "header", "a header", None)
        return
    stamp = _stamp(found.at_us)
    for part, value in stamp.items():
        if (key := f"h.Time.{part}") in expected:
            wanted = expected[key]
            if isinstance(wanted, str):
                wanted = _MONTHS[wanted.removeprefix("time.")]
            yield Check(name, "header", wanted, value)
    if "h.Host" in expected:
        yield Check(name, "header", expected["h.Host"], found.host.decode())
    if "h.PID" in expected:
        yield Check(name, "header", expected["h.PID"], found.pid)
    if "h.Process" in expected:
        process = re.sub(rb"-\d+\.\d+\.\d+\.\d+$", b"", found.instance or found.daemon)
        yield Check(name, "header", expected["h.Process"], process.decode())
    if "h.Daemon" in expected:
        parts = [part for part in (found.service, found.daemon) if part]
        yield Check(name, "header", expected["h.Daemon"], b"/".join(parts).decode())


def _stamp(at_us: int) -> dict[str, int]:
    at = datetime.fromtimestamp(at_us / 1_000_000, UTC)
    return {
        "Month": at.month, "Day": at.day, "Hour": at.hour, "Minute": at.minute, "Second": at.second,
    }  # fmt: skip


def _payload(name: str, event: dict[str, str], expected: dict[str, Any]) -> Iterator[Check]:
    """What the line says."""
    got = {key: _field(key, event) for key in expected}
    for key, value in expected.items():
        if key in ("err", "ts", "p.Corrupted", "e.InternalMTA") or key.startswith("h."):
            continue
        if key == "p.MessageId" and event["kind"] == "delivery":
            continue  # of the record that the source makes of it, not of the line
        if got[key] is None:
            continue
        wanted = _OUTCOMES[value] if key == "p.Status" else str(value)
        yield Check(name, _what(key), wanted, got[key])


def _what(key: str) -> str:
    if "Recipient" in key:
        return "recipient"
    return "status" if key == "p.Status" else "fields"


def _field(key: str, event: dict[str, str]) -> str | None:
    """Our value of a field of the source's; None for one that we do not keep."""
    if "Recipient" in key:
        address = event.get("recipient" if "Orig" in key else "final_recipient", "")
        local, _, domain = address.rpartition("@") if "@" in address else (address, "", "")
        local = local[1:-1] if local.startswith('"') else local
        return domain if key.endswith("DomainPart") else local
    if key.startswith("p.Relay"):
        relay = re.fullmatch(r"([^\[]*)(?:\[([^\]]*)\])?(?::(\d+))?", event.get("relay", ""))
        if relay is None:
            return ""
        name, inside, port = relay.groups()
        path = inside if inside and "/" in inside else ""
        ip = None if path else inside
        return {
            "p.RelayName": name, "p.RelayIP": ip, "p.RelayPort": port, "p.RelayPath": path,
        }.get(key)  # fmt: skip
    if key.startswith("p.Delays."):
        place = ("Smtpd", "Cleanup", "Qmgr", "Smtp").index(key[9:])
        return event.get("delays", "///").split("/")[place]
    if key == "p.ExtraMessage":
        if event["kind"] == "delivery":
            return f"({event['text']})"
        return None  # of a refusal: all of its parts in one
    if key == "p.IP":
        return event.get("client_ip")
    if key == "e.SmtpCode":
        return event.get("text", "")[:3]
    if key == "e.Dsn":
        return event.get("text", "")[4:].partition(" ")[0]
    names = {
        "p.Queue": "queue_id", "p.Status": "outcome", "p.Dsn": "enhanced_status",
        "p.Delay": "delay", "p.MessageId": "message_id", "p.Uid": "uid", "p.Sender": "sender",
        "e.Queue": "next_queue_id", "p.Size": "size", "p.Nrcpt": "nrcpt",
        "p.ChildQueue": "notice_queue_id",
    }  # fmt: skip
    return event.get(names[key]) if key in names else None
