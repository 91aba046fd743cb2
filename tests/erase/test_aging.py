"""Old days forget who, then what: found by exact address still, counted still, gone from the bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from journal import days
from journal.check import check_journal
from journal.keys import day_name, day_of
from journal.reader import Reader
from journal.writer import Writer
from milterd.track import aging, writing
from milterd.track.writing import Bench
from posttrail import config
from query.local import Local, Within
from query.scope import Scope
from tests.canary import holders
from tests.erase.test_offline import CANARY, SECOND, Here, mail
from tests.unit.milterd.track.replayed import result

DAY = 86_400 * SECOND
AGES = (1, 9, 11, 12, 15, 21, 25)
HASHED, COUNTED = 10, 20


def log_of(now_us: int) -> str:
    """Of each day: mail to the canary and to its subaddress, and from it, and of others."""
    text = ""
    for age in sorted(AGES, reverse=True):
        at_us = now_us - age * DAY
        text += mail(at_us, age * 10, "bob@example.org", CANARY, "carol@example.com")
        text += mail(at_us + SECOND, age * 10 + 1, CANARY, "dave@example.net", login=CANARY)
        tag = CANARY.replace("@", "+tag@")
        text += mail(at_us + 2 * SECOND, age * 10 + 2, "bob@example.org", tag)
    return text


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    (tmp_path / "config.toml").write_text(
        f"[journal]\ndirectory = '{tmp_path / 'journal'}'\n"
        f"hash_after_days = {HASHED}\ncounts_after_days = {COUNTED}\n"
        f"[milter]\nspool = '{tmp_path / 'spool'}'\n"
        "[log]\nfiles = []\ntimezone = 'UTC'\n"
        "[mta]\nhost = 'mx.example.com'\nlocal_domains = ['example.com']\n"
        f"[query]\nstate = '{tmp_path / 'state.sqlite'}'\nsocket = '{tmp_path / 'none'}'\n"
    )
    return config.load(tmp_path / "config.toml")


@pytest.fixture
def here(tmp_path: Path, capfd: pytest.CaptureFixture[str], settings: config.Config) -> Here:
    return Here(tmp_path, capfd)


def run(settings: config.Config) -> dict[str, Any]:
    """What trackd does once an hour."""
    with Writer.open(settings.journal.directory) as writer:
        bench = Bench(
            writer=writer,
            correlator=writing.correlator(settings, writer),
            settings=settings,
            live=False,
        )
        return result(aging.age(bench, {}, ()))


def sound(settings: config.Config) -> bool:
    return [part for part in check_journal(settings.journal.directory) if part.problems] == []


def test_old_days_hold_tokens_and_older_ones_counters(
    settings: config.Config, here: Here, tmp_path: Path
) -> None:
    now_us = time.time_ns() // 1000
    log = tmp_path / "old.log"
    log.write_text(log_of(now_us))
    here.call("import", str(log))
    totals = here.call("stats", "--format", "json")
    before = {row["id"]: row for row in here.rows() if row["recipient"] == CANARY}
    assert run(settings) == {"counted": 2, "hashed": 3}
    assert run(settings) == {"counted": 0, "hashed": 0}
    assert sound(settings)
    assert here.call("stats", "--format", "json") == totals

    today = day_of(now_us)
    found = holders(CANARY, settings.journal.directory)
    young = {day_name(today - age) for age in AGES if age < HASHED}
    assert {name.split("/journal/")[1].split("/")[0] for name in found} <= young | {"state"}
    for name in ("carol", "dave", "bob@"):
        for age in AGES:
            if age >= HASHED:
                data = settings.journal.directory / day_name(today - age) / "data.mdb"
                assert name.encode() not in data.read_bytes()

    rows = [json.loads(row) for row in here.call(
        "report", CANARY, "--limit", "all", "--format", "json").splitlines()]  # fmt: skip
    assert len(rows) == 3 * sum(age < COUNTED for age in AGES)
    old = [row for row in rows if row["recipient"].startswith("hashed") and row["id"] in before]
    assert len(old) == sum(HASHED <= age < COUNTED for age in AGES)
    for row in old:
        known = before[row["id"]]
        kept = ("status", "reason", "direction", "time", "attempts", "reply_code", "queue_ids")
        assert [row[key] for key in kept] == [known[key] for key in kept]
        assert row["recipient"].endswith("@example.com")
    domain = here.call("report", "@example.com", "--limit", "all", "--format", "json")
    assert len(domain.splitlines()) == 4 * sum(age < COUNTED for age in AGES)
    by_id = here.call("report", "--message-id", f"m{15 * 10}@pc.example.org", "--format", "json")
    assert len(by_id.splitlines()) == 2

    # Read again: nothing doubled, nothing back.
    everything = here.rows()
    here.call("import", "--again", "--keep", str(log))
    assert here.rows() == everything
    assert here.call("stats", "--format", "json") == totals
    assert sound(settings)
    found = holders(CANARY, settings.journal.directory)
    assert {name.split("/journal/")[1].split("/")[0] for name in found} <= young | {"state"}


@pytest.mark.parametrize(("hashed", "counted"), [(HASHED, 0), (0, HASHED)])
def test_what_waits_of_old_sessions_is_let_go(
    settings: config.Config, here: Here, tmp_path: Path, hashed: int, counted: int
) -> None:
    journal = replace(settings.journal, hash_after_days=hashed, counts_after_days=counted)
    settings = replace(settings, journal=journal)
    log, now_us = tmp_path / "old.log", time.time_ns() // 1000
    log.write_text(  # both of sessions whose begin was not read
        mail(now_us - HASHED * DAY, 1, "bob@example.org", CANARY, login="old@example.org")
        + mail(now_us - (HASHED - 1) * DAY, 2, "bob@example.org", CANARY, login="young@example.org")
    )
    here.call("import", str(log))
    data = settings.journal.directory / "state" / "data.mdb"
    assert b"old@example.org" in data.read_bytes()
    run(settings)
    assert b"old@example.org" not in data.read_bytes()
    assert b"young@example.org" in data.read_bytes()
    assert sound(settings)


def test_a_mailbox_sees_its_old_rows_and_no_others(
    settings: config.Config, here: Here, tmp_path: Path
) -> None:
    log = tmp_path / "old.log"
    log.write_text(log_of(time.time_ns() // 1000))
    here.call("import", str(log))

    def seen(mailbox: bytes) -> list[tuple[str, int, str, str | None]]:
        directory = settings.journal.directory
        with Reader.open(directory) as reader:
            local = Local(reader, journal_key=days.read_key(directory))
            answers = Within(local, Scope.of(mailboxes=[mailbox]))
            rows = answers.page({}, limit=None).rows
            return [(row.id, row.row, row.status, row.time) for row in rows]

    before = {
        name: seen(name) for name in (CANARY.encode(), b"carol@example.com", b"x@example.com")
    }
    young = {row.id for row in _young(settings)}
    run(settings)
    for name, rows in before.items():
        assert seen(name) == [row for row in rows if row[0] in young]
    assert before[b"x@example.com"] == []
    assert len(seen(CANARY.encode())) == 3 * sum(age < COUNTED for age in AGES)


def _young(settings: config.Config) -> list[Any]:
    """The rows of days that keep their records."""
    directory = settings.journal.directory
    since = day_name(day_of(time.time_ns() // 1000) - COUNTED + 1)
    with Reader.open(directory) as reader:
        local = Local(reader, journal_key=days.read_key(directory))
        answers = Within(local, Scope.all())
        return list(answers.page({"since": since}, limit=None).rows)


def test_who_is_erased_goes_from_hashed_days_as_well(
    settings: config.Config, here: Here, tmp_path: Path
) -> None:
    log = tmp_path / "old.log"
    log.write_text(log_of(time.time_ns() // 1000))
    here.call("import", str(log))
    run(settings)
    here.call("erase", CANARY, "--yes")
    assert sound(settings)
    assert holders(CANARY, settings.journal.directory) == {}
    assert here.call("report", CANARY, code=1) == ""
    rows = here.rows()
    here.call("import", "--again", "--keep", str(log))
    assert here.rows() == rows
    assert sound(settings)


KILLED = """
import sys
from pathlib import Path
from posttrail import config
from tests.erase.test_aging import run
run(config.load(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.soak)])
def test_killed_at_any_time_it_goes_on(
    settings: config.Config, here: Here, tmp_path: Path, kills: int
) -> None:
    log = tmp_path / "old.log"
    now_us = time.time_ns() // 1000
    log.write_text("".join(log_of(now_us + n * 3 * SECOND) for n in range(1)) + "".join(
        mail(now_us - age * DAY + 60 * SECOND + n, 10_000 + age * 1000 + n, "a@example.org", CANARY)
        for age in AGES for n in range(300)
    ))  # fmt: skip
    here.call("import", str(log))
    totals = here.call("stats", "--format", "json")
    chance = random.Random(7)
    for _ in range(kills):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "config.toml")],
            cwd=Path(__file__).resolve().parents[2], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            child.wait(0.4 + chance.random() * 0.8)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        assert sound(settings)
        assert here.call("stats", "--format", "json") == totals
    run(settings)
    assert sound(settings)
    assert here.call("stats", "--format", "json") == totals
    young = {day_name(day_of(now_us) - age) for age in AGES if age < HASHED}
    found = holders(CANARY, settings.journal.directory)
    assert {name.split("/journal/")[1].split("/")[0] for name in found} <= young | {"state"}
