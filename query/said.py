"""A row in plain words: what its reason means, and what the other side's reply means.

The sentences are the source of the translations (``query.language``). Pure; raises nothing.
"""

from typing import Final

from query.explain import Explanation, explain
from query.language import Language
from query.rows import Row

STATUSES: Final = {
    "delivered": "delivered",
    "in_progress": "in progress",
    "deferred": "deferred",
    "error": "error",
    "rejected": "rejected",
    "filtered": "filtered",
}
MEANINGS: Final = {
    "delivered": "It was stored, or the next server took it.",
    "in_progress": "It was accepted; there is no word yet of what became of it.",
    "deferred": "The last try failed for now; it is tried again by itself.",
    "error": "It failed for good after it was accepted.",
    "rejected": "It was refused at the door; the sending server was told.",
    "filtered": "It was accepted and kept from the inbox.",
}
REASONS: Final = {
    "stored": "stored in the mailbox",
    "relayed": "taken by the next server",
    "piped": "given to a program",
    "queued": "waits in the queue",
    "held": "held by the operator",
    "unknown": "no word yet of what became of it",
    "greylisted": "asked to come again later (greylisting)",
    "connection": "the other server cannot be reached",
    "dns": "the domain cannot be found at the moment",
    "quota": "the mailbox is full",
    "suspended": "put off, for that server failed before",
    "other": "put off by the other side",
    "bounced": "returned to the sender",
    "expired": "given up after trying for days",
    "looped": "went in circles",
    "deleted": "deleted from the queue by the operator",
    "late_bounce": "delivered, and came back later",
    "policy": "refused by a rule",
    "blocklist": "the sending host is on a block list",
    "unknown_user": "there is no such mailbox",
    "relay_denied": "this server does not pass it on",
    "spam": "taken for spam",
    "virus": "a scanner found a virus",
    "size": "too large",
    "temporary": "refused for now",
    "junk": "put into a folder for junk",
    "quarantined": "kept in quarantine",
    "discarded": "thrown away by a filter",
}
"""Every reason token of journal.records."""
_IN_FOLDER: Final = {
    "stored": "stored in the folder %(folder)s",
    "junk": "put into the folder %(folder)s",
}
_EXPLAINED: Final = frozenset({"deferred", "error", "rejected"})


def reason(row: Row, language: Language) -> str:
    """The reason in words; the folder is named where one is known."""
    if row.folder and row.reason in _IN_FOLDER:
        return language(_IN_FOLDER[row.reason]) % {"folder": row.folder}
    return language(REASONS.get(row.reason, row.reason))


def explanation(row: Row) -> Explanation | None:
    """What the reply means, of what did not get through."""
    if row.status not in _EXPLAINED or not (row.reply or row.enhanced_status or row.reply_code):
        return None
    return explain(
        row.reply or "",
        enhanced_status=row.enhanced_status,
        reply_code=row.reply_code,
        final=row.status == "error",
    )


def sentences() -> list[str]:
    """Every sentence of this module, for the catalogue."""
    tables = (STATUSES, MEANINGS, REASONS, _IN_FOLDER)
    return list(dict.fromkeys(sentence for table in tables for sentence in table.values()))
