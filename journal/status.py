"""The rule table: which facts make which of the six statuses, and why.

Everything that decides a status stands here and nowhere else; docs/statuses.md
explains it to operators. The words looked for are those of Postfix's own texts
and of the replies common on the net; numbers are RFC 5321 reply codes and
RFC 3463 enhanced status codes. Nothing here raises.
"""

from typing import Final, NamedTuple

from journal.records import Status
from journal.texts import holds

_Table = tuple[tuple[str, tuple[bytes, ...], tuple[bytes, ...]], ...]

# reason, enhanced status codes without their class, words in the lower-cased text.
# The first line that fits wins, so the special stands before the general.
REFUSAL_WORDS: Final[_Table] = (
    ("greylisted", (), (b"greylist", b"graylist", b"grey-list", b"postgrey")),
    ("virus", (), (b"virus", b"malware", b"infected", b"eicar")),
    (
        "blocklist",
        (),
        (
            b"blocked using", b"blocklist", b"block list", b"blacklist", b"black list",
            b"denylist", b"dnsbl", b"in an rbl", b"reputation", b" listed at ", b"blackhole",
            b" is listed ", b"been listed", b"currently listed",
        ),
    ),
    (
        "relay_denied",
        (),
        (
            b"relay access denied", b"relaying denied", b"unable to relay", b"relay not permitted",
            b"relaying not allowed", b"not configured to relay", b"do not relay",
            b"relay prohibited", b"relaying prohibited", b"no relaying", b"permitted to relay",
            b"allowed to relay",
        ),
    ),
    ("spam", (), (b"spam", b"junk", b"unsolicited", b"rejected, ube")),  # the last is amavisd's
    (
        "size",
        (b"3.4", b"2.3"),
        (
            b"size limit", b"message size", b"maximum size", b"too large", b"too big",
            b"exceeds maximum",
        ),
    ),
    (
        "unknown_user",
        (b"1.1", b"1.10"),
        (
            b"unrouteable address",  # Exim
            b"user unknown", b"unknown user", b"no such user", b"undeliverable address",
            b"user not found", b"user does not exist", b"user doesn't have",
            b"recipient unknown", b"unknown recipient", b"recipient not found",
            b"no such recipient", b"invalid recipient", b"recipient does not exist",
            b"no such mailbox", b"mailbox not found", b"mailbox does not exist",
            b"no mailbox here", b"invalid mailbox", b"account does not exist",
            b"address unknown", b"unknown address", b"mailbox unknown", b"unknown mailbox",
            b"unknown local", b"no such address", b"no such account", b"no such person",
            b"not a known user", b"not a valid mailbox", b"recipnotfound",
        ),
    ),
)  # fmt: skip

PERMANENT_WORDS: Final[_Table] = (("unknown_user", (), (b"mailbox unavailable",)),)
"""Words of RFC 5321 4.2.2 for 550 that mean something else after 450: busy."""

DEFERRAL_WORDS: Final[_Table] = (
    ("suspended", (), (b"delivery temporarily suspended", b"retry time not reached")),
    ("greylisted", (b"7.25",), (b"greylist", b"graylist", b"grey-list", b"postgrey")),
    (
        "quota",
        (b"2.2",),
        (
            b"quota", b"mailbox full", b"mailbox is full", b"mailbox too full",
            b"insufficient storage", b"out of storage", b"storage limit", b"mailbox size",
            b"inbox is full", b"account is full",
        ),
    ),
    (
        "dns",
        (b"1.2", b"4.3", b"4.4"),
        (
            b"name service error", b"host not found", b"host or domain name not found",
            b"host unknown", b"unknown host", b"domain is not reachable", b"name server: ",
            b"lookup of host", b"host lookup did not complete",  # Exim
            b"failed to lookup ip address", b"missing mx",
            b"no such domain", b"unrouteable mail domain",
        ),
    ),
    (
        "connection",
        (b"4.1", b"4.2"),
        (
            b"connect to ",
            b"connection timed out",
            b"connection refused",
            b"connection reset",
            b"connection dropped",
            b"operation timed out",
            b"lost connection",
            b"conversation with",
            b"timed out while",
            b"no route to host",
            b"network is unreachable",
            b"refused to talk to me",
            b"tls is required",
            b"remote host closed connection",  # Exim
            b"smtp timeout after",
            b"host is unreachable",
            b"tls session",
        ),
    ),
)  # fmt: skip

KEPT_WORDS: Final = (
    b" blocked (",
    b"discarded, id=",
    b"ok, discarded",
    b"virus detected; discarded email",
    b"block mail to <",
)
"""How filters say that they took a message and gave it to nobody."""

LOOP_CODES: Final = (b"4.6",)
LOOP_WORDS: Final = (
    b"loops back to myself",
    b"loops back to me",
    b"mail forwarding loop",
    b"too many hops",
    b"mail loop",
)

EXPIRY_ENDS: Final = (b"retry timeout exceeded",)  # Exim (retry.c, smtp.c)
BOUNCE_WORDS: Final[_Table] = (
    ("looped", LOOP_CODES, LOOP_WORDS),
    ("expired", (), (b"have been failing for a long time",)),  # Exim (smtp.c)
)
NOT_TRIED: Final = (b"retry time not reached", b"retry timeout exceeded")
"""How Exim says that a message waits, or that it gives up; nothing was tried."""

_EXIM_SAID: Final = (b"SMTP error from remote ", b"LMTP error after ", b"Malformed SMTP reply ")

STORING: Final = frozenset({b"local", b"virtual", b"lmtp"})
"""Delivery agents that put mail into a mailbox of this server (local(8), virtual(8), lmtp(8))."""

_DELIVERED: Final = int(Status.DELIVERED)  # plain numbers: this runs for every row
_IN_PROGRESS: Final = int(Status.IN_PROGRESS)
_FILTERED: Final = int(Status.FILTERED)
_DEFERRED: Final = int(Status.DEFERRED)
_REJECTED: Final = int(Status.REJECTED)
_ERROR: Final = int(Status.ERROR)

FINAL: Final = frozenset({_DELIVERED, _FILTERED, _REJECTED, _ERROR})


class Fate(NamedTuple):
    """What the rules say of one row."""

    status: int
    reason: str


class Facts:
    """All that the rules may look at; every text is wire bytes.

    ``outcome`` is the deciding attempt's (the last terminal one, else the last),
    ``b""`` without attempt. ``door`` is what was said of the whole message at the
    SMTP door: ``b""``, ``b"reject"`` or ``b"discard"``.
    """

    __slots__ = (
        "daemon", "deleted", "door", "enhanced_status", "expired", "filed", "held", "late",
        "outcome", "queued", "removed", "reply_code", "text", "verdict",
    )  # fmt: skip

    def __init__(
        self,
        outcome: bytes = b"",
        daemon: bytes = b"",
        enhanced_status: bytes = b"",
        text: bytes = b"",
        door: bytes = b"",
        reply_code: bytes = b"",
        deleted: bool = False,
        expired: bool = False,
        held: bytes = b"",
        queued: bool = False,
        removed: bool = False,
        filed: bytes = b"",
        verdict: bytes = b"",
        late: bool = False,
    ) -> None:
        self.outcome = outcome
        self.daemon = daemon
        self.enhanced_status = enhanced_status
        self.text = text
        self.door = door
        self.reply_code = reply_code
        self.deleted = deleted
        self.expired = expired
        self.held = held  # b"milter": a filter's quarantine; else who holds it; b"" not held
        self.queued = queued  # the queue manager, pickup, or the milter's end of message saw it
        self.removed = removed
        self.filed = filed  # what the final agent did: a key of FILED
        self.verdict = verdict  # a filter kept it: b"quarantine" or b"discard"
        self.late = late  # a bounce came back after delivery


def _by_words(table: _Table, enhanced_status: bytes, text: bytes, default: str) -> str:
    """The first reason of a table whose code or word fits, else ``default``."""
    code = enhanced_status.partition(b".")[2]
    lowered = _said(text).lower()
    for reason, codes, words in table:
        if code in codes:
            return reason
        for word in words:
            if holds(lowered, word):
                return reason
    return default


def _said(text: bytes) -> bytes:
    """What a host said, without its own name and without addresses: names are no reasons."""
    said = text.rfind(b" said: ")
    if said >= 0:
        text = text[said + 7 :]
    elif text.startswith(_EXIM_SAID):
        text = text[max(reply_at(text), 0) :]
    while (begin := text.find(b"<")) >= 0 and (end := text.find(b">", begin)) >= 0:
        text = text[:begin] + text[end + 1 :]
    return text


def reply_at(text: bytes) -> int:
    """Where the other side's reply begins in a delivery text; -1 where it holds none."""
    if text[:3].isdigit():
        return 0
    said = text.find(b" said: ")
    if said >= 0:
        return said + 7
    if not text.startswith(_EXIM_SAID):
        return -1
    # "SMTP error from remote mail server after RCPT TO:<A>: [host H [IP]: ]550 no such user"
    at = text.find(b":<", 0, 80)
    at = max(text.find(b">", at), 0) if at >= 0 else 0
    for _ in range(4):
        at = text.find(b": ", at)
        if at < 0:
            return -1
        at += 2
        if text[at : at + 3].isdigit() and text[at + 3 : at + 4] in (b" ", b"-", b""):
            return at
    return -1


def refusal(reply_code: bytes, enhanced_status: bytes, text: bytes) -> str:
    """Why the SMTP door refused: a reason of status ``rejected``."""
    temporary = reply_code.startswith(b"4") or (
        not reply_code and (enhanced_status.startswith(b"4") or text.startswith(b"temporarily "))
    )
    if temporary:
        return _by_words(REFUSAL_WORDS, enhanced_status, text, "temporary")
    default = _by_words(PERMANENT_WORDS, b"", text, "policy")
    return _by_words(REFUSAL_WORDS, enhanced_status, text, default)


def deferral(enhanced_status: bytes, text: bytes) -> str:
    """Why the last try failed for now: a reason of status ``deferred``."""
    return _by_words(DEFERRAL_WORDS, enhanced_status, text, "other")


def bounce(enhanced_status: bytes, text: bytes) -> str:
    """How delivery failed for good: a reason of status ``error``."""
    if text.endswith(EXPIRY_ENDS):
        return "expired"
    return _by_words(BOUNCE_WORDS, enhanced_status, text, "bounced")


FILED: Final = {
    b"stored": Fate(_DELIVERED, "stored"),
    b"junk": Fate(_FILTERED, "junk"),
    b"rejected": Fate(_ERROR, "bounced"),  # RFC 5429: after acceptance the sender gets a notice
    b"discarded": Fate(_FILTERED, "discarded"),
    b"forwarded": Fate(_DELIVERED, "relayed"),
}


def _ended(facts: Facts) -> Fate:
    """The mail left the queue: where did it end, and did it come back?"""
    fate = FILED.get(facts.filed) or _sent(facts)
    if facts.late and fate.status == _DELIVERED:
        return Fate(_ERROR, "late_bounce")
    return fate


_DISCARDS: Final = frozenset((b"discard", b"qmgr", b"nqmgr", b"oqmgr"))
"""discard(8); qmgr(8), which ends a mail by discarding it only (double_bounce_sender)."""


def _sent(facts: Facts) -> Fate:
    """A delivery agent said ``status=sent``: where did the mail end?"""
    if facts.daemon in _DISCARDS:
        return Fate(_FILTERED, "discarded")
    if facts.daemon == b"local":
        if facts.text in (b"discarded", b"delivered to file: /dev/null"):  # aliases(5)
            return Fate(_FILTERED, "discarded")
        if facts.text.startswith((b"delivered to command", b'"|')):  # the latter before 2.3
            return Fate(_DELIVERED, "piped")
    if facts.daemon == b"pipe":
        return Fate(_DELIVERED, "piped")
    lowered = facts.text.lower()
    # A content filter takes a message with 2xx and keeps it: amavisd, Proxmox, clamsmtpd.
    if holds(lowered, b"quarantine"):
        return Fate(_FILTERED, "quarantined")
    if lowered.endswith(b", bounce") and holds(lowered, b" ok, id="):  # amavisd tells the sender
        return Fate(_ERROR, "bounced")
    if _is_kept(lowered):
        return Fate(_FILTERED, "quarantined" if facts.verdict == b"quarantine" else "discarded")
    if facts.daemon in STORING:
        return Fate(_DELIVERED, "stored")
    return Fate(_DELIVERED, "relayed")


def _is_kept(lowered: bytes) -> bool:
    """Whether a filter says that it took the message and gave it to nobody."""
    for words in KEPT_WORDS:  # noqa: SIM110 - this runs for every message
        if holds(lowered, words):
            return True
    return False


def decide(facts: Facts) -> Fate:
    """The status of a row, from its facts. The first rule that fits wins."""
    if facts.outcome == b"sent" or (facts.filed and not facts.outcome):
        return _ended(facts)
    if facts.outcome == b"bounced":
        return Fate(_ERROR, bounce(facts.enhanced_status, facts.text))
    if facts.door == b"reject":
        return Fate(_REJECTED, refusal(facts.reply_code, facts.enhanced_status, facts.text))
    if facts.door == b"discard":
        return Fate(_FILTERED, "discarded")
    if facts.deleted:
        return Fate(_ERROR, "deleted")
    if facts.expired:
        return Fate(_ERROR, "expired")
    if facts.verdict:
        return Fate(_FILTERED, "quarantined" if facts.verdict == b"quarantine" else "discarded")
    if facts.held:
        if facts.held == b"milter":
            return Fate(_FILTERED, "quarantined")
        return Fate(_IN_PROGRESS, "held")
    if facts.outcome == b"deferred":
        return Fate(_DEFERRED, deferral(facts.enhanced_status, facts.text))
    if facts.outcome == b"answered" and facts.removed:  # Exim: a program's answer was all
        return Fate(_DELIVERED, "piped")
    if facts.queued and not facts.removed:
        return Fate(_IN_PROGRESS, "queued")
    return Fate(_IN_PROGRESS, "unknown")
