"""The benches' log: the same each time, in order, and true to its own truth."""

import json
import re
import time
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from tests.bench.generate import generate, write
from tests.bench.scene import Letter
from tests.bench.world import LOCAL_DOMAINS

MESSAGES = 1_500


class Log:
    """A generated log, read back the slow and simple way."""

    def __init__(self, days: int) -> None:
        self.days = days
        batches = list(generate(MESSAGES, days, seed=7))
        self.lines = [line for batch in batches for line in batch.lines]
        self.letters: list[Letter] = [letter for batch in batches for letter in batch.letters]
        self.attempts: dict[tuple[str, str], list[str]] = defaultdict(list)
        for line in self.text:
            found = re.search(
                r"\]: (\w+): to=<([^>]*)>.* (status=(?:sent|deferred|bounced)) ", line
            )
            # A filter's hop is an attempt for the same address under the outer queue id.
            if found and not ("]:10024" in line and "queued as" in line):
                self.attempts[found[1], found[2]].append(found[3])

    @property
    def text(self) -> list[str]:
        return [line.decode("ascii").rstrip("\n") for line in self.lines]

    def tries(self, letter: Letter, address: str) -> list[str]:
        """The outcomes of all attempts for one address, in order."""
        return [word for queue_id in letter.queue_ids for word in self.attempts[queue_id, address]]


@pytest.fixture(scope="module", params=[1, 31], ids=["1 day", "31 days"])
def log(request: pytest.FixtureRequest) -> Log:
    return Log(request.param)


def flat(seed: int) -> bytes:
    return b"".join(line for batch in generate(300, 2, seed=seed) for line in batch.lines)


def test_same_seed_gives_the_same_bytes() -> None:
    assert flat(1) == flat(1)
    assert flat(1) != flat(2)


def test_files_hold_the_log_and_its_truth(tmp_path: Path) -> None:
    log, facts = tmp_path / "mail.log", tmp_path / "mail.truth"
    lines = write(log, facts, 300, days=2, seed=1)
    assert log.read_bytes() == flat(1)
    assert lines == log.read_bytes().count(b"\n")
    rows = [
        row for batch in generate(300, 2, seed=1) for each in batch.letters for row in each.rows
    ]
    told = [json.loads(line) for line in facts.read_text().splitlines()]
    assert [row.final_recipient for row in rows] == [each["final_recipient"] for each in told]
    last = time.strftime("%b %e %H:%M:%S", time.gmtime(log.stat().st_mtime))
    assert log.read_text().splitlines()[-1].startswith(last)


def test_lines_come_in_the_order_of_time(log: Log) -> None:
    month = {"Oct": 10, "Nov": 11}
    stamps = []
    for line in log.text:
        found = re.match(r"(\w{3}) ([ \d]\d) (\d\d:\d\d:\d\d) mx1 \S", line)
        assert found, line
        stamps.append((month[found[1]], int(found[2]), found[3]))
    assert all(before <= after for before, after in pairwise(stamps))


def test_size_is_that_of_a_usual_log(log: Log) -> None:
    assert 7.5 < len(log.lines) / MESSAGES < 9
    assert 1_000 < sum(map(len, log.lines)) / MESSAGES < 1_350


def test_every_status_occurs(log: Log) -> None:
    seen = {row.status for letter in log.letters for row in letter.rows}
    assert seen >= {"delivered", "in_progress", "error", "rejected", "filtered"}
    # In a month the queue's lifetime ends nearly every deferral; in a day none.
    assert "deferred" in seen or log.days == 31


def test_rows_agree_with_the_last_line_about_them(log: Log) -> None:
    last = {"delivered": "sent", "deferred": "deferred", "error": "bounced", "filtered": "sent"}
    for letter in log.letters:
        for row in letter.rows:
            if not row.attempts:
                continue
            assert row.final_recipient
            outcomes = log.tries(letter, row.final_recipient)
            assert len(outcomes) == row.attempts, (row, outcomes)
            waited = row.reason in ("expired", "deleted", "held")
            expected = "deferred" if waited else last[row.status]
            assert outcomes[-1] == f"status={expected}", row


def test_every_attempt_belongs_to_a_row(log: Log) -> None:
    known = {
        (queue_id, row.final_recipient)
        for letter in log.letters
        for queue_id in letter.queue_ids
        for row in letter.rows
    }
    forwarded = {line.split("]: ")[1].split(":")[0] for line in log.text if "forwarded as" in line}
    assert {key for key in log.attempts if key not in known and key[0] not in forwarded} == set()


def test_refusals_and_verdicts_are_as_many_as_their_lines(log: Log) -> None:
    words = Counter(
        word
        for line in log.text
        for word in ("reject", "discard", "hold")
        if re.search(rf"\]: \w+: (milter-)?{word}: ", line)
    )
    rows = [row for letter in log.letters for row in letter.rows]
    too_large = sum("size limit exceeded" in line for line in log.text)
    assert words["reject"] + too_large == sum(row.status == "rejected" for row in rows)
    released = sum(": released from hold" in line for line in log.text)
    aside = sum(r.reason in ("held", "quarantined") and not r.attempts for r in rows)
    assert words["hold"] == aside + released
    assert words["discard"] == sum(r.reason == "discarded" and not r.attempts for r in rows)
    expired = sum("status=expired" in line for line in log.text)
    assert expired == sum(row.reason == "expired" for row in rows)


def test_queue_ids_are_long_and_never_used_twice(log: Log) -> None:
    ids = [queue_id for letter in log.letters for queue_id in letter.queue_ids]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10}z\w+", each) for each in ids)
    in_log = {found[1] for line in log.text if (found := re.search(r"\]: (\w{12,}): ", line))}
    assert in_log == set(ids)


def test_addresses_are_for_documentation_only(log: Log) -> None:
    for line in log.text:
        for ip in re.findall(r"\d+\.\d+\.\d+\.\d+", line):
            if not re.search(rf"TLS.*{ip}", line):
                assert ip.startswith(("192.0.2.", "198.51.100.", "203.0.113.", "127.0.0.1")), line
        for domain in re.findall(r"@([\w.-]+)", line):
            assert domain.endswith((".example", ".test", *LOCAL_DOMAINS)), line
