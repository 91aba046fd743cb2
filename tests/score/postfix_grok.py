"""postfix-grok: the fields that the source reads of a message, under a header of the daemon.

Patterns for a piece of a line (delays, relay, TLS, command counts) are tried inside of a line
that has such a piece. Messages that tell nothing of a mail must give no event, nor be unknown.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.score.check import Check, only, read_jsonl, with_header
from tests.score.understood import of_lines

_PIECES = {
    "POSTFIX_DELAYS": ("delays", "relay=mx[192.0.2.1]:25, delay=1, delays={}, dsn=2.0.0"),
    "POSTFIX_RELAY": ("relay", "relay={}, delay=1, delays=1/0/0/0, dsn=2.0.0"),
    "POSTFIX_TLS_FEATURES": (
        "tls_policy",
        "relay=mx[192.0.2.1]:25, delay=1, delays=1/0/0/0, tls={}, dsn=2.0.0",
    ),
}
_SUPER = {
    "removed": "deleted",
    "placed on hold": "held",
    "released from hold": "released",
    "requeued": "requeued",
    "expired": "nothing",  # qmgr says so itself
}
_NAMES = {
    "postfix_from": "sender",
    "postfix_message-id": "message_id",
    "postfix_bounce_queueid": "notice_queue_id",
    "postfix_client_hostname": "client_name",
    "postfix_client_ip": "client_ip",
    "postfix_smtp_stage": "stage",
    "postfix_proxy_smtp_stage": "stage",
    "postfix_status_code": "reply_code",
    "postfix_status_code_enhanced": "enhanced_status",
    "postfix_uid": "uid",
}
_KEYS = {
    "to": "final_recipient",
    "orig_to": "recipient",
    "from": "sender",
    "dsn": "enhanced_status",
    "sasl_username": "login",
    "tls": "tls_policy",
    "sasl_method": "sasl_method",
    **{key: key for key in ("relay", "delay", "delays", "proto", "helo", "size", "nrcpt")},
}


def checks(folder: Path) -> Iterator[Check]:
    """Kind and fields."""
    for case in read_jsonl(folder / "expected.jsonl"):
        name, pattern, message = case["case"], case["daemon_pattern"], case["message"]
        if pattern in _PIECES:
            field, rest = _PIECES[pattern]
            text = f"AB12: to=<x@example.com>, {rest.format(message)}, status=sent (ok)"
            event = only(with_header("postfix/smtp", text))
            yield Check(name, "fields", message, event.get(field))
        elif pattern == "POSTFIX_COMMAND_COUNTER_DATA":
            text = f"disconnect from unknown[192.0.2.1] {message}"
            yield Check(
                name, "kind", "disconnect", only(with_header("postfix/smtpd", text))["kind"]
            )
        else:
            daemon = pattern.removeprefix("POSTFIX_").lower().replace("_", "-")
            line = with_header(f"postfix/{daemon}", message.replace("\n", "?"))
            yield from of_lines(name, [line])
            event = only(line)
            yield Check(name, "kind", _kind(daemon, message, case["fields"]), event["kind"])
            if event["kind"] not in ("nothing", "unknown"):
                yield from _fields(name, case["fields"], event)


def _kind(daemon: str, message: str, fields: dict[str, Any]) -> str:
    """What the fields of a source's case amount to."""
    data = str(fields.get("postfix_keyvalue_data", ""))
    if daemon == "postsuper":
        return _SUPER.get(str(fields.get("postfix_postsuper_action")), "nothing")
    if daemon in ("smtp", "lmtp", "local", "virtual", "pipe", "error", "discard", "retry"):
        if data.startswith("to="):
            return "delivery"
        return "tls_out" if "postfix_tls_version" in fields else "nothing"
    if daemon == "smtpd" and "postfix_tls_version" in fields:
        return "tls_in"
    if message.startswith("connect from ") and daemon == "smtpd":
        return "connect"
    if message.startswith("disconnect from "):
        return "disconnect"
    if data.startswith("client=") and fields["postfix_queueid"] != "NOQUEUE":
        return "client"
    if "postfix_message-id" in fields:
        return "message_id"
    if "postfix_bounce_queueid" in fields:
        return "notice"
    if "postfix_uid" in fields:
        return "pickup"
    if daemon == "qmgr":
        if message.endswith(": removed"):
            return "removed"
        if "(queue active)" in message:
            return "queued"
        return "expired" if "expired" in str(fields.get("postfix_status")) else "nothing"
    return "door" if _is_act(fields) else "nothing"


def _is_act(fields: dict[str, Any]) -> bool:
    """Whether something was done to a message: not a question (VRFY), not a mere warning."""
    if "postfix_milter_result" in fields or "postfix_proxy_result" in fields:
        return True
    if "postfix_postscreen_toobusy_data" in fields or fields.get("postfix_smtp_stage") == "VRFY":
        return False
    return fields.get("postfix_action") in ("reject", "hold", "discard", "filter", "redirect")


def _fields(name: str, fields: dict[str, Any], event: dict[str, str]) -> Iterator[Check]:
    """Each field that both have."""
    if "postfix_queueid" in fields:
        wanted = str(fields["postfix_queueid"]).replace("NOQUEUE", "")
        yield Check(name, "fields", wanted, event["queue_id"])
    for theirs, ours in _NAMES.items():
        named = ours != "client_name" or event["kind"] not in (
            "disconnect",
            "tls_in",
        )  # the IP does
        if theirs in fields and named:
            yield Check(name, "fields", str(fields[theirs]), event.get(ours))
    for key, value in _pairs(str(fields.get("postfix_keyvalue_data", ""))):
        if key == "client":
            client = f"{event['client_name']}[{event['client_ip']}]"
            yield Check(name, "fields", value, client)
        elif key == "to" and event["kind"] == "door":
            yield Check(name, "recipient", value, event["recipient"])
        elif key in _KEYS:
            what = "recipient" if key in ("to", "orig_to") else "fields"
            yield Check(name, what, value, event.get(_KEYS[key]))
    if "postfix_status" in fields and event["kind"] == "delivery":
        # what verify(8) remembers of it is not the outcome's business
        wanted = str(fields["postfix_status"]).removesuffix("-but-not-cached")
        yield Check(name, "status", wanted, event["outcome"])
    for key, value in fields.items():
        if key.endswith("_response") and event["kind"] == "delivery":
            yield Check(name, "fields", value, event["text"])
    if event["kind"] in ("tls_in", "tls_out"):
        wanted = f"{fields['postfix_tls_version']} {fields['postfix_tls_cipher']}"
        yield Check(name, "fields", wanted, event["tls"])
    if "postfix_bounce_recipient" in fields:
        wanted = f"{fields['postfix_bounce_recipient']} {fields['postfix_bounce_reason']}"
        yield Check(name, "fields", wanted, event["notice"])


def _pairs(data: str) -> list[tuple[str, str]]:
    """``key=value`` of the source's own list, commas or blanks between."""
    found = re.findall(r"(\w+)=(<[^>]*>|[^ ,]*)", data)
    return [(key, value[1:-1] if value[:1] == "<" else value) for key, value in found]
