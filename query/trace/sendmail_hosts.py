"""What Sendmail does with mailer, host and user: a mailbox, a file, a command, or hosts of SMTP.

Host lists are parted by colons or commas, each tried in order; ``[name]`` has no MX look-up, nor
has a mailer with flag 0 (Sendmail Installation and Operation Guide, 5.4). Raises nothing.
"""

from dataclasses import replace
from typing import Final

from query.trace import hosts, sendmail_cf
from query.trace.addresses import Names
from query.trace.hosts import Way
from query.trace.sendmail_cf import Cf, Mailer
from query.trace.sendmail_output import Deliverable
from query.trace.smtp import Smtp
from query.trace.tree import Node, Source, Step, Verdict

_USUAL: Final = frozenset({"smtp", "esmtp", "smtp8", "dsmtp", "relay"})
_LOOP: Final = "5.3.5"  # "mail loops back to me (MX problem?)"
_STATUS: Final = {
    "5.1.0": "5.1.10",
    "5.4.4": "5.1.2",
    "4.4.3": "4.4.3",
}  # null MX, no host, no answer


class Hosts:
    """Makes the ends of one trace."""

    def __init__(self, cf: Cf, names: Names, host_name: str) -> None:
        self._cf = cf
        self._names = names
        self._own = sendmail_cf.own_names(cf) | ({host_name.lower()} if host_name else set())
        self._by_dns = sendmail_cf.uses_dns(cf)

    def deliver(self, end: Deliverable) -> Node:
        """The node of an end."""
        base = Node(
            address=end.address, step=Step.DELIVER, source=Source.MTA, transport=end.mailer,
            nexthop=end.host or None,
        )  # fmt: skip
        match end.mailer:
            case "*file*" if end.user == "/dev/null":
                return replace(
                    base, step=Step.DISCARD, verdict=Verdict.DISCARDED, text="to /dev/null"
                )
            case "*file*":
                return replace(base, mailbox=end.user, text=f"to the file {end.user}")
            case "*error*":
                return _error(base, end)
            case "discard" | "*discard*":
                return replace(base, step=Step.DISCARD, verdict=Verdict.DISCARDED, text="discarded")
            case "prog":
                command = end.user.strip('"').removeprefix("|").strip()
                return replace(base, command=command, text=f"to the command {command}")
            case _:
                return self._mailer(base, end)

    def _mailer(self, base: Node, end: Deliverable) -> Node:
        mailer = self._cf.mailers.get(end.mailer)
        if mailer is None:
            usual = Mailer(name=end.mailer, path="[IPC]", arguments="TCP $h")
            if end.mailer in _USUAL:
                return self._remote(base, usual)
            mailer = replace(usual, path="")
        if mailer.connects and end.host:
            return self._remote(base, mailer)
        if mailer.name == "local" or mailer.socket:
            return replace(
                base, router="localuser", text="localuser to local delivery", nexthop=None,
                mailbox=mailer.socket or None,
            )  # fmt: skip
        return replace(
            base, command=mailer.path or None,
            text=f"to the mailer {mailer.name} {mailer.path}".rstrip(),
        )  # fmt: skip

    def _remote(self, base: Node, mailer: Mailer) -> Node:
        places = host_list(base.nexthop or "")
        if "0" in mailer.flags:
            places = [each if each.startswith("[") else f"[{each}]" for each in places]
        way = hosts.way(", ".join(places), self._settings(mailer), self._names)
        return replace(
            base, router="lookuphost", nexthop=", ".join(places), hosts=way.hosts,
            verdict=way.verdict, text=way.text, notes=way.notes, enhanced_status=_status(way),
            source=Source.MTA if way.verdict is Verdict.OK else Source.DNS,
            step=Step.DELIVER if way.verdict is Verdict.OK else Step.REJECT,
        )  # fmt: skip

    def _settings(self, mailer: Mailer) -> Smtp:
        fallback = (
            *host_list(self._cf.options.get("FallbackMXhost", "")),
            *host_list(self._cf.options.get("FallbackSmartHost", "")),
        )
        return Smtp(
            port=mailer.port, fallback_relay=fallback, own_names=self._own, mx_address_limit=0,
            host_lookup=("dns",) if self._by_dns else ("native",),
            dns_support_level="enabled" if self._by_dns else "disabled",
        )  # fmt: skip


def _error(base: Node, end: Deliverable) -> Node:
    """The error mailer: host is a code of RFC 3463 or a word of sysexits(3), user the reply."""
    code = end.host if end.host[:2] in ("4.", "5.") else None
    temporary = (code or end.user).startswith("4") or end.host == "tempfail"
    return replace(
        base, step=Step.REJECT, verdict=Verdict.TEMPORARY if temporary else Verdict.PERMANENT,
        enhanced_status=code, text=end.user, nexthop=None,
    )  # fmt: skip


def _status(way: Way) -> str | None:
    """Sendmail's own code for what ``hosts`` gives Postfix's; None where it is not known."""
    if way.verdict is Verdict.LOOP:
        return _LOOP
    return _STATUS.get(way.enhanced_status or "")


def host_list(text: str) -> list[str]:
    """``[a]:b,c`` is three hosts; a colon in brackets belongs to an IPv6 address."""
    found, depth, now = [], 0, ""
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter in ":," and not depth:
            found.append(now)
            now = ""
        else:
            now += letter
    found.append(now)
    return [each.strip().removesuffix(".") for each in found if each.strip()]
