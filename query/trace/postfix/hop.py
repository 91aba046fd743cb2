"""The services of master.cf through which a mail passes, with their own settings.

A hop is one way into the queue: smtpd(8) or pickup(8), the cleanup(8) it hands the mail to, what
``receive_override_options`` lets that one do, and the content filter. Pure but for the settings.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from query.trace.postfix.world import ServiceLike, SettingsLike, World

_ENTRIES: Final = {"smtp": "smtp/inet", "submission": "submission/inet", "pickup": "pickup/unix"}
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
        name = _ENTRIES.get(entry, entry)
        note = ""
        if not self._has(name):
            others = [each for each in self._smtpds() if each.name in _alike(entry)]
            if others:
                name = f"{others[0].name}/{others[0].type}"
            else:
                note = f"there is no service {entry} in master.cf; settings of main.cf are shown"
        return self._hop(name, note=note)

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

    def behind_filter(self, program: str) -> Hop | str:
        """Where a filter gives mail back; a sentence where that is not clear."""
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
        return service.name.startswith(_LOOPBACK) and not self.settings.get("content_filter", name)

    def _smtpds(self) -> list[ServiceLike]:
        return [each for each in self.settings.services if _program(each) == "smtpd"]

    def _has(self, name: str) -> bool:
        return any(f"{each.name}/{each.type}" == name for each in self.settings.services)


def _program(service: ServiceLike) -> str:
    words = service.command.split()
    return os.path.basename(words[0]) if words else ""


def _alike(entry: str) -> Iterable[str]:
    """Other names under which an entry may stand in master.cf."""
    return {"smtp": ("25",), "submission": ("587", "submissions", "smtps", "465")}.get(entry, ())
