"""Time grows with the length of a line, whatever it is filled with: time(2n) / time(n) < 2.5.

Every grammar with every filler in every place, up to 64 KiB. The long form prints the worst ratios and
the worst lines; the short one only sees that none hangs.
"""

import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from milterd.lines import formats
from tests.fuzz.road import Road
from tests.fuzz.seeds import OWN

FILLERS: Final = (
    b" ", b"\\", b'"', b'\\"', b'"@', b"<", b">", b"><", b"(", b")", b"[", b"]", b"]: ", b", ", b"; ", b": ", b"=",
    b"a", b"0", b".", b"/", b"-", b"@", b"\0", b"#012", b"\xff", b"??", b"@a,", b"<a@b>,", b"a=b, ", b"; from=<", b"> to=<",
    b", relay=", b", status=", b", stat=", b"status=sent (", b" from ", b"queued as ", b"[1.2.3.4]", b" => ", b" T=\"", b"msgid=",
    b": stored mail into mailbox 'x'", b": forwarded to <", b")<1><", b"message repeated 2 times: [ ", b"Message-ID: <",
    b" <a> -> <b>,", b"{", b"}", b'{"log":"', b" | ", b"\\n", b"'", b"...", b"dsn=2.0.0, ",
)  # fmt: skip
MOST: Final = 65_000
RATIO: Final = 2.5
WORST_S: Final = 0.005
HANG_S: Final = 2.0
_NOISE_S: Final = 0.0004
"""Doublings of less are not judged: a clock tick or a page of memory is a part of them."""


class Case(NamedTuple):
    """A line with a filler in one place."""

    form: str
    before: bytes
    filler: bytes
    after: bytes

    def line(self, size: int) -> bytes:
        """The line, about so long."""
        return self.before + self.filler * (size // len(self.filler)) + self.after


def cases(step: int) -> Iterator[Case]:
    """Every ``step``-th of all."""
    number = 0
    for seed in OWN:
        form = formats.sniff([seed])
        header = seed.find(b": ") + 2
        marks = [
            header,
            *(at + 1 for at in range(header, len(seed)) if seed[at : at + 1] in b"=<([:,"),
        ]
        for at in [0, *marks[:: max(1, len(marks) // 8)], len(seed)]:
            for filler in FILLERS:
                if number % step == 0:
                    yield Case(form, seed[:at], filler, seed[at:])
                number += 1


def seconds(case: Case, size: int, tries: int) -> float:
    """The least CPU that the whole way takes."""
    raw = case.line(size)
    best = 1e9
    for _ in range(tries):
        road = Road()
        road.splitter(case.form)
        began = time.thread_time()
        events = road.events(case.form, raw)
        best = min(best, time.thread_time() - began)
    road.fold(events)
    road.messages()
    return best


def test_no_filler_makes_a_line_hang() -> None:
    slow = [case for case in cases(23) if seconds(case, MOST, 1) > HANG_S]
    assert slow == []


@pytest.mark.soak
def test_time_is_linear_in_the_length_of_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    count = 0
    for case in cases(1):
        count += 1
        twice = seconds(case, MOST, 1)
        if twice < _NOISE_S:
            continue
        twice = min(twice, seconds(case, MOST, 5))
        once = seconds(case, MOST // 2, 6)
        ratio = twice / once
        if ratio >= RATIO:  # measured again before it is believed
            ratio = seconds(case, MOST, 15) / seconds(case, MOST // 2, 15)
        found.append((ratio, twice, case))
    found.sort(key=lambda one: one[0], reverse=True)
    slowest = sorted(found, key=lambda one: one[1], reverse=True)
    with capsys.disabled():
        print(
            f"\n{count:,} adversarial lines of {MOST:,} bytes, {len(found):,} of them over {_NOISE_S * 1000} ms"
        )
        for title, some in (("worst ratios", found[:5]), ("slowest", slowest[:5])):
            for ratio, took, case in some:
                print(
                    f"  {title}: time(2n)/time(n) {ratio:.2f}, {took * 1000:.2f} ms, {case.filler!r} in"
                    f" {case.before[:60]!r}... {case.after[:20]!r}"
                )
    assert [
        (ratio, case) for ratio, took, case in found if ratio >= RATIO and took > _NOISE_S
    ] == []
    assert [(took, case) for _, took, case in slowest if took >= WORST_S] == []
