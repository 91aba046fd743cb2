"""A real rsyslogd before our receiver: both its ways to send, and its rate limit, to the line.

Needs rsyslogd; it runs on sockets of its own, with no part of the system's log.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from journal.keys import STATUS
from journal.records import Gap
from journal.writer import Writer
from milterd.track.main import listen, make
from posttrail import config
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("rsyslogd") is None, reason="no rsyslogd here"),
]

SENDER = """
import socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
    channel.connect(sys.argv[1])
    for line in sys.stdin.buffer:
        channel.send(line.rstrip(b"\\n"))
"""
WAYS = {
    "unix": "$OMUxSockSocket {out}\n*.* :omuxsock:\n",
    "rfc3164": '*.* action(type="omfwd" Target="127.0.0.1" Port="{port}" Protocol="udp")\n',
    "rfc5424": '*.* action(type="omfwd" Target="127.0.0.1" Port="{port}" Protocol="udp"'
    ' Template="RSYSLOG_SyslogProtocol23Format")\n',
}


@dataclass(frozen=True)
class Rsyslog:
    """What logs to it, and the settings of the trackd that it sends to."""

    sender: subprocess.Popen[bytes]
    settings: config.Config

    def send(self, *lines: str) -> None:
        """Log as one process of Postfix: rsyslogd's limit is one of each process."""
        stamp = time.strftime("%b %e %H:%M:%S")
        pipe = self.sender.stdin
        assert pipe is not None
        pipe.write("".join(f"<22>{stamp} postfix/smtpd[77]: {line}\n" for line in lines).encode())
        pipe.flush()


@pytest.fixture(params=sorted(WAYS))
def rsyslog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rsyslog]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (tmp_path / "spool").mkdir()
    way = WAYS[request.param].format(out=tmp_path / "out", port=port)
    (tmp_path / "rsyslog.conf").write_text(
        f'global(workDirectory="{tmp_path}" processInternalMessages="on"'
        ' parser.permitSlashInProgramName="on")\n'
        'module(load="imuxsock" SysSock.Use="off")\nmodule(load="omuxsock")\n'
        f'input(type="imuxsock" Socket="{tmp_path}/in" RateLimit.Interval="1" RateLimit.Burst="50"'
        ' RateLimit.Severity="0" UsePIDFromSystem="on")\n' + way
    )
    settings = config.Config(
        journal=config.Journal(directory=tmp_path / "journal"),
        milter=config.Milter(spool=tmp_path / "spool"),
        log=config.Log(
            files=(),
            syslog_socket=str(tmp_path / "out"),
            syslog_udp=f"127.0.0.1:{port}",
            syslog_spool=tmp_path / "syslog",
        ),
        mta=config.Mta(host="mx.example.com"),
        run=config.Run(directory=tmp_path),
    )
    receiver = listen(settings)
    assert receiver is not None
    command = ["rsyslogd", "-n", "-f", f"{tmp_path}/rsyslog.conf", "-i", f"{tmp_path}/pid"]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(tmp_path / "in"))
        with subprocess.Popen(
            [sys.executable, "-c", SENDER, f"{tmp_path}/in"], stdin=subprocess.PIPE
        ) as sender:
            yield Rsyslog(sender, settings)
    finally:
        daemon.kill()
        daemon.wait()
        receiver.stop()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        return one.connect_ex(os.fspath(path)) == 0


def refusal(number: int) -> str:
    return (
        f"NOQUEUE: reject: RCPT from unknown[192.0.2.7]: 554 5.7.1 <r{number}@example.com>: Relay"
        f" access denied; from=<a@example.net> to=<r{number}@example.com> proto=ESMTP helo=<h>"
    )


def test_what_rsyslog_sends_is_read_and_what_it_drops_is_a_gap(rsyslog: Rsyslog) -> None:
    sent = 200
    with Writer.open(rsyslog.settings.journal.directory) as writer:
        tracker = make(rsyslog.settings, writer)
        told: list[Gap] = []
        buffer = writer.gap

        def gap(found: Gap) -> None:
            told.append(found)
            buffer(found)

        writer.gap = gap  # type: ignore[method-assign,assignment]
        rsyslog.send(*map(refusal, range(200)))

        def over() -> bool:
            nonlocal sent
            tracker.turn()
            if told and not any(one.lost for one in told):  # it tells when the interval is over
                rsyslog.send(refusal(sent))
                sent += 1
            return any(one.lost for one in told)

        wait_until(over)
        lost = sum(one.lost for one in told)
        assert 0 < lost < 200

        def complete() -> bool:
            tracker.turn()
            now_us = time.time_ns() // 1000
            return len(writer.find(STATUS, b"rejected", 0, now_us)) == sent - lost

        wait_until(complete)
        assert {(one.source, one.reason) for one in told} == {("log", "rate_limited")}
        tracker.stop()
