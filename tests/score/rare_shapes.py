"""rare-shapes: single lines of many programs; an own reading tells what became of whom.

Of Postfix's lines the last word; the reason where the shape names it. A line of another
program must at least be one that is known.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.score import oracle, sendmail_lines
from tests.score.check import Check, lines_of, read_jsonl, rows_of_lines

_REASONS = (
    ("thrown away", "filtered", "discarded"),
    ("exim blackhole", "filtered", "discarded"),
    ("injected again", "delivered", "piped"),
    ('without "postfix"', "delivered", "piped"),
    ("SMTPUTF8 not offered", "error", "bounced"),
)
_POSTFIX = re.compile(r"^\w{3} [ \d]\d [\d:]{8} \S+ (?:[\w.-]+/)+[\w-]+\[\d+\]: ")


def checks(folder: Path) -> Iterator[Check]:
    """Each line under its shape."""
    lines = [raw.decode("utf-8", "surrogateescape") for raw in lines_of(folder / "lines.log")]
    for case in read_jsonl(folder / "shapes.jsonl"):
        line, shape = lines[case["line"] - 1], case["shape"]
        name = f"line {case['line']} ({shape})"
        if _POSTFIX.match(line):
            yield from oracle.checks_of_lines(name, [line])
        yield from sendmail_lines.of_rare_shapes(line, name, shape)
        for words, status, reason in _REASONS:
            if words in shape:
                found = rows_of_lines([line])
                yield Check(name, "status", [status], [row["status"] for row in found])
                if reason:
                    yield Check(name, "reason", [reason], [row["reason"] for row in found])
        if shape == "expired, empty sender":  # it has no header: under one it is
            (row,) = rows_of_lines([f"Nov 23 18:30:01 mx postfix/qmgr[7]: {line}"])
            yield Check(name, "status", "error", row["status"])
            yield Check(name, "reason", "expired", row["reason"])
            yield Check(name, "sender", "", row["sender"])
