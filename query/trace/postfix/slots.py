"""An expansion of virtual aliases under way, and how one that is refused is shown.

cleanup(8) refuses the whole mail where an expansion breaks a limit (4.6.0). Pure but for the world
that counts nodes; raises nothing.
"""

from dataclasses import dataclass, field
from typing import Final

from query.trace.postfix import keys
from query.trace.postfix.tables import Found
from query.trace.postfix.world import MOST_DEPTH, World
from query.trace.tree import Node, Step, Verdict

MOST_SHOWN: Final = 20  # members of a list that is refused as a whole
TOO_DEEP: Final = f"not followed further: virtual aliases nested more than {MOST_DEPTH} deep"
EXPANSION_STATUS: Final = "4.6.0"
EXPANSION_TEXT: Final = "Alias expansion error: not accepted, the client is to try again later"


@dataclass(slots=True)
class Slot:
    """An address of the expansion, and what it was expanded to."""

    address: str
    found: Found | None = None
    children: list["Slot"] = field(default_factory=list)
    trouble: Node | None = None
    depth: int = 0


def stopped(world: World, root: Slot, why: str) -> Node:
    """The tree of an expansion that is refused, cut where an address comes again."""
    loop = _comes_again(root)
    verdict = Verdict.LOOP if loop else Verdict.TEMPORARY
    text = f"{EXPANSION_TEXT}: {why}"
    if why == TOO_DEEP and loop is None:
        verdict, text = Verdict.UNKNOWN, why
    if loop:
        text = f"{EXPANSION_TEXT}: {keys.external(loop)} leads back to itself"

    def shown(slot: Slot, above: tuple[str, ...]) -> Node:
        name = slot.address.casefold()
        if slot.found is not None and name not in above:
            children = [shown(child, (*above, name)) for child in slot.children[:MOST_SHOWN]]
            return world.fired(slot.address, Step.VIRTUAL_ALIAS, slot.found, children)
        return Node(
            address=keys.external(slot.address),
            step=Step.REJECT,
            verdict=verdict if loop is None or name in above else Verdict.TEMPORARY,
            enhanced_status=None if verdict is Verdict.UNKNOWN else EXPANSION_STATUS,
            text=text,
        )

    return shown(root, ())


def _comes_again(root: Slot) -> str | None:
    """The first address that stands below itself."""
    waiting: list[tuple[Slot, frozenset[str]]] = [(root, frozenset())]
    while waiting:
        slot, above = waiting.pop()
        name = slot.address.casefold()
        if name in above:
            return slot.address
        if slot.found is not None:
            others = [child for child in slot.children if child.address.casefold() != name]
            waiting += [(child, above | {name}) for child in others]
    return None
