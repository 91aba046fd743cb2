"""The journal as posttrail-queryd holds it: opened when it is there, without the days that kill.

Raises UnavailableError, NotPermittedError or JournalFormatError while there is no journal to read.
"""

import logging
from pathlib import Path
from threading import Lock

from journal import days, keys
from journal.reader import Reader
from journal.store import DamagedStoreError
from query.httpd.marker import Marker
from query.httpd.patience import Patience
from query.local import Local

log = logging.getLogger(__name__)


class Keeper:
    """One reader for all threads of the process."""

    def __init__(self, directory: Path, marker: Marker) -> None:
        self.directory = directory
        self.patience = Patience()
        self.key = b""  # the journal's, once it is open
        self._marker = marker
        self._lock = Lock()
        self._local: Local | None = None

    @property
    def excluded(self) -> frozenset[str]:
        """The days that are not read because they killed us."""
        return self._marker.bad

    def local(self) -> Local:
        """The open journal."""
        with self._lock:
            if self._local is None:
                self.key = key = days.read_key(self.directory)
                self._marker.touch(days.STATE)
                reader = Reader.open(
                    self.directory,
                    exclude=self._marker.bad,
                    touching=self._marker.touch,
                    checkpoint=self.patience.check,
                )
                self._local = Local(reader, journal_key=key)
            return self._local

    def is_replaced(self) -> bool:
        """Whether another journal lies in the place of the one that is open."""
        return self._local is not None and self._local.reader.is_replaced()

    def turn(self) -> None:
        """Days that were rebuilt are read again; call it every few seconds."""
        for name in self._marker.forgive():
            log.info("day is read again day=%s", name)
            if self._local is not None:
                self._local.reader.include(name)

    def damaged(self, error: DamagedStoreError) -> None:
        """Leave out the day that LMDB found damaged."""
        name = error.path.name
        if keys.parse_day(name) is None or name in self._marker.bad:
            return
        log.error("day is damaged and left out day=%s", name)
        self._marker.condemn(name)
        if self._local is not None:
            self._local.reader.exclude(name)

    def close(self) -> None:
        """Nothing is touched any more."""
        if self._local is not None:
            self._local.reader.close()
            self._local = None
        self._marker.close()
