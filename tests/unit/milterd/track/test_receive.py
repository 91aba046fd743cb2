"""The syslog receiver on real sockets: nothing that was taken is lost, what was dropped is counted."""

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from journal.keys import CLIENT_IP
from journal.reader import Reader
from journal.records import Gap
from journal.writer import Writer
from milterd.track import receive
from milterd.track.follow import Follower
from milterd.track.main import listen, make
from milterd.track.receive import Receiver
from posttrail import config
from posttrail.errors import ConfigError, UnavailableError
from tests.conftest import ExpectedLog

WAIT_S = 30.0
NOW = datetime(2026, 11, 25, 10, 0, 0, 1, UTC)
STAMP = b"2026-11-25T10:00:00.000001+00:00"


def until(done: Callable[[], bool], step: Callable[[], object] = os.sched_yield) -> None:
    limit = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < limit
        step()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Bench:
    """A receiver with both sockets, and what it kept."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.path = directory / "log.sock"
        self.port = free_port()
        self.spool = directory / "syslog"
        self.receiver = Receiver(
            self.spool, host=b"here", path=self.path, udp=f"127.0.0.1:{self.port}", now=lambda: NOW
        )
        self._stack = stack
        self._running = False

    def start(self) -> None:
        self.receiver.start()
        self._running = True
        self._stack.callback(self.stop)

    def stop(self) -> None:
        if self._running:
            self._running = False
            self.receiver.stop()

    def send(self, *datagrams: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.connect(os.fspath(self.path))
            for datagram in datagrams:
                one.send(datagram)

    def send_udp(self, *datagrams: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            for datagram in datagrams:
                one.sendto(datagram, ("127.0.0.1", self.port))

    def kept(self) -> list[bytes]:
        follower = Follower(self.spool / "current", history=True)
        try:
            lines: list[bytes] = []
            while found := follower.read()[0]:
                lines += found
            return [line for line in lines if line]
        finally:
            follower.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(tmp_path, stack)


def test_datagrams_of_both_sockets_are_kept_as_lines(bench: Bench) -> None:
    bench.start()
    assert stat.S_IMODE(bench.path.stat().st_mode) == 0o660
    bench.send(b"<22>Nov 25 09:59:59 postfix/smtp[7]: AB12: removed\n")
    bench.send_udp(b"<22>1 2026-11-25T09:59:58Z mx postfix/smtp 7 - - AB12: x")
    until(lambda: bench.receiver.received == 2)
    bench.stop()
    assert sorted(bench.kept()) == [
        b"2026-11-25T09:59:58Z mx postfix/smtp[7]: AB12: x",
        b"Nov 25 09:59:59 here postfix/smtp[7]: AB12: removed",
    ]
    assert not bench.path.exists()


def test_what_came_before_the_stop_is_kept(bench: Bench) -> None:
    bench.send(*(b"<22>postfix/x: %d" % number for number in range(5)))
    bench.start()
    bench.stop()
    assert bench.kept() == [STAMP + b" here postfix/x: %d" % number for number in range(5)]


def test_nobody_else_can_speak_with_our_voice(bench: Bench) -> None:
    bench.start()
    bench.send(b"<22>Nov 25 09:59:59 mx posttrail-syslog[1]: 9 messages lost: x")
    until(lambda: bench.receiver.received == 1)
    bench.stop()
    assert bench.kept() == [b"Nov 25 09:59:59 mx -posttrail-syslog[1]: 9 messages lost: x"]


def test_what_the_kernel_dropped_is_counted_to_the_datagram(bench: Bench) -> None:
    sent = 30_000
    bench.send_udp(*[b"<22>postfix/smtp[7]: AB12: " + b"x" * 500] * sent)
    bench.start()
    until(lambda: bench.receiver.received > 0)
    limit = time.monotonic() + WAIT_S
    while bench.receiver.received + bench.receiver.dropped < sent:  # the next one brings the count
        assert time.monotonic() < limit
        bench.send_udp(b"<22>postfix/smtp[7]: AB12: x")
        sent += 1
        before = bench.receiver.received
        until(lambda before=before: bench.receiver.received > before)  # type: ignore[misc]
    bench.stop()
    assert bench.receiver.dropped > 0
    kept = bench.kept()
    told = [line for line in kept if b" posttrail-syslog[" in line]
    assert len(kept) - len(told) + bench.receiver.dropped == sent
    assert sum(int(line.split(b": ")[1].split()[0]) for line in told) == bench.receiver.dropped


def test_segments_are_set_aside_and_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "SEGMENT_BYTES", 1_000)
    monkeypatch.setattr(receive, "SEGMENTS_MOST", 2)
    bench.start()
    for number in range(60):
        bench.send(b"<22>postfix/smtp[7]: " + b"%03d" % number + b"x" * 100)
        until(lambda number=number: bench.receiver.received == number + 1)  # type: ignore[misc]
    bench.stop()
    assert len(list(bench.spool.iterdir())) == 3
    numbers = [int(line.partition(b": ")[2][:3]) for line in bench.kept()]
    assert numbers == list(range(numbers[0], 60))


def test_a_full_disk_loses_nothing_silently(bench: Bench, expected_log: ExpectedLog) -> None:
    expected_log("received lines cannot be kept")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    bench.start()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (250, limits[1]))
        bench.send(*[b"<22>postfix/smtp[7]: " + b"x" * 100] * 5)
        until(lambda: bench.receiver.received == 5)
        bench.send(b"<22>postfix/smtp[7]: y")
        until(lambda: bench.receiver.received == 6)
        until(lambda: bench.receiver.dropped > 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    bench.send(b"<22>postfix/smtp[7]: z")
    until(lambda: bench.receiver.received == 7)
    bench.stop()
    assert any(b" posttrail-syslog[" in line for line in bench.kept())
    assert bench.kept()[-2].endswith(b"postfix/smtp[7]: z")


def test_a_second_line_does_not_grow_onto_a_torn_one(tmp_path: Path) -> None:
    (tmp_path / "syslog").mkdir()
    (tmp_path / "syslog" / "current").write_bytes(b"torn by a cra")
    spool = receive.Spool(tmp_path / "syslog")
    spool.append([b"whole"])
    spool.close()
    assert (tmp_path / "syslog" / "current").read_bytes() == b"torn by a cra\nwhole\n"


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"UDP 127.0.0.1:{port}"):
            Receiver(tmp_path, host=b"h", udp=f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0.0.0.0:514", "only a loopback address"),
        ("192.0.2.1:514", "only a loopback address"),
        ("[::]:514", "only a loopback address"),
        ("127.0.0.1", "ADDRESS:PORT"),
        ("localhost:514", "ADDRESS:PORT"),
        ("127.0.0.1:0", "port"),
        ("[::1]:x", "port"),
    ],
)
def test_only_a_loopback_address_may_be_listened_on(value: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.parse(f'[log]\nsyslog_udp = "{value}"', "f")
    assert config.parse('[log]\nsyslog_udp = "[::1]:5514"', "f").log.syslog_udp == "[::1]:5514"


# -- with trackd ----------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    (tmp_path / "spool").mkdir()
    return config.Config(
        journal=config.Journal(directory=tmp_path / "journal"),
        milter=config.Milter(spool=tmp_path / "spool"),
        log=config.Log(
            files=(),
            timezone="UTC",
            syslog_socket=str(tmp_path / "log.sock"),
            syslog_spool=tmp_path / "syslog",
        ),
        mta=config.Mta(host="mx.example.com"),
        run=config.Run(directory=tmp_path),
    )


def story(number: int) -> list[bytes]:
    stamp = time.strftime("%b %e %H:%M:%S", time.gmtime()).encode()
    return [
        b"<22>%b postfix/smtpd[9]: %04X0: client=mail.example.org[192.0.2.9]" % (stamp, number),
        b"<22>%b postfix/smtp[8]: %04X0: to=<r%d@example.net>, relay=mx.example.net[192.0.2.25]:25,"
        b" delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok)" % (stamp, number, number),
        b"<22>%b postfix/qmgr[7]: %04X0: removed" % (stamp, number),
    ]  # fmt: skip


def send(path: str, datagrams: list[bytes]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.connect(path)
        for datagram in datagrams:
            one.send(datagram)


def test_a_message_comes_through_the_socket(settings: config.Config) -> None:
    receiver = listen(settings)
    assert receiver is not None
    with Writer.open(settings.journal.directory) as writer:
        tracker = make(settings, writer)
        send(settings.log.syslog_socket, story(1))
        now_us = time.time_ns() // 1000

        def delivered() -> bool:
            found = writer.find(CLIENT_IP, b"192.0.2.9", 0, now_us + 10**6)
            return any(row.status == 0 for one in found for row in one.message.rows)

        until(delivered, tracker.turn)
        receiver.stop()
        tracker.stop()


def test_no_line_that_was_taken_is_lost_by_kills(tmp_path: Path, settings: config.Config) -> None:
    """trackd, killed again and again while lines come in: a sender waits, a reader goes on."""
    file = tmp_path / "posttrail.toml"
    file.write_text(
        f'[journal]\ndirectory = "{settings.journal.directory}"\n[milter]\nspool = "{tmp_path}/spool"\n'
        f'[log]\nfiles = []\ntimezone = "UTC"\nsyslog_socket = "{settings.log.syslog_socket}"\n'
        f'syslog_spool = "{tmp_path}/syslog"\n[mta]\nhost = "mx.example.com"\n[run]\ndirectory = "{tmp_path}"\n'
    )
    command = [
        sys.executable,
        "-m",
        "milterd.track.main",
        "--config",
        str(file),
        "--log-level",
        "error",
    ]
    sent = 0
    for round_ in range(4):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            until(lambda: _listens(settings.log.syslog_socket))
            for _ in range(50):
                send(settings.log.syslog_socket, story(sent))
                sent += 1
            if round_ == 3:
                until(lambda: (tmp_path / "syslog" / "current").read_bytes().count(b"removed") >= 1)
        finally:
            _drained(tmp_path / "syslog", sent)
            process.send_signal(signal.SIGKILL if round_ < 3 else signal.SIGTERM)
            process.wait(WAIT_S)
    with Writer.open(settings.journal.directory) as writer:
        tracker = make(settings, writer)
        idle = 0
        while idle < 3:
            idle = 0 if tracker.turn() else idle + 1
        tracker.stop()
    with Reader.open(settings.journal.directory) as reader:
        found = [message for id, _ in reader.scan() if (message := reader.message(id))]
        gaps = [
            span for span in reader.coverage() if isinstance(span, Gap) and span.source == "log"
        ]
    assert sorted(row.recipient or b"" for one in found for row in one.rows) == sorted(
        b"r%d@example.net" % number for number in range(sent)
    )
    assert all(row.status == 0 and row.attempts == 1 for one in found for row in one.rows)
    assert gaps == []


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        return one.connect_ex(path) == 0


def _drained(spool: Path, sent: int) -> None:
    """Until all that was sent so far was taken from the socket."""
    until(lambda: sum(one.read_bytes().count(b": removed") for one in spool.iterdir()) >= sent)
