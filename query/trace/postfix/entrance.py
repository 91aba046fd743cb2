"""What the door makes of a mail: refused, sent another way, copied, or let through.

Two clients are asked for (``door``); what they hear differs where only one may relay or where a
table stands behind ``permit_sasl_authenticated``. Raises what the walk raises.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from query.trace.postfix import keys
from query.trace.postfix.access import Kind
from query.trace.postfix.door import Answer, Client, Door, Refusal
from query.trace.postfix.hop import Hop
from query.trace.postfix.queue import Queue
from query.trace.postfix.world import World
from query.trace.tree import Node, Question, Step, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """One way in, for one question."""

    world: World
    queue: Queue
    question: Question

    def entered(self, address: str, hop: Hop) -> Node:
        """The door, where there is one, and the way behind it."""
        if not hop.door:
            return self.queue.submitted(address, hop)
        outside, proven = self._asked(address, hop)
        relayed = outside.refusal is not None and outside.refusal.relaying
        answer = proven if self.question.entry == "submission" or relayed else outside
        notes = tuple(_door_notes(answer, outside, proven))
        refusal = answer.refusal
        if refusal is not None and not refusal.relaying and proven.refusal is not None:
            return replace(self._refused(address, refusal), notes=notes)
        after = replace(hop, content_filter=_filter(answer) or hop.content_filter)
        root = self._acted(address, answer, after)
        if refusal is not None and not refusal.relaying:
            refused = self._refused(address, refusal)
            root = Node(
                address=keys.external(address),
                step=Step.ACCESS,
                text=f"{Client.OUTSIDE.value} is refused, {Client.PROVEN.value} is not",
                children=(refused, root),
            )
        root = replace(root, notes=(*notes, *root.notes))
        return self._unread(address, answer, root)

    def _unread(self, address: str, answer: Answer, root: Node) -> Node:
        """A table that the door asks and we cannot: whether it refuses is not known."""
        if not answer.unread:
            return root
        why = "; ".join(dict.fromkeys(answer.unread))
        text = f"it cannot be seen whether the door refuses: {why}"
        node = self.world.node(address, Step.ACCESS, verdict=Verdict.UNKNOWN, text=text)
        return replace(node, children=(root,))

    def _asked(self, address: str, hop: Hop) -> tuple[Answer, Answer]:
        sender = self.question.sender
        door = Door(
            world=self.world,
            service=hop.entry,
            sender=None if sender is None else keys.internal(sender),
        )
        completed = self.world.rewrite(address)
        return door.ask(completed, Client.OUTSIDE), door.ask(completed, Client.PROVEN)

    def _refused(self, address: str, refusal: Refusal) -> Node:
        found = refusal.found
        completed = self.world.rewrite(address)
        node = self.world.node(
            address,
            Step.REJECT if found is None else Step.ACCESS,
            verdict=Verdict.TEMPORARY if refusal.temporary else Verdict.REJECTED_AT_SMTP,
            enhanced_status=refusal.status,
            text=refusal.reply,
            notes=(f"by {refusal.restriction}",),
        )
        if found is not None:
            node = replace(
                node,
                table=found.table,
                key=found.key,
                value=found.value,
                as_of=self.world.as_of(found),
            )
        return self.queue.relocated(node, completed, "smtpd")

    def _acted(self, address: str, answer: Answer, hop: Hop) -> Node:
        """What FILTER, REDIRECT, BCC, DISCARD and HOLD of access tables make of the way."""
        way: Node | None = None
        further: list[Node] = []
        for action, found in answer.actions:
            if action.kind is Kind.DISCARD:
                node = self.world.fired(address, Step.ACCESS, found, ())
                return replace(node, verdict=Verdict.DISCARDED, text="discarded without a word")
            if action.kind is Kind.REDIRECT:
                child = self.queue.submitted(keys.internal(action.text), hop)
                node = self.world.fired(address, Step.ACCESS, found, (child,))
                way = replace(node, text=f"goes to {action.text} instead")
            elif action.kind is Kind.BCC:
                copy = self.queue.copied(action.text, hop)
                node = self.world.fired(address, Step.ACCESS, found, (copy,))
                further.append(replace(node, text=f"a copy goes to {action.text}"))
            elif action.kind is Kind.HOLD:
                self.world.notes.append(f"the mail is held: {found.table} says {found.value}")
        if way is None:
            way = self.queue.submitted(address, hop)
        if further:
            return Node(address=way.address, step=Step.ACCESS, children=(way, *further))
        return way


def _filter(answer: Answer) -> str:
    """The last FILTER wins."""
    named = [action.text for action, _ in answer.actions if action.kind is Kind.FILTER]
    return named[-1] if named else ""


def _door_notes(answer: Answer, outside: Answer, proven: Answer) -> Iterable[str]:
    refusal = outside.refusal
    if refusal is not None and refusal.relaying:
        if proven.refusal is None:
            yield (
                f"{Client.OUTSIDE.value} is refused: {refusal.reply}; {Client.PROVEN.value} is not"
            )
        elif not proven.refusal.relaying:
            yield f"{Client.OUTSIDE.value} is refused: {refusal.reply}"
        else:
            yield f"every client is refused: {refusal.reply}"
    asked = list(dict.fromkeys(answer.not_asked))
    if asked:
        yield f"the door also asks what depends on the client: {', '.join(asked[:8])}"
