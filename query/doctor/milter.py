"""Is the milter there, does it speak, and may the mail server reach it?

Nothing is sent to it but a negotiation (``posttrail.milter_socket``). Raises nothing.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from posttrail import smtp_doors
from posttrail.milter_socket import negotiate, socket_path
from posttrail.postconf import Settings
from query.doctor import access
from query.doctor.access import Account, Entry
from query.doctor.finding import Finding, Seen
from query.doctor.names import check
from query.doctor.place import POSTFIX, Place

TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was seen of the socket."""

    name: str  # as the configuration has it
    socket: Entry | None  # None: it is no Unix socket
    folders: tuple[Entry, ...] = ()
    answer: str = ""  # "version 6", "" none
    error: str = ""  # why there was none
    denied: bool = False  # we may not connect


def gather(place: Place) -> Facts:
    """Look at the socket, and speak to it."""
    name = place.config.milter.socket
    path = socket_path(name)
    folders = access.way(path) if path is not None else ()
    seen = access.entry(path) if path is not None else None
    try:
        answer = f"version {negotiate(name, TIMEOUT_S)}"
    except PermissionError as error:
        return Facts(name=name, socket=seen, folders=folders, error=str(error), denied=True)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return Facts(name=name, socket=seen, folders=folders, error=why)
    return Facts(name=name, socket=seen, folders=folders, answer=answer)


def run(place: Place) -> list[Finding]:
    """The checks of this family."""
    facts = gather(place)
    start = place.restart("milterd")
    findings = [there(facts, start), answers(facts, start)]
    if place.mta == POSTFIX and place.postfix is not None:
        inside = place.setting("milter.socket", f'"unix:{place.queue}/posttrail/milter.sock"')
        move = (inside, start)
        user = access.account(place.postfix.get("mail_owner") or "postfix")
        findings.append(reached(facts, user, place.postfix, place.queue, move))
    else:
        findings.append(check("milter-reach").unchecked(place.no_postfix))
    return findings


def there(facts: Facts, start: str) -> Finding:
    """Is there a socket?"""
    this = check("milter-socket")
    if facts.socket is None:
        return this.ok("the milter listens on a port, there is no socket to look at",
                       Seen("milter.socket", facts.name))  # fmt: skip
    seen = Seen(facts.socket.path, str(facts.socket))
    if facts.socket.kind == "socket":
        return this.ok("the milter's socket is there", seen)
    if facts.socket.kind == "hidden":
        return this.unchecked("the folder of the milter's socket may not be entered: run as root",
                              seen)  # fmt: skip
    if facts.socket.there:
        return this.problem("what has the name of the milter's socket is no socket", seen,
                            mend=(f"rm {shlex.quote(facts.socket.path)}", start))  # fmt: skip
    folder = facts.folders[-1]
    if not folder.there:
        return this.problem(
            "the folder of the milter's socket is not there", Seen(folder.path, str(folder)),
            mend=("systemd-tmpfiles --create posttrail.conf", start),
        )  # fmt: skip
    return this.problem(
        "the milter's socket is not there: posttrail-milterd does not run", seen, mend=start
    )


def answers(facts: Facts, start: str) -> Finding:
    """Does a milter answer at it?"""
    this = check("milter-answers")
    seen = Seen(facts.name, facts.answer or facts.error)
    if facts.answer:
        return this.ok("the milter answers the negotiation", seen)
    if facts.denied:
        return this.unchecked("only the mail server's group may connect: run as root", seen)
    if facts.socket is not None and facts.socket.kind != "socket":
        return this.unchecked("there is no socket to speak to", seen)
    return this.problem("nobody answers the milter's negotiation in time", seen, mend=start)


def reached(
    facts: Facts,
    user: Account | None,
    settings: Settings,
    queue: Path,
    move: tuple[str, ...],
) -> Finding:
    """May Postfix's user connect, also from within the queue directory?

    ``move``: the commands that put the socket into it.
    """
    this = check("milter-reach")
    if facts.socket is None:
        return this.ok(
            "a port of this machine is open to the mail server", Seen("milter.socket", facts.name)
        )
    if user is None:
        return this.unchecked("Postfix's user (mail_owner) is not known here")
    path = Path(facts.socket.path)
    jailed = smtp_doors.chrooted(settings)
    if jailed and queue not in path.parents:
        return this.problem(
            "chrooted services cannot see a socket outside of the queue directory",
            Seen("master.cf", f"chroot: {', '.join(jailed)}"),
            Seen("milter.socket", str(path)),
            mend=move,
        )
    closed = access.barred(facts.folders, user)
    if closed is not None:
        return this.problem(
            f"the user {user.name} may not enter a folder on the way to the milter's socket",
            Seen(closed.path, str(closed)),
            mend=_opened(closed, user, ours=Path(closed.path) == path.parent),
        )
    if not facts.socket.there:
        return this.unchecked("there is no socket to reach", Seen(str(path), str(facts.socket)))
    seen = Seen(str(path), str(facts.socket))
    quoted = shlex.quote(str(path))
    allowed = access.may(facts.socket, user, access.READ | access.WRITE)
    if allowed is None:
        return this.unchecked("an access control list decides (getfacl)", seen)
    if not allowed:
        return this.problem(
            f"the user {user.name} may not connect to the milter's socket", seen,
            mend=(f"chgrp {_group(user)} {quoted}", f"chmod 660 {quoted}"),
        )  # fmt: skip
    return this.ok(f"the user {user.name} may connect to the milter's socket", seen)


def _opened(folder: Entry, user: Account, *, ours: bool) -> tuple[str, ...]:
    """Commands that let the user into a folder: ours belongs to its group, others are for all."""
    path = shlex.quote(folder.path)
    if ours:
        return (f"chgrp {_group(user)} {path}", f"chmod 2750 {path}")
    return (f"chmod o+x {path}",)


def _group(user: Account) -> str:
    """The user's own group, which has its name where there is one."""
    names = sorted(map(access.group, user.gids))
    return user.name if user.name in names or not names else names[0]
