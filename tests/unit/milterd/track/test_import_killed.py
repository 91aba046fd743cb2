"""An import that is killed after any of its commits, and begun again, loses nothing."""

from pathlib import Path

import pytest

from journal.locality import Locality
from journal.reader import Reader
from journal.writer import Writer
from milterd.track import bulk
from milterd.track.bulk import Import, Options
from milterd.track.compressed import LogFile
from milterd.track.correlate import Correlator


def lines(name: str, hour: int, count: int) -> bytes:
    """A file of messages, each over before the next begins."""
    stamp = f"2026-09-21T{hour:02d}:00:00.000000+00:00 mx postfix"
    to = "relay=a[192.0.2.9]:25, delay=1, delays=1/0/0/0, dsn=2.0.0"
    text = ""
    for number in range(count):
        queue_id = f"4{name}{number}zzzzzzzzz1z"
        text += f"{stamp}/smtpd[1]: {queue_id}: client=mail.example.net[192.0.2.5]\n"
        text += f"{stamp}/smtp[2]: {queue_id}: to=<{name}{number}@example.org>, {to}, status=sent (250)\n"
    return text.encode()


def imported(directory: Path, files: list[Path], *, stop_after: int | None) -> int:
    """Import, up to the so many-th step where it is killed; how many steps there were."""
    with Writer.open(directory) as writer:
        correlator = Correlator(writer, locality=Locality())
        opened = [LogFile(str(path), path.open("rb")) for path in files]
        done = 0
        for done, _ in enumerate(Import(opened, correlator, writer, Options(host="mx")).steps(), 1):
            if done == stop_after:
                break
        return done


def recipients(directory: Path) -> list[bytes]:
    with Reader.open(directory) as reader:
        found = [reader.message(key) for key, _ in reader.scan()]
        rows = [row.recipient for message in found if message for row in message.rows]
    return sorted(row for row in rows if row)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_killed_after_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "STEP_LINES", 1)
    monkeypatch.setattr(bulk, "OPEN_MOST", 1)
    monkeypatch.setattr(bulk, "BATCH", 1)
    files = [tmp_path / "b.log", tmp_path / "a.log"]
    files[0].write_bytes(lines("b", 11, 4))
    files[1].write_bytes(lines("a", 10, 4))
    steps = imported(tmp_path / "whole", files, stop_after=None)
    whole = recipients(tmp_path / "whole")
    assert len(whole) == 8
    for stop_after in range(1, steps + 1):
        journal = tmp_path / f"killed-{stop_after}"
        imported(journal, files, stop_after=stop_after)
        imported(journal, files, stop_after=None)
        assert recipients(journal) == whole, stop_after
