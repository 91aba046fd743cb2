"""``posttrail demo``: mails of every fate through a private Postfix, and the report on them.

Exit codes: 0 when every row has settled as it must (or after Ctrl-C), 1 when some had not after
90 seconds, 69 when Postfix or a program of ours does not come up. Without root there is no
Postfix of our own: a bundled log that it wrote is imported and reported on.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

import click

from posttrail.daemon import Stop
from posttrail.demo import mails
from posttrail.demo.lab import Lab
from posttrail.demo.postfix_files import HOST, LOCAL_DOMAINS
from posttrail.demo.stage import Stage, folder, stage
from posttrail.run import program

SETTLE_S: Final = 90.0
POLL_S: Final = 0.5


@click.command()
@click.option("--once", is_flag=True, help="End when all rows have settled.")
@click.option("--directory", type=click.Path(path_type=Path), help="An empty folder to use.")
@click.option("--keep", is_flag=True, help="Leave the folder when it ends.")
def demo(*, once: bool, directory: Path | None, keep: bool) -> int:
    """Try it out on a private Postfix: mails of every fate, and the report on them."""
    if os.geteuid() != 0:
        return sample()
    stop = Stop()
    signal.signal(signal.SIGHUP, lambda _number, _frame: stop.set())
    with folder(directory, keep=keep) as place:
        say(f"a private Postfix and posttrail start in {place}")
        with stage(place) as running:
            missing = settle(running, stop)
            if not stop.is_set():
                show_trace(running)
            if not once and not stop.is_set():
                watch(running, stop)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # what was started is stopped in any case
    if missing and not stop.is_set():
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        say(f"not settled after {SETTLE_S:.0f} s: {'; '.join(missing[:3])}{more}")
        return 1
    return 0


def settle(running: Stage, stop: Stop) -> list[str]:
    """Sends the mails and shows the report until every row is as it must be; what is missing."""
    mails.send_all(running.lab)
    say(f"{len(mails.MAILS)} mails sent; the report as they settle:")
    screen = Screen(running)
    deadline = time.monotonic() + SETTLE_S
    while not stop.is_set():
        rows = running.rows()
        missing = unsettled(rows)
        screen.show(rows, final=not missing or time.monotonic() > deadline)
        if not missing or time.monotonic() > deadline:
            return missing
        flush_greylisted(running.lab, rows)
        stop.wait(POLL_S)
    return []


def show_trace(running: Stage) -> None:
    """The path of an address that is an alias of three, and what became of its mails."""
    say(f"and the path that mail to {mails.TRACED} takes (posttrail trace):")
    sys.stdout.flush()
    command = (running.posttrail()[0], "--config", str(running.config), "trace", mails.TRACED)
    subprocess.run(command, check=False)


def flush_greylisted(lab: Lab, rows: Iterable[dict[str, Any]]) -> None:
    """Tries the greylisted message again, once the report has shown it deferred."""
    seen = {(row["recipient"], row["status"]) for row in rows}
    if (mails.GREYLISTED, "deferred") in seen and (queue_id := lab.deferred(mails.GREYLISTED)):
        lab.flush(queue_id)


def watch(running: Stage, stop: Stop) -> None:
    """Shows the report whenever it changes, until Ctrl-C."""
    ports = running.lab.ports
    say(f"settled. It stays up until Ctrl-C. Send more: SMTP to 127.0.0.1 port {ports.mx}")
    say(f"Look closer: {' '.join(running.posttrail())} report alice@example.com")
    if link := running.link(mails.ALICE):
        say(f"Track Delivery as {mails.ALICE}, in a browser (the link works once): {link}")
    say(f"All mail over HTTP: curl --unix-socket {running.socket} http://posttrail/v1/messages")
    screen = Screen(running)
    screen.shown = running.rows()
    while not stop.wait(2 * POLL_S):
        screen.show(running.rows(), final=True)


class Screen:
    """Shows the report: on a terminal as it changes, elsewhere once it is final."""

    def __init__(self, running: Stage) -> None:
        self.shown: list[dict[str, Any]] = []
        self._running = running
        self._live = sys.stdout.isatty()

    def show(self, rows: list[dict[str, Any]], *, final: bool) -> None:
        """The report as a table, unless it is on the screen already."""
        if rows == self.shown or not (final or self._live):
            return
        self.shown = rows
        if self._live:
            click.clear()
        sys.stdout.flush()
        subprocess.run((*self._running.posttrail(), "report", "--limit", "all"), check=False)


def unsettled(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The rows that must come and have not, each as a few words."""
    found = Counter(
        (row["sender"], row["recipient"], row["final_recipient"], row["status"]) for row in rows
    )
    missing = []
    for sender, fate in mails.expected():
        key = (sender, fate.recipient, fate.final_recipient, fate.status)
        found[key] -= 1
        if found[key] < 0:
            missing.append(f"<{sender}> to <{fate.recipient}> {fate.status}")
    return missing


def sample() -> int:
    """The report on the bundled log, from a journal that lives as long."""
    say("not root, so no Postfix of our own: this is the log that one wrote")
    with tempfile.TemporaryDirectory(prefix="posttrail-demo-") as directory:
        posttrail = (program("posttrail"), "--journal", f"{directory}/journal")
        options = ["--host", HOST, "--timezone", "UTC"]
        for domain in LOCAL_DOMAINS:
            options += ["--local-domain", domain]
        with as_file(files("posttrail.demo") / "sample.log.gz") as log:
            imported = subprocess.run((*posttrail, "import", *options, str(log)), check=False)
        if imported.returncode:
            return imported.returncode
        return subprocess.run((*posttrail, "report", "--limit", "all"), check=False).returncode


def say(words: str) -> None:
    """One line on stderr: the report alone is on stdout."""
    click.echo(f"posttrail demo: {words}", err=True)
