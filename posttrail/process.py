"""How a command ends: errors become one sentence and a code, a crash of the reader too.

LMDB maps the journal into memory, so a damaged page kills whoever touches it
(SIGABRT, SIGBUS, SIGSEGV). ``in_child`` lets a child take that blow.

Exit codes: those of sysexits(3) in ``errors``, 70 for a fault of ours, 130 after
Ctrl-C, 141 when nobody reads our output any more. Raises JournalDamagedError.
"""

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NoReturn

from posttrail.errors import EX_TEMPFAIL, PosttrailError, UnavailableError
from posttrail.text import safe

EX_SOFTWARE: Final = 70
EX_INTERRUPTED: Final = 128 + signal.SIGINT
EX_BROKEN_PIPE: Final = 128 + signal.SIGPIPE
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DAMAGE: Final = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGSEGV})

_LOOK_S: Final = 1.0
"""Another thread may have taken the signal that a child has ended."""

Work = Callable[[], int]


class JournalDamagedError(UnavailableError):
    """Reading the journal killed the process that read it."""

    def __init__(self, journal: Path, number: int) -> None:
        name = signal.Signals(number).name
        super().__init__(f"journal {journal} is damaged ({name}); try: posttrail check")


def outcome(work: Work) -> int:
    """The exit code of ``work``; an error is said on stderr in one line."""
    try:
        code = work()
        sys.stdout.flush()
        return code
    except PosttrailError as error:
        print(f"posttrail: {safe(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EX_INTERRUPTED
    except BrokenPipeError:
        _give_up_output()
        return EX_BROKEN_PIPE
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _give_up_output()
        print(f"posttrail: the output cannot be written: {error.strerror}", file=sys.stderr)
        return EX_TEMPFAIL


def _give_up_output() -> None:
    """What is still buffered must not fail once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def in_child(work: Work, *, journal: Path) -> int:
    """``outcome(work)``, found out in a forked child; call it before the journal is opened."""
    sys.stdout.flush()
    sys.stderr.flush()
    # What asks us to end must not come between the fork and the handlers that pass it on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    pid = os.fork()
    if pid == 0:
        _as_child(work, before)
    status = _wait(pid, before)
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    if os.WTERMSIG(status) in DAMAGE:
        raise JournalDamagedError(journal, os.WTERMSIG(status))
    return 128 + os.WTERMSIG(status)


def _as_child(work: Work, mask: Iterable[int]) -> NoReturn:
    code = EX_SOFTWARE
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # it only reads: it may end anywhere
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _mute_libraries()
        code = outcome(work)
        sys.stderr.flush()
    finally:  # whatever it was, the child must not go on with the parent's code
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())
        os._exit(code)


def _mute_libraries() -> None:
    """Keep stderr for Python alone: LMDB's dying words go to descriptor 2."""
    if sys.stderr.fileno() != 2:
        return  # somebody (a test) captures it
    sys.stderr = open(os.dup(2), "w", buffering=1, errors="backslashreplace")  # noqa: SIM115 - it stays stderr to the end
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _wait(pid: int, mask: Iterable[int]) -> int:
    """The wait status of the child; signals that ask us to end are for the child.

    They stay blocked and are taken one by one: a handler would not run for one that comes just
    before waitpid(2), which then waits for a child that nobody told.
    """
    heard = {
        number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN
    }  # nohup
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, *heard})
    try:
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status
            came = signal.sigtimedwait({signal.SIGCHLD, *heard}, _LOOK_S)
            if came is not None and came.si_signo in heard:
                os.kill(pid, came.si_signo)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
