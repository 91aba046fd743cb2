"""doctor over a real Postfix's settings: one thing wrong, that finding and no other; and its command.

Postfix does not run here: postconf(1) reads and writes the files of the private one. Each command
that doctor names is carried out (but for the reload), and then nothing is wrong any more.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from posttrail import config
from posttrail.demo.lab import Lab
from posttrail.demo.sinks import all_at
from posttrail.demo.stage import folder
from query.doctor import mta
from query.doctor.finding import Finding, State
from query.doctor.place import Place, postfix_of

pytestmark = pytest.mark.integration

OURS = "{ unix:posttrail/milter.sock, default_action=accept, connect_timeout=2s, command_timeout=5s, content_timeout=5s }"
OTHER = "{ inet:127.0.0.1:11332, default_action=tempfail }"
WRONG = {State.WARNING, State.PROBLEM}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The files of a private Postfix that never starts."""
    with folder(None, keep=False) as directory:
        made = Lab(directory, sinks=all_at(1))
        made.prepare()
        yield made


class Bench:
    """A copy of the configuration to break."""

    def __init__(self, lab: Lab, etc: Path) -> None:
        shutil.copytree(lab.etc, etc)
        self.etc = etc
        self.lab = lab
        self.place = Place(
            config=config.Config(
                milter=config.Milter(socket=f"unix:{lab.milter_socket}"),
                trace=config.Trace(mta="postfix", config=str(etc)),
            ),
            journal=etc / "none",
            now_us=time.time_ns() // 1000,
            mta="postfix",
        )

    def settle(self) -> None:
        """Postfix's programs wait where main.cf was changed a moment ago: it was long ago."""
        for name in ("main.cf", "master.cf"):
            os.utime(self.etc / name, (1_700_000_000, 1_700_000_000))

    def postconf(self, *arguments: str) -> None:
        self.settle()
        subprocess.run(["postconf", "-c", str(self.etc), *arguments], check=True, cwd="/")

    def findings(self) -> list[Finding]:
        self.settle()
        postfix, why = postfix_of("postfix", self.place.config.trace)
        assert postfix is not None, why
        return mta.run(replace(self.place, postfix=postfix))

    def wrong(self) -> dict[str, Finding]:
        return {each.check: each for each in self.findings() if each.state in WRONG}

    def mend(self, finding: Finding) -> None:
        for command in finding.mend:
            changes, reload, _ = command.rpartition(" && postfix ")
            assert reload
            for change in changes.split(" && "):
                self.settle()
                subprocess.run(change, shell=True, check=True, cwd="/")


@pytest.fixture
def bench(lab: Lab, tmp_path: Path) -> Bench:
    return Bench(lab, tmp_path / "etc")


def test_nothing_is_wrong_with_what_we_ask_for(bench: Bench) -> None:
    assert bench.wrong() == {}
    assert {each.state for each in bench.findings()} == {State.OK}


CASES = {
    "nobody asks us": (
        [("-e", "smtpd_milters = "), ("-e", "non_smtpd_milters = ")], {"milter-list": State.PROBLEM}),
    "others are asked, not we": (
        [("-e", f"smtpd_milters = {OTHER}")], {"milter-list": State.PROBLEM}),
    "mail of local users is not shown": (
        [("-e", "non_smtpd_milters = ")], {"milter-list": State.WARNING}),
    "another socket than ours": (
        [("-e", f"smtpd_milters = {OURS.replace('posttrail/milter', 'posttrail/old')}")],
        {"milter-list": State.PROBLEM}),
    "somebody is behind us": (
        [("-e", f"smtpd_milters = {OURS}, {OTHER}")], {"milter-last": State.WARNING}),
    "Postfix's own default action": (
        [("-e", f"smtpd_milters = {OURS.replace('default_action=accept, ', '')}")],
        {"milter-default-action": State.PROBLEM}),
    "reject when we are not there": (
        [("-e", f"non_smtpd_milters = {OURS.replace('accept', 'reject')}")],
        {"milter-default-action": State.PROBLEM}),
    "no braces, Postfix's own defaults": (
        [("-e", "smtpd_milters = unix:posttrail/milter.sock")],
        {"milter-default-action": State.PROBLEM, "milter-timeouts": State.WARNING}),
    "a long timeout": (
        [("-e", f"smtpd_milters = {OTHER}, {OURS.replace('content_timeout=5s', 'content_timeout=2m')}")],
        {"milter-timeouts": State.WARNING}),
    "the global timeouts are ours, and long": (
        [("-e", "smtpd_milters = { unix:posttrail/milter.sock, default_action=accept }"),
         ("-e", "milter_content_timeout = 3s"), ("-e", "milter_connect_timeout = 3s")],
        {"milter-timeouts": State.WARNING}),
    "a public service leaves us out": (
        [("-M", "smtp/inet=smtp inet n - n - - smtpd"),
         ("-P", "smtp/inet/smtpd_milters=inet:127.0.0.1:11332")],
        {"milter-overrides": State.WARNING}),
    "a public service asks us its own way": (
        [("-M", "smtp/inet=smtp inet n - n - - smtpd"),
         ("-e", f"own_milters = {OTHER}, {OURS.replace('accept', 'quarantine')}"),
         ("-P", "smtp/inet/smtpd_milters=$own_milters")],
        {"milter-default-action": State.PROBLEM}),
    "short queue ids": (
        [("-e", "enable_long_queue_ids = no")], {"long-queue-ids": State.WARNING}),
    "no port in the log": (
        [("-e", "smtpd_client_port_logging = no")], {"client-port": State.WARNING}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_thing_wrong_is_found_alone_and_mended_by_its_command(bench: Bench, name: str) -> None:
    changes, expected = CASES[name]
    for change in changes:
        bench.postconf(*change)
    found = bench.wrong()
    assert {check: each.state for check, each in found.items()} == expected
    assert all(each.seen for each in found.values())
    bench.mend(next(iter(found.values())))
    assert bench.wrong() == {}


def test_mail_given_back_by_a_filter_must_not_be_shown_again(bench: Bench) -> None:
    port = bench.lab.ports.reinjection
    bench.postconf("-PX", f"127.0.0.1:{port}/inet/receive_override_options")
    found = bench.wrong()
    assert list(found) == ["milter-reinjection"]
    assert found["milter-reinjection"].seen[0].where == f"master.cf 127.0.0.1:{port}/inet"
    bench.mend(found["milter-reinjection"])
    assert bench.wrong() == {}


def test_a_port_for_amavis_is_known_by_its_empty_content_filter(bench: Bench) -> None:
    bench.postconf("-e", "content_filter = smtp-amavis:[127.0.0.1]:10024")
    bench.postconf("-M", "127.0.0.1:10025/inet=127.0.0.1:10025 inet n - n - - smtpd")
    bench.postconf("-P", "127.0.0.1:10025/inet/content_filter=")
    found = bench.wrong()
    assert list(found) == ["milter-reinjection"]
    bench.mend(found["milter-reinjection"])
    assert bench.wrong() == {}
    options = [
        "postconf",
        "-c",
        str(bench.etc),
        "-Ph",
        "127.0.0.1:10025/inet/receive_override_options",
    ]
    assert "no_milters" in subprocess.run(options, capture_output=True, text=True).stdout


def test_a_kept_milter_stays_where_it_was(bench: Bench) -> None:
    bench.postconf("-e", f"smtpd_milters = {OTHER}")
    bench.mend(bench.wrong()["milter-list"])
    said = subprocess.run(
        ["postconf", "-c", str(bench.etc), "-h", "smtpd_milters"], capture_output=True, text=True
    ).stdout.strip()
    assert said == f"{OTHER}, {OURS}"


def test_over_inet_the_list_is_found_and_the_delay_is_told(bench: Bench) -> None:
    inet = config.Milter(socket="inet:8899@127.0.0.1")
    bench.place = replace(bench.place, config=replace(bench.place.config, milter=inet))
    for name in ("smtpd_milters", "non_smtpd_milters"):
        text = OURS.replace("unix:posttrail/milter.sock", "inet:127.0.0.1:8899")
        bench.postconf("-e", f"{name} = {text}")
    assert list(bench.wrong()) == ["milter-unix"]
    assert bench.wrong()["milter-unix"].state is State.WARNING


def test_without_postfix_its_checks_are_left_out_with_a_word(bench: Bench) -> None:
    exim = replace(bench.place, mta="exim", why_not="the mail server here is Exim")
    findings = mta.run(exim)
    assert {each.state for each in findings} == {State.UNCHECKED}
    assert all("Exim asks no milters" in each.said for each in findings)
