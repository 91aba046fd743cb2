"""Which tables the first steps of a walk will ask, so that all are asked in one round.

What is asked too much costs no further process; what is forgotten is asked when it is needed.
Raises nothing: whoever needs a table that cannot be read says so.
"""

from collections.abc import Iterator

from query.trace.postfix import keys
from query.trace.postfix.hop import Hop
from query.trace.postfix.restrictions import access_tables
from query.trace.postfix.tables import TableError
from query.trace.postfix.world import World

_LISTED = {
    "local": "local_recipient_maps",
    "virtual_mailbox": "virtual_mailbox_maps",
    "relay": "relay_recipient_maps",
}


def first_round(world: World, hop: Hop, address: str) -> None:
    """Ask what door, cleanup(8) and the agent of the address itself will ask."""
    try:
        completed = world.rewrite(address)
        maps = dict.fromkeys(_rewriting(world, hop, completed))
        world.ahead([completed], list(maps), also=list(_at_the_door(world, hop, completed)))
    except TableError:
        return


def _rewriting(world: World, hop: Hop, address: str) -> Iterator[str]:
    words = world.settings.words
    for name in ("virtual_alias_maps", "recipient_canonical_maps", "canonical_maps"):
        yield from words(name, hop.cleanup)
        if hop.door:
            yield from words(name, hop.entry)
    if hop.bcc_ok:
        yield from words("recipient_bcc_maps", hop.cleanup)
    listed = _LISTED.get(world.resolve(address, "").address_class)
    if listed and hop.door:
        yield from words(listed, hop.entry)


def _at_the_door(world: World, hop: Hop, address: str) -> Iterator[tuple[str, str]]:
    if not hop.door:
        return
    parents = "smtpd_access_maps" in world.settings.words("parent_domain_matches_subdomains")
    wanted = keys.access_keys(address, world.delimiters, parents=parents)
    for table in access_tables(world.settings, hop.entry):
        yield from ((table, key) for key in wanted)
