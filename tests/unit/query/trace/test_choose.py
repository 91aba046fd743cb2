"""Which mail server is meant: the one that runs, else the one that is installed, never a namesake."""

import os
from pathlib import Path

import pytest

from posttrail import config
from posttrail.errors import UnavailableError
from query.trace import choose


def yes() -> bool:
    return True


def no() -> bool:
    return False


@pytest.mark.parametrize(
    ("installed", "running", "chosen"),
    [
        ((yes, no, no), (no, no, no), "postfix"),
        ((no, yes, no), (no, no, no), "sendmail"),
        ((no, no, yes), (no, no, no), "exim"),
        ((yes, yes, yes), (no, no, no), "postfix"),
        ((yes, yes, yes), (no, no, yes), "exim"),
        ((yes, yes, no), (no, yes, yes), "sendmail"),
        ((yes, yes, yes), (yes, yes, yes), "postfix"),
    ],
)
def test_the_one_that_runs_else_the_one_that_is_there(
    installed: tuple[choose.Test, ...], running: tuple[choose.Test, ...], chosen: str
) -> None:
    names = (choose.POSTFIX, choose.SENDMAIL, choose.EXIM)
    here = dict(zip(names, installed, strict=True))
    alive = dict(zip(names, running, strict=True))
    assert choose.choose(here, alive) == chosen


def test_none_says_what_to_do() -> None:
    nobody = dict.fromkeys((choose.POSTFIX, choose.SENDMAIL, choose.EXIM), no)
    with pytest.raises(UnavailableError, match=r"run this where the mail server is"):
        choose.choose(nobody, nobody)


def test_postfixs_own_sendmail_command_is_not_sendmail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "sendmail"
    command.write_text("#!/bin/sh\n# Postfix's sendmail compatible command\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("query.trace.sendmail._PLACES", ())
    assert not choose.INSTALLED[choose.SENDMAIL]()


def test_a_pid_file_counts_only_with_its_command(tmp_path: Path) -> None:
    file = tmp_path / "master.pid"
    file.write_text(f"       {os.getpid()}\n")
    command = Path("/proc/self/comm").read_text().strip()
    assert choose.runs((str(file),), frozenset({command}))
    assert not choose.runs((str(file),), frozenset({"master"}))
    assert not choose.runs((str(tmp_path / "none"),), frozenset({command}))
    file.write_text("nonsense")
    assert not choose.runs((str(file),), frozenset({command}))


def test_the_configuration_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("query.trace.exim.exim_program", lambda: None)
    with pytest.raises(UnavailableError, match="no Exim here"):
        choose.walker(config.Trace(mta="exim", nameservers=("127.0.0.1",)))
