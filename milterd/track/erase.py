"""The task behind ``erase``: takes an address out of journal and spool, and remembers that.

The order makes every crash harmless: first the list ERASED says whom to forget (what is put from
then on is scrubbed), then records are rewritten in groups, days and ``state`` are copied
without their free pages, spools are rewritten, and last the list says that it is done. What was not
done is taken up by the next trackd, by the hashes alone. Between two steps others go on: so
before each group the correlator's memory is written and emptied.

Log messages, without the address: "erased ..." (info), "not all is erased ..." (warning). Raises
what the writer raises.
"""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from journal import retention
from journal.forget import Forget
from journal.records import Record
from milterd import spool
from milterd.track import respool
from milterd.track.writing import Bench, Files, Steps, Told
from posttrail import daemon

log = logging.getLogger(__name__)

CHUNK: Final = 200
"""Records that are looked at between two steps."""
PATIENCE_S: Final = 30.0
"""How long the milter may take to begin a new segment, and trackd to read the old one."""
WAIT_S: Final = 0.02
"""Between two looks, in which trackd does nothing else either."""
COMPACT_S: Final = 600.0


def erase(bench: Bench, wanted: Mapping[str, Any], _files: Files) -> Steps:
    """Forget an address, or with ``dry_run`` count; the figures of what was done."""
    raw = wanted["address"].encode("utf-8", "surrogateescape")
    delimiters = bench.settings.query.delimiters
    now_us = time.time_ns() // 1000
    if wanted.get("dry_run"):
        known = bench.writer.forget.erased.with_address(raw, now_us, delimiters)
        return (yield from _Count(bench, Forget(known)).steps())
    bench.writer.forgetting.begin(raw, now_us, delimiters)
    return (yield from resumed(bench, {}, ()))


def resumed(bench: Bench, _wanted: Mapping[str, Any], _files: Files) -> Steps:
    """End the erasures that were begun."""
    begun = [entry.address for entry in bench.writer.forget.erased.open]
    done = yield from _Erase(bench).steps()
    if not done["left"]:
        bench.writer.forgetting.end(begun)
    log.info(
        "erased addresses=%d records=%d rows=%d spooled=%d left=%d",
        len(begun), done["records"], done["rows"], done["spooled"], len(done["left"]),
    )  # fmt: skip
    if bench.live and done["left"]:  # without trackd the verb tells
        log.warning("not all is erased, the next start goes on: %s", "; ".join(done["left"]))
    return done


class _Work:
    """What counting and erasing have in common: looking at every record."""

    def __init__(self, bench: Bench, forget: Forget) -> None:
        self._bench = bench
        self._writer = bench.writer
        self._forget = forget
        self._looked = 0
        self.done: Told = {
            "records": 0, "rows": 0, "looked_at": 0, "days": [], "spooled": 0, "segments": 0,
            "removed": [], "left": [], "logs": [str(path) for path in bench.settings.log.files],
            "journald": bench.settings.log.journald,
        }  # fmt: skip

    def _told(self, doing: str, name: str) -> Told:
        return {"doing": doing, "name": name, "records": self._looked}

    def _days(self, change: Callable[[list[tuple[Record, Record]]], None]) -> Steps:
        """Look at all records; ``change`` gets those that name somebody, old and new."""
        for name in self._writer.days.names:
            after, touched = b"", 0
            while stored := self._writer.committed.stored(name, after, CHUNK):
                pairs = self._pairs([record for _, record in stored])
                if pairs:
                    change(pairs)
                    touched += len(pairs)
                after = stored[-1][0]
                self._looked += len(stored)
                yield self._told("records", name)
            if touched:
                self.done["days"].append(name)
        self.done["looked_at"] = self._looked
        return {}

    def _pairs(self, records: list[Record | None]) -> list[tuple[Record, Record]]:
        pairs = [(one, self._forget.record(one)) for one in records if one is not None]
        return [(old, new) for old, new in pairs if new is not old]

    def _counted(self, pairs: list[tuple[Record, Record]]) -> None:
        self.done["records"] += len(pairs)
        self.done["rows"] += sum(
            one != other
            for old, new in pairs
            for one, other in zip(old.message.rows, new.message.rows, strict=True)
        )


class _Count(_Work):
    """What would be changed."""

    def steps(self) -> Steps:
        """Count in the journal."""
        yield from self._days(self._counted)
        return self.done


class _Erase(_Work):
    """One erasure; of all that the list has open."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, bench.writer.forget)

    def steps(self) -> Steps:
        """Do it."""
        self._bench.settle()
        self._bench.correlator.forget()
        yield from self._days(self._rewrite)
        self._contexts()
        for name in self._writer.days.names:
            yield self._told("compact", name)
            with daemon.patience(COMPACT_S):
                if not self._writer.days.compact(name):
                    self._left(f"{name}: this file system cannot exchange files, old pages stay")
        yield self._told("compact", "state")
        if not self._writer.days.compact_state():
            self._left("state: this file system cannot exchange files, old pages stay")
        self._sweep()
        self._aside()
        yield from self._spool()
        yield from self._received()
        return self.done

    def _rewrite(self, pairs: list[tuple[Record, Record]]) -> None:
        self._bench.settle()
        fresh = self._pairs([self._writer.get(old.id) for old, _ in pairs])
        for old, new in fresh:
            self._writer.put(new, old)
        self._writer.commit()
        self._counted(fresh)

    def _contexts(self) -> None:
        """The sessions that were open, and the names of imported files."""
        self._bench.settle()
        for name, sessions in self._bench.sessions():
            sessions.forget(self._forget)
            self._writer.set_context(name, sessions.dump())
        imports = self._writer.context("imports")
        scrubber = self._forget.at(0)
        if imports and scrubber is not None:
            self._writer.set_context("imports", scrubber.text(imports))
        self._writer.commit()

    def _sweep(self) -> None:
        """What was put aside as damaged cannot be read, so it goes as a whole."""
        for name in retention.leftovers(self._writer.directory):
            try:
                retention.remove_leftover(self._writer.directory, name)
                self.done["removed"].append(name)
            except OSError as error:
                self._left(f"{name}: {error.strerror}")

    def _left(self, sentence: str) -> None:
        self.done["left"].append(sentence)

    def _aside(self) -> None:
        """Journals that a restore put aside; they are the operator's to remove."""
        journal = self._bench.settings.journal.directory
        for path in sorted(journal.parent.glob(f"{journal.name}.before-restore-*")):
            self._left(f"{path}: an older journal, which a restore put aside: remove it")

    # -- spools -----------------------------------------------------------------------

    def _spool(self) -> Steps:
        """The milter's segments."""
        directory = self._bench.settings.milter.spool
        if not directory.is_dir():
            return {}
        yield from self._turned(directory)
        for path in respool.leftovers(directory):
            path.unlink()
        for path in spool.segments(directory):
            yield self._told("spool", path.name)
            yield from self._read(path)
            self._segment(path)
        return {}

    def _turned(self, directory: Path) -> Steps:
        """Have ``current`` become a segment."""
        with respool.unmilked(directory) as free:
            if free:
                respool.turn(directory, time.time_ns() // 1000)
                return {}
        yield from self._asked(directory)
        return {}

    def _asked(self, directory: Path) -> Steps:
        """Ask whoever writes there for a new segment, and wait."""
        asked = respool.ask(directory)
        until = time.monotonic() + PATIENCE_S
        while asked.exists():
            if time.monotonic() > until:
                asked.unlink(missing_ok=True)
                self._left(f"{directory}/current: whoever writes it does not begin a new one")
                break
            yield self._told("spool", "current")
            time.sleep(WAIT_S)
        return {}

    def _read(self, path: Path) -> Steps:
        """Wait until trackd has let go of a segment; without it, its position is moved."""
        until = time.monotonic() + PATIENCE_S
        while self._bench.live and respool.waiting(path, self._writer.position("spool")):
            if time.monotonic() > until:
                self._left(f"{path}: posttrail-trackd has not read it")
                break
            yield self._told("spool", path.name)
            time.sleep(WAIT_S)
        return {}

    def _segment(self, path: Path) -> None:
        position = None if self._bench.live else self._writer.position("spool")
        try:
            changed, moved = respool.rewrite(path, self._forget, position)
            if not changed:
                return
            if moved is not None:
                self._writer.commit({"spool": moved})
            respool.finish(path)
        except OSError as error:
            self._left(f"{path}: {error.strerror}")
            return
        self.done["spooled"] += changed
        self.done["segments"] += 1

    def _received(self) -> Steps:
        """What came by syslog and was read."""
        log_settings = self._bench.settings.log
        current = log_settings.syslog_spool / "current"
        if not current.exists():
            return {}
        if self._bench.live and (log_settings.syslog_socket or log_settings.syslog_udp):
            yield from self._asked(log_settings.syslog_spool)
        paths = [*respool.received(current), current]
        for path in paths:
            yield from self._heard(path, is_current=path == current)
        return {}

    def _heard(self, path: Path, *, is_current: bool) -> Steps:
        if not path.exists() or not respool.names_any(path, self._forget, 0):
            return {}
        until = time.monotonic() + PATIENCE_S
        while True:
            kept = respool.waiting(path, self._writer.position("syslog"))
            if kept is None or (not self._bench.live and kept.at >= path.stat().st_size):
                break
            if not self._bench.live or time.monotonic() > until:
                self._left(f"{path}: posttrail-trackd has not read it")
                return {}
            yield self._told("spool", path.name)
            time.sleep(WAIT_S)
        if is_current and self._bench.live:
            self._left(f"{path}: it is being written to")
            return {}
        path.unlink()
        self.done["removed"].append(str(path))
        return {}
