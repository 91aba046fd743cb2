"""A pair of feeds, mail log and spool, recorded once from a private Postfix under load.

``feeds``  the recording; ``old``  a journal of earlier days; ``truth``  what both must come
to; ``part``  the beginning of the recording.
"""

import os
import shutil
import smtplib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from posttrail.demo import mails
from posttrail.demo.postfix_files import INSIDE_CLIENT
from posttrail.demo.stage import Stage, folder, stage
from posttrail.errors import UnavailableError
from tests.crash import figures
from tests.crash.replay import OLD, Replay, Told, old_log, pieces
from tests.waiting import wait_until

LOAD = 300
"""Messages of each of the four ways that a session sends."""

LINES = 1_500  # of the feeds, where a test reads them hundreds of times


@pytest.fixture(scope="session")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``mail.log``, ``spool`` and ``posttrail.toml`` as they were recorded."""
    if os.geteuid() != 0:
        pytest.skip("a private Postfix needs root")
    kept = tmp_path_factory.mktemp("feeds")
    with folder(None, keep=False) as directory:
        try:
            with stage(directory) as running:
                mails.send_all(running.lab)
                load(running)
                wait_quiet(running)
        except UnavailableError as error:
            pytest.skip(str(error))
        shutil.copy(running.lab.log, kept / "mail.log")
        shutil.copytree(directory / "spool", kept / "spool")
        shutil.copy(running.config, kept / "posttrail.toml")
    return kept


@pytest.fixture(scope="session")
def old_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with logs of earlier days."""
    folder = tmp_path_factory.mktemp("logs")
    for name, days_ago in OLD.items():
        (folder / name).write_bytes(old_log(days_ago))
    return folder


@pytest.fixture(scope="session")
def old(feeds: Path, old_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal with a day past its retention, and yesterday."""
    replay = Replay(feeds, tmp_path_factory.mktemp("old"))
    for name in ("expired.log", "yesterday.log"):
        assert replay.bring(old_logs / name, keep=True) == 0
    return replay.journal


@pytest.fixture(scope="session")
def truth(feeds: Path, old: Path, old_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What the feeds and all old logs come to, read once and without disturbance."""
    replay = Replay(feeds, tmp_path_factory.mktemp("truth"), old=old)
    replay.append(pieces(feeds))
    assert replay.bring(old_logs / "handed.log") == 0
    return replay.whole()


@pytest.fixture(scope="session")
def part(feeds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the feeds, as feeds."""
    found = tmp_path_factory.mktemp("part")
    (found / "spool").mkdir()
    (found / "spool" / "current").touch()
    (found / "posttrail.toml").write_bytes((feeds / "posttrail.toml").read_bytes())
    for piece in pieces(feeds)[:LINES]:
        with (found / piece.file).open("ab") as file:
            file.write(piece.data)
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures, whatever the verbosity."""
    if figures.told():
        terminalreporter.section("crashes")
        for sentence in figures.told():
            terminalreporter.line(sentence)


def load(running: Stage) -> None:
    """Accepted, discarded, aliased, refused and bounced mail, several sessions at a time."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda part: session(running, part), range(4)))


def session(running: Stage, part: int) -> None:
    """One SMTP session with many transactions."""
    fates = (
        ["alice@example.com", "nobody.here@example.com", "bob@example.com"],
        ["anyone@void.example", "team@example.com"],
        ["partner@example.net", "buyer@gone.example"],
        ["nobody.here@example.com"],
    )
    port = running.lab.ports.mx
    client = smtplib.SMTP("127.0.0.1", port, timeout=30, source_address=(INSIDE_CLIENT, 0))
    with client:
        for number in range(LOAD):
            recipients = fates[(number + part) % 4]
            body = f"Subject: load\r\nMessage-ID: <load.{part}.{number}@example.org>\r\n\r\nx\r\n"
            try:
                client.sendmail("load@example.org", recipients, body)
            except smtplib.SMTPRecipientsRefused:
                client.rset()


def wait_quiet(running: Stage) -> None:
    """Until the queue has nothing on the move any more."""
    wait_until(
        lambda: (
            not any(
                entry["queue_name"] in {"active", "incoming"} for entry in running.lab.pending()
            )
        )
    )
