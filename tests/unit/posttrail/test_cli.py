"""posttrail.cli and process: what comes first, how it ends, and with which code."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from posttrail import __version__, cli, config, process
from posttrail.errors import ConfigError, NoInputError, TryAgainError, UsageError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("JOURNAL", "SOCKET", "CONFIG"):
        monkeypatch.delenv(f"POSTTRAIL_{name}", raising=False)
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "absent.toml")


def test_option_beats_environment_beats_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "posttrail.toml"
    file.write_text('[journal]\ndirectory = "/configured"\n')
    assert cli.settle(None, None, None).journal == Path("/var/lib/posttrail/journal")
    assert cli.settle(None, None, str(file)).journal == Path("/configured")
    monkeypatch.setenv("POSTTRAIL_CONFIG", str(file))
    assert cli.settle(None, None, None).journal == Path("/configured")
    monkeypatch.setenv("POSTTRAIL_JOURNAL", "/environment")
    assert cli.settle(None, None, None).journal == Path("/environment")
    assert cli.settle("/option", None, None).journal == Path("/option")


def test_a_socket_is_asked_for_by_option_or_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.settle(None, None, None).socket is None
    monkeypatch.setenv("POSTTRAIL_SOCKET", "/environment")
    assert cli.settle(None, None, None).socket == Path("/environment")
    assert cli.settle(None, "/option", None).socket == Path("/option")
    assert cli.settle("/journal", None, None).socket is None  # the option says which


def test_a_journal_and_a_socket_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--journal and --socket"):
        cli.settle("/j", "/s", None)
    monkeypatch.setenv("POSTTRAIL_JOURNAL", "/j")
    monkeypatch.setenv("POSTTRAIL_SOCKET", "/s")
    with pytest.raises(UsageError, match="POSTTRAIL_JOURNAL and POSTTRAIL_SOCKET"):
        cli.settle(None, None, None)


def test_a_named_configuration_must_be_there() -> None:
    with pytest.raises(NoInputError):
        cli.settle(None, None, "/nonexistent/posttrail.toml")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["frobnicate"], "frobnicate"),
        (["--frobnicate"], "--frobnicate"),
        (["report", "--frobnicate"], "--frobnicate"),
        (["report", "one", "two"], "two"),
        (["report", "--format", "xml"], "xml"),
        (["report", "--limit"], "--limit"),
        (["report", "--limit", "0"], "'0'"),
        (["report", "--limit", "many"], "many"),
        (["report", "--status", "delivered,lost"], "lost"),
        (["report", "--reason", "because"], "because"),
        (["report", "--direction", "up"], "up"),
        (["report", "--since", "yore"], "yore"),
        (["report", "--client-ip", "192.0.2.300"], "192.0.2.300"),
        (["report", "--silent-for", "noon"], "noon"),
        (["report", "@"], "'@'"),
        (["report", ""], "''"),
        (["show"], "ID"),
        (["stats", "--by", "moon"], "moon"),
        (["--journal", "/j", "--socket", "/s", "report"], "--socket"),
        ([], "command"),
        (["\x1b[2J"], "\\x1b[2J"),
    ],
)
def test_what_cannot_be_meant_is_named_in_one_line(
    arguments: list[str], named: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 64
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("posttrail: ")
    assert named in err
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_an_unknown_key_of_the_configuration_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "posttrail.toml"
    file.write_text("[journal]\ncolour = 1\n")
    assert cli.main(["--config", str(file), "report"]) == 78
    assert capfd.readouterr().err == f"posttrail: {file}: unknown key journal.colour\n"


def test_a_socket_is_not_served_yet(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--socket", "/run/posttrail/query.sock", "report"]) == 69
    assert "/run/posttrail/query.sock" in capfd.readouterr().err


def test_a_journal_that_is_not_there_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--journal", str(tmp_path / "gone"), "report"]) == 69
    assert capfd.readouterr().err == f"posttrail: no journal at {tmp_path / 'gone'}\n"


def test_help_lists_every_verb_and_imports_none(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capfd.readouterr().out
    assert all(f"  {name} " in out for name in cli.VERBS)
    program = "import sys, posttrail.cli as c; c.main(['--help']); "
    program += "sys.exit(any(m.split('.')[0] in ('query', 'milterd', 'lmdb') for m in sys.modules))"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True)


def test_the_version_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capfd.readouterr().out == f"posttrail {__version__}\n"


@pytest.mark.parametrize("name", list(cli.VERBS))
def test_every_verb_is_a_command(name: str) -> None:
    command = cli.posttrail.get_command(click.Context(cli.posttrail), name)
    assert isinstance(command, click.Command)


def failing(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("a\x1bb"), 78), (TryAgainError("a\x1bb"), 75), (UsageError("a\x1bb"), 64)],
)
def test_an_error_is_one_sentence_and_its_code(
    error: Exception, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert process.outcome(failing(error)) == code
    assert capfd.readouterr().err == "posttrail: a\\x1bb\n"


def test_an_interrupt_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    assert process.outcome(failing(KeyboardInterrupt())) == 130
    assert capfd.readouterr() == ("", "")


def run_python(program: str, stdout: int | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
    )


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = """
import sys
from pathlib import Path
from posttrail import process
def work():
    print("x" * 100_000)
    return 0
sys.exit(process.in_child(work, journal=Path("/j")))
"""
    done = run_python(program, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_child_gives_its_code(tmp_path: Path) -> None:
    assert process.in_child(lambda: 7, journal=tmp_path) == 7
    assert process.in_child(failing(UsageError("x")), journal=tmp_path) == 64


def test_a_fault_of_ours_ends_the_child_with_a_trace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert process.in_child(failing(RuntimeError("ours")), journal=tmp_path) == 70
    assert "RuntimeError: ours" in capfd.readouterr().err


@pytest.mark.parametrize("number", sorted(process.DAMAGE))
def test_damage_that_kills_is_one_sentence(number: signal.Signals) -> None:
    program = f"""
import os, sys
from pathlib import Path
from posttrail import process
def work():
    os.write(2, b"mdb.c:1234: Assertion failed\\n")
    os.kill(os.getpid(), {int(number)})
    return 0
sys.exit(process.outcome(lambda: process.in_child(work, journal=Path("/j"))))
"""
    done = run_python(program)
    assert done.returncode == 69
    assert done.stderr.decode() == (
        f"posttrail: journal /j is damaged ({number.name}); try: posttrail check\n"
    )


def test_a_full_disk_under_the_output_is_a_sentence() -> None:
    program = """
import sys
from posttrail import process
def work():
    print("x" * 100_000)
    return 0
sys.exit(process.outcome(work))
"""
    with open("/dev/full", "wb") as full:
        done = run_python(program, stdout=full.fileno())
    assert done.returncode == 75
    assert done.stderr == b"posttrail: the output cannot be written: No space left on device\n"


def test_closed_streams_are_no_fault() -> None:
    program = "import os; os.close(1); os.close(2); os.execv"
    program += f"({sys.executable!r}, [{sys.executable!r}, '-m', 'posttrail.cli', '--version'])"
    assert run_python(program).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_request_to_end_reaches_the_child(number: signal.Signals) -> None:
    program = f"""
import os, signal, sys
from pathlib import Path
from posttrail import process
signal.signal({int(number)}, signal.SIG_DFL)  # whatever the tests themselves were started with
signal.signal(signal.SIGINT, signal.default_int_handler)
def work():
    os.kill(os.getppid(), {int(number)})
    signal.pause()
    return 0
sys.exit(process.in_child(work, journal=Path("/j")))
"""
    done = run_python(program)
    assert (done.returncode, done.stderr) == (128 + number, b"")


def test_a_hang_up_that_the_caller_ignores_stays_ignored() -> None:
    program = """
import os, signal, sys
from pathlib import Path
from posttrail import process
signal.signal(signal.SIGHUP, signal.SIG_IGN)
def work():
    os.kill(os.getppid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGHUP)
    return 3
sys.exit(process.in_child(work, journal=Path("/j")))
"""
    assert run_python(program).returncode == 3
