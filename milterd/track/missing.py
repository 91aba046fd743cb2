"""What a rebuild did not bring back: ids of before are led to where their messages are now.

An id that is found nowhere, while its queue file now has another, becomes a tombstone that leads
to that message: what was put aside names both in its index (journal/salvage.py). So links and
cursors hold. Raises what journal.writer raises.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from journal import codec
from journal.keys import HASH_BITS
from journal.salvage import TELLING, Salvage
from journal.writer import Writer

TERM_BYTES: Final = 7


class Led(NamedTuple):
    """What came of the ids that were missing."""

    missing: Sequence[bytes] = ()  # they lead nowhere; sorted
    renamed: int = 0  # they lead to a message that has another id now
    lost_links: int = 0  # merged into others, who knows which
    is_whole: bool = False  # all that was put aside is back: no id is missing or unknown


def lead(
    writer: Writer, day: int, salvages: Sequence[Salvage], leads: Mapping[bytes, bytes]
) -> Led:
    """Lead the ids of a day of before, and commit; ``leads``: tombstones that could be read."""
    prefix = day.to_bytes(2, "big")
    ids = {prefix + key for salvage in salvages for key in salvage.ids()}
    missing = {message_id for message_id in ids if not writer.committed.has(message_id)}
    for message_id in list(missing):
        into = leads.get(message_id)
        if into is not None and writer.committed.has(into):
            writer.lead(message_id, into)
            missing.discard(message_id)
    renamed = lost = 0
    if missing:
        named, indexed = _named(prefix, salvages, missing)
        lost = len(missing - indexed)
        missing &= indexed
        renamed = _rename(writer, day, ids, named, missing)
    writer.commit()
    is_whole = not missing and not lost and all(map(_is_known, salvages))
    return Led(sorted(missing), renamed, lost, is_whole)


def _is_known(salvage: Salvage) -> bool:
    """Whether every id that was there was seen."""
    return salvage.entries() == len(salvage.ids())


def _named(
    prefix: bytes, salvages: Sequence[Salvage], missing: set[bytes]
) -> tuple[dict[bytes, set[bytes]], set[bytes]]:
    """Missing ids by the terms that tell a message, and those that have any term."""
    named: dict[bytes, set[bytes]] = {}
    indexed: set[bytes] = set()
    for salvage in salvages:
        for term, key in salvage.terms({each[2:] for each in missing}):
            indexed.add(prefix + key)
            if term[:1] in TELLING:
                named.setdefault(term, set()).add(prefix + key)
    return named, indexed


def _rename(
    writer: Writer,
    day: int,
    ids: set[bytes],
    named: Mapping[bytes, set[bytes]],
    missing: set[bytes],
) -> int:
    """Lead missing ids to messages that have new ones; those found are taken out, and counted."""
    before = len(missing)
    for message_id, body in writer.committed.bodies(day):
        if message_id in ids or codec.merged_into(message_id, body) is not None:
            continue
        message = codec.decode_message(message_id, body)
        own = {key[:TERM_BYTES] for key in writer.entries(message) if key[:1] in TELLING}
        found = {each for term in own for each in named.get(term, ())} & missing
        if found:
            near = min(found, key=lambda each: abs(_ms(each) - _ms(message_id)))
            writer.lead(near, message_id)
            missing.discard(near)
    return before - len(missing)


def _ms(message_id: bytes) -> int:
    """The millisecond of the day of an id."""
    return int.from_bytes(message_id[2:], "big") >> HASH_BITS
