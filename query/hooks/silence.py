"""Senders that usually write, and when they have been silent for too long.

What is named: an address, an @domain, ``login:NAME`` or ``client:ADDRESS``. Too long is what the
hook says, else learned: half as long again as the second longest pause of the last three weeks,
which one holiday or one outage does not lengthen. Time in which nothing was recorded does not
count: nobody can say that they were silent then. Raises UsageError for a name that means nothing,
and what the reader raises.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Final, NamedTuple

from journal import keys
from journal.reader import Reader
from journal.records import Cover, Gap
from journal.terms import value_of, values
from query.filters import client_ip, mailbox

LEARN_US: Final = 21 * keys.DAY_US
LEAST_SPAN_US: Final = 3 * keys.DAY_US
LEAST_PAUSES: Final = 5
LEAST_LIMIT_US: Final = keys.HOUR_US
MOST_HEARD: Final = 50_000
"""Messages that are learned from, the newest."""
MOST_WRONG: Final = 8
"""Hits of the index that may be somebody else's, before it is given up."""
_IMPORT: Final = "import"


class Usual(NamedTuple):
    """Who usually writes."""

    text: str  # as configured
    kind: bytes
    value: bytes

    @classmethod
    def of(cls, text: str) -> "Usual":
        """The meaning of a text."""
        if text.startswith("client:"):
            return cls(text, keys.CLIENT_IP, client_ip(text.removeprefix("client:")))
        if text.startswith("login:"):
            return cls(text, keys.LOGIN, mailbox(text.removeprefix("login:")))
        name = mailbox(text)
        if name[:1] == b"@":
            return cls(text, keys.SENDER_DOMAIN, name[1:])
        return cls(text, keys.SENDER, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A sender that is silent for longer than usual."""

    usual: str
    last_at_us: int | None  # None: never heard of
    silent_us: int
    expected_us: int
    learned: bool


def learned_us(times: Iterable[int]) -> int | None:
    """How long a pause may be, from the times of messages; None: too few."""
    known = sorted(times, reverse=True)
    pauses = sorted(later - earlier for later, earlier in pairwise(known))
    if len(pauses) < LEAST_PAUSES or known[0] - known[-1] < LEAST_SPAN_US:
        return None
    return max(LEAST_LIMIT_US, pauses[-2] * 3 // 2)


def recorded_us(known: Iterable[Cover | Gap], since_us: int, until_us: int) -> int:
    """How much of a time any source of this server's own was recording."""
    spans = sorted(
        (max(each.begin_us, since_us), min(each.end_us, until_us))
        for each in known
        if isinstance(each, Cover) and each.source != _IMPORT
    )
    total, reached = 0, since_us
    for begin, end in spans:
        if end > reached:
            total += end - max(begin, reached)
            reached = end
    return total


def last_us(reader: Reader, usual: Usual) -> int | None:
    """When it was last heard of."""
    wanted = value_of(usual.kind, usual.value)
    for message_id, _ in islice(reader.hits(usual.kind, usual.value), MOST_WRONG):
        message = reader.message(message_id)
        if message is not None and wanted in values(message):
            return message.time_us
    return None


def learn(reader: Reader, usual: Usual, now_us: int) -> int | None:
    """How long its pauses may be, from the journal's index."""
    found = reader.hits(usual.kind, usual.value, now_us - LEARN_US)
    return learned_us(keys.id_time_us(id) for id, _ in islice(found, MOST_HEARD))


def judge(
    usual: Usual,
    last: int | None,
    *,
    since_us: int,
    now_us: int,
    limit_us: int,
    learned: bool,
    known: Iterable[Cover | Gap],
) -> Silence | None:
    """The silence, where it is one; a sender that was never heard of counts from ``since_us``."""
    begin = since_us if last is None else last
    if now_us - begin <= limit_us:
        return None
    silent_us = recorded_us(known, begin, now_us)
    if silent_us <= limit_us:
        return None
    return Silence(
        usual=usual.text,
        last_at_us=last,
        silent_us=silent_us,
        expected_us=limit_us,
        learned=learned,
    )
