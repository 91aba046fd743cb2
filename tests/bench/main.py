"""The benches: every promise of the design measured against its rival, each pair in one run.

    python -m tests.bench [--quick] [--messages N] [--only NAME]... [--json FILE] [--work DIR]

Each bench runs in a process of its own, so that a crash or a full memory touches no other.
The report's promises are about a million messages: ``--messages 1000000 --only report``
judges them. Timed figures are worth what the machine is: let nothing else run.

Exit codes: 0, also where a promise is not kept (the table says which); 2 usage; 69 when a
bench could not run, for want of a part or because what was measured proved wrong.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from posttrail.errors import EX_UNAVAILABLE, PosttrailError
from tests.bench.bench import Bench
from tests.bench.figures import Line, document, table
from tests.bench.milter_client import MilterError
from tests.bench.process import ProgramError

Measure = Callable[[Bench], list[Line]]

BENCHES: Final = {
    "import": "tests.bench.importing:measure",
    "memory": "tests.bench.importing:memory",
    "report": "tests.bench.reporting:measure",
    "commit": "tests.bench.storing:commit",
    "prune": "tests.bench.storing:prune",
    "milter": "tests.bench.milters:direct",
    "postfix": "tests.bench.milters:through_postfix",
    "catchup": "tests.bench.catchup:measure",
    "cost": "tests.bench.cost:measure",
    "latency": "tests.bench.latency:measure",
    "trace": "tests.bench.trace:measure",
    "serve": "tests.bench.serving:measure",
}
_EXPECTED: Final = (
    ProgramError, PosttrailError, MilterError, ImportError, OSError, sqlite3.Error,
    subprocess.SubprocessError,
)  # fmt: skip
"""What a missing part or a broken rival raises; anything else is a defect of the bench."""
QUICK: Final = 20_000
FULL: Final = 100_000
LEAST: Final = 5_000


def main() -> None:
    """The command line."""
    options = _options()
    made = options.work is None
    work = options.work or Path(tempfile.mkdtemp(prefix="posttrail-bench-", dir="/var/tmp"))
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o755)  # Postfix's own users pass through
    messages = options.messages or (QUICK if options.quick else FULL)
    bench = Bench(work=work.resolve(), messages=messages, quick=options.quick)
    try:
        lines = [line for name in options.only or BENCHES for line in _apart(name, bench)]
    finally:
        if made:
            shutil.rmtree(work, ignore_errors=True)
    _tell(lines, messages, options.json, quick=options.quick)
    if any(line.measured.startswith("not run") for line in lines):
        sys.exit(EX_UNAVAILABLE)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} messages, short rounds")
    parser.add_argument("--messages", type=int, help=f"size of the log (usually {FULL:,})")
    parser.add_argument("--only", action="append", choices=[*BENCHES], help="may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep logs and journals there, and use those that are",
    )
    options = parser.parse_args()
    if options.messages is not None and options.messages < LEAST:
        parser.error(f"--messages: at least {LEAST:,}")
    return options


def _apart(name: str, bench: Bench) -> list[Line]:
    """Run one bench in a child; what went wrong there becomes a line."""
    print(f"{name} ...", file=sys.stderr, end=" ", flush=True)
    begin = time.monotonic()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(sender, name, bench))
    child.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        child.join()
        found = f"the bench ended with {child.exitcode}"
    child.join()
    print(f"{time.monotonic() - begin:.0f} s", file=sys.stderr)
    if isinstance(found, list):
        return found
    return [
        Line(bench=name, work=name, against="", at_least="", measured=f"not run: {found}",
             holds=None)
    ]  # fmt: skip


def _send(sender: Connection, name: str, bench: Bench) -> None:
    module, _, function = BENCHES[name].partition(":")
    try:
        measure: Measure = getattr(import_module(module), function)
        sender.send(measure(bench))
    except (
        ProgramError,
        PosttrailError,
        MilterError,
        ImportError,
        OSError,
        sqlite3.Error,
    ) as error:
        sender.send(f"{type(error).__name__}: {error}")


def _tell(lines: list[Line], messages: int, file: Path | None, *, quick: bool) -> None:
    from rich.console import Console

    console = Console()
    table(lines, console if console.is_terminal else Console(width=160))
    if file:
        file.write_text(document(lines, messages=messages, quick=quick), encoding="utf-8")


if __name__ == "__main__":
    main()
