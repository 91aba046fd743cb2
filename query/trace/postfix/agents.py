"""What the delivery agent of a transport does with a recipient: the ends of a Postfix trace.

The agent is the program behind the transport's line of master.cf: smtp(8) and lmtp(8) by their
hosts, virtual(8) by its mailbox table, pipe(8) by its command, error(8), discard(8). Raises
``WalkTooLongError``.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from query.trace.hosts import Way
from query.trace.postfix.access import split_status
from query.trace.postfix.local import LOCAL_ROUTER, LOCAL_TEXT
from query.trace.postfix.patterns import Trust
from query.trace.postfix.resolve import Resolved
from query.trace.postfix.tables import TableError
from query.trace.postfix.world import World, said_of, unknown
from query.trace.tree import Node, Source, Step, Verdict

VIRTUAL_ROUTER: Final = "virtual_user"
VIRTUAL_TEXT: Final = "virtual_user to local delivery"
_STORES: Final = re.compile(r"(?:dovecot-lda|deliver|maildrop|procmail|lmtp|mlmmj)\Z")
_LOOPBACK: Final = re.compile(
    r"(?:inet:)?\[?(?:127\.\d+\.\d+\.\d+|localhost|::1)\]?(?::[\w-]+)?\Z", re.IGNORECASE
)

Hosts = Callable[[str, str], Way]  # (next hop, transport) → the hosts, as smtp(8) finds them


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """The delivery agents of one Postfix."""

    world: World
    hosts: Hosts

    def end(self, address: str, resolved: Resolved) -> Node:
        """The end of an address that was resolved to a transport other than local(8)."""
        node = self.world.node(
            address,
            Step.DELIVER,
            source=resolved.source,
            transport=resolved.transport,
            nexthop=resolved.nexthop or None,
            address_class=resolved.address_class or None,
            notes=resolved.notes,
        )
        if resolved.found is not None:
            found = resolved.found
            node = replace(
                node,
                table=found.table,
                key=found.key,
                value=found.value,
                as_of=self.world.as_of(found),
                notes=(*node.notes, *said_of(found)),
            )
        program = self.world.program(resolved.transport)
        match program:
            case "smtp" | "lmtp":
                return self._smtp(node, resolved, lmtp=program == "lmtp")
            case "virtual":
                return self._virtual(node, address, resolved)
            case "pipe":
                return self._pipe(node, resolved)
            case "error":
                return _error(node, resolved)
            case "discard":
                text = f"discarded: {resolved.nexthop}" if resolved.nexthop else "discarded"
                return replace(
                    node,
                    step=Step.DISCARD,
                    verdict=Verdict.DISCARDED,
                    enhanced_status="2.0.0",
                    text=text,
                )
            case "":
                why = f"mail transport unavailable: no service {resolved.transport} in master.cf"
                return replace(
                    node,
                    step=Step.REJECT,
                    verdict=Verdict.TEMPORARY,
                    enhanced_status="4.3.0",
                    text=why,
                )
        return replace(node, text=f"to {program} by the transport {resolved.transport}")

    def _smtp(self, node: Node, resolved: Resolved, *, lmtp: bool) -> Node:
        nexthop = resolved.nexthop
        unix = nexthop.startswith("unix:")
        if unix or (lmtp and _LOOPBACK.match(nexthop)):
            return _stored(node, resolved, mailbox=nexthop)
        way = self.hosts(nexthop, resolved.transport)
        if way.transport is not None:
            return self._best_mx(node, resolved, way)
        text = way.text
        if lmtp and way.hosts and resolved.address_class in ("local", "virtual_mailbox"):
            node = _stored(node, resolved, mailbox=nexthop)
            text = node.text
        else:
            node = replace(node, router="lookuphost")
        step = Step.DELIVER if way.verdict in (Verdict.OK, Verdict.UNKNOWN) else Step.REJECT
        return replace(
            node,
            step=step,
            verdict=way.verdict,
            hosts=way.hosts,
            enhanced_status=way.enhanced_status,
            text=text,
            notes=(*node.notes, *way.notes),
        )

    def _best_mx(self, node: Node, resolved: Resolved, way: Way) -> Node:
        """We are the best mail host ourselves: best_mx_transport takes the mail (smtp(8))."""
        name, _, nexthop = (way.transport or "").partition(":")
        text = f"we are its mail host, so best_mx_transport takes it: {name}"
        node = replace(node, transport=name, nexthop=nexthop or resolved.nexthop, text=text)
        return replace(node, notes=(*node.notes, *way.notes))

    def _virtual(self, node: Node, address: str, resolved: Resolved) -> Node:
        settings, service = self.world.settings, f"{resolved.transport}/unix"
        maps = settings.words("virtual_mailbox_maps", service)
        try:
            answer = self.world.find(maps, address, trust=Trust.PARANOID)
        except TableError as error:
            return replace(unknown(address, str(error), maps=maps), transport=resolved.transport)
        if answer is None:
            return failed_like(node, "5.1.1", "unknown user")
        found = answer[0]
        base = settings.get("virtual_mailbox_base", service)
        return replace(
            node,
            source=Source.COMPUTED,
            table=found.table,
            key=found.key,
            value=found.value,
            as_of=self.world.as_of(found),
            mailbox=f"{base.rstrip('/')}/{found.value}",
            router=VIRTUAL_ROUTER,
            text=VIRTUAL_TEXT,
        )

    def _pipe(self, node: Node, resolved: Resolved) -> Node:
        service = self.world.service(resolved.transport)
        command = _argv(service.arguments) if service else ""
        program = os.path.basename(command.split()[0]) if command else ""
        node = replace(node, command=command or None)
        if resolved.address_class in ("local", "virtual_mailbox") and _STORES.match(program):
            return _stored(node, resolved)
        return replace(node, text=f"to the command {command}")


def _stored(node: Node, resolved: Resolved, *, mailbox: str | None = None) -> Node:
    """With the model product's words for a mailbox of ours."""
    if resolved.address_class == "local":
        return replace(node, mailbox=mailbox, router=LOCAL_ROUTER, text=LOCAL_TEXT)
    return replace(node, mailbox=mailbox, router=VIRTUAL_ROUTER, text=VIRTUAL_TEXT)


def _argv(arguments: Sequence[str]) -> str:
    """The command of pipe(8): what stands behind ``argv=``."""
    text = " ".join(arguments)
    return text.partition("argv=")[2].strip()


def _error(node: Node, resolved: Resolved) -> Node:
    """error(8): the service named retry defers, others return the mail."""
    retry = resolved.transport == "retry"
    status, text = split_status(resolved.nexthop, "4.0.0" if retry else "5.0.0")
    return failed_like(node, status if status[0] in "45" else "5.0.0", text)


def failed_like(node: Node, status: str, text: str) -> Node:
    """The node as an end that fails."""
    verdict = Verdict.TEMPORARY if status.startswith("4") else Verdict.PERMANENT
    return replace(node, step=Step.REJECT, verdict=verdict, enhanced_status=status, text=text)
