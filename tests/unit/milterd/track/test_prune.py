"""Whole days go, the oldest first, and no counter with them."""

import json
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from journal.check import check_journal
from journal.keys import day_name, day_of, parse_day
from journal.reader import Reader
from journal.retention import oversize, size_of
from milterd.track import prune
from posttrail.run import program
from tests.unit.milterd.track.replayed import Kept, Replayed, kept, result, set_aside

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with kept(tmp_path_factory.mktemp("site"), messages=60, days_long=8) as made:
        yield made


@pytest.fixture
def site(played: Kept) -> Replayed:
    """At rest, with a sound journal."""
    return played.again()


def pruned(site: Replayed, **options: object) -> dict[str, Any]:
    wanted = {"days": 30, "size": 0, **options}
    with site.bench() as bench:
        steps = prune.task(bench, wanted, [])
        told = result(steps)
    schema = json.loads((ROOT / "docs/schema/prune.json").read_text())
    Draft202012Validator(schema).validate(told)
    return told


def counted(journal: Path) -> Counter[tuple[str, str]]:
    with Reader.open(journal) as reader:
        return +Counter(reader.counters())


def names(site: Replayed) -> list[str]:
    return sorted(path.name for path in site.directory.glob("20*-*-*"))


def test_the_oldest_days_go_and_their_counters_stay(site: Replayed) -> None:
    before, rows = names(site), counted(site.directory)
    done = pruned(site, days=7)
    gone = [one["name"] for one in done["dropped"]]
    today = day_of(site.disk.now_us)
    assert gone == [name for name in before if (parse_day(name) or 0) <= today - 7]
    assert gone
    assert names(site) == [name for name in before if name not in gone]
    assert counted(site.directory) == rows
    assert sum(one["rows"] for one in done["dropped"]) > 0
    assert [part for part in check_journal(site.directory) if part.problems] == []


def test_what_may_be_under_way_stays_unless_forced(site: Replayed) -> None:
    before, rows = names(site), counted(site.directory)
    lifetime = site.machine._settings.mta.queue_lifetime_days
    today = day_of(site.disk.now_us)
    spared = [name for name in before if today - lifetime <= (parse_day(name) or 0) < today]
    done = pruned(site, days=1)
    assert done["spared"] == spared
    assert names(site) == [name for name in before if (parse_day(name) or 0) >= today - lifetime]
    pruned(site, days=1, force=True)
    assert names(site) == [name for name in before if name == day_name(today)]
    assert counted(site.directory) == rows


def test_a_dry_run_says_the_same_and_does_nothing(site: Replayed) -> None:
    before = names(site)
    told = pruned(site, days=1, force=True, dry_run=True)
    assert names(site) == before
    done = pruned(site, days=1, force=True)
    assert [one["name"] for one in told["dropped"]] == [one["name"] for one in done["dropped"]]


def test_a_size_is_kept_by_dropping_the_oldest(site: Replayed) -> None:
    before = names(site)
    size = size_of(site.directory)
    first = size_of(site.directory / before[0])
    pruned(site, size=size - 1)
    assert names(site) == before[1:]
    assert size_of(site.directory) <= size - first + 65536  # state may have grown


def test_days_put_aside_go_with_their_time(site: Replayed) -> None:
    bad = set_aside(site.directory, names(site)[0])
    done = pruned(site, days=7)
    assert bad.name in [one["name"] for one in done["dropped"]]
    assert not bad.exists()


@pytest.mark.parametrize(
    ("sizes", "cap", "whole", "protected", "gone"),
    [
        ([(1, 10), (2, 10), (3, 10)], 30, 30, 9, []),
        ([(1, 10), (2, 10), (3, 10)], 29, 30, 9, [1]),
        ([(1, 10), (2, 10), (3, 10)], 10, 30, 9, [1, 2]),
        ([(1, 10), (2, 10), (3, 10)], 1, 30, 3, [1, 2]),
        ([(1, 10)], 1, 30, 1, []),
        ([], 1, 30, 9, []),
    ],
)
def test_which_days_a_cap_costs(
    sizes: list[tuple[int, int]], cap: int, whole: int, protected: int, gone: list[int]
) -> None:
    assert oversize(sizes, cap, whole, protected) == gone


def test_trackd_keeps_the_size_of_its_configuration(site: Replayed) -> None:
    before, rows = names(site), counted(site.directory)
    lifetime = site.machine._settings.mta.queue_lifetime_days
    with site.bench() as bench:
        today = day_of(site.disk.now_us)
        assert bench.writer.shrink(1, today - lifetime) == [
            name for name in before if (parse_day(name) or 0) < today - lifetime
        ]
        assert bench.writer.shrink(1 << 60, today) == []
    assert counted(site.directory) == rows


def kills(site: Replayed, tmp_path: Path, count: int) -> None:
    """kill -9 in the middle: days are there or gone, and no row is counted twice or not at all."""
    config = tmp_path / "posttrail.toml"
    config.write_text("[mta]\nqueue_lifetime_days = 1\n")
    command = [program("posttrail"), "--config", str(config), "--journal", str(site.directory)]
    rows = counted(site.directory)
    whole = site.directory.with_name("kept")
    shutil.copytree(site.directory, whole)
    for number in range(count):
        shutil.rmtree(site.directory)
        shutil.copytree(whole, site.directory)
        with subprocess.Popen(
            [*command, "prune", "--days", "1"], stdout=subprocess.PIPE
        ) as running:
            try:
                running.wait(0.25 + 0.5 * number / count)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
        assert counted(site.directory) == rows
        with site.bench():
            pass  # the next start ends what was cut short
        assert counted(site.directory) == rows
        assert [part for part in check_journal(site.directory) if part.problems] == []
        assert not list(site.directory.glob(".gone-*"))
    shutil.rmtree(whole)


def test_a_kill_at_any_instant_costs_no_counter(site: Replayed, tmp_path: Path) -> None:
    kills(site, tmp_path, 3)


@pytest.mark.soak
def test_many_kills_cost_no_counter(site: Replayed, tmp_path: Path) -> None:
    kills(site, tmp_path, 100)
