"""A tracker that was stopped reads what it missed, and nothing twice, over a rotation of both feeds."""

from pathlib import Path

from tests.bench.bench import Bench
from tests.bench.catchup import Place, differ, feeds

MESSAGES = 600


def test_catching_up_reads_exactly_what_was_missed(tmp_path: Path) -> None:
    bench = Bench(work=tmp_path, messages=MESSAGES, quick=True)
    log, spool, late = feeds(MESSAGES)
    assert 0.7 * MESSAGES < late < MESSAGES
    place, whole = Place(bench, tmp_path / "stopped"), Place(bench, tmp_path / "whole")
    place.write(log.parts[0], spool.parts[0])
    assert place.in_one_go() == {"log": log.before, "spool": spool.before}
    place.write(log.parts[1], spool.parts[1])
    place.rotate()
    place.write(log.parts[2], spool.parts[2])
    assert place.in_one_go() == {
        "log": len(log.lines) - log.before,
        "spool": len(spool.lines) - spool.before,
    }
    whole.write(b"".join(log.lines), b"".join(spool.lines))
    whole.in_one_go()
    assert differ(whole.rows(), place.rows()) == {}
    assert whole.rows().total() > MESSAGES
