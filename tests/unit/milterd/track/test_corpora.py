"""Logs of other people's servers, where they are at hand: no line raises, few are unknown."""

import gzip
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from milterd.lines.programs import UNKNOWN, is_mail, parse
from milterd.lines.syslog import LineParser, zone

PROJECT = Path(__file__).resolve().parents[4]
CORPORA = Path(os.environ.get("POSTTRAIL_CORPORA", PROJECT.parent / "shared" / "corpora"))
pytestmark = pytest.mark.skipif(
    not CORPORA.is_dir(), reason="no corpora: name their folder in POSTTRAIL_CORPORA"
)


def lines(path: Path) -> Iterator[bytes]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    yield from data.split(b"\n")


def test_no_line_of_any_corpus_raises_and_postfixes_own_are_understood(
    record_property: Callable[[str, object], None],
) -> None:
    of_postfix = 0
    unknown: Counter[str] = Counter()
    for path in sorted(CORPORA.rglob("*")):
        if not path.is_file() or path.name == "SOURCE.md":
            continue
        parser = LineParser(timezone=zone("UTC"), reference_us=1_795_458_601_000_000)
        for raw in lines(path):
            line = parser.parse(raw)
            if line is None:
                continue
            event = parse(line)
            if is_mail(line):
                of_postfix += 1
                unknown[str(path.relative_to(CORPORA))] += event is UNKNOWN
    total = unknown.total()
    shares = {name: count for name, count in unknown.items() if count}
    record_property("postfix_lines", of_postfix)
    record_property("unknown_lines", total)
    print(f"unknown: {total} of {of_postfix} Postfix lines, {shares}")
    assert of_postfix > 0
    assert total <= of_postfix // 1000, shares
