"""posttrail-hookd as a process: how it starts, ends, and what it says of itself."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posttrail import run
from tests.unit.query.conftest import Shelf, row
from tests.unit.query.hooks.receiver import Receiver, secret_file
from tests.waiting import wait_until

WAIT_S = 60.0
ROOT = Path(__file__).resolve().parents[4]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(shelf: Shelf, tmp_path: Path) -> Iterator[Start]:
    """The program with these tables; what it says is in hookd.log."""
    shelf.close()
    started: list[subprocess.Popen[bytes]] = []

    def call(tables: str) -> subprocess.Popen[bytes]:
        config = tmp_path / "posttrail.toml"
        config.write_text(
            f'[journal]\ndirectory = "{shelf.directory}"\n[run]\ndirectory = "{tmp_path}"\n'
            f'[hookd]\nstate = "{tmp_path}/state/state.sqlite"\n{tables}'
        )
        command = [sys.executable, "-m", "query.hooks.main", "--config", str(config)]
        with (tmp_path / "hookd.log").open("ab") as log:
            process = subprocess.Popen(command, stderr=log, cwd=ROOT)
        started.append(process)
        return process

    yield call
    for each in started:
        if each.poll() is None:
            each.kill()
        each.wait()


def web(tmp_path: Path, url: str, mode: int = 0o600) -> str:
    secret = secret_file(tmp_path, mode)
    return f'[[hooks]]\nname = "web"\non = ["delivered"]\nurl = "{url}"\nsecret_file = "{secret}"\n'


def test_it_tells_writes_its_gauges_and_ends_when_told_to(
    start: Start, shelf: Shelf, tmp_path: Path
) -> None:
    log, prom = tmp_path / "hookd.log", tmp_path / "hookd.prom"
    with Receiver() as receiver:
        process = start(web(tmp_path, receiver.url))
        wait_until(lambda: "hook begins name=web" in log.read_text())
        shelf.put(row(done_at_us=time.time_ns() // 1000), at_us=time.time_ns() // 1000)
        receiver.wait(lambda got: len(got) == 1)
        wait_until(prom.exists)
        assert start(web(tmp_path, receiver.url)).wait(WAIT_S) == 75
        process.terminate()
        assert process.wait(WAIT_S) == 0
    page = (ROOT / "docs/man/posttrail-hookd.8").read_text()
    gauges = set(re.findall(r"^(posttrail_\w+)", prom.read_text(), re.M))
    assert gauges == set(re.findall(r"posttrail_hookd_[a-z_]+", page))
    assert (tmp_path / "state" / "state.sqlite").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("mode", "tables", "words"),
    [
        (0o644, None, "everybody may read"),
        (0o600, "", "no [[hooks]]"),
        (0o600, '[[hooks]]\nname = "x"\n', "hooks.x.on"),
    ],
)
def test_a_configuration_that_cannot_be_meant_ends_it_for_good(
    start: Start, tmp_path: Path, mode: int, tables: str | None, words: str
) -> None:
    hooks = web(tmp_path, "https://hooks.example.com/", mode) if tables is None else tables
    code = start(hooks).wait(WAIT_S)
    assert code == 78
    assert code in run.FINAL
    assert words in (tmp_path / "hookd.log").read_text()


def test_a_journal_that_is_not_there_yet_is_waited_for(
    start: Start, shelf: Shelf, tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    shelf.directory.rename(aside)
    start('[[hooks]]\nname = "x"\non = ["error"]\nexec = ["/bin/true"]\n')
    log = tmp_path / "hookd.log"
    wait_until(lambda: "journal cannot be read, hooks wait" in log.read_text())
    aside.rename(shelf.directory)
    wait_until(lambda: "hook begins name=x" in log.read_text())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_its_own_user_needs_the_journals_group_and_nothing_else(
    shelf: Shelf, tmp_path: Path
) -> None:
    """As the unit runs it: a user of its own, further groups by sysusers.d."""
    tmp_path.chmod(0o755)
    for folder in (tmp_path.parent, tmp_path.parent.parent):
        os.chmod(folder, 0o755)
    shelf.close()
    user, group, gauges = 60_001, 60_002, 60_003
    for path in (shelf.directory, *shelf.directory.rglob("*")):
        os.chown(path, 0, group)
    (tmp_path / "run").mkdir()
    (tmp_path / "state").mkdir(mode=0o700)
    os.chown(tmp_path / "run", 0, gauges)
    (tmp_path / "run").chmod(0o1775)
    os.chown(tmp_path / "state", user, user)
    config = tmp_path / "posttrail.toml"
    config.write_text(
        f'[journal]\ndirectory = "{shelf.directory}"\n[run]\ndirectory = "{tmp_path}/run"\n'
        f'[hookd]\nstate = "{tmp_path}/state/state.sqlite"\n'
        '[[hooks]]\nname = "x"\non = ["error"]\nexec = ["/bin/true"]\n'
    )
    with (tmp_path / "hookd.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "query.hooks.main", "--config", config], stderr=log, cwd=ROOT,
            user=user, group=user, extra_groups=[group, gauges],
        )  # fmt: skip
    try:
        wait_until(lambda: (tmp_path / "run" / "hookd.prom").exists())
        assert "hook begins name=x" in (tmp_path / "hookd.log").read_text()
    finally:
        process.terminate()
        assert process.wait(WAIT_S) == 0, (tmp_path / "hookd.log").read_text()
