"""Applies the plan to a Postfix and takes it back, with a proof that mail flows before and after.

What was is kept before anything is changed, so that what a crash left half done is brought to its
end by the next --apply, and can be undone. Raises UnavailableError where mail does not flow
(main.cf is then as it was), SettingsError, OSError.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Final

from posttrail import milter_socket, milters
from posttrail.errors import UnavailableError
from posttrail.milters import LISTS
from posttrail.postconf import split
from query.setup import kept
from query.setup.kept import Kept
from query.setup.mailer import Mailer
from query.setup.plan import Change, Ours
from query.setup.proof import Proof, prove

LISTENS_S: Final = 2.0
SEEN_S: Final = 5.0
TRIES: Final = 3
"""A process that began before the reload may still take a mail, by the old settings."""
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the work is done with."""

    mailer: Mailer
    ours: Ours
    file: Path  # what is kept
    spool: Path  # of posttrail-milterd
    test_mail: bool = True
    recipient: str = ""  # of test mails; "": an address whose mail is thrown away


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of it."""

    changes: tuple[Change, ...]  # as they were made
    before: Proof | None = None  # None: Postfix does not run, or no test mail is wanted
    after: Proof | None = None
    seen: bool | None = None  # by posttrail-milterd; None: not looked for


def is_unfinished(place: Place) -> bool:
    """Was an earlier setup cut off?"""
    known = kept.load(place.file, place.mailer.directory)
    return known is not None and not known.done


def apply(place: Place, changes: tuple[Change, ...]) -> Done:
    """Make the changes, or leave all as it was."""
    mailer = place.mailer
    known = kept.load(place.file, mailer.directory)
    before = _proof(place)
    if before is not None and not before.flows:
        raise UnavailableError(f"nothing is changed, for mail does not flow now: {before.said}")
    text = mailer.text()
    now = Kept(changes=changes, main_cf=text) if known is None else _more(known, changes, text)
    kept.save(place.file, mailer.directory, now)
    try:
        if changes:
            mailer.change(changes)
        now = changed(now, sha256=kept.digest(mailer.text()) if now.main_cf else "")
        kept.save(place.file, mailer.directory, now)
        after, seen = _take_up(place)
    except BaseException:
        mailer.write(text)
        kept.save(place.file, mailer.directory, known)
        if mailer.is_running():
            mailer.reload()
        raise
    kept.save(place.file, mailer.directory, changed(now, done=True))
    return Done(changes=changes, before=before, after=after, seen=seen)


def undo(place: Place) -> Done:
    """Take back what setup did; of what somebody else wrote since only our own word goes."""
    mailer = place.mailer
    known = kept.load(place.file, mailer.directory)
    if known is not None and known.sha256 == kept.digest(mailer.text()):
        mailer.write(known.main_cf)
        changes = tuple(changed(one, before=one.after, after=one.before) for one in known.changes)
    else:
        changes = back(known.changes if known else (), mailer.written(), place.ours)
        mailer.change(changes)
    mailer.check()
    if mailer.is_running():
        mailer.reload()
    kept.save(place.file, mailer.directory, None)
    return Done(changes=changes, after=_proof(place) if changes else None)


def back(made: tuple[Change, ...], written: Mapping[str, str], ours: Ours) -> tuple[Change, ...]:
    """What undoes the changes where main.cf was edited meanwhile, or where nothing was kept."""
    found = []
    known = {each.name: each for each in made}
    for name in dict.fromkeys([*known, *LISTS]):
        now, was = written.get(name), known.get(name)
        after: str | None
        if now is None:
            continue
        if was is not None and now == was.after:
            after = was.before
        elif name in LISTS:
            after = milters.without(now, ours.has)
            if after == now:
                continue
            if not split(after) and (was is None or was.before is None):
                after = None
        else:
            continue  # somebody else decided since
        found.append(Change(name=name, before=now, after=after, why="as it was without posttrail"))
    return tuple(found)


def _more(known: Kept, changes: tuple[Change, ...], text: str) -> Kept:
    """An earlier setup's changes and further ones: what was first is what undo gives back.

    main.cf is known as it was before all of them where nobody has edited it since.
    """
    first = {each.name: each for each in known.changes}
    for each in changes:
        was = first.get(each.name)
        first[each.name] = each if was is None else changed(each, before=was.before)
    is_as_we_left_it = text == known.main_cf or known.sha256 == kept.digest(text)
    return Kept(changes=tuple(first.values()), main_cf=known.main_cf if is_as_we_left_it else "")


def _take_up(place: Place) -> tuple[Proof | None, bool | None]:
    """The last test mail, and whether the milter saw it."""
    mailer = place.mailer
    mailer.check()
    if not mailer.is_running():
        return None, None
    mailer.reload()
    listens = _listens(place)
    for _ in range(TRIES):
        after = _proof(place)
        if after is not None and not after.flows:
            raise UnavailableError(
                f"main.cf is as it was, for mail did not flow then: {after.said}"
            )
        if after is None or after.message_id is None:
            return after, None
        if not listens:
            return after, False
        if _seen(place, after.message_id):
            return after, True
    raise UnavailableError(
        f"main.cf is as it was, for posttrail-milterd listens on {place.ours.socket}, and no test"
        f" mail came into its spool {place.spool}; try: posttrail doctor --only milter"
    )


def _proof(place: Place) -> Proof | None:
    if not place.test_mail or not place.mailer.is_running():
        return None
    return prove(place.mailer.settings(), str(place.mailer.directory), place.recipient)


def _listens(place: Place) -> bool:
    """Is anybody at the milter's socket?"""
    try:
        milter_socket.connect(place.ours.socket, LISTENS_S).close()
    except OSError:
        return False
    return True


def _seen(place: Place, message_id: str) -> bool:
    """Whether the spool has the mail; posttrail-milterd writes it after its reply."""
    deadline = time.monotonic() + SEEN_S
    while True:
        try:
            if message_id.encode() in (place.spool / "current").read_bytes():
                return True
        except OSError:
            pass  # it is renamed when it is full
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
