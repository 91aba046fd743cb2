"""Asking a mail server's own command, with an end to the patience.

The child gets no standard input and speaks English; its output is decoded with surrogateescape.
Raises CommandError where the command cannot be started or does not end in time.
"""

import os
import subprocess
from collections.abc import Sequence
from typing import Final, NamedTuple

from posttrail.errors import EX_UNAVAILABLE, PosttrailError

_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


class Said(NamedTuple):
    """What a command said until its end."""

    stdout: str
    stderr: str
    code: int


class CommandError(PosttrailError):
    """A command of the mail server gave no answer; says why."""

    exit_code = EX_UNAVAILABLE


def ask(command: Sequence[str], *, timeout_s: float) -> Said:
    """Run the command to its end."""
    try:
        child = subprocess.Popen(
            [os.fsencode(word) for word in command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": _PATH, "LC_ALL": "C"}, cwd="/",
        )  # fmt: skip
    except OSError as error:
        raise CommandError(f"{command[0]} cannot be started: {error.strerror}") from None
    with child:
        try:
            stdout, stderr = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _give_up(child)
            raise CommandError(f"{command[0]} gave no answer within {timeout_s:g} s") from None
    return Said(_text(stdout), _text(stderr), child.returncode)


def _give_up(child: subprocess.Popen[bytes]) -> None:
    try:
        child.kill()
    except PermissionError:  # a set-uid program that has become another user
        child.returncode = -1  # so that nobody waits for it


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
