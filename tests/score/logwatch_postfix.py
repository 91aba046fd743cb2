"""logwatch-postfix: one message for each count of the source; what the count means must come of it.

The table in the module says, count by count, which event and which status a thing so counted
is, reasoned from what it means; the reasons of refusals and deferrals from Postfix's own words.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.score.check import Check, only, read_jsonl, rows_of_lines, with_header
from tests.score.understood import of_lines

_DAEMONS = (
    (r"\w+: message-id=|\w+: resent-message-id=|\w+: \w+: (header|body) ", "cleanup"),
    (r"\w+: milter-reject: END-OF-MESSAGE", "cleanup"),
    (r"\w+: uid=", "pickup"),
    (r"\w+: from=<", "qmgr"),
    (r"\w+: sender .* notification: ", "bounce"),
    (r"(Placed|Released|Requeued|Deleted|Expired)\b", "postsuper"),
    (r"fatal: root\(", "sendmail"),
    (r"\w+: to=.* relay=local,", "local"),
    (r"\w+: to=.* relay=virtual,", "virtual"),
    (r"\w+: to=.* relay=none,.*(in virtual alias table|suspended: )", "error"),
    (r"\w+: (to=|lost connection|conversation with|enabling PIX)", "smtp"),
    (r"connect to |Host offered|Unverified: |.*TLS connection established to ", "smtp"),
    (r"(warning: )?(database|pcre map|dict_)", "cleanup"),
    (r"warning: (process|/usr/libexec)", "master"),
    (r"warning: (open active|qmgr_active)", "qmgr"),
    (r"warning: (host .* (greeted|replied)|mailer loop|bad size limit|smtp_connect)", "smtp"),
)
_EVENTS = {
    "ConnectionInbound": "connect",
    "Disconnection": "disconnect",
    "TlsServerConnect": "tls_in",
    "TlsClientConnect": "tls_out",
    "ReturnedToSender": "expired",
    "SenderDelayNotification": "notice",
    "DSNUndelivered": "notice",
    "DSNDelivered": "notice",
    "SaslAuthRelay": "client",
    "MsgsForwarded": "delivery",
    "MsgsSent": "delivery",
    "BounceLocal": "delivery",
    "BounceRemote": "delivery",
    "MsgsDeferred": "delivery",
    "Undeliverable": "delivery",
    "Deliverable": "delivery",
    "Filtered": "door",
    "Discarded": "door",
}
_STATUSES = {
    "MsgsForwarded": "delivered",
    "MsgsSent": "delivered",
    "BounceLocal": "error",
    "BounceRemote": "error",
    "MsgsDeferred": "deferred",
    "ReturnedToSender": "error",
    "Discarded": "filtered",
    "Hold": "in_progress",
}
_ACCEPTED = (
    ("NOQUEUE: client=", "nothing"),  # before a proxy filter: no queue file has that name
    (": client=", "client"),
    (": message-id=", "message_id"),
    (": from=", "queued"),
    (": uid=", "pickup"),
)
_REFUSALS = (
    (r"Greylisted", "greylisted"),
    (r"User unknown|undeliverable address", "unknown_user"),
    (r"Relay access denied", "relay_denied"),
    (r"blocked using|black listed", "blocklist"),
    (r"exceeds fixed limit", "size"),
)
_DEFERRALS = (
    (r"^delivery temporarily suspended", "suspended"),
    (r"Greylisted", "greylisted"),
    (r"Name service error", "dns"),
    (r"^connect to|^lost connection|^conversation with", "connection"),
)
_SOFT = "soft_bounce = yes: Postfix keeps the message and tries again, so it is deferred"


def checks(folder: Path) -> Iterator[Check]:
    """Each message of the source."""
    for number, case in enumerate(read_jsonl(folder / "expected.jsonl"), start=1):
        message, counter = case["message"], case["counter"]
        line = with_header(f"postfix/{_daemon(message)}", message)
        name = f"line {number} {counter}"
        yield from of_lines(name, [line])
        event = only(line)
        kind = _kind(message, counter)
        yield Check(name, "kind", kind, event["kind"])
        if kind in ("delivery", "expired", "door"):
            yield from _row(name, message, counter, line)


def _daemon(message: str) -> str:
    """Which of Postfix's daemons says such a thing."""
    for pattern, daemon in _DAEMONS:
        if re.match(pattern, message):
            return daemon
    return "smtpd"


def _kind(message: str, counter: str) -> str:
    """The event that a thing so counted is."""
    if counter == "MsgsAccepted":
        return next(kind for words, kind in _ACCEPTED if words in message)
    if counter.startswith(("Reject", "${rej_action", "TempReject", "PermReject")):
        asked = re.match(r"\w+: reject: VRFY ", message)  # a question, no message
        return "nothing" if asked or "reject_warning: " in message else "door"
    if counter == "Hold":
        return "door" if ": hold: " in message else "nothing"
    return _EVENTS.get(counter, "nothing")


def _row(name: str, message: str, counter: str, line: bytes) -> Iterator[Check]:
    """The row that the report has of it."""
    found = rows_of_lines([line.decode()])
    if counter in ("Undeliverable", "Deliverable", "Filtered"):
        yield Check(name, "rows", 0, len(found))  # probes; a mere change of the way
        return
    yield Check(name, "rows", 1, len(found))
    for row in found:
        status = _STATUSES.get(counter, "rejected")
        soft = "status=SOFTBOUNCE" in message
        yield Check(name, "status", status, row["status"], _SOFT if soft else "")
        recipient = re.search(r"(?:^\w+: |[; ])to=<([^ ]*?)>(?:[, ]|$)", message)
        if recipient and row["status"] != "rejected":
            yield Check(name, "recipient", recipient[1], row["final_recipient"])
        elif recipient:
            yield Check(name, "recipient", recipient[1], row["recipient"])
        if not soft:
            yield Check(name, "reason", _reason(message, row["status"]), row["reason"])


def _reason(message: str, status: str) -> str:
    """Why, from Postfix's own words."""
    if status == "rejected":
        temporary = re.search(r"(?:\]|MESSAGE): 4\d\d |: 4\.\d\.\d ", message)
        said = message.partition("; from=")[0]
        default = "temporary" if temporary else "policy"
        return _first(_REFUSALS, said, "spam" if "Spam:" in message else default)
    if status == "deferred":
        text = message.partition("status=deferred (")[2]
        return _first(_DEFERRALS, text, "other")
    if status == "error":
        return "expired" if "expired" in message else "looped" if "loops" in message else "bounced"
    if status == "delivered":
        return "relayed"
    return "held" if status == "in_progress" else "discarded"


def _first(table: tuple[tuple[str, str], ...], text: str, default: str) -> str:
    """The first reason whose words are there."""
    return next((reason for words, reason in table if re.search(words, text)), default)
