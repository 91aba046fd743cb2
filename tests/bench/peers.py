"""What pflogsumm(1) and logwatch(8) count in a Postfix log, under the names of our statuses.

Both count deliveries, not recipients' fates, and have no word for some of ours: those are
left out. Raises ProgramError where one is not installed or ends with an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Final

from tests.bench.bench import tool
from tests.bench.process import ProgramError

LOGWATCH: Final = Path("/usr/share/logwatch/scripts/services/postfix")

_PFLOGSUMM: Final = {
    "delivered": "delivered",
    "deferred": "deferred",
    "bounced": "error",
    "rejected": "rejected",
    "discarded": "filtered",
    "held": "in_progress",
}
_LOGWATCH: Final = {
    "Delivered": "delivered",
    "Sent via SMTP": "delivered",
    "Sent via LMTP": "delivered",
    "Deferred": "deferred",
    "Bounced (local)": "error",
    "Bounced (remote)": "error",
    "Expired and returned to sender": "error",
    "Total 5xx Rejects": "rejected",
    "Total 4xx Rejects": "rejected",
    "Discarded": "filtered",
    "Placed on hold": "in_progress",
}


def installed() -> bool:
    """Whether both are here."""
    return shutil.which("pflogsumm") is not None and LOGWATCH.exists()


def pflogsumm(log: Path) -> Counter[str]:
    """Its grand totals."""
    said = _said([tool("pflogsumm", "pflogsumm"), "--detail", "0", str(log)])
    totals = said.partition("Grand Totals")[2].partition("bytes received")[0]
    counts: Counter[str] = Counter()
    for number, word in re.findall(r"^ *(\d+k?) +([a-z]+)", totals, re.MULTILINE):
        if word in _PFLOGSUMM:
            counts[_PFLOGSUMM[word]] += int(number.rstrip("k")) * (1000 if "k" in number else 1)
    return counts


def logwatch(log: Path, *, long: bool) -> Counter[str]:
    """Its summary; it must be told of long queue ids, and overlooks short ones then."""
    if not LOGWATCH.exists():
        raise ProgramError(f"{LOGWATCH} is not there (Debian package logwatch)")
    options = ["--long_queue_ids"] if long else []
    said = _said(["perl", str(LOGWATCH), *options, "--detail", "0", str(log)])
    counts: Counter[str] = Counter()
    for number, name in re.findall(r"^ *(\d+) +(\*?[A-Z\d][^\n]*?) {2,}[\d.,]+%?$", said, re.M):
        if name in _LOGWATCH:
            counts[_LOGWATCH[name]] += int(number)
    return counts


def _said(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    )
    if done.returncode:
        raise ProgramError(f"{command[0]} ended with {done.returncode}: {done.stderr[-300:]!r}")
    return done.stdout.decode("utf-8", "replace")
