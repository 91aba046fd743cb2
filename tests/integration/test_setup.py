"""``posttrail setup`` on a private Postfix: what it changes, that mail flows, and that nothing is left of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from posttrail import milters
from posttrail.demo.lab import Lab
from posttrail.demo.sinks import all_at
from posttrail.demo.stage import configuration, folder, free_port
from posttrail.postconf import split
from posttrail.run import program
from tests.integration.parts import Program, answers
from tests.unit.query.test_verbs import validate
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="a private Postfix needs root"),
]

OTHER = "inet:127.0.0.1:1"  # nobody is there, and Postfix accepts
BEFORE = (
    f"smtpd_milters = {OTHER}",
    "non_smtpd_milters = $smtpd_milters",
    "milter_default_action = accept",
    "enable_long_queue_ids = no",
    "smtpd_client_port_logging = no",
)
OURS = milters.entry("unix:/q/posttrail/milter.sock", Path("/q"))
REFUSES = """
import sys, Milter
class Refuses(Milter.Base):
    def envfrom(self, *words):
        return Milter.REJECT
Milter.factory = Refuses
Milter.runmilter("refuses", sys.argv[1], 5)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A running Postfix that does not know of posttrail."""

    lab: Lab
    config: Path
    state: Path

    def settle(self) -> None:
        """Postfix's programs wait where main.cf was changed a moment ago: it was long ago."""
        for path in (self.lab.etc / "main.cf", self.lab.etc / "master.cf"):
            os.utime(path, (1_700_000_000, 1_700_000_000))

    def reload(self) -> None:
        self.settle()
        self.lab.reload()

    def setup(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        self.settle()
        command = (
            *(program("posttrail"), "--config", str(self.config), "setup"),
            *("--postfix-config", str(self.lab.etc)),
        )
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=120,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    @property
    def main_cf(self) -> bytes:
        return (self.lab.etc / "main.cf").read_bytes()

    def postconf(self, *arguments: str) -> str:
        self.settle()
        command = ["postconf", "-c", str(self.lab.etc), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def host(running: Host) -> Iterator[Host]:
    """As it was at first, whatever the test before did."""
    text = running.main_cf
    yield running
    (running.state / "setup.json").unlink(missing_ok=True)
    if running.main_cf != text:
        (running.lab.etc / "main.cf").write_bytes(text)
        running.reload()


@pytest.fixture(scope="module")
def running() -> Iterator[Host]:
    with (
        folder(None, keep=False) as directory,
        Lab(directory, sinks=all_at(1), milter=False, settings=BEFORE) as lab,
    ):
        file = directory / "posttrail.toml"
        file.write_text(configuration(directory, lab, free_port()))
        yield Host(lab=lab, config=file, state=directory)


def test_what_it_would_do_is_shown_and_not_done(host: Host) -> None:
    before = host.main_cf
    shown = host.setup()
    assert shown.returncode == 0, shown.stderr
    assert f"- smtpd_milters = {OTHER}\n+ smtpd_milters = {OTHER}, {OURS}\n" in shown.stdout
    assert "+ enable_long_queue_ids = yes\n" in shown.stdout
    assert "+ smtpd_client_port_logging = yes\n" in shown.stdout
    assert "+ non_smtpd_milters" not in shown.stdout  # it has what the first list gets
    assert "posttrail setup --apply" in shown.stderr
    assert host.main_cf == before


def test_it_is_applied_once_and_undone_to_the_byte(host: Host) -> None:
    before = host.main_cf
    applied = host.setup("--apply")
    assert applied.returncode == 0, applied.stderr
    assert "mail flows before: 2.0.0 Ok: queued as" in applied.stdout
    assert "mail flows after: 2.0.0 Ok: queued as" in applied.stdout
    assert split(host.postconf("-xh", "non_smtpd_milters")) == (OTHER, OURS)
    assert host.postconf("-h", "enable_long_queue_ids") == "yes"
    once = host.main_cf
    again = host.setup("--apply")
    assert (again.returncode, host.main_cf) == (0, once)
    assert "Nothing to do" in again.stdout
    undone = host.setup("--undo")
    assert undone.returncode == 0, undone.stderr
    assert "mail flows after" in undone.stdout
    assert host.main_cf == before
    assert "Nothing to take back" in host.setup("--undo").stdout


def test_nobody_finds_the_test_mail(host: Host) -> None:
    log = host.lab.log.stat().st_size
    assert host.setup("--apply").returncode == 0
    said = host.lab.log.read_bytes()[log:].decode()
    ends = re.findall(r"status=(\w+) \((.*)\)", said)
    assert ends == [("sent", "undeliverable postmaster notification discarded")] * 2


def test_without_a_port_the_test_mail_goes_in_by_sendmail(host: Host) -> None:
    master_cf = host.lab.etc / "master.cf"
    text = master_cf.read_text()
    without = re.sub(r"^\S+ inet .*\n(?: .*\n)*", "", text, flags=re.M)
    assert without != text
    master_cf.write_text(without)
    try:
        host.reload()
        applied = host.setup("--apply")
        assert applied.returncode == 0, applied.stderr
        assert "mail flows before: taken by sendmail(1)" in applied.stdout
        assert "mail flows after: taken by sendmail(1)" in applied.stdout
    finally:
        master_cf.write_text(text)
        host.reload()


def test_a_link_stays_one_and_a_list_over_several_lines_comes_back(host: Host) -> None:
    main_cf, real = host.lab.etc / "main.cf", host.state / "real.cf"
    text = host.main_cf.replace(
        OTHER.encode(), OTHER.encode() + b",\r\n  # caf\xe9\n  inet:127.0.0.1:2\n", 1
    )
    real.write_bytes(text)
    real.chmod(0o640)
    main_cf.unlink()
    main_cf.symlink_to("../real.cf")
    try:
        assert host.setup("--apply", "--no-test-mail").returncode == 0
        assert main_cf.is_symlink()
        assert OURS.encode() in real.read_bytes()
        assert host.setup("--undo", "--no-test-mail").returncode == 0
        assert main_cf.is_symlink()
        assert real.read_bytes() == text
        assert real.stat().st_mode & 0o777 == 0o640
    finally:
        main_cf.unlink()
        main_cf.write_bytes(text)  # the fixture gives back what was


def test_what_was_cut_off_is_brought_to_its_end_and_undone_to_the_byte(host: Host) -> None:
    before = host.main_cf
    assert host.setup("--apply", "--no-test-mail").returncode == 0
    state = host.state / "setup.json"
    told = json.loads(state.read_text())
    told["instances"][str(host.lab.etc)]["done"] = False  # killed before the proof
    state.write_text(json.dumps(told))
    again = host.setup("--apply")
    assert again.returncode == 0, again.stderr
    assert "mail flows after" in again.stdout
    assert host.setup("--undo", "--no-test-mail").returncode == 0
    assert host.main_cf == before


def test_without_a_name_all_that_was_set_up_is_undone(host: Host) -> None:
    before = host.main_cf
    second = host.state / "second"
    shutil.copytree(host.lab.etc, second)
    for directory in (second, host.lab.etc):
        done = host.setup("--apply", "--no-test-mail", "--postfix-config", str(directory))
        assert done.returncode == 0, done.stderr
    # the configuration names the first
    command = (
        program("posttrail"),
        "--config",
        str(host.config),
        "setup",
        "--undo",
        "--no-test-mail",
    )
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert host.main_cf == before
    assert (second / "main.cf").read_bytes() == before
    assert not (host.state / "setup.json").exists()
    shutil.rmtree(second)


def test_what_the_administrator_did_meanwhile_stays(host: Host) -> None:
    assert host.setup("--apply", "--no-test-mail").returncode == 0
    last = "inet:127.0.0.1:2"
    host.postconf("-e", f"smtpd_milters={OTHER}, {OURS}, {last}", "message_size_limit=1000000")
    assert "+ smtpd_milters = " + f"{OTHER}, {last}, {OURS}" in host.setup().stdout
    undone = host.setup("--undo", "--no-test-mail")
    assert undone.returncode == 0, undone.stderr
    assert split(host.postconf("-h", "smtpd_milters")) == (OTHER, last)
    assert host.postconf("-h", "message_size_limit") == "1000000"
    assert host.postconf("-h", "enable_long_queue_ids") == "no"


def test_further_changes_are_undone_with_the_first(host: Host) -> None:
    assert host.setup("--apply", "--no-test-mail").returncode == 0
    host.postconf("-e", f"smtpd_milters={OTHER}")
    assert host.setup("--apply", "--no-test-mail").returncode == 0
    assert split(host.postconf("-h", "smtpd_milters")) == (OTHER, OURS)
    assert host.setup("--undo", "--no-test-mail").returncode == 0
    assert host.postconf("-h", "smtpd_milters") == OTHER
    assert host.postconf("-h", "smtpd_client_port_logging") == "no"


def test_our_entry_written_by_hand_can_be_taken_out(host: Host) -> None:
    host.postconf("-e", f"smtpd_milters={OTHER}, {OURS}")
    assert host.setup("--undo", "--no-test-mail").returncode == 0
    assert host.postconf("-h", "smtpd_milters") == OTHER


def test_where_mail_does_not_flow_nothing_is_changed(host: Host) -> None:
    before = host.main_cf
    refused = host.setup("--apply", "--test-mail", "nobody.here@example.com")
    assert refused.returncode == 69
    assert "nothing is changed, for mail does not flow now: 127.0.0.1:" in refused.stderr
    assert "550 5.1.1" in refused.stderr
    assert host.main_cf == before


def test_where_mail_does_not_flow_afterwards_all_is_as_before(host: Host) -> None:
    before = host.main_cf
    command = (sys.executable, "-c", REFUSES, f"unix:{host.lab.milter_socket}")
    milter = Program(host.state / "refuses.log", *command)
    umask = os.umask(0o007)
    try:
        milter.start()
    finally:
        os.umask(umask)
    try:
        wait_until(lambda: answers(host.lab.milter_socket))
        refused = host.setup("--apply")
    finally:
        milter.kill()
    assert refused.returncode == 69, refused.stdout
    assert "main.cf is as it was, for mail did not flow then" in refused.stderr
    assert host.main_cf == before
    assert not (host.state / "setup.json").exists()


def test_the_milter_has_seen_the_test_mail(host: Host) -> None:
    milterd = Program(
        host.state / "milterd.log", program("posttrail-milterd"), "--config", str(host.config)
    )
    milterd.start()
    try:
        wait_until(lambda: answers(host.lab.milter_socket))
        applied = host.setup("--apply", "--format", "json")
    finally:
        milterd.stop()
    told = json.loads(applied.stdout)
    validate("setup", told)
    assert (told["done"], told["seen_by_milter"]) == (True, True)
    assert told["mail_before"]["flows"]
    assert {each["name"] for each in told["changes"]} == {
        "smtpd_milters", "enable_long_queue_ids", "smtpd_client_port_logging",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 9}', '{"format": 1, "instances": 3}'])
def test_a_broken_record_of_what_was_is_said_and_nothing_touched(host: Host, text: str) -> None:
    (host.state / "setup.json").write_text(text)
    before = host.main_cf
    for what in ("--apply", "--undo"):
        told = host.setup(what, "--no-test-mail")
        assert told.returncode == 69
        assert "setup.json: does not say what setup changed" in told.stderr
    assert host.main_cf == before


def test_without_root_it_shows_and_does_not_change(host: Host) -> None:
    command = (
        *(program("posttrail"), "--config", str(host.config), "setup", "--apply"),
        *("--postfix-config", str(host.lab.etc)),
    )
    refused = subprocess.run(
        command, capture_output=True, text=True, timeout=60, user="nobody", check=False
    )
    assert refused.returncode == 77
    assert "run it as root" in refused.stderr


def test_no_such_configuration_is_an_error(host: Host) -> None:
    told = host.setup("--postfix-config", "/nowhere")
    assert told.returncode in (69, 78)
    assert "/nowhere" in told.stderr
