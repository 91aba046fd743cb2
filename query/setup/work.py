"""Applies the plan to a Postfix and takes it back, with a proof that mail flows before and after.

What was is kept before anything is changed, so that a crash in between can be undone. Raises
UnavailableError where mail does not flow (main.cf is then as it was), SettingsError, OSError.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from posttrail.errors import UnavailableError
from posttrail.postconf import SettingsError
from query.setup import kept, plan
from query.setup.kept import Kept
from query.setup.mailer import Mailer
from query.setup.plan import Change
from query.setup.proof import Proof, prove

SEEN_S: Final = 5.0
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the work is done with."""

    mailer: Mailer
    ours: str  # the milter's endpoint, as Postfix names it
    file: Path  # what is kept
    spool: Path  # of posttrail-milterd
    recipient: str | None  # of test mails; None: none are sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of it."""

    changes: tuple[Change, ...]  # as they were made
    before: Proof | None = None  # None: Postfix does not run, or no test mail is wanted
    after: Proof | None = None
    seen: bool | None = None  # by posttrail-milterd; None: not looked for


def apply(place: Place, changes: tuple[Change, ...]) -> Done:
    """Make the changes, or leave all as it was."""
    mailer = place.mailer
    before = _proof(place)
    if before is not None and not before.flows:
        raise UnavailableError(f"nothing is changed, for mail does not flow now: {before.said}")
    text = mailer.text()
    known = kept.load(place.file, mailer.directory)
    now = Kept(changes=changes, main_cf=text, sha256="") if known is None else _more(known, changes)
    kept.save(place.file, mailer.directory, now)
    try:
        mailer.change(changes)
        after = _take_up(place)
    except (UnavailableError, SettingsError):
        mailer.write(text)
        if mailer.is_running():
            mailer.reload()
        kept.save(place.file, mailer.directory, known)
        raise
    if known is None or now.sha256:
        now = replace(now, sha256=kept.digest(mailer.text()))
        kept.save(place.file, mailer.directory, now)
    return Done(changes=changes, before=before, after=after, seen=_seen(place, after))


def undo(place: Place) -> Done:
    """Take back what setup did; of what somebody else wrote since only our own word goes."""
    mailer = place.mailer
    known = kept.load(place.file, mailer.directory)
    if known is not None and kept.digest(mailer.text()) == known.sha256:
        mailer.write(known.main_cf)
        changes = tuple(replace(one, before=one.after, after=one.before) for one in known.changes)
    else:
        changes = back(known.changes if known else (), mailer.written(), place.ours)
        mailer.change(changes)
    mailer.check()
    if mailer.is_running():
        mailer.reload()
    kept.save(place.file, mailer.directory, None)
    return Done(changes=changes, after=_proof(place) if changes else None)


def back(made: tuple[Change, ...], written: Mapping[str, str], ours: str) -> tuple[Change, ...]:
    """What undoes the changes where main.cf was edited meanwhile, or where nothing was kept."""
    found = []
    known = {each.name: each for each in made}
    for name in dict.fromkeys([*known, *plan.LISTS]):
        now, was = written.get(name), known.get(name)
        after: str | None
        if now is None:
            continue
        if was is not None and now == was.after:
            after = was.before
        elif name in plan.LISTS:
            after = plan.without(now, ours) or (was.before if was is not None else None)
            if plan.same(now, after):
                continue
        else:
            continue  # somebody else decided since
        found.append(Change(name=name, before=now, after=after, why="as it was without posttrail"))
    return tuple(found)


def _more(known: Kept, changes: tuple[Change, ...]) -> Kept:
    """An earlier setup's changes and further ones: what was first is what undo gives back."""
    first = {each.name: each for each in known.changes}
    for each in changes:
        was = first.get(each.name)
        first[each.name] = each if was is None else replace(each, before=was.before)
    return Kept(changes=tuple(first.values()), main_cf="", sha256="")


def _take_up(place: Place) -> Proof | None:
    mailer = place.mailer
    mailer.check()
    if not mailer.is_running():
        return None
    mailer.reload()
    after = _proof(place)
    if after is not None and not after.flows:
        raise UnavailableError(f"main.cf is as it was, for mail did not flow then: {after.said}")
    return after


def _proof(place: Place) -> Proof | None:
    if place.recipient is None or not place.mailer.is_running():
        return None
    return prove(place.mailer.settings(), str(place.mailer.directory), place.recipient)


def _seen(place: Place, proof: Proof | None) -> bool | None:
    """Whether the spool has the mail; posttrail-milterd writes it after its reply."""
    if proof is None or proof.queue_id is None:
        return None
    deadline = time.monotonic() + SEEN_S
    while True:
        try:
            if proof.queue_id.encode() in (place.spool / "current").read_bytes():
                return True
        except OSError:
            return False
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
