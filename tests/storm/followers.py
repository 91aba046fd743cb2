"""Programs that follow a log through a storm, each as a process: ours, rsyslog's imfile, tail -F.

What each made of the lines is counted where it keeps them: ours in the journal, the others'
in the file that they write.
"""

import re
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Protocol

from journal.reader import Reader
from journal.records import Gap
from posttrail.run import program

STOP_S = 60.0
QUIET_S = 6.0
"""A peer's output that has not grown for so long is what it has to say."""

_NUMBER = re.compile(rb" to=<n(\d+)@example\.net>")


class Follower(Protocol):
    """A program that can be started again."""

    name: str

    def start(self) -> None: ...
    def stop(self, how: signal.Signals) -> None: ...
    def settle(self, written: int) -> None: ...
    def found(self) -> Counter[int]: ...
    def close(self) -> None: ...


class _Process:
    """One process at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._running: subprocess.Popen[bytes] | None = None

    def _run(self, command: list[str], output: Path | None = None, **environment: str) -> None:
        said = (self.directory / "said").open("ab")
        out = output.open("ab") if output else said
        with said, out:
            self._running = subprocess.Popen(
                command, stdout=out, stderr=said, env=environment or None
            )

    def stop(self, how: signal.Signals) -> None:
        """End it and wait until it has gone."""
        assert self._running is not None
        self._running.send_signal(how)
        self._running.wait(STOP_S)

    def close(self) -> None:
        """It must not outlive a test that failed."""
        if self._running is not None and self._running.poll() is None:
            self._running.kill()
            self._running.wait(STOP_S)


class Ours(_Process):
    """posttrail-trackd, with a journal of its own."""

    name = "posttrail-trackd"

    def __init__(self, directory: Path, log: Path) -> None:
        super().__init__(directory)
        (directory / "spool").mkdir()
        self.config = directory / "posttrail.toml"
        self.config.write_text(
            f'[journal]\ndirectory = "{directory}/journal"\n[milter]\nspool = "{directory}/spool"\n'
            f'[log]\nfiles = ["{log}"]\ntimezone = "UTC"\n[mta]\nhost = "mx.example.com"\n'
            f'[run]\ndirectory = "{directory}"\n'
        )

    def start(self) -> None:
        """Returns when it follows."""
        address = f"{self.directory}/notify"
        Path(address).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(address)
            told.settimeout(STOP_S)
            command = [program("posttrail-trackd"), "--config", str(self.config)]
            self._run(command, NOTIFY_SOCKET=address)
            assert told.recv(100) == b"READY=1"

    def settle(self, written: int, quiet_s: float = 5 * QUIET_S) -> None:
        """Wait until every line is a row, or none comes any more."""
        count, since = 0, time.monotonic()
        while count < written and time.monotonic() - since < quiet_s:
            with Reader.open(self.directory / "journal") as reader:
                now = sum(reader.counters().values())
            if now != count:
                count, since = now, time.monotonic()
            time.sleep(0.1)

    def found(self) -> Counter[int]:
        """The rows of the journal, by the number in the recipient."""
        rows: Counter[int] = Counter()
        with Reader.open(self.directory / "journal") as reader:
            for id, _ in reader.scan(0, 1 << 62):
                record = reader.record(id)
                for row in record.message.rows if record else ():
                    assert row.recipient is not None
                    rows[int(row.recipient.partition(b"@")[0][1:])] += 1
        return rows

    def gaps(self) -> list[Gap]:
        """What it says that it lost."""
        with Reader.open(self.directory / "journal") as reader:
            return [
                span for span in reader.coverage() if isinstance(span, Gap) and span.source == "log"
            ]


class _Peer(_Process):
    """A program that writes the lines it reads to a file."""

    @property
    def output(self) -> Path:
        return self.directory / "lines"

    def settle(self, written: int) -> None:
        """Wait until its output grows no more."""
        size, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_S:
            now = self.output.stat().st_size if self.output.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
            time.sleep(0.1)

    def found(self) -> Counter[int]:
        """The lines of its output, by their numbers."""
        return Counter(int(number) for number in _NUMBER.findall(self.output.read_bytes()))


class Rsyslog(_Peer):
    """Debian's rsyslogd with imfile (inotify), its state saved every 100 lines."""

    name = "rsyslog imfile"

    def __init__(self, directory: Path, log: Path) -> None:
        super().__init__(directory)
        (directory / "work").mkdir()
        self.config = directory / "rsyslog.conf"
        self.config.write_text(
            f'global(workDirectory="{directory}/work")\nmodule(load="imfile" mode="inotify")\n'
            'template(name="raw" type="string" string="%msg%\\n")\n'
            f'input(type="imfile" file="{log}" tag="x" persistStateInterval="100"'
            ' reopenOnTruncate="on" ruleset="out")\n'
            f'ruleset(name="out") {{ action(type="omfile" file="{self.output}" template="raw") }}\n'
        )

    def start(self) -> None:
        """As a process of its own, not the machine's."""
        self._run(["rsyslogd", "-n", "-iNONE", "-f", str(self.config)])


class Tail(_Peer):
    """``tail -n +1 -F``, which keeps no position."""

    name = "tail -n +1 -F"

    def __init__(self, directory: Path, log: Path) -> None:
        super().__init__(directory)
        self.log = log

    def start(self) -> None:
        self._run(["tail", "-n", "+1", "-F", str(self.log)], self.output)


def peers(directory: Path, log: Path) -> list[Follower]:
    """The others that are installed here."""
    found: list[Follower] = []
    if shutil.which("rsyslogd"):
        found.append(Rsyslog(directory / "rsyslog", log))
    if shutil.which("tail"):
        found.append(Tail(directory / "tail", log))
    return found
