"""posttrail-trackd: follows the mail log and the milter's spool, and writes the journal.

Exit codes: 0 stopped by a signal; 64 usage; 75 another process holds the journal;
77 no permission; 78 configuration, or a journal of a newer format.

Log messages: ``following file=...``, ``dropped day=...``, ``disk full ...`` (error: nothing is
lost, the positions wait), ``damaged spool line ...`` (warning).
"""

import argparse
import logging
import sys
import time
from pathlib import Path

from journal.locality import Locality
from journal.writer import Writer
from milterd import spool
from milterd.track.control import Door
from milterd.track.correlate import Correlator
from milterd.track.follow import Follower
from milterd.track.intake import Intake
from milterd.track.syslog import LineParser, zone
from milterd.track.tracker import POLL_S, Source, Tracker
from posttrail import config, daemon, logs
from posttrail.errors import PosttrailError

log = logging.getLogger(__name__)

GAUGES_S = 5.0


def main() -> None:
    """The program."""
    arguments = _arguments()
    logs.setup(arguments.log_level)
    try:
        run(config.load(arguments.config))
    except PosttrailError as error:
        print(f"posttrail-trackd: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="posttrail-trackd", description=__doc__.split("\n")[0])
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file")
    parser.add_argument("--log-level", default="info", choices=logs.LEVELS)
    return parser.parse_args()


def run(settings: config.Config) -> None:
    """Follow until a signal says stop."""
    stop = daemon.Stop()
    writer = Writer.open(settings.journal.directory, group=settings.journal.group)
    door = Door(settings.control_socket)
    tracker = make(settings, writer, door)
    daemon.notify("READY=1")
    told = 0.0
    try:
        while not stop.is_set():
            if not tracker.turn():
                stop.wait(POLL_S)
            now = time.monotonic()
            if now - told >= GAUGES_S:
                told = now
                daemon.notify("WATCHDOG=1")
                _gauges(settings.run.directory, tracker)
    finally:
        daemon.notify("STOPPING=1")
        tracker.stop()
        writer.close()


def make(settings: config.Config, writer: Writer, door: Door | None = None) -> Tracker:
    """The tracker of a configuration."""
    mta = settings.mta
    host = mta.hostname.encode()
    correlator = Correlator(
        writer,
        locality=Locality(local_domains=mta.local_domains, inside_networks=mta.inside_networks),
        lifetime_days=mta.queue_lifetime_days,
    )
    sources = [_spool(settings.milter.spool, writer)]
    sources += [_log(path, settings, writer, correlator, host) for path in settings.log.files]
    for source in sources:
        source.resume(writer)
    return Tracker(
        sources, correlator, writer, host=host, door=door, keep_days=settings.journal.retention_days
    )


def _spool(directory: Path, writer: Writer) -> Source:
    """The spool's segments, newest last written to ``current``."""
    follower = Follower(
        directory / "current",
        older=lambda: spool.segments(directory)[::-1],
        position=writer.position("spool"),
    )
    return Source("spool", follower, None)


def _log(
    path: Path, settings: config.Config, writer: Writer, correlator: Correlator, host: bytes
) -> Source:
    """A mail log and its rotated generations."""
    name = f"log {path}"
    parser = LineParser(timezone=zone(settings.log.timezone), reference_us=time.time_ns() // 1000)
    log.info("following file=%s", path)
    intake = Intake(parser, correlator, writer, host=host)
    return Source(name, Follower(path, position=writer.position(name)), intake)


def _gauges(directory: Path, tracker: Tracker) -> None:
    """What Prometheus is told of this process; a missing folder is no reason to stop."""
    try:
        daemon.write_prom(directory / "trackd.prom", tracker.gauges())
    except OSError as error:
        log.debug("no gauges: %s", error)


if __name__ == "__main__":
    main()
