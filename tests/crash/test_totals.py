"""Counters for Prometheus over a replay with kills, restarts and the same log again: the rows' own.

The recorded feeds have retries, re-injection through a filter, aliases, bounces and refusals.
posttrail-trackd is killed and started again in between, posttrail-queryd begins anew for each
scrape, and in the end the whole log is imported once more.
"""

import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from journal.counters import BUCKETS_S, taken_ms
from journal.reader import Reader
from journal.records import Direction, Status
from posttrail import metrics
from posttrail.errors import PosttrailError
from query.httpd.metrics import families, text
from tests.crash.replay import WAIT_S, Piece, Replay, pieces, take_all
from tests.unit.query.httpd.conftest import service

pytestmark = pytest.mark.integration

PARTS = 9
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
TOTAL = "posttrail_recipients_total"
TOOK = "posttrail_delivery_duration_seconds"
COUNTERS = {
    family.name
    for family in metrics.JOURNAL
    if family.kind is not metrics.Kind.GAUGE
}  # fmt: skip


def scraped(directory: Path, journal: Path) -> Series:
    """What a posttrail-queryd that was just started says."""
    asked = service(directory, journal)
    try:
        told = text(families(asked))
    finally:
        asked.keeper.close()
        asked.identity.state.close()
    found = text_string_to_metric_families(told)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in found
        for sample in family.samples
    }


def counters(series: Series) -> Series:
    """Those that may never fall."""
    found = {}
    for place, value in series.items():
        family = metrics.family_of(place[0])
        if family is not None and family.name in COUNTERS:
            found[place] = value
    return found


def truth(journal: Path) -> Series:
    """The same, from every row by itself."""
    found: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()

    def add(name: str, by: int = 1, /, **labels: str) -> None:
        found[name, frozenset(labels.items())] += by

    with Reader.open(journal) as reader:
        messages = [reader.message(id) for id, _ in reader.scan()]
    by_reason = {"rejected": "rejected", "error": "errors", "filtered": "filtered"}
    for message in messages:
        assert message is not None
        for row in message.rows:
            status = Status(row.status).token
            direction = Direction(row.direction).token if row.direction else "unknown"
            if status in metrics.PENDING:
                continue
            place = {"status": status, "direction": direction}
            add(TOTAL, 1, **place)
            if status in by_reason:
                add(f"posttrail_{by_reason[status]}_total", reason=row.reason)
            took_ms = taken_ms(message, row)
            if status == "rejected" or took_ms is None:
                continue
            add(f"{TOOK}_count", 1, **place)
            add(f"{TOOK}_sum", took_ms, **place)
            for bound in (*BUCKETS_S, float("inf")):
                if took_ms <= bound * 1000:
                    add(f"{TOOK}_bucket", 1, le=metrics.le(bound), **place)
    return {
        place: value / 1000 if place[0].endswith("_sum") else value
        for place, value in found.items()
    }


def fed(replay: Replay, todo: list[Piece], before: int) -> int:
    """Append some, and wait until the journal has changed for them."""
    replay.append(todo)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with suppress(PosttrailError), Reader.open(replay.journal) as reader:
            now = reader.last_change()
            if now > before:
                return now
        time.sleep(0.05)
    raise AssertionError(replay.words())


def test_a_replay_with_restarts_gives_exact_totals(feeds: Path, tmp_path: Path) -> None:
    replay = Replay(feeds, tmp_path / "replay")
    todo = pieces(feeds)
    size = len(todo) // PARTS + 1
    last: Series = {}
    change = 0
    running = replay.start()
    try:
        for number in range(PARTS):
            change = fed(replay, todo[number * size : (number + 1) * size], change)
            if number % 3 == 1:
                running.kill()
                running.wait()
                running = replay.start()
            series = counters(scraped(tmp_path, replay.journal))
            assert [place for place, value in last.items() if series[place] < value] == []
            last = series
    finally:
        replay.stop(running)
    take_all(replay.config)
    assert replay.bring(replay.directory / "mail.log") == 0
    series = scraped(tmp_path, replay.journal)
    told = counters(series)
    assert [place for place, value in last.items() if told[place] < value] == []
    revised = sum(value for place, value in series.items() if place[0].endswith("_revised"))
    assert revised == 0
    expected = truth(replay.journal)
    assert len(expected) > 50
    assert {place: value for place, value in told.items() if value} == expected
    statuses = {dict(labels)["status"] for name, labels in expected if name == TOTAL}
    assert statuses == set(metrics.FINAL)
