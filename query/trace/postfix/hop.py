"""The services of master.cf through which a mail passes, with their own settings.

A hop is one way into the queue: smtpd(8) or pickup(8), the cleanup(8) it hands the mail to, what
``receive_override_options`` lets that one do, and the content filter. Pure but for the settings.
"""

import os
from dataclasses import dataclass
from typing import Final

from query.trace.postfix.world import ServiceLike, SettingsLike, World

_ENTRIES: Final = {"smtp": "smtp/inet", "submission": "submission/inet", "pickup": "pickup/unix"}
_ALIKE: Final = {
    "smtp": ("smtp", "25"),
    "submission": ("submission", "587", "submissions", "smtps", "465"),
}
_LOOPBACK: Final = ("127.", "[127.", "localhost", "[::1]", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One way into the queue."""

    entry: str = "smtp/inet"  # the service; "" for mail that local(8) forwards
    door: bool = True  # smtpd(8) looks at recipients
    cleanup: str = "cleanup/unix"
    map_ok: bool = True
    bcc_ok: bool = True
    content_filter: str = ""  # transport:nexthop
    proxy: str = ""  # smtpd_proxy_filter: host:port, before the queue
    sender: str = ""
    delivered: frozenset[str] = frozenset()  # Delivered-To: lines so far
    depth: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Hops:
    """Where mail can come in."""

    world: World

    @property
    def settings(self) -> SettingsLike:
        return self.world.settings

    def of_entry(self, entry: str) -> Hop:
        """``smtp``, ``submission`` or ``pickup``."""
        name = self._named(entry)
        if name is not None:
            return self._hop(name)
        inet = [each for each in self._smtpds() if each.type == "inet"]
        if entry != "smtp" or not inet:
            note = f"there is no service {entry} in master.cf; settings of main.cf are shown"
            return self._hop(_ENTRIES.get(entry, entry), note=note)
        name = f"{inet[0].name}/{inet[0].type}"
        return self._hop(name, note=f"no smtp in master.cf, so mail comes in by {name}")

    def _named(self, entry: str) -> str | None:
        """The service of an entry, by its usual names, at any address; or by its full name."""
        full = _ENTRIES.get(entry, entry)
        if any(f"{each.name}/{each.type}" == full for each in self.settings.services):
            if any(_program(each) == "postscreen" for each in self._of(full)):
                return "smtpd/pass"  # postscreen(8) hands the connection to that one
            return full
        for each in self._smtpds():
            if each.type == "inet" and each.name.rpartition(":")[2] in _ALIKE.get(entry, ()):
                return f"{each.name}/{each.type}"
        return None

    def _of(self, full: str) -> list[ServiceLike]:
        return [each for each in self.settings.services if f"{each.name}/{each.type}" == full]

    def _hop(self, name: str, *, note: str = "") -> Hop:
        options = self.settings.words("receive_override_options", name)
        mapped = "no_address_mappings" not in options
        cleanup = self.settings.get("cleanup_service_name", name) or "cleanup"
        return Hop(
            entry=name,
            door=not name.startswith("pickup/"),
            cleanup=f"{cleanup}/unix",
            map_ok=mapped,
            bcc_ok=mapped,
            content_filter=self.settings.get("content_filter", name),
            proxy=self.settings.get("smtpd_proxy_filter", name),
            note=note,
        )

    def forwarded(self, sender: str, delivered: frozenset[str], depth: int) -> Hop:
        """Mail that local(8) puts into the queue anew: mapped, but no BCC and no filter."""
        cleanup = self.settings.get("cleanup_service_name", "local/unix") or "cleanup"
        return Hop(
            entry="",
            door=False,
            cleanup=f"{cleanup}/unix",
            bcc_ok=False,
            sender=sender,
            delivered=delivered,
            depth=depth,
        )

    def behind_filter(self, program: str, nexthop: str) -> Hop | str:
        """Where a filter gives mail back; a sentence where that is not clear."""
        address = nexthop.removeprefix("inet:").replace("[", "").replace("]", "")
        for each in self._smtpds():
            if each.type == "inet" and each.name.replace("[", "").replace("]", "") == address:
                return self._hop(f"{each.name}/{each.type}")  # no filter: a service of our own
        if program == "pipe":
            back = self._hop("pickup/unix")
            if back.content_filter:
                return "its mail comes back through pickup(8), whose filter is set, too"
            return back
        ways = [f"{each.name}/{each.type}" for each in self._smtpds() if self._is_way_back(each)]
        if len(ways) == 1:
            return self._hop(ways[0])
        if not ways:
            return "no service of master.cf is clearly its way back, so it is not followed"
        return f"its way back may be any of {', '.join(ways)}, so it is not followed"

    def _is_way_back(self, service: ServiceLike) -> bool:
        name = f"{service.name}/{service.type}"
        filters = ("content_filter", "smtpd_proxy_filter")
        filtered = any(self.settings.get(each, name) for each in filters)
        return service.name.startswith(_LOOPBACK) and not filtered

    def _smtpds(self) -> list[ServiceLike]:
        return [each for each in self.settings.services if _program(each) == "smtpd"]


def _program(service: ServiceLike) -> str:
    words = service.command.split()
    return os.path.basename(words[0]) if words else ""
