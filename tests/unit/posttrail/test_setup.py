"""tools/setup names what is missing and leaves the machine alone where it must.

The commands it would call are played by scripts, because a test must not change the machine.
"""

import os
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[3] / "tools" / "setup"


class Machine:
    """A folder of stand-ins for PATH: which packages there are, and who asks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.calls = folder / "calls"
        self.program("apt-get", f'echo "apt-get $*" >> {self.calls}')
        self.program("sudo", "exit 1")
        self.user(0)

    def program(self, name: str, script: str) -> None:
        path = self._folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def user(self, number: int) -> None:
        self.program("id", f"echo {number}")

    def packages(self, *, all_installed: bool, mail_server: str) -> None:
        """What dpkg-query says: of one package its state, of all those with their provides."""
        one = "echo installed" if all_installed else "exit 1"
        listed = f"installed {mail_server} mail-transport-agent"
        self.program("dpkg-query", f'if [ -z "$4" ]; then echo "{listed}"; else {one}; fi')

    def setup(self) -> subprocess.CompletedProcess[str]:
        path = f"{self._folder}:{os.environ['PATH']}"
        return subprocess.run(
            [SETUP, "run"], env={"PATH": path}, capture_output=True, text=True, timeout=30
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_where_all_is_there_nothing_is_said_or_done(machine: Machine) -> None:
    machine.packages(all_installed=True, mail_server="postfix")
    done = machine.setup()
    assert (done.returncode, done.stderr) == (0, "")
    assert not machine.calls.exists()


def test_another_mail_server_is_named_and_left_alone(machine: Machine) -> None:
    machine.packages(all_installed=False, mail_server="exim4-daemon-light")
    done = machine.setup()
    assert done.returncode == 69
    assert "exim4-daemon-light is installed" in done.stderr
    assert not machine.calls.exists()


def test_without_root_the_missing_packages_are_named(machine: Machine) -> None:
    machine.packages(all_installed=False, mail_server="postfix")
    machine.user(1000)
    done = machine.setup()
    assert done.returncode == 0
    assert "missing Debian packages: python3 " in done.stderr
    assert "installed by root only" in done.stderr
    assert not machine.calls.exists()
