"""A command: started without a shell, the event on its standard input, within a time limit.

Arguments are those of the configuration, never what a mail says; the environment is ``PATH``,
``LANG``, ``POSTTRAIL_EVENT`` (the kind, one of a few words) and ``POSTTRAIL_ID``. Exit status 0 is
taken, all else is tried again. Standard output goes nowhere, standard error where ours goes.
At the limit its whole process group is killed. Raises nothing.
"""

import os
import signal
import subprocess
from contextlib import suppress
from typing import Final

from posttrail.hook import Hook
from query.hooks.outcome import Outcome
from query.hooks.state import Call

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def execute(hook: Hook, call: Call) -> Outcome:
    """Tell it."""
    try:
        process = subprocess.Popen(
            hook.exec,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env=environment(call),
            start_new_session=True,
        )
    except OSError as error:
        return Outcome(said=f"{hook.exec[0]}: {(error.strerror or 'cannot be run').lower()}")
    try:
        process.communicate(call.body, timeout=hook.timeout_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it is not waited for yet: the id is its own
        with process:  # its end alone: who left its group may keep the pipe
            pass
        return Outcome(said=f"not done in {hook.timeout_s} s, killed")
    if process.returncode == 0:
        return Outcome(ok=True)
    if process.returncode < 0:
        return Outcome(said=f"killed by {_signal(-process.returncode)}")
    return Outcome(said=f"exit status {process.returncode}")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"


def environment(call: Call) -> dict[str, str]:
    """All that it gets."""
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "POSTTRAIL_EVENT": call.kind,
        "POSTTRAIL_ID": call.id,
    }
