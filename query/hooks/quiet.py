"""Looks after the senders that usually write, and puts a call in where one has fallen silent.

One event a silence: it ends with the sender's next message. Raises what the reader raises and
StateError.
"""

import sqlite3
import time
from collections.abc import Iterable
from typing import Final

from journal import keys
from journal.reader import Reader
from query.hooks import payload, silence, state
from query.hooks.events import SILENCE, Keyed
from query.hooks.payload import Envelope
from query.hooks.silence import Silence, Usual
from query.hooks.state import NOBODY, Call, Place
from query.hooks.wanted import Wanted
from query.httpd.state import State

LEARN_S: Final = 6 * 3600.0
"""How long what was learned is believed."""


class Quiet:
    """All of them; for one thread."""

    def __init__(self, wanted: Iterable[Wanted], store: State) -> None:
        self._wanted = {each.name: each for each in wanted if SILENCE in each.kinds}
        self._state = store
        self._learned: dict[Usual, tuple[float, int | None]] = {}

    def tick(self, reader: Reader, places: Iterable[Place], *, key: bytes, now_us: int) -> None:
        """Tell of whoever is silent for too long by now."""
        keyed = Keyed(key)
        known = reader.coverage() if self._wanted else []
        for place in places:
            wanted = self._wanted.get(place.name)
            if wanted is None or place.off:
                continue
            hours = wanted.hook.usual_hours
            for usual in wanted.usual:
                limit = hours * keys.HOUR_US or self._limit_us(reader, usual, now_us)
                if limit is None:
                    continue
                last = silence.last_us(reader, usual)
                found = silence.judge(
                    usual, last, since_us=place.begun_us, now_us=now_us, limit_us=limit,
                    learned=not hours, known=known,
                )  # fmt: skip
                if found is not None:
                    self._tell(place, wanted, found, keyed, now_us)

    def _limit_us(self, reader: Reader, usual: Usual, now_us: int) -> int | None:
        at, limit = self._learned.get(usual, (0.0, None))
        if usual not in self._learned or time.monotonic() - at > LEARN_S:
            limit = silence.learn(reader, usual, now_us)
            self._learned[usual] = time.monotonic(), limit
        return limit

    def _tell(
        self, place: Place, wanted: Wanted, found: Silence, keyed: Keyed, now_us: int
    ) -> None:
        last = found.last_at_us or 0
        id = keyed.id(b"silence", found.usual.encode(), b"%d" % last)
        body = payload.of_silence(Envelope(id=id, event=SILENCE, at_us=now_us), wanted.hook, found)
        call = Call(id, SILENCE, b"", NOBODY, body, now_us, now_us)

        def work(db: sqlite3.Connection) -> None:
            if state.last_silence(db, place.number, found.usual) != last:
                state.silent(db, place.number, found.usual, last)
                state.put(db, place.number, call)

        told = self._state.read(lambda db: state.last_silence(db, place.number, found.usual))
        if told != last:
            self._state.write(work)
