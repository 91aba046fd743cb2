"""One postmap(1) at work: many keys to one table, its answers, and why there are none.

``postmap -q - TABLE`` reads keys and prints ``key TAB value`` for those it has. Exit code 1 means
"nothing found" and "cannot be read" alike: words on stderr tell one from the other. A thread of its
own waits for each, at most ``TIMEOUT_S``. Raises nothing: ``Asking.why`` says what went wrong.
"""

import os
import subprocess
import threading
from collections.abc import Sequence
from typing import Final

from posttrail.errors import UnavailableError
from query.trace.postfix.settings import program

TIMEOUT_S: Final = 5.0
_QUERY: Final = "query error"  # about one key; others may have an answer
_SENT_AT_ONCE: Final = 32768  # bytes that an empty pipe takes


class Asking:
    """Keys asked of one table, at a time; the answers are there when ``done`` is set."""

    __slots__ = ("at", "done", "keys", "stamp", "stuck", "table", "values", "why")

    def __init__(self, table: str, keys: Sequence[str], at: float, stamp: object) -> None:
        self.table = table
        self.keys = tuple(keys)
        self.at = at  # time.time()
        self.stamp = stamp  # of the table's files
        self.done = threading.Event()
        self.values: dict[str, str] = {}
        self.why: str | None = None
        self.stuck = False  # it gave no answer in time

    @property
    def alone(self) -> bool:
        """Is what went wrong certain for each key? One bad key spoils a round of several."""
        return len(self.keys) == 1 or _QUERY not in (self.why or "")

    def failed(self, why: str) -> None:
        """Nothing was asked."""
        self.why = why
        self.done.set()

    def start(self, config: str, table: str, *, inherited: Sequence[int] = ()) -> None:
        """Start postmap; ``table`` as it is named for it, which may be otherwise than ours."""
        try:
            process = _started(config, table, inherited)
        except (OSError, ValueError) as error:
            self.failed(f"postmap cannot be started: {error}")
        except UnavailableError as error:
            self.failed(str(error))
        else:
            threading.Thread(target=self._wait, args=(process,), daemon=True).start()

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        try:
            asked = "".join(f"{key}\n" for key in self.keys)
            self._take(process, asked.encode("utf-8", "surrogateescape"))
        except Exception as error:  # noqa: BLE001 - whoever waits must be woken
            self.why = f"postmap cannot be read: {error}"
        finally:
            self.done.set()

    def _take(self, process: "subprocess.Popen[bytes]", asked: bytes) -> None:
        try:
            output, errors = process.communicate(asked, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            self.stuck = True
            self.why = f"no answer within {TIMEOUT_S:g} s"
        else:
            self.why = trouble(process.returncode, errors.decode("utf-8", "replace"))
        self.values = values_of(output.decode("utf-8", "surrogateescape"), self.keys)


def _started(config: str, table: str, inherited: Sequence[int]) -> "subprocess.Popen[bytes]":
    """Nothing to run before the program, no descriptors to close: the cheap way of the system."""
    where = ["-c", config] if config else []
    return subprocess.Popen(
        [program("postmap"), *where, "-q", "-", table],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        close_fds=bool(inherited),  # Python's own are closed in a child anyway (PEP 446)
        pass_fds=inherited,
    )


def values_of(output: str, keys: Sequence[str]) -> dict[str, str]:
    """``key TAB value`` lines, in the order of the keys; a value may have further lines."""
    found: dict[str, str] = {}
    place, last = 0, ""
    for line in output.removesuffix("\n").split("\n") if output else ():
        ahead = range(place, len(keys))
        at = next((each for each in ahead if line.startswith(f"{keys[each]}\t")), None)
        if at is not None:
            last, place = keys[at], at + 1
            found[last] = line[len(last) + 1 :]
        elif last:
            found[last] += f"\n{line}"
    return found


def trouble(code: int, errors: str) -> str | None:
    """Why a table could not be asked, in postmap's words without its own name."""
    lines = [line for line in errors.splitlines() if "fatal:" in line or "error:" in line]
    if lines:
        return lines[-1].partition("postmap: ")[2].removeprefix("fatal: ") or lines[-1]
    if code not in (0, 1):
        return f"postmap ended with {code}"
    return None


def stamp_of(paths: Sequence[str]) -> tuple[tuple[int, int, int], ...]:
    """When files were changed, and which they are; (-1, 0, 0) for one that is not there."""
    stamps = []
    for path in paths:
        try:
            seen = os.stat(path)
        except (OSError, ValueError):
            stamps.append((-1, 0, 0))
        else:
            stamps.append((seen.st_mtime_ns, seen.st_ino, seen.st_size))
    return tuple(stamps)
