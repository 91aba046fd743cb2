"""postfix-exporter: counts of a few lines each, compared with the events that they are of.

Counts of what tells nothing of a mail (logins, connections to postscreen) are left out.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.score.check import Check, lines_of, read_jsonl, told

Fields = dict[str, str]

_EVENTS: dict[str, Callable[[Fields], bool]] = {
    "removedCount": lambda e: e["kind"] == "removed",
    "expiredCount": lambda e: e["kind"] == "expired",
    "smtpdMessagesProcessed": lambda e: e["kind"] == "client",
    "outgoingTLS": lambda e: e["kind"] == "tls_out",
    "incomingTLS": lambda e: e["kind"] == "tls_in",
    "smtpMessagesProcessed": lambda e: e["kind"] == "delivery" and e["daemon"] == "smtp",
    "smtpDeferred": lambda e: e["kind"] == "delivery" and e["outcome"] == "deferred",
    "smtpBounced": lambda e: e["kind"] == "delivery" and e["outcome"] == "bounced",
    "bounceNonDelivery": lambda e: e.get("notice") == "sender non-delivery",
    "virtualDelivered": lambda e: e.get("daemon") == "virtual" and e["outcome"] == "sent",
    "postscreenRejects": lambda e: e["kind"] == "door" and e["daemon"] == "postscreen",
}
_LABELS = (
    "the source counts tries of smtp, or where it is told so of relay/smtp, apart; they are alike"
)


def checks(folder: Path) -> Iterator[Check]:
    """Each case's counts, and that of no line nothing is known."""
    for case in read_jsonl(folder / "expected.jsonl"):
        name = f"{case['file']} ({case['case']})"
        found = [told(raw) for raw in lines_of(folder / case["file"])]
        events = [event for one in found if isinstance(one, list) for event in one]
        yield Check(name, "unknown lines", 0, found.count("unknown"))
        for counter, count in case["counters"].items():
            if counter in _EVENTS:
                argued = _LABELS if "labels" in case["case"] else ""
                yield Check(name, "count", count, sum(map(_EVENTS[counter], events)), argued)
