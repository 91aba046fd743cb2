"""Does the mail server ask the milter as it should? Decisions over its settings alone.

Postfix: postconf(5), master(5), MILTER_README. Sendmail: X lines and the option InputMailFilters
of sendmail.cf (Sendmail Installation and Operation Guide, 5.13). Pure but for ``run``.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from query.doctor import mta_sendmail
from query.doctor.finding import Check, Finding, Seen
from query.doctor.milter import path_of
from query.doctor.names import check, checks
from query.doctor.place import EXIM, POSTFIX, SENDMAIL, Place
from query.trace.postfix.settings import Service, Settings, split

LISTS: Final = ("smtpd_milters", "non_smtpd_milters")
LONGEST_S: Final = 10
"""A milter that hangs holds each session so long; Postfix's own limits are 30, 30 and 300 s."""
OURS: Final = (
    "{ unix:posttrail/milter.sock, default_action=accept, connect_timeout=2s,"
    " command_timeout=5s, content_timeout=5s }"
)
_TIMES: Final = {"connect": "2s", "command": "5s", "content": "5s"}
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LOOPBACK: Final = ("127.", "[::1]", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One milter of a list."""

    text: str  # as it stands
    endpoint: str  # unix:PATH, inet:HOST:PORT
    own: dict[str, str]  # its own settings, in braces


def asked(word: str) -> Asked:
    """A word of smtpd_milters: an endpoint, or braces with an endpoint and settings."""
    if not word.startswith("{"):
        return Asked(text=word, endpoint=word, own={})
    parts = split(word[1:].removesuffix("}").replace("{", " ").replace("}", " "))
    own = dict(part.partition("=")[::2] for part in parts[1:])
    return Asked(text=word, endpoint=parts[0] if parts else "", own=own)


def seconds(text: str) -> int | None:
    """A time of Postfix (``5s``, ``2m``, ``30``) in seconds; None for what is none."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    return int(number) * _UNITS[unit] if number.isdecimal() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Settings of a Postfix, and which milter is ours."""

    settings: Settings
    queue: Path
    socket: str  # as posttrail.toml has it
    place: Place

    def list_of(self, name: str, service: str = "") -> list[Asked]:
        """The milters of a parameter, of one service where it has its own."""
        return list(map(asked, self.settings.words(name, service)))

    def is_ours(self, each: Asked) -> bool:
        """Does it lead to the socket of posttrail.toml?"""
        kind, _, rest = each.endpoint.partition(":")
        path = path_of(self.socket)
        if kind in ("unix", "local") and path is not None:
            return self.queue / rest == path
        if kind in ("inet", "inet6") and path is None:
            host, _, port = rest.rpartition(":")
            return self.socket == f"{kind}:{port}@{host}"
        return False

    def ours(self, among: Iterable[Asked]) -> Asked | None:
        """Ours among those of a list."""
        return next(filter(self.is_ours, among), None)

    def smtpd(self) -> Iterator[tuple[str, Service]]:
        """The services that speak SMTP to clients, as postconf -P names them."""
        for each in self.settings.services:
            if each.command == "smtpd" and each.type in ("inet", "pass", "unix"):
                yield f"{each.name}/{each.type}", each

    def mine(self) -> str:
        """The line for our milter: as it stands somewhere, else as it should."""
        for name in LISTS:
            found = self.ours(self.list_of(name))
            if found is not None:
                return found.text
        path = path_of(self.socket)
        if path is None:
            port, _, host = self.socket.partition(":")[2].partition("@")
            return OURS.replace("unix:posttrail/milter.sock", f"inet:{host}:{port}")
        inside = path.relative_to(self.queue) if self.queue in path.parents else path
        return OURS.replace("posttrail/milter.sock", str(inside))

    def written(self, name: str, milters: Iterable[str]) -> str:
        """The command that sets a list."""
        return self.place.postconf("-e", f"{name} = {', '.join(milters)}")


def run(place: Place) -> list[Finding]:
    """The checks of this family."""
    if place.mta == SENDMAIL:
        return mta_sendmail.run(place)
    if place.mta != POSTFIX or place.postfix is None:
        why = "Exim asks no milters: its log tells" if place.mta == EXIM else place.why_not
        return [each.unchecked(f"this is for Postfix: {why}") for each in checks("mta")]
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
        if not _passed_over(view, name)
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
        milters = view.list_of(name)
        ours = view.ours(milters)
        if ours is not None and milters[-1] != ours:
            behind.append(Seen(name, view.settings.get(name)))
            order = [each.text for each in milters if each != ours]
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
        action = ours.own.get("default_action") or view.settings.get("milter_default_action")
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
    if path_of(view.socket) is None:
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
        if "smtpd_milters" not in own or _passed_over(view, name):
            continue
        if view.ours(view.list_of("smtpd_milters", name)) is None and not _is_inner(service):
            without.append((name, own["smtpd_milters"]))
    if without:
        return this.warning(
            "mail that enters at a service with a list of its own is not seen by posttrail",
            *(Seen(f"master.cf {name}", f"-o smtpd_milters={value}") for name, value in without),
            mend=[view.place.postconf("-PX", f"{name}/smtpd_milters") for name, _ in without],
        )  # fmt: skip
    return this.ok("no service with clients from outside has a list of its own without posttrail")


def reinjection(view: View) -> Finding:
    """Does mail that a filter gives back pass us by?"""
    this = check("milter-reinjection")
    seen, mend = [], []
    back = _handed_back(view)
    for name, _ in back:
        if not _passed_over(view, name) and view.ours(view.list_of("smtpd_milters", name)):
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
    return this.ok("no port for mail that a filter gives back")


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


def _everywhere(view: View) -> Iterator[tuple[str, Asked]]:
    """Our entry of each list, and of each service that has its own."""
    places = [(name, name, "") for name in LISTS]
    for service, own in view.settings.overrides.items():
        places += [(f"master.cf {service} {name}", name, service) for name in LISTS if name in own]
    for where, name, service in places:
        ours = view.ours(view.list_of(name, service))
        if ours is not None:
            yield where, ours


def _long(view: View, ours: Asked) -> dict[str, str]:
    """The timeouts of our entry that are too long."""
    times = {
        each: ours.own.get(f"{each}_timeout") or view.settings.get(f"milter_{each}_timeout")
        for each in _TIMES
    }
    return {
        each: text for each, text in times.items() if (seconds(text) or LONGEST_S + 1) > LONGEST_S
    }


def _mended(view: View, where: str, ours: Asked) -> str:
    """The command that gives our entry of a list all the settings that it should have."""
    own = {**ours.own, "default_action": "accept"}
    for each in _long(view, ours):
        own[f"{each}_timeout"] = _TIMES[each]
    text = f"{{ {', '.join((ours.endpoint, *(f'{key}={value}' for key, value in own.items())))} }}"
    name, service = where, ""
    if where.startswith("master.cf "):
        service, _, name = where.removeprefix("master.cf ").rpartition(" ")
    milters = [text if each == ours else each.text for each in view.list_of(name, service)]
    if not service:
        return view.written(name, milters)
    # postconf -P takes no blanks: the list gets a parameter of its own
    parameter = f"{re.sub(r'[^a-z0-9]+', '_', service.lower()).strip('_')}_{name}"
    first = view.written(parameter, milters).partition(" && ")[0]
    return f"{first} && {view.place.postconf('-P', f'{service}/{name}=${parameter}')}"


def _found_or_not(view: View, this: Check, said: str) -> Finding:
    found = [Seen(where, ours.text) for where, ours in _everywhere(view)]
    return this.ok(said, *found) if found else this.unchecked("Postfix does not ask posttrail")


def _passed_over(view: View, service: str) -> bool:
    """Are milters switched off there on purpose?"""
    return "no_milters" in view.settings.words("receive_override_options", service)


def _is_inner(service: Service) -> bool:
    """Does it listen for this machine alone?"""
    return service.type != "inet" or service.name.startswith(_LOOPBACK)


def _handed_back(view: View) -> list[tuple[str, Service]]:
    """Services that take mail back from a filter: its target, or one on loopback without it."""
    targets = {
        address.rpartition("[")[2].replace("]", "")
        for service in ("", *view.settings.overrides)
        for address in (view.settings.get("smtpd_proxy_filter", service),)
        if address
    }
    filtered = any(
        view.settings.get("content_filter", name) for name in ("", *view.settings.overrides)
    )
    found = []
    for name, service in view.smtpd():
        own = view.settings.overrides.get(name, {})
        is_target = service.name in targets and service.type == "inet"
        is_end = filtered and own.get("content_filter") == "" and _is_inner(service)
        if is_target or (is_end and service.type == "inet"):
            found.append((name, service))
    return found
