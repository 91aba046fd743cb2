"""The services of master.cf(5) that take SMTP from clients, and those that a filter gives back to.

Pure decisions over ``postconf.Settings``. Raises nothing.
"""

from collections.abc import Iterator
from typing import Final

from posttrail.postconf import Service, Settings

_LOOPBACK: Final = ("127.", "[::1]", "::1", "localhost")


def smtpd(settings: Settings) -> Iterator[tuple[str, Service]]:
    """The services that speak SMTP to clients, as postconf -P names them."""
    for each in settings.services:
        if each.command == "smtpd" and each.type in ("inet", "pass", "unix"):
            yield f"{each.name}/{each.type}", each


def passed_over(settings: Settings, service: str) -> bool:
    """Are milters switched off there on purpose?"""
    return "no_milters" in settings.words("receive_override_options", service)


def is_inner(service: Service) -> bool:
    """Does it listen for this machine alone?"""
    return service.type != "inet" or service.name.startswith(_LOOPBACK)


def handed_back(settings: Settings) -> list[tuple[str, Service]]:
    """Services that take mail back from a filter: its target, or one on loopback without it."""
    targets = {
        address.rpartition("[")[2].replace("]", "")
        for service in ("", *settings.overrides)
        for address in (settings.get("smtpd_proxy_filter", service),)
        if address
    }
    filtered = any(settings.get("content_filter", name) for name in ("", *settings.overrides))
    found = []
    for name, service in smtpd(settings):
        own = settings.overrides.get(name, {})
        is_target = service.name in targets and service.type == "inet"
        is_end = filtered and own.get("content_filter") == "" and is_inner(service)
        if is_target or (is_end and service.type == "inet"):
            found.append((name, service))
    return found


def chrooted(settings: Settings) -> list[str]:
    """The services that ask milters and see the queue directory only."""
    return [
        f"{each.name}/{each.type}"
        for each in settings.services
        if each.command in ("smtpd", "cleanup") and each.chroot == "y"
    ]
