"""One postmap(1) at work: many keys to one table, its answers, and why there are none.

``postmap -q - TABLE`` reads keys and prints ``key TAB value`` for those it has. Exit code 1 means
"nothing found" and "cannot be read" alike: words on stderr tell one from the other. A thread of its
own waits for each, at most ``TIMEOUT_S``. Raises nothing: ``Asking.why`` says what went wrong.
"""

import os
import re
import selectors
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Final

from posttrail.errors import UnavailableError
from posttrail.postconf import program

TIMEOUT_S: Final = 5.0
_QUERY: Final = "query error"  # about one key; others may have an answer
_PIECE: Final = 65536


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
        why: str | None = "postmap cannot be read"
        try:
            asked = "".join(f"{key}\n" for key in self.keys)
            with process:
                why = self._take(process, asked.encode("utf-8", "surrogateescape"))
        except OSError as error:
            why = f"{why}: {error}"
        finally:  # whoever waits must be woken, and a fault of ours is not "nothing found"
            self.why = why
            self.done.set()

    def _take(self, process: "subprocess.Popen[bytes]", asked: bytes) -> str | None:
        """Reads the answers; what went wrong, if something did."""
        talk = Talk(process, asked)
        self.stuck = not talk.ended(time.monotonic() + TIMEOUT_S)
        if self.stuck or talk.fatal():
            process.kill()
        code = process.wait()
        self.values = values_of(talk.output.decode("utf-8", "surrogateescape"), self.keys)
        if self.stuck:
            return f"no answer within {TIMEOUT_S:g} s"
        return trouble(0 if talk.fatal() else code, talk.errors.decode("utf-8", "replace"))


class Talk:
    """What is written to a process, and what it says meanwhile."""

    def __init__(self, process: "subprocess.Popen[bytes]", asked: bytes) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self.output = bytearray()
        self.errors = bytearray()
        self._asked = asked
        self._stdin = process.stdin
        self._said = {process.stdout.fileno(): self.output, process.stderr.fileno(): self.errors}

    def fatal(self) -> bool:
        """Did it say its last word? Programs of Postfix sleep a second after it, then end."""
        return re.search(rb"fatal: .*\n", self.errors) is not None

    def ended(self, until: float) -> bool:
        """Both ends were closed, or the last word was said; False: not until then."""
        with selectors.DefaultSelector() as ready:
            for file in self._said:
                ready.register(file, selectors.EVENT_READ)
            os.set_blocking(self._stdin.fileno(), False)
            ready.register(self._stdin, selectors.EVENT_WRITE)
            self._feed(ready)
            while ready.get_map() and not self.fatal():
                left = until - time.monotonic()
                events = ready.select(left) if left > 0 else []  # however much it still says
                if not events:
                    return False
                for key, _ in events:
                    self._turn(ready, key.fd)
        return True

    def _turn(self, ready: selectors.BaseSelector, file: int) -> None:
        if file not in self._said:
            self._feed(ready)
            return
        piece = os.read(file, _PIECE)
        self._said[file] += piece
        if not piece:
            ready.unregister(file)

    def _feed(self, ready: selectors.BaseSelector) -> None:
        try:
            self._asked = self._asked[os.write(self._stdin.fileno(), self._asked) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._asked = b""
        if not self._asked:
            ready.unregister(self._stdin)
            self._stdin.close()


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
