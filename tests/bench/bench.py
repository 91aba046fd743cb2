"""What the measures share: sizes, a folder, the log, the journal made of it, our programs."""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import generate
from tests.bench.process import Cost, ProgramError, run
from tests.bench.world import LOCAL_DOMAINS

HERE: Final = Path(__file__).parent
ZONE: Final = ("--timezone", "UTC", "--year", "2025")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One run of the benches; everything it makes is below ``work``."""

    work: Path
    messages: int
    quick: bool

    @property
    def rounds(self) -> int:
        """How often a pair is measured, interleaved."""
        return 9

    def log(self, messages: int, days: int = 31) -> Path:
        """A generated log of that size, made once; its truth is beside it (.truth)."""
        log = self.work / f"{messages}x{days}.log"
        if not log.exists():
            part = log.with_suffix(".part")
            generate.write(part, log.with_suffix(".truth"), messages, days=days)
            part.rename(log)
        return log

    def import_(self, log: Path, journal: Path) -> Cost:
        """Import a log into a journal by the program itself."""
        domains = [word for name in LOCAL_DOMAINS for word in ("--local-domain", name)]
        command: list[str | Path] = [
            program("posttrail"),
            "--journal",
            journal,
            "import",
            *ZONE,
            *domains,
            log,
        ]
        return run(command, output=self.work / "import.out", env=self.environment())

    def journal(self, messages: int, days: int = 31) -> Path:
        """A journal of the log of that size, made once."""
        journal = self.work / f"{messages}x{days}.journal"
        if not journal.exists():
            part = fresh(journal.with_suffix(".part"))
            self.import_(self.log(messages, days), part)
            part.rename(journal)
        return journal

    def configuration(self, place: Path, *, log: Path, socket: Path) -> Path:
        """A configuration file for the daemons, everything below ``place``."""
        place.mkdir(parents=True, exist_ok=True)
        (place / "run").mkdir(exist_ok=True)
        domains = ", ".join(f'"{name}"' for name in LOCAL_DOMAINS)
        file = place / "posttrail.toml"
        file.write_text(
            f'[journal]\ndirectory = "{place}/journal"\n'
            f'group = "{grp.getgrgid(os.getgid()).gr_name}"\n'
            f'[milter]\nsocket = "unix:{socket}"\nspool = "{place}/spool"\n'
            f'[log]\nfiles = ["{log}"]\n[run]\ndirectory = "{place}/run"\n'
            f'[mta]\nhost = "mx1.example.com"\nlocal_domains = [{domains}]\n',
            encoding="utf-8",
        )
        return file

    def environment(self) -> dict[str, str]:
        """The environment of our programs: no configuration of this machine's."""
        empty = self.work / "empty.toml"
        empty.touch()
        return {**os.environ, "POSTTRAIL_CONFIG": str(empty)}

    def noop(self) -> Path:
        """The C no-op milter, compiled once."""
        built = self.work / "noop"
        if not built.exists():
            compiler = tool("cc", "gcc")
            command = [compiler, "-O2", "-o", str(built), str(HERE / "noop.c"), "-lmilter"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ProgramError(f"noop.c does not compile: {done.stderr.strip()[-300:]}")
        return built


def program(name: str) -> Path:
    """One of our console scripts, beside this interpreter."""
    return Path(sys.executable).parent / name


def tool(name: str, package: str) -> str:
    """A program of the machine; ProgramError names the package where it is missing."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not found:
        raise ProgramError(f"{name} is not installed (Debian package {package})")
    return found


def fresh(directory: Path) -> Path:
    """A path where nothing is."""
    shutil.rmtree(directory, ignore_errors=True)
    return directory


def disk_bytes(directory: Path) -> int:
    """What a folder really occupies."""
    return sum(file.stat().st_blocks * 512 for file in directory.rglob("*") if file.is_file())
