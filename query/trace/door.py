"""The socket of posttrail-traced: systemd's (sd_listen_fds(3)), else its own, mode 0660.

A lock beside it keeps a second daemon from taking it away. Raises TryAgainError where one runs,
NotPermittedError and UnavailableError where it cannot be made. Logs "socket cannot be given to its
group" (warning).
"""

import grp
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from posttrail import config, daemon
from posttrail.errors import NotPermittedError, UnavailableError

log = logging.getLogger(__name__)

BACKLOG: Final = 64


@contextmanager
def door(settings: config.Config) -> Iterator[socket.socket]:
    """The listening socket: the service manager's, else our own, mode 0660."""
    given = daemon.activated()
    if given:
        _, listening = given[0]  # posttrail-traced.socket has one
        with listening:
            yield listening
        return
    path = settings.trace.socket
    with daemon.lock_file(path.with_name(f"{path.name}.lock")), _bound(path) as listening:
        _give(path, settings.journal.group)
        try:
            yield listening
        finally:
            path.unlink(missing_ok=True)


def _bound(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        path.unlink(missing_ok=True)
        made.bind(str(path))
        made.listen(BACKLOG)
    except PermissionError:
        made.close()
        raise NotPermittedError(str(path), "of its directory") from None
    except OSError as error:
        made.close()
        raise UnavailableError(f"cannot listen on {path}: {error.strerror or error}") from None
    finally:
        os.umask(before)
    return made


def _give(path: Path, group: str) -> None:
    """Who may read the journal may ask for traces."""
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except (KeyError, OSError) as error:
        log.warning("socket cannot be given to its group group=%s error=%s", group, error)
