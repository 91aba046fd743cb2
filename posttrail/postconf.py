"""Postfix's settings as postconf(1) prints them: main.cf expanded, and what services override.

Three commands run at once: ``postconf -x`` (all parameters), ``-Px`` (the services' own ``-o``)
and ``-Mx`` (the lines of master.cf). They run again when main.cf or master.cf has changed. Raises
UnavailableError where there is no Postfix, SettingsError with postconf's words.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from posttrail.errors import EX_CONFIG, PosttrailError, UnavailableError

TIMEOUT_S: Final = 20.0
_PATH: Final = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/bin"


class SettingsError(PosttrailError):
    """Postfix cannot read its own configuration."""

    exit_code = EX_CONFIG


class Service(NamedTuple):
    """One service of master.cf(5)."""

    name: str
    type: str
    private: str
    unpriv: str
    chroot: str
    maxproc: str
    command: str  # the program's name
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A snapshot."""

    main: Mapping[str, str]
    overrides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    services: tuple[Service, ...] = ()

    @property
    def version(self) -> str:
        return self.main.get("mail_version", "")

    def get(self, name: str, service: str = "") -> str:
        """The value; that of the service ("submission/inet") where it has its own."""
        own = self.overrides.get(service)
        if own is not None and name in own:
            return own[name]
        return self.main.get(name, "")

    def words(self, name: str, service: str = "") -> tuple[str, ...]:
        """The value as a list; what stands in braces is one word."""
        return split(self.get(name, service))


def split(value: str) -> tuple[str, ...]:
    """At commas and white space outside braces."""
    return tuple(_words(value))


def _words(value: str) -> list[str]:
    found, current, depth = [], "", 0
    for character in value:
        depth += (character == "{") - (character == "}")
        if depth <= 0 and (character.isspace() or character == ","):
            found.append(current)
            current = ""
        else:
            current += character
    return [word for word in (*found, current) if word]


def program(name: str) -> str:
    """The path of a Postfix command; UnavailableError where it is not there."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PATH}")
    if found is None:
        raise UnavailableError(f"no {name}(1) on this machine: is Postfix installed?")
    return found


class SettingsCache:
    """Reads the settings, anew when the files have changed."""

    def __init__(self, config: str = "") -> None:
        self._config = config
        self._read: tuple[tuple[tuple[int, ...], ...], Settings] | None = None

    def read(self) -> Settings:
        """The settings as the files are now."""
        stamp = self._stamp()
        if self._read is None or self._read[0] != stamp:
            self._read = (stamp, read(self._config))
        return self._read[1]

    def _stamp(self) -> tuple[tuple[int, ...], ...]:
        folder = self._config or "/etc/postfix"
        stamps: list[tuple[int, ...]] = []
        for name in ("main.cf", "master.cf"):
            try:
                seen = os.stat(os.path.join(folder, name))
            except OSError:
                stamps.append((-1, 0, 0))
            else:
                stamps.append((seen.st_mtime_ns, seen.st_ino, seen.st_size))
        return tuple(stamps)


def read(config: str = "") -> Settings:
    """Ask postconf."""
    where = ["-c", config] if config else []
    command = program("postconf")
    running = [
        subprocess.Popen(
            [command, *where, option],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
            close_fds=False,  # Python's own are closed in a child anyway (PEP 446)
        )
        for option in ("-x", "-Px", "-Mx")
    ]
    try:
        main, overrides, master = [_output(each) for each in running]
    finally:
        for each in running:
            if each.returncode is None:
                each.kill()
                each.communicate()
    return Settings(
        main=main_of(main), overrides=overrides_of(overrides), services=services_of(master)
    )


def _output(process: "subprocess.Popen[str]") -> str:
    try:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise SettingsError(f"postconf gave no answer within {TIMEOUT_S:.0f} s") from None
    if process.returncode != 0:
        raise SettingsError(
            errors.strip().splitlines()[-1] if errors.strip() else "postconf failed"
        )
    return output


def main_of(output: str) -> dict[str, str]:
    """``name = value`` lines."""
    parts = (line.partition("=") for line in output.splitlines())
    return {name.strip(): value.strip() for name, equal, value in parts if equal}


def overrides_of(output: str) -> dict[str, dict[str, str]]:
    """``submission/inet/name = value`` lines by service."""
    found: dict[str, dict[str, str]] = {}
    for line in output.splitlines():
        name, equal, value = line.partition("=")
        service, slash, parameter = name.strip().rpartition("/")
        if equal and slash:
            found.setdefault(service, {})[parameter] = value.strip()
    return found


def services_of(output: str) -> tuple[Service, ...]:
    """Lines of master.cf(5); ``-o`` options are kept among the arguments."""
    found = []
    for line in output.splitlines():
        words = line.split(None, 7)
        if len(words) < 8:
            continue
        name, kind, private, unpriv, chroot, _, maxproc, rest = words
        command, *arguments = rest.split()
        found.append(
            Service(name, kind, private, unpriv, chroot, maxproc, command, tuple(arguments))
        )
    return tuple(found)
