"""From a draft to the row that is reported: status, reply, times. Raises nothing."""

from collections.abc import Callable
from typing import Any, Final

from journal import agents, kinds, status
from journal.draft import DISCARDS, TERMINAL, Draft
from journal.events import Event
from journal.legs import (
    D_DAEMON,
    D_DELAY,
    D_ENHANCED,
    D_OUTCOME,
    D_RELAY,
    D_TEXT,
    HOLD_ACTIONS,
    O_ACTION,
    O_CODE,
    O_ENHANCED,
    O_TEXT,
    Leg,
)
from journal.locality import Locality, direction
from journal.records import Recipient, Status

LetGo = Callable[[Event], int]
"""How many of the attempts for a delivery's recipient were let go (``journal.fold``)."""

ENDED: Final = TERMINAL | {b"answered"}
_REJECTED: Final = int(Status.REJECTED)
_new: Final[Any] = tuple.__new__  # what Recipient(...) calls, without the call between


def finished(row: Draft, *, origin: bool | None, locality: Locality, let_go: LetGo) -> Recipient:
    """The row as it is reported."""
    attempt = row.terminal or _latest(row.attempts)
    filed, folder = agents.filing(row.filed, locality) if row.filed else (b"", b"")
    fate = status.decide(_facts(row, attempt, filed))
    gone = let_go(row.attempts[0]) if row.attempts else 0
    tries = sum(_is_try(event.fields) for event in row.attempts)
    total = row.before + tries + gone
    daemon = attempt.fields[D_DAEMON] if attempt else b"lmtp" if row.filed else b""
    code, enhanced, text = _reply(row, attempt)
    if row.late is not None and fate.reason == "late_bounce":
        code, enhanced, text = None, b"", row.late.fields[3] or text
    final = row.final if fate.status != _REJECTED else None
    reported: Recipient = _new(Recipient, (
        row.recipient,
        final,
        fate.status,
        fate.reason,
        folder or None,
        text or None,
        code,
        enhanced or None,
        _relay(attempt),
        min(total, 200),
        total > 200,
        _done_at(row, attempt, fate),
        _milliseconds(attempt.fields[D_DELAY]) if attempt else None,
        direction(origin, locality.inside_domain(final or row.recipient, daemon)),
    ))  # fmt: skip
    return reported


def _is_try(fields: tuple[bytes, ...]) -> bool:
    """Whether somebody tried to deliver, and did not only say that he waits or gives up."""
    return fields[D_OUTCOME] != b"queued" and not fields[D_TEXT].startswith(status.NOT_TRIED)


def _latest(attempts: list[Event]) -> Event | None:
    """The last attempt; one that was made, where there is one, tells more than a wait."""
    waiting: Event | None = None
    for event in reversed(attempts):
        if event.fields[D_OUTCOME] == b"deferred":
            if not event.fields[D_TEXT].startswith(status.NOT_TRIED):
                return event
            waiting = waiting or event
    return waiting or (attempts[-1] if attempts else None)


def _facts(row: Draft, attempt: Event | None, filed: bytes) -> status.Facts:
    """What the rule table may look at."""
    leg = row.leg
    told = leg.by_kind
    held = _held(leg, row.attempts)
    keeper = agents.keeper(row) if leg.verdicts else None
    daemon = enhanced = text = outcome = b""
    if attempt is not None:
        fields = attempt.fields
        daemon, enhanced, text = fields[D_DAEMON], fields[D_ENHANCED], fields[D_TEXT]
        outcome = fields[D_OUTCOME]
    door = code = b""
    if row.door is not None and outcome not in TERMINAL:
        code, enhanced, text, door = _door(row.door)
    return status.Facts(
        outcome,
        daemon,
        enhanced,
        text,
        door,
        code,
        kinds.DELETED in told,
        kinds.EXPIRED in told,
        held,
        leg.whole,
        kinds.REMOVED in told,
        filed,
        keeper.fields[1] if keeper is not None else b"",
        row.late is not None,
    )


def _door(event: Event) -> tuple[bytes, bytes, bytes, bytes]:
    """Reply code, enhanced status, text and kind of a refusal, by whoever told of it."""
    fields = event.fields
    if event.kind == kinds.RCPT:
        return b"", fields[4], fields[5], b"reject"
    kind = b"discard" if fields[O_ACTION] in DISCARDS else b"reject"
    return fields[O_CODE], fields[O_ENHANCED], fields[O_TEXT], kind


def _held(leg: Leg, attempts: list[Event]) -> bytes:
    """Who holds the message now; b"" where nobody does."""
    hold = leg.by_kind.get(kinds.HELD)
    by, since = (hold.fields[0], hold.at_us) if hold else (b"", 0)
    for door in leg.doors:
        if door.fields[O_ACTION] in HOLD_ACTIONS and door.at_us >= since:
            since = door.at_us
            by = b"milter" if door.fields[O_ACTION] == b"milter-hold" else b"smtpd"
    if not by:
        return b""
    release = leg.by_kind.get(kinds.RELEASED)
    if release is not None and release.at_us >= since:
        return b""
    if attempts and attempts[-1].at_us > since:
        return b""
    return by


def _reply(row: Draft, attempt: Event | None) -> tuple[int | None, bytes, bytes]:
    """Reply code, enhanced status and text of what set the status."""
    if row.door is not None and (attempt is None or attempt.fields[D_OUTCOME] not in TERMINAL):
        code, enhanced, text, _ = _door(row.door)
        return (int(code) if code.isdigit() else None), enhanced, text
    if attempt is None:
        return None, b"", b""
    text = attempt.fields[D_TEXT]
    return reply_code(text), attempt.fields[D_ENHANCED], text


_BEHIND_CODE: Final = frozenset({b"", b" ", b"-"})


def reply_code(text: bytes) -> int | None:
    """The three digits of the SMTP reply inside a delivery text (RFC 5321 4.2), if one is there."""
    at = status.reply_at(text)
    if at < 0:
        return None
    text = text[at:]
    code = text[:3]
    if len(code) == 3 and code.isdigit() and b"2" <= code[:1] <= b"5":
        return int(code) if text[3:4] in _BEHIND_CODE else None
    return None


def _relay(attempt: Event | None) -> bytes | None:
    relay = attempt.fields[D_RELAY] if attempt else b""
    return None if relay in (b"", b"none") else relay


def _done_at(row: Draft, attempt: Event | None, fate: status.Fate) -> int | None:
    """When the status became final, None while it is not."""
    if fate.status not in status.FINAL:
        return None
    if row.late is not None and fate.reason == "late_bounce":
        return row.late.at_us
    if attempt is not None and attempt.fields[D_OUTCOME] in ENDED:
        return attempt.at_us
    if row.door is not None:
        return row.door.at_us
    if row.filed:
        return row.filed[-1].at_us
    keeper = agents.keeper(row) if row.leg.verdicts else None
    if keeper is not None:
        return keeper.at_us
    for kind in (kinds.DELETED, kinds.EXPIRED):
        event = row.leg.by_kind.get(kind)
        if event is not None:
            return event.at_us
    return None


def _milliseconds(delay: bytes) -> int | None:
    """Postfix writes a delay in seconds with up to two decimals."""
    try:
        return round(float(delay) * 1000)
    except (ValueError, OverflowError):  # "inf" is a number to Python
        return None
