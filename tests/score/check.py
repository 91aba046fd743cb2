"""What the folders of the corpora are scored with: one comparison, and the ways to get rows.

A folder's module (its name with ``_`` for ``-``) has ``checks(folder) -> Iterator[Check]``:
what the folder's source states, beside what posttrail makes of the same lines.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]


class Check(NamedTuple):
    """One thing that a source states, and what we say."""

    case: str  # file, line or case of the source
    what: str  # status, reason, recipient, ... : the column of the score
    expected: object
    got: object
    argued: str = ""  # why ours is right where they differ; such a check is counted apart

    @property
    def right(self) -> bool:
        """Whether both say the same."""
        return self.expected == self.got


def rows(
    logs: Sequence[Path], *, year: int | None = None, options: Sequence[str] = ()
) -> list[Row]:
    """The report, oldest row first, of logs imported into a journal of their own."""
    with tempfile.TemporaryDirectory(prefix="posttrail-score-") as directory:
        journal = ["--journal", f"{directory}/journal"]
        dated = [] if year is None else ["--year", str(year)]
        names = [str(log) for log in logs]
        _run([*journal, "import", "--timezone", "UTC", *dated, *options, *names])
        report = _run([*journal, "report", "--limit", "all", "--format", "json"])
    found: list[Row] = [json.loads(line) for line in report.splitlines()]
    return found[::-1]


def rows_of_lines(lines: Sequence[str], **options: Any) -> list[Row]:
    """The same for lines that are in no file."""
    with tempfile.TemporaryDirectory(prefix="posttrail-score-") as directory:
        log = Path(directory) / "mail.log"
        log.write_bytes(b"".join(line.encode("utf-8", "surrogateescape") + b"\n" for line in lines))
        return rows([log], **options)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file with one a line."""
    for line in path.read_text("utf-8").splitlines():
        if line.strip():
            yield json.loads(line)


def _run(arguments: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "posttrail.cli", *arguments], capture_output=True, text=True
    )
    return done.stdout
