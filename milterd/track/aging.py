"""The task behind ``hash_after_days`` and ``counts_after_days``: old days forget who, then what.

A day is marked before it is touched, so that what is put into it from then on is hashed, or left
out; every step may be done again, and after a kill the next run goes on. Last it is copied without
its free pages. What sessions told in such days is let go. trackd does this once an hour, a few
hundred records between two steps.

Log messages: "aged ..." (info). Raises what the writer raises.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from journal import keys
from journal.keys import DAY_US, day_of, parse_day
from milterd.track.writing import Bench, Files, Steps
from posttrail import daemon
from posttrail.config import Config

log = logging.getLogger(__name__)

CHUNK: Final = 200
"""Records that are hashed between two steps."""
KEYS: Final = 4_000
"""Keys that are removed between two steps."""
COMPACT_S: Final = 600.0
LEAST_DAYS: Final = 2
"""What is in the queue is not old: the queue lifetime and so many days more stay as they are."""


def age(bench: Bench, _wanted: Mapping[str, Any], _files: Files) -> Steps:
    """Hash and strip what is old enough; how many days of each."""
    today = day_of(time.time_ns() // 1000)
    done = {"counted": 0, "hashed": 0}
    for name in bench.writer.days.names:
        mark = due(bench.settings, parse_day(name) or 0, today)
        if mark is None or bench.writer.forgetting.is_marked(name, mark):
            continue
        if mark == keys.COUNTED:
            yield from _strip(bench, name)
            done["counted"] += 1
        else:
            yield from _hash(bench, name)
            done["hashed"] += 1
    if done["counted"] or done["hashed"]:
        log.info("aged hashed=%d counted=%d", done["hashed"], done["counted"])
    _sessions(bench, today)
    return done


def due(settings: Config, day: int, today: int) -> bytes | None:
    """The mark that a day is to have at its age; None: all of it stays."""
    return next((mark for mark, first in _whole_from(settings, today) if day < first), None)


def _whole_from(settings: Config, today: int) -> list[tuple[bytes, int]]:
    """Each mark that is wanted, and the first day that is too young for it."""
    least = settings.mta.queue_lifetime_days + LEAST_DAYS
    wanted = (
        (keys.COUNTED, settings.journal.counts_after_days),
        (keys.HASHED, settings.journal.hash_after_days),
    )
    return [(mark, today - max(after, least) + 1) for mark, after in wanted if after]


def _sessions(bench: Bench, today: int) -> None:
    """What waits of old days for its message names people, too, and will hardly meet it."""
    first = max((first for _, first in _whole_from(bench.settings, today)), default=0)
    gone = [each for each in bench.sessions() if each[1].let_go(first * DAY_US)]
    if not gone:
        return
    bench.settle()
    for name, sessions in gone:
        bench.writer.set_context(name, sessions.dump())
    bench.writer.commit()
    bench.writer.days.compact_state()


def _strip(bench: Bench, name: str) -> Steps:
    bench.settle()
    bench.writer.forgetting.mark(name, keys.COUNTED, done=False)
    while bench.writer.forgetting.strip(name, KEYS):
        yield {"doing": "counts", "name": name}
    yield from _finish(bench, name, keys.COUNTED)
    return {}


def _hash(bench: Bench, name: str) -> Steps:
    bench.settle()
    bench.writer.forgetting.mark(name, keys.HASHED, done=False)
    after = b""
    while stored := bench.writer.committed.stored(name, after, CHUNK):
        bench.settle()
        for key, _ in stored:
            record = bench.writer.committed.at(name, key)
            if record is not None:
                new = bench.writer.forget.record(record)
                if new is not record:
                    bench.writer.put(new, record)
        bench.writer.commit()
        after = stored[-1][0]
        yield {"doing": "hash", "name": name}
    yield from _finish(bench, name, keys.HASHED)
    return {}


def _finish(bench: Bench, name: str, mark: bytes) -> Steps:
    yield {"doing": "compact", "name": name}
    with daemon.patience(COMPACT_S):
        bench.writer.days.compact(name)
    bench.writer.forgetting.mark(name, mark, done=True)
    return {}
