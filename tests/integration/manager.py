"""The service manager's end of sd_notify(3): hears what a daemon tells it."""

import socket
import time
from pathlib import Path
from typing import Final

WAIT_S: Final = 20.0


class Manager:
    """Listens at ``path``; ``environment`` is what the daemon is to be started with."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(WAIT_S)
        self.environment = {"NOTIFY_SOCKET": str(path)}

    def await_notice(self, wanted: bytes) -> None:
        """Until the daemon has told so."""
        while self._socket.recv(100) != wanted:
            pass

    def falls_silent(self, quiet_s: float) -> bool:
        """Whether the watchdog is soon not fed any more, for so long."""
        end, fed = time.monotonic() + WAIT_S, time.monotonic()
        try:
            while time.monotonic() < end:
                left = fed + quiet_s - time.monotonic()
                if left <= 0:
                    return True
                self._socket.settimeout(left)
                try:
                    if self._socket.recv(100) == b"WATCHDOG=1":
                        fed = time.monotonic()
                except TimeoutError:
                    return True
            return False
        finally:
            self._socket.settimeout(WAIT_S)

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()
