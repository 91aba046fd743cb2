"""Does the mail server ask the milter as it should? Decisions over its settings alone.

Postfix: postconf(5), master(5), MILTER_README. Sendmail: X lines and the option InputMailFilters
of sendmail.cf (Sendmail Installation and Operation Guide, 5.13). Pure but for ``run``.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from posttrail import milters, smtp_doors
from posttrail.milter_socket import socket_path
from posttrail.milters import LISTS, LONGEST_S, TIMES, Milter
from posttrail.postconf import Service, Settings
from posttrail.smtp_doors import handed_back, is_inner, passed_over
from query.doctor import mta_sendmail
from query.doctor.finding import Check, Finding, Seen
from query.doctor.names import check, checks
from query.doctor.place import EXIM, POSTFIX, SENDMAIL, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Settings of a Postfix, and which milter is ours."""

    settings: Settings
    queue: Path
    socket: str  # as posttrail.toml has it
    place: Place

    def list_of(self, name: str, service: str = "") -> list[Milter]:
        """The milters of a parameter, of one service where it has its own."""
        return list(map(milters.milter, self.settings.words(name, service)))

    def is_ours(self, each: Milter) -> bool:
        """Does it lead to the socket of posttrail.toml?"""
        return milters.is_ours(each.endpoint, self.socket, self.queue)

    def ours(self, among: Iterable[Milter]) -> Milter | None:
        """Ours among those of a list."""
        return next(filter(self.is_ours, among), None)

    def smtpd(self) -> Iterator[tuple[str, Service]]:
        """The services that speak SMTP to clients, as postconf -P names them."""
        return smtp_doors.smtpd(self.settings)

    def mine(self) -> str:
        """The line for our milter: as it stands somewhere, else as it should."""
        for name in LISTS:
            found = self.ours(self.list_of(name))
            if found is not None:
                return found.text
        return milters.entry(self.socket, self.queue)

    def written(self, name: str, words: Iterable[str]) -> str:
        """The command that sets a list."""
        return self.place.postconf("-e", f"{name} = {', '.join(words)}")


def run(place: Place) -> list[Finding]:
    """The checks of this family."""
    if place.mta == SENDMAIL:
        return mta_sendmail.run(place)
    if place.mta != POSTFIX or place.postfix is None:
        exim = "this is for Postfix: Exim asks no milters, its log tells"
        why = exim if place.mta == EXIM else place.no_postfix
        return [each.unchecked(why) for each in checks("mta")]
    view = View(
        settings=place.postfix,
        queue=place.queue,
        socket=place.config.milter.socket,
        place=place,
    )
    return [decide(view) for decide in DECISIONS]


def listed(view: View) -> Finding:
    """Do both lists have us?"""
    this = check("milter-list")
    missing = [name for name in LISTS if view.ours(view.list_of(name)) is None]
    if "smtpd_milters" in missing and all(
        view.ours(view.list_of("smtpd_milters", name)) is not None
        for name, _ in view.smtpd()
        if not passed_over(view.settings, name)
    ):
        missing.remove("smtpd_milters")
    seen = [Seen(name, view.settings.get(name) or "empty") for name in LISTS]
    if not missing:
        return this.ok("Postfix asks posttrail about mail by SMTP and mail of local users", *seen)
    others = {
        name: [each.text for each in view.list_of(name) if "posttrail" not in each.endpoint]
        for name in missing
    }
    mend = [view.written(name, [*others[name], view.mine()]) for name in missing]
    elsewhere = [name for name in missing if "posttrail" in view.settings.get(name)]
    if elsewhere:
        seen.append(Seen("milter.socket", view.socket))
        said = f"{' and '.join(elsewhere)} names another socket than posttrail-milterd listens on"
        return this.problem(said, *seen, mend=mend)
    if "smtpd_milters" in missing:
        return this.problem("Postfix does not ask posttrail about mail by SMTP", *seen, mend=mend)
    return this.warning(
        "Postfix does not ask posttrail about mail of local users", *seen, mend=mend
    )


def last(view: View) -> Finding:
    """Is nobody behind us?"""
    this = check("milter-last")
    behind, mend = [], []
    for name in LISTS:
        asked = view.list_of(name)
        ours = view.ours(asked)
        if ours is not None and asked[-1] != ours:
            behind.append(Seen(name, view.settings.get(name)))
            order = [each.text for each in asked if each != ours]
            mend.append(view.written(name, [*order, ours.text]))
    if behind:
        return this.warning(
            "what the milters behind posttrail decide is not seen", *behind, mend=mend
        )
    return _found_or_not(view, this, "posttrail is the last of the milters")


def default_action(view: View) -> Finding:
    """Does mail flow when we are not there?"""
    this = check("milter-default-action")
    wrong, mend = [], []
    for name, ours in _everywhere(view):
        action = ours.setting("default_action", view.settings.get("milter_default_action"))
        if action != "accept":
            wrong.append(Seen(name, f"default_action={action}: {ours.text}"))
            mend.append(_mended(view, name, ours))
    if wrong:
        return this.problem(
            "when posttrail-milterd does not run, Postfix does not take mail", *wrong, mend=mend
        )
    return _found_or_not(view, this, "when posttrail-milterd does not run, mail flows on")


def timeouts(view: View) -> Finding:
    """How long may we hold a session?"""
    this = check("milter-timeouts")
    wrong, mend = [], []
    for name, ours in _everywhere(view):
        long = _long(view, ours)
        if long:
            told = ", ".join(f"{each}_timeout={text}" for each, text in long.items())
            wrong.append(Seen(name, told))
            mend.append(_mended(view, name, ours))
    if wrong:
        return this.warning(
            f"a milter that hangs would hold each session for more than {LONGEST_S} s",
            *wrong, mend=mend,
        )  # fmt: skip
    return _found_or_not(view, this, "the timeouts of the milter are short")


def unix(view: View) -> Finding:
    """Is it a Unix socket?"""
    this = check("milter-unix")
    if socket_path(view.socket) is None:
        return this.warning(
            "over inet: each message takes some 40 ms longer than over unix:",
            Seen("milter.socket", view.socket),
            mend=(view.place.setting("milter.socket", f'"unix:{view.queue}/posttrail/milter.sock"'),
                  view.place.restart("milterd")),
        )  # fmt: skip
    return this.ok("the milter has a Unix socket", Seen("milter.socket", view.socket))


def overrides(view: View) -> Finding:
    """Has a service of master.cf a list of its own without us?"""
    this = check("milter-overrides")
    without = []
    for name, service in view.smtpd():
        own = view.settings.overrides.get(name, {})
        if "smtpd_milters" not in own or passed_over(view.settings, name):
            continue
        if view.ours(view.list_of("smtpd_milters", name)) is None and not is_inner(service):
            without.append((name, own["smtpd_milters"]))
    if without:
        return this.warning(
            "mail that enters at a service with a list of its own is not seen by posttrail",
            *(Seen(f"master.cf {name}", f"-o smtpd_milters={value}") for name, value in without),
            mend=[view.place.postconf("-PX", f"{name}/smtpd_milters") for name, _ in without],
        )  # fmt: skip
    said = "no service with clients from outside has a list of its own without posttrail"
    return this.ok(said, *(Seen("master.cf", name) for name, _ in view.smtpd()))


def reinjection(view: View) -> Finding:
    """Does mail that a filter gives back pass us by?"""
    this = check("milter-reinjection")
    seen, mend = [], []
    back = handed_back(view.settings)
    for name, _ in back:
        if not passed_over(view.settings, name) and view.ours(view.list_of("smtpd_milters", name)):
            kept = view.settings.words("receive_override_options", name)
            seen.append(Seen(f"master.cf {name}", "no receive_override_options=no_milters"))
            value = ",".join((*kept, "no_milters"))
            mend.append(view.place.postconf("-P", f"{name}/receive_override_options={value}"))
    if seen:
        return this.warning(
            "mail that a filter gives back passes the milters twice", *seen, mend=mend
        )
    if back:
        said = "mail that a filter gives back does not pass the milters again"
        return this.ok(said, *(Seen("master.cf", name) for name, _ in back))
    said = "no port for mail that a filter gives back"
    return this.ok(said, *(Seen("master.cf", name) for name, _ in view.smtpd()))


def long_ids(view: View) -> Finding:
    """Do queue ids never come again?"""
    bad = "short queue ids come again, so messages have to be told apart by time"
    good = "queue ids do not come again"
    return _switch(view, "long-queue-ids", "enable_long_queue_ids", good=good, bad=bad)


def client_port(view: View) -> Finding:
    """Does the log name the client's port?"""
    bad = "without the client's port a refusal is joined by address and time only"
    good = "the log names clients' ports"
    return _switch(view, "client-port", "smtpd_client_port_logging", good=good, bad=bad)


DECISIONS: Final = (
    listed, last, default_action, timeouts, unix, overrides, reinjection, long_ids, client_port,
)  # fmt: skip


def _switch(view: View, name: str, parameter: str, *, good: str, bad: str) -> Finding:
    this, value = check(name), view.settings.get(parameter)
    if value == "yes":
        return this.ok(good, Seen(parameter, value))
    return this.warning(
        bad,
        Seen(parameter, value or "not set"),
        mend=view.place.postconf("-e", f"{parameter} = yes"),
    )


def _everywhere(view: View) -> Iterator[tuple[str, Milter]]:
    """Our entry of each list, and of each service that has its own."""
    places = [(name, name, "") for name in LISTS]
    for service, own in view.settings.overrides.items():
        places += [(f"master.cf {service} {name}", name, service) for name in LISTS if name in own]
    for where, name, service in places:
        ours = view.ours(view.list_of(name, service))
        if ours is not None:
            yield where, ours


def _long(view: View, ours: Milter) -> dict[str, str]:
    """The timeouts of our entry that are too long."""
    times = {
        each: ours.setting(f"{each}_timeout", view.settings.get(f"milter_{each}_timeout"))
        for each in TIMES
    }
    return {each: text for each, text in times.items() if milters.is_long(text)}


def _mended(view: View, where: str, ours: Milter) -> str:
    """The command that gives our entry of a list all the settings that it should have."""
    own = {**ours.own, "default_action": "accept"}
    for each in _long(view, ours):
        own[f"{each}_timeout"] = TIMES[each]
    text = f"{{ {', '.join((ours.endpoint, *(f'{key}={value}' for key, value in own.items())))} }}"
    name, service = where, ""
    if where.startswith("master.cf "):
        service, _, name = where.removeprefix("master.cf ").rpartition(" ")
    asked = [text if each == ours else each.text for each in view.list_of(name, service)]
    if not service:
        return view.written(name, asked)
    # postconf -P takes no blanks: the list gets a parameter of its own
    parameter = f"{re.sub(r'[^a-z0-9]+', '_', service.lower()).strip('_')}_{name}"
    first = view.written(parameter, asked).partition(" && ")[0]
    return f"{first} && {view.place.postconf('-P', f'{service}/{name}=${parameter}')}"


def _found_or_not(view: View, this: Check, said: str) -> Finding:
    found = [Seen(where, ours.text) for where, ours in _everywhere(view)]
    return this.ok(said, *found) if found else this.unchecked("Postfix does not ask posttrail")
