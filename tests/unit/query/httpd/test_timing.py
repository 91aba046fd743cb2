"""What is foreign takes as long as what is absent: nobody learns of a message by a clock."""

import time
from statistics import median
from typing import TYPE_CHECKING

import pytest

from journal import keys
from tests.unit.query.conftest import NOON_US, Shelf, row
from tests.unit.query.httpd.test_api import ANNA, FOREIGN, MINE

if TYPE_CHECKING:
    from tests.unit.query.httpd.conftest import Ask

DAY_US = 86_400_000_000


@pytest.fixture
def ids(shelf: Shelf) -> list[bytes]:
    """Of messages that are not anna's: twenty days, one of hers and ten of others on each."""
    made = []
    for day in range(20):
        shelf.put(row(MINE), at_us=NOON_US - day * DAY_US)
        made += [shelf.put(row(FOREIGN), at_us=NOON_US - day * DAY_US).id for _ in range(10)]
    return made


def medians(ask: "Ask", *kinds: list[str]) -> list[float]:
    """Seconds of each kind's paths, asked in turn a thousand times."""
    client = ask(who=ANNA)
    spent: list[list[float]] = [[] for _ in kinds]
    for number in range(1_050):
        for times, paths in zip(spent, kinds, strict=True):
            begin = time.perf_counter()
            client.get(paths[number % len(paths)])
            times.append(time.perf_counter() - begin)
    return [median(times[50:]) for times in spent]


@pytest.mark.soak
def test_1000_pairs_of_foreign_and_absent_ids_take_the_same_time(
    ids: list[bytes], ask: "Ask"
) -> None:
    foreign = [f"/v1/messages/{keys.id_text(id)}" for id in ids]
    absent = [f"/v1/messages/{keys.id_text(id[:-1] + bytes([id[-1] ^ 0x55]))}" for id in ids]
    ours, theirs = medians(ask, foreign, absent)
    assert abs(ours / theirs - 1) < 0.10


@pytest.mark.soak
@pytest.mark.usefixtures("ids")
@pytest.mark.parametrize("name", ["recipient", "sender", "address", "login"])
def test_1000_pairs_of_foreign_and_absent_addresses_take_the_same_time(
    ask: "Ask", name: str
) -> None:
    foreign = [f"/v1/messages?{name}={FOREIGN.decode()}"]
    absent = [f"/v1/messages?{name}=nobody@example.com"]
    ours, theirs = medians(ask, foreign, absent)
    assert abs(ours / theirs - 1) < 0.10
