"""A trace for whoever is no operator: the way of their own mail, nothing of the server's inside.

Shown are own addresses, their ends in words, and hosts that public DNS names. Not shown are tables,
keys, commands, next hops and notes, nor whom mail is sent on to outside of what the reader owns:
aliases are private data of their owners. Pure; raises nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from query.trace.tree import Node, Step, Trace, Verdict, worst

Owns = Callable[[str], bool]
"""Whether an address is the reader's."""

ELSEWHERE: Final = "to another address"
_OWN_STEPS: Final = frozenset({Step.DELIVER, Step.DISCARD, Step.REJECT, Step.SAME, Step.UNKNOWN})
_ANSWERS: Final = frozenset({Step.REJECT, Step.DISCARD})
"""What a sender is told anyway."""


def own(trace: Trace, owns: Owns) -> Trace:
    """The trace of an address that the reader owns."""
    return replace(
        trace, root=_node(trace.root, owns), warnings=(), mta=trace.mta.partition(" ")[0]
    )


def public(trace: Trace) -> Trace | None:
    """The trace of an address elsewhere; None where this server has a say in it."""
    root = trace.root
    while root.step is Step.REWRITE and len(root.children) == 1:
        root = root.children[0]
    if root.children or root.table or root.address_class not in (None, "default") or root.mailbox:
        return None
    if root.step is not Step.DELIVER:
        return None
    return _outward(trace, _bare(root))


def _outward(trace: Trace, root: Node) -> Trace:
    """Without the MTA's version and its warnings."""
    return replace(trace, root=root, warnings=(), mta=trace.mta.partition(" ")[0])


def _node(node: Node, owns: Owns) -> Node:
    if node.step is Step.BCC and node.children:  # the mail itself, then the copies nobody knows of
        return _node(node.children[0], owns)
    if not owns(node.address):
        return Node(
            address="",
            step=node.step if node.step in _OWN_STEPS else Step.DELIVER,
            verdict=_verdict(node),
            text=ELSEWHERE,
            source=node.source,
        )
    children = tuple(_node(child, owns) for child in node.children if child.step is not Step.BCC)
    return replace(_bare(node), children=children)


def _bare(node: Node) -> Node:
    """The node alone, without what tells of the server's inside."""
    domain = node.address.rpartition("@")[2].lower()
    public_way = node.router == "lookuphost" and (node.nexthop or "").lower() == domain
    local = node.mailbox is not None or node.router in ("virtual_user", "localuser")
    return Node(
        address=node.address,
        step=node.step,
        verdict=node.verdict,
        source=node.source,
        address_class=node.address_class,
        router=node.router if public_way or local else None,
        hosts=node.hosts if public_way else (),
        enhanced_status=node.enhanced_status,
        text=node.text if public_way or local or node.step in _ANSWERS else "",
        history=node.history,
        differs=None,
    )


def _verdict(node: Node) -> Verdict:
    return worst((node.verdict, *map(_verdict, node.children)))
