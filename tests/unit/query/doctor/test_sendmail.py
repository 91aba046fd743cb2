"""Sendmail's X lines, as sendmail.cf has them."""

import subprocess
from pathlib import Path

import pytest

from query.doctor import mta_sendmail
from query.doctor.finding import State

MANUAL = (Path(__file__).parents[4] / "docs/operating.md").read_text()
SOCKET = "unix:/run/posttrail/milter.sock"
LINE = "Xposttrail, S=local:/run/posttrail/milter.sock, F=, T=C:2s;S:5s;R:5s;E:5s\n"
CF = "O InputMailFilters={}\n" + LINE


def states(text: str) -> dict[str, State]:
    findings = mta_sendmail.decide(text, SOCKET, "/etc/mail/sendmail.cf")
    return {each.check: each.state for each in findings if each.state is not State.UNCHECKED}


def test_the_line_of_the_manual_is_fine() -> None:
    assert states(CF.format("posttrail")) == {
        "milter-list": State.OK,
        "milter-last": State.OK,
        "milter-default-action": State.OK,
        "milter-timeouts": State.OK,
    }


@pytest.mark.parametrize(
    ("text", "check", "state"),
    [
        ("", "milter-list", State.PROBLEM),
        (LINE, "milter-list", State.PROBLEM),  # defined, and not asked
        (CF.format("clamav,other"), "milter-list", State.PROBLEM),
        (CF.format("posttrail, clamav"), "milter-last", State.WARNING),
        (CF.format("posttrail").replace("F=,", "F=T,"), "milter-default-action", State.PROBLEM),
        (CF.format("posttrail").replace("F=,", "F=R,"), "milter-default-action", State.PROBLEM),
        (CF.format("posttrail").replace("E:5s", "E:1m"), "milter-timeouts", State.WARNING),
        (
            CF.format("posttrail").replace(";E:5s", ""),
            "milter-timeouts",
            State.WARNING,
        ),  # five minutes
    ],
)
def test_what_is_wrong_is_found_alone(text: str, check: str, state: State) -> None:
    wrong = {name: each for name, each in states(text).items() if each is not State.OK}
    assert wrong == {check: state}


def test_the_commands_leave_one_line_of_ours_behind_all_others(tmp_path: Path) -> None:
    other = "INPUT_MAIL_FILTER(`clamav', `S=local:/run/clamav.sock, F=T')dnl\n"
    old = "INPUT_MAIL_FILTER(`posttrail', `S=local:/run/posttrail/milter.sock, F=T')dnl\n"
    file = tmp_path / "sendmail.mc"
    file.write_text(old + other + "MAILER(`smtp')dnl\n")
    for command in mta_sendmail.mended("posttrail", SOCKET)[:2]:
        subprocess.run(command.replace(mta_sendmail.MC, str(file)), shell=True, check=True)
    ours = next(line for line in MANUAL.splitlines(True) if line.startswith("INPUT_MAIL_FILTER"))
    assert file.read_text() == other + "MAILER(`smtp')dnl\n" + ours


def test_what_is_for_postfix_is_left_out_with_a_word() -> None:
    findings = mta_sendmail.decide(CF.format("posttrail"), SOCKET, "x")
    left_out = {each.check for each in findings if each.state is State.UNCHECKED}
    assert {"long-queue-ids", "client-port", "milter-overrides"} <= left_out
    assert all("Sendmail" in each.said for each in findings if each.state is State.UNCHECKED)
