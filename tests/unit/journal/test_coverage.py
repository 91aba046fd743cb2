"""Covered time joins where it touches, and a gap is never covered up."""

from hypothesis import given
from hypothesis import strategies as st

from journal.coverage import Coverage
from journal.records import Cover, Gap


def test_touching_intervals_join_in_any_order() -> None:
    coverage = Coverage()
    for begin, end in ((20, 30), (0, 10), (10, 20), (40, 50), (5, 7)):
        coverage.extend("log", begin, end)
    assert coverage.intervals() == [Cover("log", 0, 30), Cover("log", 40, 50)]


def test_a_gap_wins_over_covered_time_of_its_source_only() -> None:
    coverage = Coverage()
    coverage.extend("log", 0, 100)
    coverage.extend("milter", 0, 100)
    coverage.gap(Gap("log", 40, 60, "rate_limited"))
    coverage.extend("log", 50, 120)
    assert coverage.intervals() == [
        Cover("log", 0, 40),
        Cover("milter", 0, 100),
        Gap("log", 40, 60, "rate_limited"),
        Cover("log", 60, 120),
    ]


def test_gaps_of_one_reason_join() -> None:
    coverage = Coverage()
    coverage.gap(Gap("milter", 0, 10, "not_running"))
    coverage.gap(Gap("milter", 10, 20, "not_running"))
    coverage.gap(Gap("milter", 15, 30, "milter_unreachable"))
    coverage.gap(Gap("milter", 40, 50, "not_running"))
    assert coverage.intervals() == [
        Gap("milter", 0, 20, "not_running"),
        Gap("milter", 15, 30, "milter_unreachable"),
        Gap("milter", 40, 50, "not_running"),
    ]


def test_what_ended_is_forgotten() -> None:
    coverage = Coverage()
    coverage.extend("log", 0, 10)
    coverage.extend("log", 20, 30)
    coverage.gap(Gap("log", 12, 14, "truncated"))
    coverage.forget(20)
    assert coverage.intervals() == [Cover("log", 20, 30)]


times = st.integers(-50, 50)
steps = st.lists(st.tuples(st.sampled_from(["log", "milter"]), st.booleans(), times, times))


@given(steps)
def test_every_instant_is_what_was_last_proven_of_it(
    steps: list[tuple[str, bool, int, int]],
) -> None:
    coverage = Coverage()
    covered: set[tuple[str, int]] = set()
    lost: set[tuple[str, int]] = set()
    for source, is_gap, one, other in steps:
        begin, end = sorted((one, other))
        instants = {(source, at) for at in range(begin, end)}
        if is_gap:
            coverage.gap(Gap(source, begin, end, "truncated"))
            lost |= instants
        else:
            coverage.extend(source, begin, end)
            covered |= instants
    kept = Coverage(coverage.pairs().items())
    assert kept.intervals() == coverage.intervals()
    shown = {
        (each.source, at)
        for each in kept.intervals()
        if isinstance(each, Cover)
        for at in range(each.begin_us, each.end_us)
    }
    assert shown == covered - lost
