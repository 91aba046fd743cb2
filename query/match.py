"""What a report asks for, and whether a message and a row answer it.

The index only proposes; this module decides. Raises what the reader raises.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from journal.address import DELIMITERS, domain, fold, mailbox
from journal.reader import Reader
from journal.records import Message, Recipient, Status
from journal.tokens import Hashing
from query.when import Window

PENDING: Final = frozenset({int(Status.IN_PROGRESS), int(Status.DEFERRED)})
"""The statuses that are not final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a report asks for; names are folded (``journal.address``), None means any.

    ``address``, ``sender`` and ``recipient`` are mailboxes (with their subaddresses), or domains
    with "@" in front.
    """

    window: Window
    address: bytes | None = None  # to or from it
    sender: bytes | None = None
    recipient: bytes | None = None
    login: bytes | None = None
    message_id: bytes | None = None
    queue_id: bytes | None = None
    client_ip: bytes | None = None
    text: str | None = None  # casefolded
    statuses: frozenset[int] = frozenset()
    reasons: frozenset[str] = frozenset()
    directions: frozenset[int] = frozenset()
    silent_for_us: int | None = None  # not final, and nothing heard of it for so long
    now_us: int = 0
    delimiters: bytes = DELIMITERS  # a mailbox is its subaddresses, too
    hashing: Hashing | None = field(default=None, compare=False, repr=False)  # of old days


def message_test(query: Query, reader: Reader) -> Callable[[Message], bool]:
    """Whether a message answers what the query asks of the message as a whole."""
    tests: list[Callable[[Message], bool]] = []
    sender, login, ip, parting = query.sender, query.login, query.client_ip, query.delimiters
    queue_id, message_id, silent_us = query.queue_id, query.message_id, query.silent_for_us
    if sender is not None:
        senders = called(query, sender)
        tests.append(lambda m: m.sender is not None and _any(senders, m.sender, parting))
    if login is not None:
        logins = called(query, login)
        tests.append(lambda m: m.login is not None and _any(logins, m.login, b""))
    if message_id is not None:
        ids = ids_of(query, message_id)
        tests.append(lambda m: m.message_id in ids)
    if queue_id is not None:
        tests.append(lambda m: queue_id in m.queue_ids or queue_id in m.next_queue_ids)
    if ip is not None:
        tests.append(lambda m: m.client_ip is not None and m.client_ip.lower() == ip)
    if silent_us is not None:
        tests.append(lambda m: any(row.status in PENDING for row in m.rows))
        tests.append(lambda m: _last_word_us(reader, m) <= query.now_us - silent_us)
    return lambda message: all(test(message) for test in tests)


def row_test(query: Query) -> Callable[[Message, Recipient], bool]:
    """Whether a row answers what the query asks of a row."""
    tests: list[Callable[[Message, Recipient], bool]] = []
    name, recipient, text = query.address, query.recipient, query.text
    parting = query.delimiters
    if name is not None:
        known = called(query, name)
        tests.append(
            lambda m, r: (
                (bool(m.sender) and _any(known, m.sender or b"", parting)) or _to(known, r, parting)
            )
        )
    if recipient is not None:
        wanted = called(query, recipient)
        tests.append(lambda _, r: _to(wanted, r, parting))
    if query.silent_for_us is not None:
        tests.append(lambda _, r: r.status in PENDING)
    if query.statuses:
        tests.append(lambda _, r: r.status in query.statuses)
    if query.reasons:
        tests.append(lambda _, r: r.reason in query.reasons)
    if query.directions:
        tests.append(lambda _, r: r.direction in query.directions)
    if text is not None:
        tests.append(lambda m, r: any(text in word for word in _words(m, r)))
    return lambda message, row: all(test(message, row) for test in tests)


def called(query: Query, pattern: bytes) -> tuple[bytes, ...]:
    """Under which names a mailbox, login or domain stands in a journal: old days have tokens."""
    if query.hashing is None or not pattern:
        return (pattern,)
    return tuple(dict.fromkeys((pattern, query.hashing.alias(pattern))))


def ids_of(query: Query, message_id: bytes) -> tuple[bytes, ...]:
    """The same of a Message-ID."""
    return (message_id,) if query.hashing is None else (message_id, query.hashing.id(message_id))


def _any(patterns: tuple[bytes, ...], raw: bytes, delimiters: bytes) -> bool:
    return any(names(pattern, raw, delimiters) for pattern in patterns)


def names(pattern: bytes, raw: bytes, delimiters: bytes) -> bool:
    """Whether ``raw`` is the mailbox of a query, or in its domain."""
    if pattern[:1] == b"@":
        return domain(raw) == pattern[1:]
    folded = fold(raw)
    return folded == pattern or mailbox(folded, delimiters) == pattern


def _to(patterns: tuple[bytes, ...], row: Recipient, delimiters: bytes) -> bool:
    """Whether a row is for the mailbox or domain, by either of its recipients."""
    return any(
        name is not None and _any(patterns, name, delimiters)
        for name in (row.recipient, row.final_recipient)
    )


def _words(message: Message, row: Recipient) -> Iterator[str]:
    """What ``--text`` looks at."""
    for raw in (
        message.subject, message.sender, row.recipient, row.final_recipient, row.reply, row.relay,
        row.folder, message.message_id, message.client_name, message.helo, message.login,
    ):  # fmt: skip
        if raw:
            yield raw.decode("utf-8", "surrogateescape").casefold()


def _last_word_us(reader: Reader, message: Message) -> int:
    """When anything was last heard of a message."""
    record = reader.record(message.id)
    return max((event.at_us for event in record.events), default=0) if record else 0
