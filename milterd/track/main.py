"""posttrail-trackd: follows the mail log and the milter's spool, and writes the journal.

    posttrail-trackd [--config FILE] [--log-level LEVEL]

Exit codes: 0 stopped by a signal; 64 usage; 66 no such configuration; 69 journal damaged, a
socket cannot be opened; 75 another process holds the journal, or the disk is full at start; 77 no
permission; 78 configuration, or a journal of a newer format.

Log messages: ``following file=...``, ``following journald ...`` (info), and those of ``tracker``,
``receive`` and ``journalctl``.
"""

import logging
import time
from pathlib import Path
from typing import Final

from journal.events import Source as EventSource
from journal.keys import DAY_US
from journal.writer import Writer
from milterd import spool
from milterd.lines import formats
from milterd.lines.journald import JournalParser
from milterd.lines.syslog import LineParser, zone
from milterd.track import ledger, rebuild, writing
from milterd.track.control import Caller, Door
from milterd.track.correlate import Correlator
from milterd.track.follow import Follower
from milterd.track.handed import Desk, Ourselves
from milterd.track.intake import Intake
from milterd.track.journalctl import JournalFollower
from milterd.track.receive import Receiver
from milterd.track.source import Source
from milterd.track.tracker import POLL_S, Tracker
from milterd.track.witness import BEAT_US
from milterd.track.writing import ERASE_AGAIN, Bench
from posttrail import config, daemon

log = logging.getLogger(__name__)

GAUGES_S: Final = 5.0
STALLED_S: Final = 30.0  # the tracker commits every second
OWN_QUIET_S: Final = 0.5
"""After so long a finished segment of our own is let go."""
SPOOL_LINE: Final = 64 << 20
"""Bytes of a spool line: a transaction to a thousand recipients is longer than any log line."""


def main() -> None:
    """The program."""
    daemon.program("posttrail-trackd", "Follow mail log and spool.", run)


def run(settings: config.Config) -> None:
    """Follow until a signal says stop."""
    stop = daemon.Stop()
    with Writer.open(
        settings.journal.directory,
        group=settings.journal.group,
        delimiters=settings.query.delimiters,
    ) as writer:
        _follow(settings, writer, stop)


def _follow(settings: config.Config, writer: Writer, stop: daemon.Stop) -> None:
    tracker = make(settings, writer, Door(settings.control_socket))
    receiver = listen(settings)
    daemon.notify("READY=1")
    told = 0.0
    try:
        while not stop.is_set():
            if not tracker.turn():
                stop.wait(POLL_S)
            now = time.monotonic()
            if now - told >= GAUGES_S:
                told = now
                if tracker.stalled_s() < STALLED_S and (receiver is None or receiver.alive()):
                    daemon.notify("WATCHDOG=1")
                _gauges(settings.run.directory, tracker.gauges() | heard(receiver))
    finally:
        daemon.notify("STOPPING=1")
        if receiver is not None:
            receiver.stop()
        tracker.stop()


def listen(settings: config.Config) -> Receiver | None:
    """The receiver of a configuration, receiving; None where it asks for none."""
    wanted = settings.log
    if not wanted.syslog_socket and not wanted.syslog_udp:
        return None
    receiver = Receiver(
        wanted.syslog_spool,
        host=settings.mta.hostname.encode(),
        path=Path(wanted.syslog_socket) if wanted.syslog_socket else None,
        udp=wanted.syslog_udp,
    )
    receiver.start()
    return receiver


def heard(receiver: Receiver | None) -> dict[str, float]:
    """The receiver's gauges."""
    if receiver is None:
        return {}
    return {
        "posttrail_trackd_received_lines_total": receiver.received,
        "posttrail_trackd_dropped_lines_total": receiver.dropped,
    }


def make(
    settings: config.Config, writer: Writer, door: Door | None = None, *, beat_us: int = BEAT_US
) -> Tracker:
    """The tracker of a configuration; a milter silent for ``beat_us`` is taken for gone."""
    mta, keep_days = settings.mta, settings.journal.retention_days
    host = mta.hostname.encode()
    correlator = writing.correlator(settings, writer)
    sources = [_spool(settings.milter.spool, writer, beat_us)]
    sources += [_log(path, settings, writer, correlator, host) for path in settings.log.files]
    if settings.log.syslog_socket or settings.log.syslog_udp:
        sources.append(_received(settings, writer, correlator, host))
    if settings.log.journald:
        sources.append(_journald(settings, writer, correlator, host))
    for source in sources:
        source.resume(writer)
    # Where a follower began must outlast a kill before its first line: files rotate meanwhile.
    writer.commit({source.name: source.position for source in sources})
    desk = None
    if door is not None:
        bench = Bench(writer=writer, correlator=correlator, settings=settings, live=True)
        own = _rebuilds(settings, writer)
        if writer.forget.erased.open:  # the process before was killed in the middle
            own = [Ourselves(ERASE_AGAIN, {}), *own]
        desk = Desk(door, bench, own)
    if writer.bad_days:
        ledger.forget(writer)  # whoever imports their logs again is to be heard
    return Tracker(
        sources,
        correlator,
        writer,
        host=host,
        desk=desk,
        keep_days=keep_days,
        cap_bytes=settings.journal.size_cap_bytes,
        lifetime_days=mta.queue_lifetime_days,
        silent_us=mta.silent_minutes * 60_000_000,
    )


def _rebuilds(settings: config.Config, writer: Writer) -> list[Caller]:
    """What is to be done about damaged days, the newest first."""
    if not settings.journal.rebuild:
        return []
    names = rebuild.to_begin(writer.directory)
    return [Ourselves("rebuild", {"days": [name]}) for name in names]


def _spool(directory: Path, writer: Writer, beat_us: int) -> Source:
    """The spool's segments, newest last written to ``current``."""
    follower = Follower(
        directory / "current",
        older=lambda: spool.segments(directory)[::-1],
        position=writer.position("spool"),
        max_line=SPOOL_LINE,
        quiet_s=OWN_QUIET_S,  # nobody writes to a segment once it is renamed
    )
    return Source("spool", follower, None, beat_us=beat_us)


def _log(
    path: Path, settings: config.Config, writer: Writer, correlator: Correlator, host: bytes
) -> Source:
    """A mail log and its rotated generations."""
    name = f"log {path}"
    log.info("following file=%s", path)
    intake = _intake(name, formats.Sniffing, settings, writer, correlator, host)
    return Source(name, Follower(path, position=writer.position(name)), intake)


def _received(
    settings: config.Config, writer: Writer, correlator: Correlator, host: bytes
) -> Source:
    """What the receiver keeps; ours from its first line on."""
    current = settings.log.syslog_spool / "current"
    follower = Follower(
        current, position=writer.position("syslog"), history=True, quiet_s=OWN_QUIET_S
    )
    intake = _intake("syslog", LineParser, settings, writer, correlator, host)
    return Source("syslog", follower, intake)


def _intake(
    name: str,
    kind: type[LineParser] | type[formats.Sniffing],
    settings: config.Config,
    writer: Writer,
    correlator: Correlator,
    host: bytes,
) -> Intake:
    """For the lines of a log file that go on where an earlier process stopped."""
    stamp = writer.context(f"stamp/{name}")
    parser = kind(
        timezone=zone(settings.log.timezone),
        reference_us=time.time_ns() // 1000,
        after_us=None if stamp is None else int(stamp),
    )
    return Intake(parser, correlator, writer, host=host, units=settings.log.journald_units)


def _journald(
    settings: config.Config, writer: Writer, correlator: Correlator, host: bytes
) -> Source:
    """The system's journal; begun a queue lifetime ago, so that what is queued has a beginning."""
    units = settings.log.journald_units
    directory = settings.log.journald_directory
    lifetime_us = settings.mta.queue_lifetime_days * DAY_US
    follower = JournalFollower(
        position=writer.position("journald"),
        units=units,
        directory=Path(directory) if directory else None,
        since_us=time.time_ns() // 1000 - lifetime_us,
    )
    log.info("following journald units=%s", ",".join(units))
    parser = JournalParser(units=units)
    intake = Intake(
        parser, correlator, writer, host=host, source=int(EventSource.JOURNALD), units=units
    )
    return Source("journald", follower, intake, kind="journald")


def _gauges(directory: Path, gauges: dict[str, float]) -> None:
    """What Prometheus is told of this process; a missing folder is no reason to stop."""
    try:
        daemon.write_prom(directory / "trackd.prom", gauges)
    except OSError as error:
        log.debug("no gauges: %s", error)


if __name__ == "__main__":
    main()
