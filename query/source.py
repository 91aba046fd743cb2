"""Where a verb's answers come from: a journal on this machine, or posttrail-queryd's socket.

``--journal`` and ``--socket`` (and their variables) say which; without either it is the socket of
the configuration where something listens on it, else the journal. Raises what the form raises.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from posttrail.cli import Globals

if TYPE_CHECKING:
    from query.answers import Answers


def ask(options: Globals, work: Callable[["Answers"], int]) -> int:
    """The exit code of ``work`` on the answers."""
    path = socket_of(options)
    if path is not None:
        from query import remote

        return remote.read(path, work)
    from query import local

    return local.read(options, work)


def socket_of(options: Globals) -> Path | None:
    """The socket to ask at; None: the journal is read."""
    if options.socket is not None:
        return options.socket
    path = options.config.query.socket
    return path if not options.journal_named and listens(path) else None


def listens(path: Path) -> bool:
    """Whether a program takes connections at a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
