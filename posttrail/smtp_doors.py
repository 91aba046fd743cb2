"""The services of master.cf(5) that take SMTP from clients, and those that a filter gives back to.

Pure decisions over ``postconf.Settings``. Raises nothing.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from posttrail.postconf import Service, Settings

_LOOPBACK: Final = ("127.", "[::1]", "::1", "localhost")
_EVERYWHERE: Final = frozenset({"all", "loopback-only", "localhost"})
_ANY: Final = frozenset({"", "*", "0.0.0.0", "::"})
_PORTS: Final = {"smtp": 25}
_WITH_LOGIN: Final = frozenset({"465", "587"})


class Door(NamedTuple):
    """Where a mail can be handed over."""

    host: str
    port: int


def smtpd(settings: Settings) -> Iterator[tuple[str, Service]]:
    """The services that speak SMTP to clients, as postconf -P names them."""
    for each in settings.services:
        if each.command == "smtpd" and each.type in ("inet", "pass", "unix"):
            yield f"{each.name}/{each.type}", each


def door(settings: Settings) -> Door | None:
    """Where this machine may send, by doors that ask milters: port 25, else the first."""
    found = list(_doors(settings))
    return next((each for each in found if each.port == 25), found[0] if found else None)


def _doors(settings: Settings) -> Iterator[Door]:
    """In the clear and without a login."""
    for service in settings.services:
        name = f"{service.name}/{service.type}"
        if service.type != "inet" or service.command not in ("smtpd", "postscreen"):
            continue
        port = _port(service)
        own = settings.overrides.get(name, {})
        asks = "smtpd_milters" not in own and not passed_over(settings, name)
        if port and asks and settings.get("smtpd_tls_wrappermode", name) != "yes":
            host = service.name.rpartition(":")[0].strip("[]")
            yield Door(interface(settings) if host in _ANY else host, port)


def _port(service: Service) -> int:
    """0 for one whose name says that it wants a login."""
    name = service.name.rpartition(":")[2]
    return _PORTS.get(name, int(name) if name.isdecimal() and name not in _WITH_LOGIN else 0)


def interface(settings: Settings) -> str:
    """The address of this machine on which it takes mail, of loopback where that is one."""
    names = settings.words("inet_interfaces")
    if not names or _EVERYWHERE & set(names):
        return "127.0.0.1"
    return next((name for name in names if name.startswith("127.")), names[0])


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
