"""Every row of a generated log is as its generator knows it; others' totals are not ours."""

from pathlib import Path

import pytest

from tests.bench import generate, peers
from tests.bench.bench import Bench
from tests.bench.truth import STATUSES, Fact, Verdict, by_status, judge, table

MESSAGES = 2_000


def verdict(work: Path, *, short_ids: bool) -> Verdict:
    log, truth, journal = work / "mail.log", work / "mail.truth", work / "journal"
    hosts = ("mx1", "mx2") if short_ids else ("mx1",)
    generate.write(log, truth, MESSAGES, days=9, short_ids=short_ids, hosts=hosts)
    Bench(work=work, messages=MESSAGES, quick=True).import_(log, journal)
    return judge(truth, journal)


@pytest.mark.parametrize("short_ids", [False, True], ids=["long ids", "short ids, two hosts"])
def test_every_row_is_as_generated(tmp_path: Path, short_ids: bool) -> None:
    found = verdict(tmp_path, short_ids=short_ids)
    assert found.wrong == []
    assert set(by_status(found.true)) == set(STATUSES)


def test_a_row_that_is_wrong_is_seen() -> None:
    """The comparison can fail: one attempt more, one row less."""
    row = Fact("mx", ("Q",), 1, "s", None, None, None, "r", "r", "delivered", "relayed", None, 1)
    from collections import Counter

    true = Counter([row, row._replace(recipient="t")])
    assert len(Verdict(true, Counter([row])).wrong) == 1
    assert len(Verdict(true, Counter(row._replace(attempts=2) for row in true)).wrong) == 4
    assert "delivered" in table(Verdict(true, true), {"other": Counter(delivered=3)})


@pytest.mark.skipif(not peers.installed(), reason="pflogsumm and logwatch are not installed")
def test_what_others_count_is_read_from_their_reports(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    generate.write(log, None, MESSAGES, days=9)
    sent = log.read_bytes().count(b"status=sent (")
    forwarded = log.read_bytes().count(b"status=sent (forwarded as ")
    assert peers.pflogsumm(log)["delivered"] == sent - forwarded
    counted = peers.logwatch(log, long=True)["delivered"]
    assert abs(counted - (sent - forwarded)) < sent / 100
