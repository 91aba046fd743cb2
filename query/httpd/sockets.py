"""The sockets that posttrail-queryd listens on: systemd's, else our own.

sd_listen_fds(3): LISTEN_FDS with names ``queryd``, ``proxy``, ``tcp``, ``metrics``
(FileDescriptorName=). A Unix socket of our own is made as 0600 under another name, given its
group and mode, and then renamed: nobody can connect before it is as it shall be. Raises
UnavailableError, ConfigError.
"""

import grp
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from posttrail.config import Config, loopback
from posttrail.daemon import activated
from posttrail.errors import ConfigError, TryAgainError, UnavailableError
from query.httpd.facts import Door
from query.source import listens

MODE: Final = 0o660
FOR_ALL: Final = 0o666
"""The kernel says who connects (``identity``): the mode only keeps strangers out of the queue."""
BACKLOG: Final = 256


class Listener(NamedTuple):
    """A socket that listens, and what it is for."""

    socket: socket.socket
    door: Door
    path: Path | None  # of a Unix socket that we made, and take away again


def listeners(settings: Config) -> list[Listener]:
    """All of them: what systemd passed, and what the configuration adds."""
    found = passed(os.environ)
    have = {each.door for each in found}
    query = settings.query
    try:
        if Door.QUERYD not in have:
            mode = FOR_ALL if query.local_users else MODE
            found.append(unix(query.socket, Door.QUERYD, query.admin_group, mode=mode))
        if query.proxy_socket and Door.PROXY not in have:
            found.append(unix(Path(query.proxy_socket), Door.PROXY, ""))
        if query.tcp and Door.TCP not in have:
            found.append(tcp(query.tcp, Door.TCP))
        if query.metrics and Door.METRICS not in have:
            found.append(tcp(query.metrics, Door.METRICS))
    except BaseException:
        close(found)
        raise
    return found


def passed(environment: Mapping[str, str]) -> list[Listener]:
    """Those that systemd passed to this process."""
    return [Listener(made, _door(name), None) for name, made in activated(environment)]


def _door(name: str) -> Door:
    """What the socket of a unit's FileDescriptorName= is for."""
    if not name:
        return Door.QUERYD
    try:
        return Door(name.removesuffix(".socket").removeprefix("posttrail-"))
    except ValueError:
        raise ConfigError(
            f"systemd passed a socket named {name!r};"
            " set FileDescriptorName= to queryd, proxy, tcp or metrics"
        ) from None


def unix(path: Path, door: Door, group: str, *, mode: int = MODE) -> Listener:
    """A Unix socket of our own; the one of a dead process is replaced, that of a live one not."""
    if listens(path):
        raise TryAgainError(f"already running: a program listens on {path}")
    new = path.with_name(f".{path.name}.{os.getpid()}")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        new.unlink(missing_ok=True)
        made.bind(str(new))
    except OSError as error:
        made.close()
        raise UnavailableError(f"{path}: {error.strerror or error}") from None
    finally:
        os.umask(before)
    _settle(new, group, mode)
    made.listen(BACKLOG)
    new.rename(path)
    return Listener(made, door, path)


def _settle(path: Path, group: str, mode: int) -> None:
    """The socket's group, where there is one and we may give it away, and then its mode."""
    with suppress(KeyError, PermissionError):
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    path.chmod(mode)


def tcp(address: str, door: Door) -> Listener:
    """A port of this machine alone."""
    host, port = loopback(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise UnavailableError(f"{address}: {error.strerror}") from None
    made.listen(BACKLOG)
    return Listener(made, door, None)


def close(all_of_them: list[Listener]) -> None:
    """Close them, and take away the names that we made."""
    for each in all_of_them:
        each.socket.close()
        if each.path is not None:
            each.path.unlink(missing_ok=True)
