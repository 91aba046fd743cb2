"""Seeds of the simulation, and proof that it can fail."""

import os
from collections import Counter

import pytest

from tests.simulation.breakage import BREAKAGES
from tests.simulation.plan import plan
from tests.simulation.runner import report, run, runs

SEEDS = range(1, 26)
SOAK = range(1, 1_001)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_journal_says_what_the_history_was(seed: int) -> None:
    outcome = run(seed)
    assert not outcome.wrong, report(outcome)


@pytest.mark.soak
def test_1000_histories() -> None:
    failed = [outcome for outcome in runs(list(SOAK), jobs=os.cpu_count() or 1) if outcome.wrong]
    for outcome in failed:
        print(report(outcome))
    assert [outcome.seed for outcome in failed] == []


@pytest.mark.parametrize("breaking", sorted(name for name in BREAKAGES if name))
def test_what_is_broken_on_purpose_is_noticed(breaking: str) -> None:
    found = (run(seed, breaking=breaking) for seed in SEEDS)
    assert any(outcome.wrong for outcome in found), breaking


def test_a_seed_is_the_same_each_time() -> None:
    seed = next(each for each in SEEDS if run(each, breaking="forgetful").wrong)
    assert run(seed, breaking="forgetful") == run(seed, breaking="forgetful")
    assert plan(7) == plan(7)


def test_the_seeds_differ_in_all_that_may_go_wrong() -> None:
    plans = [plan(seed) for seed in SOAK]
    for name in ("short_ids", "rfc3339", "port_logging", "rotation", "open_most", "kills", "steps"):
        assert len(Counter(str(getattr(one, name)) for one in plans)) > 1, name
    assert sum(one.kills for one in plans) > 1_000
    assert sum(one.rotations for one in plans) > 1_000
