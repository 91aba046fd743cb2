"""A mail in the queue: cleanup(8), the content filter, the resolver's answer, the agents.

Forwarding by local(8) and a filter's way back begin the same again, up to ``MOST_HOPS``. What
cannot be seen ends in UNKNOWN. Raises nothing of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from query.trace import sieve
from query.trace.postfix import keys
from query.trace.postfix.agents import Agents, Hosts
from query.trace.postfix.expand import Cleanup
from query.trace.postfix.hop import Hop, Hops
from query.trace.postfix.local import Attributes, Local, Parts
from query.trace.postfix.mailbox import local_mailbox
from query.trace.postfix.resolve import Resolved
from query.trace.postfix.tables import Found, TableError
from query.trace.postfix.world import WalkTooLongError, World, unknown
from query.trace.tree import Node, Source, Step, Verdict

MOST_HOPS: Final = 30  # forwarding from one queue file to the next, and filters


@dataclass(slots=True, kw_only=True)
class Queue:
    """The queue of one Postfix, and what happens to recipients in it."""

    world: World
    hosts: Hosts
    hops: Hops = field(init=False)
    agents: Agents = field(init=False)

    def __post_init__(self) -> None:
        self.hops = Hops(self.world)
        self.agents = Agents(world=self.world, hosts=self.hosts)

    def copied(self, address: str, hop: Hop) -> Node:
        return self.cleanup(hop).further(
            keys.internal(address), lambda final: self._delivered(final, hop)
        )

    def cleanup(self, hop: Hop) -> Cleanup:
        return Cleanup(
            world=self.world,
            service=hop.cleanup,
            map_ok=hop.map_ok,
            bcc_ok=hop.bcc_ok,
        )

    def submitted(self, address: str, hop: Hop) -> Node:
        """Through cleanup(8), with the copies that always go along."""
        if hop.depth > MOST_HOPS:
            return self._too_far(address)
        if hop.proxy:
            return self._proxied(address, hop)
        cleanup = self.cleanup(hop)

        def then(final: str) -> Node:
            return self._delivered(final, hop)

        root = cleanup.recipient(address, then)
        if not hop.bcc_ok:
            return root
        copies = [*self._sender_copies(cleanup, hop, then), *self._always(cleanup, then)]
        if not copies:
            return root
        return Node(
            address=root.address, step=Step.BCC, children=(root, *copies), text="copies go along"
        )

    def _always(self, cleanup: Cleanup, then: Callable[[str], Node]) -> Iterable[Node]:
        copy = self.world.settings.get("always_bcc", cleanup.service)
        if copy:
            node = cleanup.further(keys.internal(copy), then)
            yield replace(node, notes=(*node.notes, f"by always_bcc = {copy}"))

    def _sender_copies(
        self, cleanup: Cleanup, hop: Hop, then: Callable[[str], Node]
    ) -> Iterable[Node]:
        maps = cleanup.words("sender_bcc_maps")
        if not maps or not hop.sender:
            return
        answer = self._found(maps, hop.sender)
        if isinstance(answer, Node):
            yield replace(answer, step=Step.BCC)
        elif answer is not None:
            child = cleanup.further(keys.internal(answer.value), then)
            node = self.world.fired(hop.sender, Step.BCC, answer, (child,))
            yield replace(node, text=f"a copy goes to {answer.value}")

    def _found(self, maps: Sequence[str], address: str) -> Found | Node | None:
        try:
            answer = self.world.find(maps, address)
        except TableError as error:
            return unknown(address, str(error), maps=maps)
        return None if answer is None else answer[0]

    def _delivered(self, address: str, hop: Hop) -> Node:
        """A recipient in the queue: to the filter, else to where it resolves."""
        try:
            if hop.content_filter:
                return self._filtered(address, hop)
            return self._routed(address, hop)
        except WalkTooLongError as error:
            return unknown(address, str(error))
        except TableError as error:
            return unknown(address, str(error))

    def _too_far(self, address: str) -> Node:
        return self.world.node(
            address,
            Step.REJECT,
            verdict=Verdict.LOOP,
            enhanced_status="5.4.6",
            text=f"mail forwarding loop: more than {MOST_HOPS} hops",
        )

    def _filtered(self, address: str, hop: Hop) -> Node:
        """content_filter or FILTER: every recipient goes there, and comes back."""
        transport, _, nexthop = hop.content_filter.partition(":")
        program = self.world.program(transport)
        node = self.world.node(
            address,
            Step.CONTENT_FILTER,
            transport=transport,
            nexthop=nexthop or keys.split(address)[1],
            text=f"to the filter {hop.content_filter}",
        )
        if not program:
            why = f"mail transport unavailable: no service {transport} in master.cf"
            return replace(node, verdict=Verdict.TEMPORARY, enhanced_status="4.3.0", text=why)
        return self._back(node, address, hop, self.hops.behind_filter(program, nexthop))

    def _back(self, node: Node, address: str, hop: Hop, back: Hop | str) -> Node:
        """Behind a filter, by the service to which it gives the mail back."""
        if isinstance(back, str):
            return replace(node, notes=(back,), verdict=Verdict.UNKNOWN)
        back = replace(back, sender=hop.sender, depth=hop.depth + 1, delivered=hop.delivered)
        child = self.submitted(address, back)
        return replace(node, notes=(f"it comes back through {back.entry}",), children=(child,))

    def _proxied(self, address: str, hop: Hop) -> Node:
        """smtpd_proxy_filter: the filter stands before the queue, and gives to another smtpd(8)."""
        text = f"through the filter {hop.proxy} before it is queued"
        node = self.world.node(address, Step.CONTENT_FILTER, nexthop=hop.proxy, text=text)
        return self._back(node, address, hop, self.hops.behind_filter("smtp", hop.proxy))

    def _routed(self, address: str, hop: Hop) -> Node:
        resolved = self.world.resolve(address, hop.sender)
        if resolved.address_class == "fail" or not resolved.transport:
            return self.world.node(
                address,
                Step.REJECT,
                verdict=Verdict.TEMPORARY,
                source=resolved.source,
                enhanced_status="4.3.0",
                text="address resolver failure",
            )
        if self.world.program(resolved.transport) == "local":
            come = Attributes(sender=hop.sender, delivered=hop.delivered)
            return self._local(resolved.transport, hop).recipient(
                resolved.recipient or address, come
            )
        node = self.agents.end(resolved.recipient or address, resolved)
        return self.relocated(node, address, resolved.transport)

    def _local(self, transport: str, hop: Hop) -> Local:
        def indirect(address: str, come: Attributes) -> Node:
            mark = frozenset({*hop.delivered, *come.marks})
            onward = self.hops.forwarded(come.sender, mark, hop.depth + 1)
            return self.submitted(address, onward)

        def passed(address: str, where: str, come: Attributes) -> Node:
            name, _, nexthop = where.partition(":")
            resolved = Resolved(
                transport=name,
                nexthop=nexthop or keys.split(address)[1],
                recipient=address,
                address_class="local",
                error=False,
                source=Source.COMPUTED,
                found=None,
            )
            return self._with_sieve(self.agents.end(address, resolved))

        def mailbox(local: Local, parts: Parts, come: Attributes) -> Node:
            return self._with_sieve(local_mailbox(local, parts, come))

        return Local(
            world=self.world,
            transport=transport,
            indirect=indirect,
            passed=passed,
            mailbox=mailbox,
        )

    def _with_sieve(self, node: Node) -> Node:
        """With a note on the user's sieve script, where a mailbox server is the end."""
        if node.step is not Step.DELIVER or node.address_class != "local":
            return node
        if node.mailbox is None or not (node.nexthop or node.command):
            return node
        user = self.world.user_of(
            keys.extension_of(keys.split(node.address)[0], self.world.delimiters)[0]
        )
        said = sieve.note_of(user.home) if user is not None else None
        return node if said is None else replace(node, notes=(*node.notes, said))

    def relocated(self, node: Node, address: str, transport: str) -> Node:
        """trivial-rewrite(8) answers "User has moved to" from relocated_maps: which entry."""
        maps = self.world.settings.words("relocated_maps")
        if not maps or "has moved" not in node.text:
            return node
        found = self._found(maps, address)
        if not isinstance(found, Found):
            return node
        return replace(
            node,
            step=Step.RELOCATED,
            table=found.table,
            key=found.key,
            value=found.value,
            as_of=self.world.as_of(found),
        )
