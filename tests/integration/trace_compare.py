"""The ends of a trace beside what Postfix did: every difference in words.

An end agrees when final address, transport and what became of it do: the hosts in the order tried (any
order within a preference), else the enhanced status code, the mailbox, file or command. Pure.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from query.trace.tree import Host, Node, Step, Trace, Verdict, ends
from tests.integration.trace_truth import End, Truth

_PLACE = re.compile(r"(?:inet:)?\[?([\d.]+)\]?(?::(\d+))?$")
_GOOD = (Verdict.OK, Verdict.DISCARDED)


def differences(trace: Trace, truth: Truth, *, outside: bool = False) -> list[str]:
    """Empty where trace and truth agree."""
    root = _of_client(trace.root, outside=outside)
    if truth.refused is not None:
        return list(_refused(root, truth.refused, outside=outside))
    found = [end for end in ends(root) if end.step is not Step.SAME]
    if truth.discarded and [end.verdict for end in found] == [Verdict.DISCARDED]:
        return []
    missing = []
    for real in truth.ends:
        fit = next((end for end in found if not list(_end(end, real))), None)
        if fit is None:
            near = [end for end in found if same_address(end.address, real.address)]
            why = "; ".join(why for end in near for why in _end(end, real))
            missing.append(f"Postfix: {_spoken(real)}: {why or 'no such end in the trace'}")
        else:
            found.remove(fit)
    return missing + [f"only in the trace: {end}" for end in found]


def _of_client(root: Node, *, outside: bool) -> Node:
    """The half that is about our client, where the door says one thing to one and one to another."""
    if root.step is Step.ACCESS and "is refused, " in root.text:
        return root.children[0 if outside else 1]
    return root


def _refused(root: Node, reply: str, *, outside: bool) -> Iterator[str]:
    words = re.sub(r"^(\d{3} [\d.]+) <[^>]*>: ", r"\1 ", reply)
    nodes = list(ends(root))
    verdict = Verdict.TEMPORARY if reply.startswith("4") else Verdict.REJECTED_AT_SMTP
    status = words.split()[1]
    if any(_is_refusal(node, verdict, status) for node in nodes):
        return
    told = [note for node in (root, *nodes) for note in node.notes]
    known = outside and any(
        "from outside" in note and words.split(" ", 2)[2] in note for note in told
    )
    if not known:
        yield f"Postfix refuses: {reply}; the trace has {nodes}"


def _is_refusal(node: Node, verdict: Verdict, status: str) -> bool:
    """A loop is refused like any other trouble; that it is one, the trace knows and Postfix does not."""
    return node.verdict in (verdict, Verdict.LOOP) and node.enhanced_status == status


def _spoken(end: End) -> str:
    return f"<{end.address}> by {end.transport} {end.tried} {end.dsn} {end.status} ({end.text})"


def same_address(one: str, other: str) -> bool:
    """But for case, and for A-labels and U-labels."""
    return _folded(one) == _folded(other)


def _domain(address: str) -> str:
    return _folded(address).rpartition("@")[2]


def _folded(address: str) -> str:
    local, at, domain = address.rpartition("@")
    with_a_label = domain if domain.isascii() else domain.encode("idna").decode()
    return f"{local}{at}{with_a_label}".casefold()


def _end(end: Node, real: End) -> Iterator[str]:
    """Why the end is not that of the log."""
    # A ring has no last address: which member is logged depends on how far local(8) counts.
    ring = end.verdict is Verdict.LOOP and _domain(end.address) == _domain(real.address)
    if not ring and not same_address(end.address, real.address):
        yield f"address {end.address}"
    unnamed = end.transport is None and real.status != "sent"
    given_to_retry = real.text == "mail transport unavailable"  # by the queue manager itself
    if end.transport != real.transport and not unnamed and not given_to_retry:
        yield f"transport {end.transport}"
    if end.hosts:
        yield from _hosts(end, real)
    elif real.tried:
        place = _PLACE.match(end.nexthop or "")
        if place is None or real.tried != (f"{place[1]}:{place[2] or 25}",):
            yield f"next hop {end.nexthop}, and no hosts"
    elif real.status != "sent":
        bad = Verdict.TEMPORARY if real.status == "deferred" else Verdict.PERMANENT
        if end.enhanced_status != real.dsn:
            yield f"enhanced status {end.enhanced_status}"
        if end.verdict is not bad and end.verdict is not Verdict.LOOP:
            yield f"verdict {end.verdict.value}"
    else:
        yield from _kept(end, real)


def _hosts(end: Node, real: End) -> Iterator[str]:
    groups = [
        list(group)
        for _, group in groupby(end.hosts, lambda host: (host.fallback, host.preference))
    ]
    rest = list(real.tried)
    for group in groups:
        places = [place for host in group for place in _places(host)]
        part, rest = rest[: len(places)], rest[len(places) :]
        if not set(part) <= set(places) or (rest and set(part) != set(places)):
            yield f"hosts {[_words(host) for host in end.hosts]}"
            return
        if len(part) < len(places) and real.status != "sent":
            yield f"hosts {[_words(host) for host in end.hosts]} are more than were tried"
            return
    if rest:
        yield f"hosts {[_words(host) for host in end.hosts]} lack {rest}"
    if real.verified != any(host.tlsa for host in end.hosts):
        yield f"TLSA {[host.tlsa for host in end.hosts]}, verified: {real.verified}"


def _places(host: Host) -> Iterable[str]:
    return (f"{address}:{host.port}" for address in host.addresses)


def _words(host: Host) -> str:
    return (
        f"{host.name} {host.addresses} {host.port} {host.preference} {host.trouble or ''}".strip()
    )


def _kept(end: Node, real: End) -> Iterator[str]:
    """Taken by a program of this machine: its words in the log, and what the trace names."""
    if end.verdict not in _GOOD:
        yield f"verdict {end.verdict.value}"
    if real.transport == "discard" and end.step is not Step.DISCARD:
        yield f"step {end.step.value}"
    what, _, which = real.text.partition(": ")
    if what == "delivered to file" and end.mailbox != which:
        yield f"file {end.mailbox}"
    if what == "delivered to command" and end.command != which:
        yield f"command {end.command}"
    if what == "delivered to mailbox" and (end.mailbox is None or end.mailbox.endswith("/")):
        yield f"mailbox {end.mailbox}"
    if what == "delivered to maildir" and not (end.mailbox or "").endswith("/"):
        yield f"maildir {end.mailbox}"
