"""Imports that go on: finished, grown, packed, doubled, interrupted and killed; and what they tell."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from journal.writer import Writer
from milterd.track import ledger, telling
from milterd.track.summary import Summary
from posttrail import cli
from tests.bench.generate import write

Row = dict[str, Any]
MESSAGES = 400
BASE = ["--timezone", "UTC", "--year", "2025", "--local-domain", "example.com"]


class Shelf:
    """A journal and the command line that fills it."""

    def __init__(self, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capfd = capfd
        self.said = ""

    def call(self, *arguments: str) -> tuple[int, str]:
        code = cli.main(["--journal", str(self.directory), *arguments])
        told = self._capfd.readouterr()
        self.said = told.err
        return code, told.out

    def read(self, *files: Path, options: tuple[str, ...] = ()) -> Row:
        code, out = self.call("import", *BASE, *options, "--format", "json", *map(str, files))
        assert code == 0, self.said
        summary: Row = json.loads(out)
        return summary

    def rows(self) -> Counter[str]:
        """The report, without ids: they may differ where messages were written in two steps."""
        _, out = self.call("report", "--limit", "all", "--format", "json")
        rows = (json.loads(line) for line in out.splitlines())
        return Counter(json.dumps({**row, "id": None}, sort_keys=True) for row in rows)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "mail.log"
    write(path, path.with_suffix(".truth"), MESSAGES, days=3, seed=5)
    return path


@pytest.fixture
def shelf(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Shelf:
    return Shelf(tmp_path / "journal", capfd)


@pytest.fixture
def whole(log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Counter[str]:
    """The rows of an import that nothing disturbed."""
    shelf = Shelf(tmp_path / "whole", capfd)
    shelf.read(log)
    return shelf.rows()


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def how(summary: Row) -> list[str]:
    return [file["how"] for file in summary["per_file"]]


def test_a_finished_file_is_not_read_again_unless_one_says_so(shelf: Shelf, log: Path) -> None:
    first = shelf.read(log)
    count = len(lines_of(log))
    assert (how(first), first["lines"]) == (["read"], count)
    again = shelf.read(log)
    assert (how(again), again["lines"], again["messages"]) == (["read before"], 0, 0)
    assert again["per_file"][0]["skipped"] == count
    assert (again["oldest_us"], again["newest_us"]) == (first["first_us"], first["last_us"])
    assert again["statuses"] == first["statuses"]
    anew = shelf.read(log, options=("--again",))
    assert (how(anew), anew["lines"], anew["messages"]) == (["read"], count, 0)


@pytest.mark.parametrize(
    "options", [("--host", "other"), ("--mta", "postfix"), ("--local-domain", "example.net")]
)
def test_what_would_be_read_differently_is_read_again(
    shelf: Shelf, log: Path, options: tuple[str, ...]
) -> None:
    shelf.read(log)
    assert shelf.read(log, options=options)["lines"] == len(lines_of(log))


@pytest.mark.parametrize("torn", [0, 30])
def test_a_grown_file_is_read_on(
    shelf: Shelf, log: Path, whole: Counter[str], tmp_path: Path, torn: int
) -> None:
    lines, file = lines_of(log), tmp_path / "mail.log"
    cut = len(lines) * 2 // 3
    file.write_bytes(b"".join(lines[:cut]) + lines[cut][:torn])
    shelf.read(file)
    shutil.copy(log, file)
    summary = shelf.read(file)
    assert (how(summary), summary["lines"]) == (["read on"], len(lines) - cut)
    assert shelf.rows() == whole


def test_a_generation_is_known_by_its_content(shelf: Shelf, log: Path, tmp_path: Path) -> None:
    shelf.read(log)
    packed = tmp_path / "mail.log.2.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    first = shelf.read(packed)
    assert (how(first), first["lines"]) == (["read on"], 0)
    assert how(shelf.read(packed)) == ["read before"]
    assert how(shelf.read(log)) == ["read before"]


def test_the_same_generation_named_twice_is_read_once(
    shelf: Shelf, log: Path, whole: Counter[str], tmp_path: Path
) -> None:
    plain, packed = tmp_path / "mail.log.1", tmp_path / "mail.log.1.gz"
    shutil.copy(log, plain)
    packed.write_bytes(gzip.compress(log.read_bytes()))
    summary = shelf.read(plain, packed)
    assert how(summary) == ["read", f"the same as {plain}"]
    assert summary["lines"] == len(lines_of(log))
    assert shelf.rows() == whole
    assert how(shelf.read(plain, packed)) == ["read before"] * 2


def test_what_is_no_mail_log_is_told_of_every_time(shelf: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("this is no log\n" * 200)
    for _ in range(2):
        code, _ = shelf.call("import", str(file))
        assert code == 65
        assert "not a mail log" in shelf.said


def test_a_lost_part_of_the_journal_is_read_again(shelf: Shelf, log: Path) -> None:
    shelf.read(log)
    with Writer.open(shelf.directory) as writer:
        ledger.forget(writer)
        writer.commit()
    assert shelf.read(log)["lines"] == len(lines_of(log))


# -- interrupted ----------------------------------------------------------------------------

CHILD = """
import os, signal, sys
from journal import writer
from milterd.track import bulk, intake
from posttrail import cli
number, at, commits = signal.Signals[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
bulk.STEP_LINES, bulk.CHECKPOINT_S, bulk.OPEN_MOST, bulk.BATCH = 50, 0.0, 40, 20
take, commit = intake.Intake.take, bulk.Import._commit
count = {"line": 0, "commit": 0}
def taken(self, raw):
    count["line"] += 1
    if count["line"] == at:
        os.kill(os.getpid(), number)
    take(self, raw)
def committed(self, *, everything):
    count["commit"] += 1
    if count["commit"] == commits:
        os.kill(os.getpid(), number)
    commit(self, everything=everything)
intake.Intake.take, bulk.Import._commit = taken, committed
if at < 0:
    state = writer.Writer._commit_state
    def stated(self):  # the days are written, the positions not yet
        count["state"] = count.get("state", 0) + 1
        if count["state"] == -at:
            os.kill(os.getpid(), number)
        state(self)
    writer.Writer._commit_state = stated
sys.exit(cli.main(sys.argv[4:]))
"""


def run_child(
    number: str, line: int, commit: int, shelf: Shelf, log: Path
) -> subprocess.CompletedProcess[str]:
    arguments = ["--journal", str(shelf.directory), "import", *BASE, "--format", "json", str(log)]
    command = [sys.executable, "-c", CHILD, number, str(line), str(commit), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("seed", range(6))
def test_kills_at_any_point_leave_the_rows_of_an_undisturbed_import(
    shelf: Shelf, log: Path, whole: Counter[str], seed: int
) -> None:
    chosen = random.Random(seed)
    count = len(lines_of(log))
    for _ in range(3):
        line, commit = chosen.randrange(count // 2), 0
        if seed % 3 == 1:
            line, commit = 0, chosen.randrange(1, 20)
        elif seed % 3 == 2:
            line = -chosen.randrange(1, 20)
        done = run_child("SIGKILL", line, commit, shelf, log)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
    summary = shelf.read(log)
    assert how(summary) in (["read on"], ["read"], ["read before"])
    assert shelf.rows() == whole


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_who_interrupts_loses_nothing_and_goes_on(
    shelf: Shelf, log: Path, whole: Counter[str], name: str, seed: int
) -> None:
    count = len(lines_of(log))
    at = random.Random(seed).randrange(1, count - 100)
    done = run_child(name, at, 0, shelf, log)
    assert done.returncode == 130, done.stderr
    assert "the same command goes on" in done.stderr
    first = json.loads(done.stdout)
    assert first["interrupted"]
    assert at <= first["lines"] <= at + 50
    second = shelf.read(log)
    assert (how(second), second["lines"]) == (["read on"], count - first["lines"])
    assert shelf.rows() == whole


# -- what is told ---------------------------------------------------------------------------

STRANGE = [
    b"Nov 23 18:30:00 mx postfix/qmgr[7]: 4jYHFm4rb7zJjjQ: a new form of %d\n" % number
    for number in range(30)
] + [
    b"Nov 23 18:30:40 mx postfix/qmgr[7]: 4jYHFm4rb7zJjjQ: removed\n",
    b"Nov 23 18:30:41 mx postfix/bounce[7]: 4jYHFm4rb7zJjjQ: \x1b[31m something else\n",
    b"Nov 23 18:30:50 mx rsyslogd: imjournal: 7 messages lost due to rate-limiting\n",
    b"\x1b]0;no header at all\n",
]  # fmt: skip


def test_what_was_not_understood_is_told_by_kind(shelf: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "mail.log"
    file.write_bytes(b"".join(STRANGE))
    summary = shelf.read(file)
    kinds = [(kind["program"], kind["lines"]) for kind in summary["unknown_kinds"]]
    assert kinds == [("postfix/qmgr", 30), ("", 1), ("postfix/bounce", 1)]
    assert "a new form of *" in summary["unknown_kinds"][0]["shape"]
    assert summary["gaps"] == [
        {"source": "log", "begin": "2025-11-23T18:30:41.000Z", "end": "2025-11-23T18:30:50.000Z",
         "reason": "rate_limited", "lines_lost": 7},
    ]  # fmt: skip


def test_the_summary_is_for_reading(shelf: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "mail.log"
    file.write_bytes(b"".join(STRANGE))
    code, told = shelf.call("import", *BASE, str(file))
    assert code == 0
    assert "period      2025-11-23T18:30:00.000Z to 2025-11-23T18:30:50.000Z" in told
    assert "time zone   UTC (year 2025)" in told
    assert "     30  postfix/qmgr: * a new form of *" in told
    assert "      1  (no header): " in told
    assert "rate limited, 7 lines" in told
    assert "posttrail explain-line < FILE" in told
    assert all(line.isprintable() for line in told.splitlines())
    _, again = shelf.call("import", *BASE, str(file))
    assert "nothing new; --again reads them all the same" in again


def test_rows_by_status_are_told(shelf: Shelf, log: Path) -> None:
    _, told = shelf.call("import", *BASE, str(log))
    counted = Counter(json.loads(row)["status"] for row in shelf.rows().elements())
    line = next(line for line in told.splitlines() if "in the journal for this period" in line)
    assert all(f"{count:,} {token}" in line for token, count in counted.items())


def test_colours_stand_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    summary = Summary(statuses={"error": 3}, newest_us=1, oldest_us=1)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert any("\x1b[31m3 error" in line for line in telling.lines(summary, 1.0))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any("\x1b" in line for line in telling.lines(summary, 1.0))


def test_a_thousand_files_are_remembered_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "FILES_MOST", 3)
    with Writer.open(tmp_path / "journal") as writer:
        book = ledger.Ledger(writer, "options")
        from milterd.track.compressed import LogFile

        files = []
        for number in range(5):
            path = tmp_path / f"{number}.log"
            path.write_bytes(b"%d x\n" % number)
            files.append(LogFile.open(os.fspath(path)))
            book.note(files[-1], ledger.Place(name=path.name, lines=1, sizes=[4], year=None,
                                              last_us=None, first_us=0, newest_us=0))  # fmt: skip
        assert [book.place(file) is not None for file in files] == [False, False, True, True, True]
        for file in files:
            file.close()
