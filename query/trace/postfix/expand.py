"""What cleanup(8) makes of a recipient: canonical tables, masquerading, virtual aliases, BCC.

The order is that of ADDRESS_REWRITING_README. A table that cannot be read ends the step in
UNKNOWN with postmap's words. Virtual aliases are followed as cleanup does: the first result takes
the place of the address, the others are put behind it, an address that expanded into itself is
not expanded again, and the two limits end it all with 4.6.0. Raises ``WalkTooLongError``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from query.trace.postfix import keys
from query.trace.postfix.slots import TOO_DEEP, Slot, stopped
from query.trace.postfix.tables import Found, TableError
from query.trace.postfix.world import MOST_DEPTH, World, unknown
from query.trace.tree import Node, Step

CANONICAL_ROUNDS: Final = 10
Then = Callable[[str], Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """One cleanup(8) service and what the way in lets it do."""

    world: World
    service: str = "cleanup/unix"
    map_ok: bool = True  # receive_override_options has no no_address_mappings
    bcc_ok: bool = True  # mail that local(8) forwards gets no further BCC
    seen: set[tuple[str, str]] = field(default_factory=set)  # (original recipient, final one)

    def words(self, name: str) -> tuple[str, ...]:
        return self.world.settings.words(name, self.service)

    def recipient(self, address: str, then: Then) -> Node:
        """The way of a recipient through cleanup; ``then`` is asked for each final address."""
        rewritten = self.world.rewrite(address)
        original = rewritten.casefold()
        following = self._mapped(rewritten, original, then)
        return self._from(address, rewritten, following)

    def _from(self, address: str, rewritten: str, following: Node) -> Node:
        """The spoken form above the completed one, if they differ by more than case."""
        if address.casefold() == rewritten.casefold():
            return following
        text = f"completed to {keys.external(rewritten)}"
        node = self.world.node(address, Step.REWRITE, source=self.world.router.source, text=text)
        return replace(node, children=(following,))

    def _mapped(self, address: str, original: str, then: Then) -> Node:
        if not self.map_ok:
            return self._bcc(address, original, self._once(address, original, then), then)
        return self._canonical(address, original, then, _canonical_lists(self, "recipient"))

    def _canonical(
        self, address: str, original: str, then: Then, lists: Sequence[tuple[str, ...]]
    ) -> Node:
        steps: list[tuple[str, Found]] = []
        for maps in lists:
            try:
                made, address = self._canonical_of(address, maps)
            except TableError as error:
                return _chain(self.world, steps, unknown(address, str(error), maps=maps))
            steps += made
        end = self._masqueraded(address, original, then)
        return _chain(self.world, steps, end)

    def _canonical_of(
        self, address: str, maps: tuple[str, ...]
    ) -> tuple[list[tuple[str, Found]], str]:
        """Each address that was mapped, and by what, up to ten times; and the last one."""
        steps: list[tuple[str, Found]] = []
        for _ in range(CANONICAL_ROUNDS):
            found = self.world.find(maps, address)
            if found is None:
                break
            new = self._results(address, found, "canonical")
            if not new or new[0].casefold() == address.casefold():
                break
            steps.append((address, found[0]))
            self.world.spend()
            address = new[0]
        return steps, address

    def _results(self, address: str, found: tuple[Found, str], what: str) -> list[str]:
        """The addresses of a value, completed, with the extension where it is carried on."""
        value, unmatched = found[0].value, found[1]
        carried = what in self.words("propagate_unmatched_extensions")
        return [
            keys.with_extension(self.world.rewrite(each), unmatched if carried else "")
            for each in keys.results(value, address, unmatched)
        ]

    def sender(self, address: str) -> str:
        """The envelope sender as cleanup writes it; tables that cannot be read leave it alone."""
        if not address:
            return ""
        address = self.world.rewrite(address)
        if not self.map_ok:
            return address
        try:
            for maps in _canonical_lists(self, "sender"):
                _, address = self._canonical_of(address, maps)
        except TableError as error:
            self.world.notes.append(f"the sender is not mapped: {error}")
        if "envelope_sender" in self.words("masquerade_classes"):
            return self._masquerade(address)
        return address

    def _masqueraded(self, address: str, original: str, then: Then) -> Node:
        new = address
        if "envelope_recipient" in self.words("masquerade_classes"):
            new = self._masquerade(address)
        end = self._bcc(new, original, self._aliased(new, original, then), then)
        if new == address:
            return end
        text = f"masqueraded as {keys.external(new)}"
        return replace(self.world.node(address, Step.MASQUERADE, text=text), children=(end,))

    def _masquerade(self, address: str) -> str:
        """masquerade_domains: the first that is the domain or a parent of it decides."""
        local, domain = keys.split(address)
        if local in self.words("masquerade_exceptions"):
            return address
        for word in self.words("masquerade_domains"):
            name = word.lstrip("!").casefold()
            if domain.casefold() == name:
                return address
            if name and domain.casefold().endswith("." + name):
                kept = (len(word) - len(word.lstrip("!"))) % 2
                return address if kept else f"{local}@{name}"
        return address

    def _once(self, address: str, original: str, then: Then) -> Node:
        """A final recipient; the second of the same name is not delivered again."""
        place = (original if self._by_original else "", address.casefold())
        if place in self.seen:
            return self.world.node(address, Step.SAME, text="stands in this tree already")
        self.seen.add(place)
        return then(address)

    @property
    def _by_original(self) -> bool:
        return self.world.yes("enable_original_recipient", self.service)

    def _aliased(self, address: str, original: str, then: Then) -> Node:
        maps = self.words("virtual_alias_maps")
        if not maps:
            return self._once(address, original, then)
        tree = Slot(address)
        failed = self._expand(tree, maps)
        if failed is None:
            return self._built(tree, original, then)
        return stopped(self.world, tree, failed)

    def _expand(self, root: "Slot", maps: tuple[str, ...]) -> str | None:
        """The expansion after cleanup_map1n; the text of what ended it early, else None."""
        nesting = self.world.number("virtual_alias_recursion_limit", self.service, otherwise=1000)
        size = self.world.number("virtual_alias_expansion_limit", self.service, otherwise=1000)
        longest = self.world.number("virtual_alias_address_length_limit", otherwise=1000)
        slots, finished = [root], set[str]()
        for slot in slots:  # it grows
            if len(slots) > size:
                return f"more than {size} addresses (virtual_alias_expansion_limit)"
            visited: set[tuple[str, int]] = set()
            for count in range(nesting + 1):
                name = slot.address.casefold()
                if name in finished:
                    break
                if count == nesting or (name, len(finished)) in visited:
                    return f"nested more than {nesting} deep (virtual_alias_recursion_limit)"
                visited.add((name, len(finished)))
                if slot.depth > MOST_DEPTH:
                    return TOO_DEEP
                self._fill(slot, maps)
                if slot.trouble or not slot.children:
                    break
                if any(len(child.address) > longest for child in slot.children):
                    return f"longer than {longest} (virtual_alias_address_length_limit)"
                if any(child.address.casefold() == name for child in slot.children):
                    finished.add(name)
                slots += slot.children[1:]
                slot = slot.children[0]
        return None

    def _fill(self, slot: "Slot", maps: tuple[str, ...]) -> None:
        try:
            found = self.world.find(maps, slot.address)
        except TableError as error:
            slot.trouble = unknown(slot.address, str(error), maps=maps)
            return
        if found is not None:
            self.world.spend()
            slot.found = found[0]
            new = self._results(slot.address, found, "virtual")
            self._ahead(new, maps)
            slot.children = [Slot(each, depth=slot.depth + 1) for each in new]

    def _ahead(self, addresses: Sequence[str], maps: tuple[str, ...]) -> None:
        try:
            self.world.ahead(addresses, maps)
        except TableError:
            return  # whoever needs the table says so

    def _built(self, slot: "Slot", original: str, then: Then) -> Node:
        if slot.trouble is not None:
            return slot.trouble
        if slot.found is None:
            return self._once(slot.address, original, then)
        children = [self._built(child, original, then) for child in slot.children]
        return self.world.fired(slot.address, Step.VIRTUAL_ALIAS, slot.found, children)

    def _bcc(self, address: str, original: str, end: Node, then: Then) -> Node:
        """recipient_bcc_maps: one further recipient, which is looked up after virtual aliases."""
        maps = self.words("recipient_bcc_maps") if self.bcc_ok else ()
        if not maps:
            return end
        try:
            found = self.world.find(maps, address)
        except TableError as error:
            further = replace(unknown(address, str(error), maps=maps), step=Step.BCC)
            return Node(
                address=end.address,
                step=Step.BCC,
                children=(end, further),
                text="recipient_bcc_maps could not be read",
            )
        if found is None:
            return end
        copy = self.further(keys.internal(found[0].value), then)
        node = self.world.fired(address, Step.BCC, found[0], (end, copy))
        return replace(node, text=f"a copy goes to {found[0].value}")

    def further(self, address: str, then: Then) -> Node:
        """A BCC recipient: mapped like the others, but it gets no BCC of its own."""
        return replace(self, bcc_ok=False).recipient(address, then)


def _canonical_lists(cleanup: Cleanup, side: str) -> list[tuple[str, ...]]:
    """The tables of a side (sender, recipient) in their order, if the envelope is mapped."""
    lists = []
    own = cleanup.words(f"{side}_canonical_maps")
    if own and f"envelope_{side}" in cleanup.words(f"{side}_canonical_classes"):
        lists.append(own)
    common = cleanup.words("canonical_maps")
    if common and f"envelope_{side}" in cleanup.words("canonical_classes"):
        lists.append(common)
    return lists


def _chain(world: World, steps: list[tuple[str, Found]], end: Node) -> Node:
    for address, found in reversed(steps):
        end = world.fired(address, Step.CANONICAL, found, (end,))
    return end
