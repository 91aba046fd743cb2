"""A day that was damaged is filled again: every row, every counter, and the ids that links have."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from jsonschema import Draft202012Validator

from journal.keys import DAY_US, day_name, id_day, id_text, parse_day
from journal.reader import Reader
from journal.records import Recipient
from journal.writer import Writer
from milterd.track import again, aging, rebuild
from posttrail.run import program
from tests.unit.milterd.track.replayed import (
    Kept,
    Replayed,
    damage_page,
    kept,
    leaf_pages,
    result,
    set_aside,
)

ROOT = Path(__file__).resolve().parents[4]
RECORD, CHANGE, ENTRY = 6, 8, 13  # sizes of keys: which database a page is of


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with kept(tmp_path_factory.mktemp("site"), messages=120) as made:
        yield made


@pytest.fixture
def site(played: Kept) -> Replayed:
    """At rest, with a sound journal."""
    return played.again()


def rebuilt(site: Replayed, name: str, **options: object) -> dict[str, Any]:
    with site.bench() as bench:
        steps = rebuild.task(bench, {"days": [name], **options}, [])
        day: dict[str, Any] = result(steps)["days"][0]
        return day


@pytest.mark.parametrize("size", [RECORD, CHANGE, ENTRY])
def test_a_damaged_page_costs_nothing(site: Replayed, size: int) -> None:
    assert site.wrong() == []
    before, name = site.ids(), site.fullest()
    bad = set_aside(site.directory, name)
    for number in leaf_pages(bad, size)[::3]:
        damage_page(bad, number)
    done = rebuilt(site, name)
    assert site.wrong() == []
    assert done["missing"] == 0
    after = site.ids()
    with Writer.open(site.directory) as writer:
        for message_id in before:  # its own, or one that leads to the message
            found = writer.get(message_id)
            assert found is not None
            assert set(before[message_id]) <= set(found.message.queue_ids)
    others = {one for one in before if day_name(id_day(one)) != name}
    assert others <= after.keys()


def test_a_day_of_which_nothing_is_left_comes_back(site: Replayed) -> None:
    name = site.fullest()
    shutil.rmtree(site.directory / name)
    done = rebuilt(site, name)
    assert site.wrong() == []
    assert (done["salvaged"], done["missing"], done["put_aside"]) == (0, 0, [])
    assert done["messages"] > 20


def test_a_day_put_aside_whole_comes_back_under_its_ids_and_is_removed(site: Replayed) -> None:
    before, name = site.ids(), site.fullest()
    bad = set_aside(site.directory, name)
    done = rebuilt(site, name)
    assert site.wrong() == []
    assert site.ids() == before
    assert (done["complete"], done["removed"]) == (True, [bad.name])
    assert not bad.exists()


def test_what_no_source_has_any_more_is_salvaged_or_named(site: Replayed) -> None:
    name = site.fullest()
    day = parse_day(name)
    ids = {one for one in site.ids() if id_day(one) == day}
    bad = set_aside(site.directory, name)
    pages = leaf_pages(bad, RECORD)
    for number in pages:  # older versions in free pages, too
        damage_page(bad, number)
    shutil.rmtree(site.disk.spool)
    for path in site.disk.generations():
        path.unlink()
    done = rebuilt(site, name)
    assert done["messages"] == done["salvaged"]
    assert done["missing"] > 0
    lost = ids - site.ids().keys()
    assert {id_text(one) for one in lost} == set(done["missing_ids"])
    assert len(done["missing_ids"]) == done["missing"]
    assert all(span["begin"].startswith(name) for span in done["missing_times"])
    assert done["complete"] is False
    assert (bad / rebuild.DONE).exists()
    assert rebuild.waiting(site.directory) == []
    assert None not in (done["milter_since"], done["log_since"])  # of all day


def test_a_rebuild_that_was_cut_short_ends_as_if_it_had_not_been(
    site: Replayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "ADOPTED_A_COMMIT", 7)
    monkeypatch.setattr(rebuild, "OPEN_MOST", 2)
    monkeypatch.setattr(rebuild, "BATCH", 3)
    monkeypatch.setattr(again, "STEP_LINES", 20)
    name = site.fullest()
    bad = set_aside(site.directory, name)
    damage_page(bad, leaf_pages(bad, RECORD)[0])
    for stop_after in (1, 2, 4, 9, 20, 30):
        with site.bench() as bench:
            steps = rebuild.task(bench, {"days": [name]}, [])
            for _ in range(stop_after):
                next(steps)
            del steps  # as a kill: the writer's buffers are gone
    rebuilt(site, name)
    assert site.wrong() == []


def test_trackd_begins_by_itself_and_the_document_keeps_to_its_schema(site: Replayed) -> None:
    name = site.fullest()
    bad = set_aside(site.directory, name)
    damage_page(bad, leaf_pages(bad, RECORD)[0])
    site.machine.start()
    for _ in range(200):
        site.machine.turn()
    site.machine.stop()
    assert site.wrong() == []
    assert rebuild.waiting(site.directory) == []
    if bad.exists():
        told = json.loads((bad / rebuild.DONE).read_text())
        schema = json.loads((ROOT / "docs/schema/rebuild.json").read_text())
        Draft202012Validator(schema).validate({"days": [told]})


def test_trackd_does_not_begin_for_ever_what_ends_it(site: Replayed) -> None:
    bad = set_aside(site.directory, site.fullest())
    for tried in range(rebuild.TRIES_MOST):
        assert rebuild.to_begin(site.directory) == [bad.name.removeprefix("bad-")], tried
        with site.bench() as bench:
            steps = rebuild.task(bench, {"days": [bad.name.removeprefix("bad-")]}, [])
            next(steps)
            steps.close()
    assert rebuild.to_begin(site.directory) == []
    assert rebuild.waiting(site.directory) == [bad.name.removeprefix("bad-")]


def kills(site: Replayed, tmp_path: Path, count: int) -> None:
    """kill -9 at instants spread over the whole run; what is begun again ends as it must."""
    settings = site.machine._settings
    config = tmp_path / "posttrail.toml"
    config.write_text(
        f'[journal]\ndirectory = "{site.directory}"\n'
        f'[milter]\nspool = "{site.disk.spool}"\n'
        f'[log]\nfiles = ["{site.disk.log}"]\ntimezone = "UTC"\n'
        f'[mta]\nhost = "{settings.mta.host}"\n'
        f"local_domains = {json.dumps(settings.mta.local_domains)}\n"
    )
    name = site.fullest()
    bad = set_aside(site.directory, name)
    for number in leaf_pages(bad, RECORD)[::2]:
        damage_page(bad, number)
    command = [program("posttrail"), "--config", str(config), "rebuild", name]
    for number in range(count):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
            try:
                running.wait(0.3 + 0.7 * number / count)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert site.wrong() == []


def test_a_kill_at_any_instant_costs_nothing(site: Replayed, tmp_path: Path) -> None:
    kills(site, tmp_path, 3)


@pytest.mark.soak
def test_many_kills_cost_nothing(site: Replayed, tmp_path: Path) -> None:
    kills(site, tmp_path, 200)


@contextmanager
def aged(site: Replayed, *, hashed: int = 0, counted: int = 0) -> Iterator[None]:
    """Two weeks later, with all days hashed, or with their counters alone."""
    settings = site.machine._settings
    after = replace(settings.journal, hash_after_days=hashed, counts_after_days=counted)
    later = replace(settings, journal=after)
    with (
        patch.object(site.machine, "_settings", later),
        patch.object(site.disk, "now_us", site.disk.now_us + 14 * DAY_US),
    ):
        with site.bench() as bench:
            assert list(aging.age(bench, {}, ()))
        yield


def told(site: Replayed) -> dict[tuple[bytes, ...], tuple[Recipient, ...]]:
    """The rows of all messages, by their queue ids."""
    with Reader.open(site.directory) as reader:
        messages = [reader.message(message_id) for message_id, _ in reader.scan()]
    return {one.queue_ids: one.rows for one in messages if one is not None and one.queue_ids}


def test_a_hashed_day_comes_back_hashed(site: Replayed) -> None:
    with aged(site, hashed=10):
        before = told(site)
        name = max(path.name for path in site.directory.glob("20*-*-*"))  # none behind it is hashed
        bad = set_aside(site.directory, name)
        for number in leaf_pages(bad, RECORD)[::2]:
            damage_page(bad, number)
        done = rebuilt(site, name)
        assert done["salvaged"] > 0
        assert done["events"] > 0
        assert told(site) == before


def test_a_day_of_which_counters_alone_stay_is_not_filled_again(site: Replayed) -> None:
    with aged(site, counted=10):
        assert site.ids() == {}
        name = max(path.name for path in site.directory.glob("20*-*-*"))
        bad = set_aside(site.directory, name)
        done = rebuilt(site, name)
        assert (done["counts_only"], done["messages"], done["lines"]) == (True, 0, 0)
        assert site.ids() == {}
        assert bad.exists()
        assert rebuild.waiting(site.directory) == []
        schema = json.loads((ROOT / "docs/schema/rebuild.json").read_text())
        Draft202012Validator(schema).validate({"days": [done]})


def test_other_days_are_not_written_to(site: Replayed) -> None:
    name = site.fullest()
    others = {
        path.name: path.read_bytes()
        for path in site.directory.glob("20*/data.mdb")
        if path.parent.name != name
    }
    shutil.rmtree(site.directory / name)
    rebuilt(site, name)
    after = {
        path.name: path.read_bytes()
        for path in site.directory.glob("20*/data.mdb")
        if path.parent.name != name
    }
    assert after == others
