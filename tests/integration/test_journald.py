"""A real systemd-journald (a namespace of its own), real senders in cgroups of units, its real limit.

Needs root, systemd's programs and a cgroup file system that may be written to; systemd need not
be the init. What a real journald refuses to take must stand in the coverage, to the line.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from journal.keys import STATUS
from journal.reader import Reader
from journal.records import Gap
from journal.writer import Writer
from milterd.track.main import make
from milterd.track.tracker import Tracker
from posttrail import config

pytestmark = pytest.mark.integration

JOURNALD = Path("/lib/systemd/systemd-journald")
CGROUPS = [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup")]
WAIT_S = 60.0
SENDER = """
import socket, sys
for group in sys.argv[2:]:
    open(group + "/cgroup.procs", "w").write("0")
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
    channel.connect(sys.argv[1])
    for line in sys.stdin.buffer:
        channel.send(line.rstrip(b"\\n"))
"""


@dataclass(frozen=True)
class Journald:
    """The running daemon: where it listens and where its files are."""

    socket: str
    directory: Path
    unit: str
    groups: list[str]

    def send(self, *lines: str, tag: str = "postfix/smtpd[7]", inside: bool = True) -> None:
        """Log lines as a process of the unit, or as one of none."""
        data = "".join(f"<22>Nov 23 18:30:00 {tag}: {line}\n" for line in lines).encode()
        groups = self.groups if inside else []
        subprocess.run([sys.executable, "-c", SENDER, self.socket, *groups], input=data, check=True)


@pytest.fixture
def journald() -> Iterator[Journald]:
    if os.geteuid() != 0 or not JOURNALD.exists():
        pytest.skip("needs root and systemd-journald")
    name, unit = f"pt{os.getpid()}", f"postfix@pt{os.getpid()}.service"
    with contextlib.ExitStack() as stack:
        groups = _groups(unit, stack)
        settings = Path(f"/run/systemd/journald@{name}.conf.d")
        settings.mkdir(parents=True)
        stack.callback(lambda: subprocess.run(["rm", "-rf", str(settings)], check=True))
        (settings / "test.conf").write_text(
            "[Journal]\nStorage=volatile\nRateLimitIntervalSec=1s\nRateLimitBurst=100\n"
        )
        place = f"/run/systemd/journal.{name}"
        daemon = subprocess.Popen(
            [JOURNALD, name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        stack.callback(lambda: subprocess.run(["rm", "-rf", place], check=True))
        stack.callback(daemon.wait)
        stack.callback(daemon.kill)
        listens = Path(place) / "dev-log"
        _until(lambda: listens.exists() and _answers(str(listens)))
        machine = Path("/etc/machine-id").read_text().strip()
        directory = Path(f"/run/log/journal/{machine}.{name}")
        stack.callback(lambda: subprocess.run(["rm", "-rf", str(directory)], check=True))
        _until(directory.exists)
        yield Journald(str(listens), directory, unit, groups)


def _groups(unit: str, stack: contextlib.ExitStack) -> list[str]:
    """Control groups of that unit, by which journald tells who logs."""
    made: list[str] = []
    for root in CGROUPS:
        if not (root / "cgroup.procs").exists():
            continue
        slice_, group = root / "system.slice", root / "system.slice" / unit
        own = not slice_.exists()
        try:
            group.mkdir(parents=True)
        except OSError:
            continue
        if own:
            stack.callback(_remove, slice_)
        stack.callback(_remove, group)
        made.append(str(group))
    if not made:
        pytest.skip("no control groups to write to")
    return made


def _remove(group: Path) -> None:
    with contextlib.suppress(OSError):  # another one's is in it
        group.rmdir()


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        return channel.connect_ex(path) == 0


def _until(done: Callable[[], bool], step: Callable[[], object] = lambda: time.sleep(0.01)) -> None:
    limit = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < limit
        step()


@pytest.fixture
def settings(tmp_path: Path, journald: Journald) -> config.Config:
    (tmp_path / "spool").mkdir()
    return config.Config(
        journal=config.Journal(directory=tmp_path / "journal"),
        milter=config.Milter(spool=tmp_path / "spool"),
        log=config.Log(files=(), journald=True, journald_directory=str(journald.directory)),
        mta=config.Mta(host="mx.example.com"),
        run=config.Run(directory=tmp_path),
    )


def statuses(writer: Writer) -> dict[str, int]:
    """How many delivered and refused messages the journal has."""
    now_us = time.time_ns() // 1000
    return {
        word: len(writer.find(STATUS, word.encode(), 0, now_us))
        for word in ("delivered", "rejected", "error")
    }


def refusal(number: int) -> str:
    return (
        f"NOQUEUE: reject: RCPT from unknown[192.0.2.7]: 554 5.7.1 <r{number}@example.com>: Relay"
        f" access denied; from=<a@example.net> to=<r{number}@example.com> proto=ESMTP helo=<h>"
    )


def test_what_journald_takes_is_followed_and_what_it_drops_is_a_gap(
    settings: config.Config, journald: Journald
) -> None:
    sent = 20_000
    with Writer.open(settings.journal.directory) as writer:
        tracker: Tracker = make(settings, writer)
        journald.send(refusal(0), inside=False)  # of no unit: a lie, for all that is known
        journald.send(*(refusal(number) for number in range(1, sent + 1)))
        told: list[Gap] = []
        buffer = writer.gap

        def gap(found: Gap) -> None:
            told.append(found)
            buffer(found)

        writer.gap = gap  # type: ignore[method-assign,assignment]

        def go_on() -> None:
            nonlocal sent
            tracker.turn()
            if not told and tracker._sources[1].caught_up:  # a line after the interval
                sent += 1
                journald.send(refusal(sent))

        _until(lambda: bool(told), go_on)
        lost = told[0].lost
        assert 0 < lost < sent
        _until(lambda: statuses(writer)["rejected"] == sent - lost, tracker.turn)
        assert tracker.gauges()["posttrail_trackd_forged_lines_total"] == 1
        tracker.stop()
    with Reader.open(settings.journal.directory) as reader:
        gaps = [span for span in reader.coverage() if isinstance(span, Gap)]
    assert [(one.source, one.reason, one.lost) for one in gaps] == [
        ("journald", "rate_limited", lost)
    ]
    assert gaps[0].begin_us < gaps[0].end_us
