"""What really happened to the last mails for the addresses at the ends of a tree.

The journal's newest outcomes stand beside each end, and ``differs`` says where they and the
prediction do not agree. An outcome that is not final, and one that says nothing of the way, agrees
with everything. The journal is a fact of the past: the tables may have changed since, so that a
difference is a hint and changes no verdict. Raises what the reader raises.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from journal import address
from journal.reader import Reader
from query.match import Query
from query.rows import make
from query.scope import Scope
from query.search import search
from query.trace.tree import Node, Outcome, Step, Trace, Verdict
from query.when import Window

NEWEST: Final = 3
_RELAY: Final = re.compile(r"([^\[\s]+)(?:\[([^\]]+)\])?")
_FAILS: Final = frozenset({Verdict.PERMANENT, Verdict.LOOP, Verdict.REJECTED_AT_SMTP})
_OF_THE_WAY: Final = frozenset(
    {
        ("rejected", "unknown_user"),
        ("rejected", "relay_denied"),
        ("error", "bounced"),
        ("error", "expired"),
        ("error", "looped"),
        ("error", "late_bounce"),
    }
)
"""Failures that an address has; the others (policy, spam, size ...) are those of one mail."""

Last = Callable[[str], tuple[Outcome, ...]]


def beside(trace: Trace, last: Last) -> Trace:
    """The trace with the outcomes that ``last`` knows of each end's address."""
    return replace(trace, root=_beside(trace.root, last))


def _beside(node: Node, last: Last) -> Node:
    if node.children:
        return replace(node, children=tuple(_beside(child, last) for child in node.children))
    if node.step is Step.SAME or not node.address:
        return node
    outcomes = last(node.address)
    return replace(node, history=outcomes, differs=difference(node, outcomes))


def newest(reader: Reader, scope: Scope) -> Last:
    """The last outcomes of an address that the scope may see, newest first."""

    def last(name: str) -> tuple[Outcome, ...]:
        folded = address.fold(os.fsencode(name))
        if b"@" not in folded:
            return ()
        query = Query(window=Window(), recipient=folded)
        return tuple(islice(_outcomes(reader, query, scope), NEWEST))

    return last


def _outcomes(reader: Reader, query: Query, scope: Scope) -> Iterator[Outcome]:
    for found in search(reader, query, scope):
        row = make(found.message, found.number, found.row)
        yield Outcome(
            time=row.time,
            status=row.status,
            reason=row.reason,
            relay=row.relay,
            folder=row.folder,
            id=row.id,
        )


def difference(end: Node, outcomes: tuple[Outcome, ...]) -> str | None:
    """How the newest final outcome and the prediction differ; None where they do not."""
    final = [each for each in outcomes if each.status not in ("in_progress", "deferred")]
    if not final or end.verdict is Verdict.UNKNOWN:
        return None
    last = final[0]
    return _of_status(end, last) or _of_relay(end, last)


def _of_status(end: Node, last: Outcome) -> str | None:
    happened = f"the last mail was {last.status} ({last.reason})"
    if end.verdict is Verdict.OK and (last.status, last.reason) in _OF_THE_WAY:
        return f"it would be taken, and {happened}"
    if end.verdict is Verdict.OK and last.reason == "discarded" and last.relay is not None:
        return "it would be delivered, and the last mail was discarded"
    if end.verdict is Verdict.DISCARDED and last.status == "delivered":
        return f"it would be discarded, and {happened}"
    if end.verdict in _FAILS and last.status in ("delivered", "filtered"):
        return f"it would fail, and {happened}"
    return None


def _of_relay(end: Node, last: Outcome) -> str | None:
    """The host that took it was none of those that would be tried, or it was no host."""
    if end.verdict is not Verdict.OK or last.status not in ("delivered", "filtered"):
        return None
    if last.folder is not None and end.hosts and end.mailbox is None:
        return (
            f"it would go to another host, and the last mail was stored in the folder {last.folder}"
        )
    found = _RELAY.match(last.relay or "")
    if found is None or not end.hosts or found[1] in ("local", "virtual", "none"):
        return None
    names = {host.name.lower().rstrip(".") for host in end.hosts}
    addresses = {each.lower() for host in end.hosts for each in host.addresses}
    name, numeric = found[1].lower().rstrip("."), (found[2] or "").lower()
    if name in names or name in addresses or numeric in addresses:
        return None
    return (
        f"the last mail was taken by {last.relay}, which is none of the hosts that would be tried"
    )
