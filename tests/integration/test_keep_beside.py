"""Verbs that keep and bring back, beside a tracker that follows a log: handed over to it."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal.keys import parse_day
from tests.integration.parts import Parts, postfix_and_parts
from tests.integration.test_import_beside import count, is_told, write_log
from tests.unit.milterd.track.replayed import damage_page, leaf_pages
from tests.waiting import wait_until

RECORD = 6  # bytes of a record's key


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    with postfix_and_parts() as made:
        made.start_trackd()
        yield made
        assert made.trackd.is_running(), made.trackd.words()
        assert "Traceback" not in made.trackd.words()


def days_of(parts: Parts) -> list[str]:
    names = [path.name for path in (parts.state / "journal").iterdir()]
    return sorted(name for name in names if parse_day(name) is not None)


def test_a_day_is_rebuilt_by_the_tracker_from_a_named_log(parts: Parts, tmp_path: Path) -> None:
    log = write_log(tmp_path / "old.log", "plain", 2000)
    assert parts.posttrail("import", str(log)).returncode == 0
    name = days_of(parts)[0]
    done = parts.posttrail("rebuild", "--format", "json", name, str(log))
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)["days"][0]
    assert (told["lines"], told["missing"]) == (10_000, 0)
    assert count(parts, "a@example.org") == 2000


def test_prune_and_nonsense_are_answered(parts: Parts) -> None:
    before = days_of(parts)
    done = parts.posttrail("prune", "--days", "1", "--dry-run", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["dropped"] == []  # of the queue lifetime
    assert set(told["spared"]) <= set(before)
    assert days_of(parts) == before
    assert parts.posttrail("prune", "--size", "much").returncode == 64
    assert parts.posttrail("rebuild", "/no/such.log").returncode == 64


def test_what_was_damaged_comes_back_after_a_restart(parts: Parts) -> None:
    name = days_of(parts)[0]
    day = parts.state / "journal" / name
    before = count(parts, "a@example.org")
    parts.trackd.signal(signal.SIGKILL)
    parts.trackd.kill()
    (parts.state / "journal" / "TOUCHING").write_text(f"state\n{name}\n")
    damage_page(day, leaf_pages(day, RECORD)[0])
    parts.start_trackd()
    bad = day.with_name(f"bad-{name}")
    wait_until(lambda: not bad.exists() or (bad / "REBUILT").exists())
    assert "day rebuilt" in parts.trackd.words()
    if bad.exists():  # its log is not one of the configured ones
        told = json.loads((bad / "REBUILT").read_text())
        assert count(parts, "a@example.org") == before - told["missing"]
        assert told["salvaged"] >= before - 40
    else:
        assert count(parts, "a@example.org") == before
    assert is_told(parts, "plain1999@example.net")
