"""Understand what SA-Exim, SpamAssassin in Exim's local_scan(), says of a message.

Format, by its sa-exim.c::

    ID SA: Action: WHAT: score=N required=N ... (scanned in S/S secs | Message-Id: M).
       From <A> (host=HOST [IP]) for A[, A ...]

A refusal follows in a line of Exim's own; what was tossed silently has none. Raises nothing.
"""

from typing import Final

from milterd.lines import scan
from milterd.lines.exim_door import refused
from milterd.lines.exim_scan import peer
from milterd.lines.scan import Parsed, make
from milterd.lines.syslog import Line

SCORED: Final = b"SA: Action: "


def scored(line: Line, queue_id: bytes, text: bytes) -> Parsed:
    """What SpamAssassin thought of a message, and what SA-Exim did with it."""
    action, _, rest = text[len(SCORED) :].partition(b": score=")
    score = rest.partition(b" ")[0]
    sender_at = rest.find(b". From <")
    host_at = rest.find(b" (host=", sender_at)
    who = peer(rest, host_at + 7) if sender_at >= 0 and host_at >= 0 else None
    if who is None:
        return None
    sender = rest[sender_at + 8 : host_at].removesuffix(b">")
    message_id = rest[:sender_at].partition(b"Message-Id: ")[2].removesuffix(b")")
    recipient = rest[who.end :].removeprefix(b") for ")
    recipient = b"" if b", " in recipient else recipient
    verdict = _verdict(action)
    events = [
        make(
            line,
            scan.VERDICT,
            queue_id,
            (
                b"sa-exim", verdict, action, score, text, recipient, message_id, who.ip, sender,
            ),
        )
    ]  # fmt: skip
    if verdict == b"discard":
        events.append(
            refused(
                line,
                queue_id,
                b"END-OF-MESSAGE",
                who,
                action,
                sender=sender,
                recipient=recipient,
                action=verdict,
            )
        )
    return events


def _verdict(action: bytes) -> bytes:
    """SA-Exim's words as a verdict (STYLE: accept, reject, tempfail, discard)."""
    if b"tossed" in action:
        return b"discard"
    if b"temporarily rejected" in action or b"teergrub" in action:
        return b"tempfail"
    return b"reject" if b"rejected" in action else b"accept"
