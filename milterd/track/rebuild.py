"""Fills a day of the journal again: from what was put aside of it, from spool and logs.

First the records that ``bad-DAY`` still holds with the right checksum come back under their own
ids (journal/salvage.py), then spool and logs are read again (``again``). Ids of before lead to
where their messages are now (``missing``); what is still missing is named, with its time.

Where a day is old enough for tokens (``aging``), it is marked before it is filled; where it is
old enough for counters alone, nothing is read: what was to be forgotten does not come back.

Log messages: ``day rebuilt ...`` (info; warning where something is missing), ``day not
rebuilt ...`` (info). Raises NotPermittedError, and what journal.writer raises.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from journal import codec, days, kinds, retention
from journal.codec import DamagedRecordError
from journal.events import Event, Source
from journal.keys import COUNTED, DAY_US, HASH_BITS, HASHED, day_of, id_text, parse_day
from journal.records import Record
from journal.salvage import Salvage, spans
from journal.store import group_of
from milterd.track import again, aging, missing
from milterd.track.again import Again, Heard, Sieve
from milterd.track.missing import Led
from milterd.track.sessions import Sessions
from milterd.track.writing import Bench, Files, Steps, Told
from posttrail.errors import NotPermittedError, UsageError
from posttrail.text import rfc3339

log = logging.getLogger(__name__)

DONE: Final = days.REBUILT
"""Where it is trackd begins none."""
TRIED: Final = "TRIED"
"""A file in ``bad-DAY``: a byte for each rebuild that was begun."""
TRIES_MOST: Final = 5
OPEN_MOST: Final = 3_000
BATCH: Final = 1_500
ADOPTED_A_COMMIT: Final = 1_000
NAMED_MOST: Final = 1_000
APART_US: Final = 60_000_000
"""Missing messages further apart than this are told as two spans of time."""


def task(bench: Bench, options: Mapping[str, Any], files: Files) -> Steps:
    """``days``: names. ``aside``: put what is there aside first. ``remove``: bad-DAY goes in any
    case afterwards, else only where all of it came back."""
    wanted = [str(name) for name in options["days"]]
    for name in wanted:
        if parse_day(name) is None:
            raise UsageError(f"{name} is no day; give it as 2026-11-23")
    told = []
    for name in wanted:
        rebuilding = Rebuilding(bench, name, files, remove=bool(options.get("remove")))
        told.append((yield from rebuilding.steps(aside=bool(options.get("aside")))))
    return {"days": told}


def waiting(directory: Path) -> list[str]:
    """Days that were put aside and not rebuilt yet, newest first."""
    found = {
        path.name.removeprefix(days.BAD)[:10]
        for path in directory.glob(days.BAD + "*")
        if not (path / DONE).exists()
    }
    return sorted((name for name in found if parse_day(name) is not None), reverse=True)


def to_begin(directory: Path) -> list[str]:
    """Those that trackd is to rebuild by itself: where that ended it too often, it is left."""
    return [
        name
        for name in waiting(directory)
        if all(_tries(path) < TRIES_MOST for path in directory.glob(f"{days.BAD}{name}*"))
    ]


def _tries(path: Path) -> int:
    try:
        return (path / TRIED).stat().st_size
    except OSError:
        return 0


class Rebuilding:
    """One day's rebuild."""

    def __init__(self, bench: Bench, name: str, files: Files, *, remove: bool) -> None:
        day = parse_day(name)
        assert day is not None
        self._bench = bench
        self._name = name
        self._day = day
        self._files = files
        self._remove = remove
        self._known: set[int] = set()  # hashes of the day's queue ids
        self._sessions = Sessions()  # the lines are not of the processes that run now
        self._leads: dict[bytes, bytes] = {}  # tombstones that can be read
        self._counts: Counter[str] = Counter()
        self._counts_only = False
        self._commits = 0
        self._began = time.monotonic()

    def steps(self, *, aside: bool = False) -> Steps:
        """All of it; yields progress."""
        writer = self._bench.writer
        self._bench.settle()  # what is in memory may be of what is lost
        if aside:
            writer.days.put_aside(self._day)
        bad = sorted(writer.directory.glob(f"{days.BAD}{self._name}*"), reverse=True)
        self._counts_only = self._age() == COUNTED
        if self._counts_only:
            done = self._told(bad, Heard(), Led())
            self._settle(bad, done)
            return done
        for path in bad:
            with (path / TRIED).open("ab") as file:
                file.write(b".")
        self._note_known()
        salvages = []
        try:
            for path in bad:
                salvage = _opened(path)
                if salvage is not None:
                    salvages.append(salvage)
                    for share in salvage.scan():
                        yield self._progress(f"pages of {path.name}", share)
                    yield from self._adopt(salvage, path.name)
            heard = yield from self._hear()
            yield self._progress("what is missing")
            led = missing.lead(writer, self._day, salvages, self._leads)
        finally:
            for salvage in salvages:
                salvage.close()
        done = self._told(bad, heard, led)
        self._settle(bad, done)
        return done

    def _age(self) -> bytes | None:
        """The mark of the day; it is set where tokens are due, or plain rows come beside hashed."""
        writer = self._bench.writer
        if self._day in writer.days.present and writer.forgetting.is_marked(self._name, COUNTED):
            return COUNTED
        mark = aging.due(self._bench.settings, self._day, day_of(time.time_ns() // 1000))
        if mark == HASHED and not writer.forgetting.is_marked(self._name, HASHED):
            writer.forgetting.mark(self._name, HASHED, done=False)
        return mark

    # -- what is there, and what was put aside -------------------------------------------------

    def _note_known(self) -> None:
        """The queue ids of what the day has already."""
        for message_id, body in self._bench.writer.committed.bodies(self._day):
            if codec.merged_into(message_id, body) is None:
                message = codec.decode_message(message_id, body)
                self._known.update(map(hash, message.queue_ids))

    def _adopt(self, salvage: Salvage, name: str) -> Iterator[Told]:
        """Take over the records that can be read; first those nothing newer is known of."""
        writer = self._bench.writer
        fresh = not any(True for _ in writer.committed.bodies(self._day))
        later: list[bytes] = []
        for number, key in enumerate(sorted(salvage.records), 1):
            message_id = self._day.to_bytes(2, "big") + key
            try:
                body = salvage.body(key)
                into = codec.merged_into(message_id, body)
                record = codec.decode(message_id, body) if into is None else None
            except DamagedRecordError:
                continue
            if record is None:
                if into is not None and not writer.committed.has(message_id):
                    self._leads[message_id] = into
            elif salvage.is_newest(key) and self._is_new(record, fresh=fresh):
                writer.adopt(record)
                self._known.update(map(hash, record.message.queue_ids))
                self._counts["salvaged"] += 1
            elif not writer.committed.has(message_id):
                later.append(key)
            if number % ADOPTED_A_COMMIT == 0:
                writer.commit()
                yield self._progress(f"records of {name}", number / len(salvage.records))
        writer.commit()
        for number, key in enumerate(later, 1):
            message_id = self._day.to_bytes(2, "big") + key
            self._join(codec.decode(message_id, salvage.body(key)))
            self._counts["salvaged"] += 1
            if number % ADOPTED_A_COMMIT == 0:
                self._save()
                yield self._progress(f"records of {name}", number / len(later))
        self._save()

    def _is_new(self, record: Record, *, fresh: bool) -> bool:
        """Whether nothing of a message can be in the day yet."""
        ids = record.message.queue_ids
        if not ids:
            return fresh
        if any(hash(queue_id) in self._known for queue_id in ids):
            return False
        return fresh or not self._bench.writer.committed.has(record.id)

    def _join(self, record: Record) -> None:
        """Give a record's events to the message that has some of them already."""
        message = record.message
        correlator = self._bench.correlator
        spooled: dict[bytes, list[Event]] = {}
        for event in record.events:
            if event.source == Source.MILTER:
                spooled.setdefault(event.queue_id, []).append(event)
        with self._own_sessions():
            for events in spooled.values():
                events.sort(key=lambda event: event.kind)
                if events[0].kind == kinds.TRANSACTION:
                    correlator.take_transaction(events, message.host)
            for event in record.events:
                if event.source != Source.MILTER:
                    correlator.take(event, message.host, message.instance or b"")
        self._known.update(map(hash, message.queue_ids))

    # -- spool and logs -------------------------------------------------------------------------

    def _hear(self) -> Generator[Told, None, Heard]:
        """Read them again."""
        sieve = Sieve(self._day, self._bench.settings.mta.queue_lifetime_days, self._known)
        feed = Again(self._bench, sieve, again.opened(self._bench, self._files))
        steps = feed.steps()
        try:
            while True:
                with self._own_sessions():
                    name = next(steps, None)
                if name is None:
                    break
                if len(self._bench.correlator) > OPEN_MOST + BATCH:
                    self._save(BATCH)
                yield self._progress(name, lines=feed.heard.lines)
        finally:
            feed.close()
        self._save()
        return feed.heard

    def _save(self, most: int | None = None) -> None:
        """Write what was folded; the least recently touched of it, or all."""
        correlator, writer = self._bench.correlator, self._bench.writer
        correlator.flush(most)
        writer.commit()
        correlator.evict(OPEN_MOST)
        self._commits += 1
        if self._commits % 4 == 0:
            writer.days.recycle()  # what was touched does not stay in memory

    # -- telling ---------------------------------------------------------------------------------

    def _progress(self, what: str, share: float | None = None, lines: int = 0) -> Told:
        return {
            "day": self._name,
            "what": what,
            "share": None if share is None else round(share, 3),
            "lines": lines,
            "salvaged": self._counts["salvaged"],
        }

    def _told(self, bad: list[Path], heard: Heard, led: Led) -> Told:
        """What the rebuild did (docs/schema/rebuild.json)."""
        begin_us = self._day * DAY_US
        seconds = time.monotonic() - self._began
        gaps = self._bench.writer.gaps(begin_us, begin_us + DAY_US)
        times = [
            begin_us + (int.from_bytes(each[2:], "big") >> HASH_BITS) * 1000 for each in led.missing
        ]
        bodies = self._bench.writer.committed.bodies(self._day)
        return {
            "day": self._name,
            "put_aside": [path.name for path in bad],
            "salvaged": self._counts["salvaged"],
            "records": heard.records,
            "lines": heard.lines,
            "events": heard.events,
            "messages": sum(codec.merged_into(each, body) is None for each, body in bodies),
            "renamed": led.renamed,
            "lost_links": led.lost_links,
            "missing": len(led.missing),
            "missing_ids": [id_text(each) for each in led.missing[:NAMED_MOST]],
            "missing_times": [
                {"begin": rfc3339(begin), "end": rfc3339(end)}
                for begin, end in spans(times, APART_US)
            ],
            "milter_since": _since(heard.spool_since_us, begin_us),
            "log_since": _since(heard.log_since_us, begin_us),
            "gaps": [
                {
                    "source": gap.source,
                    "begin": rfc3339(gap.begin_us),
                    "end": rfc3339(gap.end_us),
                    "reason": gap.reason,
                }
                for gap in gaps
            ],
            "damaged": heard.damaged,
            "complete": led.is_whole,
            "counts_only": self._counts_only,
            "removed": [],
            "seconds": round(seconds, 3),
        }

    def _settle(self, bad: list[Path], done: Told) -> None:
        """Remove what was put aside, or note there what came of it."""
        directory = self._bench.writer.directory
        for path in bad:
            if self._remove or done["complete"]:
                retention.remove(directory, path.name)
                done["removed"].append(path.name)
            else:
                (path / DONE).write_text(json.dumps(done) + "\n", "utf-8")
        if not self._bench.live:
            return  # the verb tells
        if self._counts_only:
            log.info("day not rebuilt, only its counters were to stay day=%s", self._name)
            return
        tell = log.info if done["complete"] or not bad else log.warning
        tell(
            "day rebuilt day=%s salvaged=%d records=%d lines=%d missing=%d seconds=%.1f",
            self._name, done["salvaged"], done["records"], done["lines"], done["missing"],
            done["seconds"],
        )  # fmt: skip

    @contextmanager
    def _own_sessions(self) -> Iterator[None]:
        correlator = self._bench.correlator
        live, correlator.sessions = correlator.sessions, self._sessions
        try:
            yield
        finally:
            correlator.sessions = live


def _since(found_us: int, begin_us: int) -> str | None:
    """From when on a source could be read; null: all day."""
    return None if 0 < found_us <= begin_us else rfc3339(found_us or begin_us + DAY_US)


def _opened(path: Path) -> Salvage | None:
    """The file of a day that was put aside; None where it has none."""
    try:
        return Salvage(path)
    except PermissionError:
        raise NotPermittedError(str(path), group_of(path.parent)) from None
    except OSError:
        return None
