"""What final agents and filters did with a row's mail, by their own logs.

Dovecot's session (LMTP, LDA) is a leg without a queue file: a delivery's reply names it, or
its user is the row's. A filter's verdict counts for a row where it says that it kept the mail.
Raises nothing.
"""

from typing import Final

from journal import address
from journal.draft import Draft
from journal.events import Event
from journal.legs import D_DAEMON, D_NEXT, F_ACTION, F_FOLDER, F_USER, Leg
from journal.locality import Locality

HANDING: Final = frozenset({b"lmtp", b"pipe", b"local"})
"""Delivery agents that may hand over to a final agent with a log of its own."""

KEEPING: Final = frozenset({b"quarantine", b"discard"})
_V_VERDICT, _V_RECIPIENT = 1, 5


def filed(rows: list[Draft], sessions: list[Leg]) -> list[Draft]:
    """The rows with what the final agent did; rows of their own where it alone speaks."""
    for leg in sessions:
        for row in rows:
            if leg.is_agents and any(
                event.fields[D_NEXT] == leg.queue_id for event in row.attempts
            ):
                named = [event for event in leg.filed if row.is_for(event.fields[F_USER])]
                row.filed += named or leg.filed
    loose = [
        event
        for leg in sessions
        if leg.previous is None or not leg.is_agents
        for event in leg.filed
    ]
    if not rows:
        return _alone(loose, sessions[0])
    for row in rows:
        attempt = row.terminal
        if not row.filed and attempt is not None and attempt.fields[D_DAEMON] in HANDING:
            row.filed += [event for event in loose if row.is_for(event.fields[F_USER])]
    return rows


def _alone(events: list[Event], leg: Leg) -> list[Draft]:
    """A row a user, where no queue manager spoke."""
    users: dict[bytes, Draft] = {}
    for event in events:
        user = event.fields[F_USER]
        key = address.fold(user)
        if key not in users:
            users[key] = Draft(user or None, user or None, leg)
        users[key].filed.append(event)
    return list(users.values())


def filing(events: list[Event], locality: Locality) -> tuple[bytes, bytes]:
    """What the final agent did in all, in one word, and the folder it stored in.

    A script may do several things (RFC 5228 2.10.6): a copy in a folder for mail counts most.
    """
    done: dict[bytes, bytes] = {}
    for event in events:
        action, folder = event.fields[F_ACTION], event.fields[F_FOLDER]
        if action == b"stored" and locality.is_junk(folder):
            action = b"junk"
        done.setdefault(action, folder)
    for action in (b"stored", b"junk", b"rejected", b"forwarded", b"discarded"):
        if action in done:
            return action, done[action]
    return b"", b""


def keeper(row: Draft) -> Event | None:
    """The verdict by which a filter kept this row's mail: a quarantine, else a discard."""
    found: Event | None = None
    for event in row.leg.verdicts:
        fields = event.fields
        if fields[_V_VERDICT] not in KEEPING:
            continue
        recipient = fields[_V_RECIPIENT] if len(fields) > _V_RECIPIENT else b""
        if recipient and not row.is_for(recipient):
            continue
        if found is None or fields[_V_VERDICT] == b"quarantine":
            found = event
    return found
