"""fail2ban: the client and the local time of each line that the source takes for an attack.

A refusal must be an event of that client; the source reads years before August 2005. Lines that
tell nothing of a mail (failed logins, hang-ups) must be known as such. Courier is not read.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from milterd.lines import programs
from milterd.lines.syslog import LineParser, zone
from tests.score import exim_lines, sendmail_lines
from tests.score.check import Check, lines_of, read_jsonl, told_of

_REFERENCE_US = 1_124_020_800_000_000  # 2005-08-14T12:00:00Z, the source's "now"


def checks(folder: Path) -> Iterator[Check]:
    """The files whose programs are read."""
    yield from _postfix(folder)
    yield from sendmail_lines.of_fail2ban(folder)
    yield from exim_lines.fail2ban(folder)


def _postfix(folder: Path) -> Iterator[Check]:
    """smtpd and postscreen."""
    expected = {case["line"]: case for case in read_jsonl(folder / "postfix.expected.jsonl")}
    for number, raw in enumerate(lines_of(folder / "postfix.log"), start=1):
        name, case = f"postfix.log:{number}", expected.get(number, {})
        line = LineParser(timezone=zone("UTC"), reference_us=_REFERENCE_US).parse(raw)
        if line is None:
            yield Check(name, "header", "a header", None)
            continue
        if "time" in case:
            at = datetime.fromtimestamp(line.at_us / 1_000_000, UTC).isoformat()[:19]
            day = re.sub(r"-(\d)T", r"-0\1T", case["time"])
            yield Check(name, "time", day, at)
        found = told_of(programs.parse(line))
        refused = re.search(rb"[ -]reject: (?!VRFY)", raw) is not None
        if not refused:
            # connections begin and end: kept to tie lines together
            kinds = [e["kind"] for e in found] if isinstance(found, list) else found
            yield Check(name, "kind", True, kinds in ("nothing", ["disconnect"], ["connect"]))
            continue
        event = found[0] if isinstance(found, list) else {"kind": found}
        yield Check(name, "kind", "door", event["kind"])
        if case.get("match"):
            yield Check(name, "client", case["host"], event.get("client_ip"))
