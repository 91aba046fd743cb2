"""``posttrail import`` as users call it: any part, in any order, as often as one likes.

Two logs: the bundled one, which a private Postfix wrote, and a made-up one of a thousand
messages with its truth. Each halves' test takes a fresh journal.
"""

import gzip
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from journal.reader import Reader
from milterd.track.compressed import LogFile
from posttrail import cli
from posttrail.errors import DataError
from query.rows import FIELDS
from tests.bench.generate import write
from tests.bench.world import LOCAL_DOMAINS

Row = dict[str, Any]
MESSAGES = 1_000
SAMPLE = resources.files("posttrail.demo") / "sample.log.gz"
DESIGN = (
    "id row time host queue_ids direction sender recipient final_recipient status reason folder "
    "reply reply_code enhanced_status relay attempts done_at delay_s size_bytes message_id subject "
    "client_ip client_name client_port helo login tls spam_score sources"
)


@dataclass(frozen=True, slots=True)
class Log:
    """A log, its lines, and the year of the first; 0: the import must find it."""

    path: Path
    lines: list[bytes]
    year: int


class Journal:
    """A journal and the command line that reads and writes it."""

    def __init__(self, directory: Path, log: Log, capfd: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._log = log
        self._capfd = capfd

    def _call(self, *arguments: str) -> str:
        code = cli.main(["--journal", str(self.directory), *arguments])
        said = self._capfd.readouterr()
        assert code == 0, said.err
        return said.out

    def read(self, *files: Path) -> Row:
        """Import; the summary."""
        domains = [word for name in LOCAL_DOMAINS for word in ("--local-domain", name)]
        year = ["--year", str(self._log.year)] if self._log.year else []
        options = [*domains, *year, "--timezone", "UTC", "--format", "json", "--again"]
        summary: Row = json.loads(self._call("import", *options, *map(str, files)))
        return summary

    def report(self) -> str:
        """The whole of it."""
        return self._call("report", "--limit", "all", "--format", "json")

    def rows(self) -> list[Row]:
        return [json.loads(line) for line in self.report().splitlines()]


New = Callable[[], Journal]


@pytest.fixture(scope="module", params=["recorded", "made up"])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Log:
    path = tmp_path_factory.mktemp("log") / "mail.log"
    if request.param == "recorded":
        path.write_bytes(gzip.decompress(SAMPLE.read_bytes()))
        year = datetime.fromtimestamp(_mtime(SAMPLE.read_bytes()), UTC).year
    else:
        write(path, path.with_suffix(".truth"), MESSAGES, days=6, seed=3)
        year = 2025
    return Log(path, path.read_bytes().splitlines(keepends=True), year)


def _mtime(compressed: bytes) -> int:
    return int.from_bytes(compressed[4:8], "little")  # RFC 1952 2.3.1


@pytest.fixture
def new(log: Log, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> New:
    """Makes an empty journal."""
    count = 0

    def make() -> Journal:
        nonlocal count
        count += 1
        return Journal(tmp_path / f"journal{count}", log, capfd)

    return make


@pytest.fixture
def whole(new: New, log: Log) -> Journal:
    """A journal that read the log once."""
    journal = new()
    journal.read(log.path)
    return journal


def parts(log: Log, directory: Path, *cuts: int) -> list[Path]:
    """The log in files, cut before these lines."""
    files = []
    for number, (begin, end) in enumerate(zip((0, *cuts), (*cuts, None), strict=True)):
        files.append(directory / f"part{number}.log")
        files[-1].write_bytes(b"".join(log.lines[begin:end]))
    return files


def without_id(rows: list[Row]) -> list[str]:
    return sorted(json.dumps({**row, "id": None}, sort_keys=True) for row in rows)


def differing(one: list[Row], other: list[Row]) -> list[str]:
    """The rows that only one of two reports has."""
    left, right = Counter(without_id(one)), Counter(without_id(other))
    return sorted([*(left - right), *(right - left)])


def test_a_row_has_every_field_in_the_order_of_the_contract(whole: Journal) -> None:
    rows = whole.rows()
    assert rows
    assert " ".join(FIELDS) == DESIGN
    assert {" ".join(row) for row in rows} == {DESIGN}
    keys = [(row["time"], row["id"], row["row"]) for row in rows]
    assert keys == sorted(keys, reverse=True)


def test_every_line_is_understood(new: New, log: Log) -> None:
    summary = new().read(log.path)
    assert summary["unknown"] == 0, summary["first_unknown"]
    assert summary["lines"] == len(log.lines)


def test_reading_again_changes_nothing(whole: Journal, log: Log) -> None:
    before = whole.report()
    again = whole.read(log.path)
    assert (again["messages"], again["rows"]) == (0, 0)
    assert whole.report() == before


@pytest.mark.parametrize("seed", range(4))
def test_reading_any_slice_again_changes_nothing(
    whole: Journal, log: Log, tmp_path: Path, seed: int
) -> None:
    before = whole.report()
    chosen = random.Random(seed)
    begin = chosen.randrange(len(log.lines))
    end = min(len(log.lines), begin + 1 + chosen.randrange(len(log.lines) // 2))
    slice_ = tmp_path / "slice.log"
    slice_.write_bytes(b"".join(log.lines[begin:end]))
    whole.read(slice_)
    assert whole.report() == before, f"lines {begin + 1} to {end}"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", ["in order", "reversed"])
def test_two_halves_say_what_the_whole_says(
    new: New, whole: Journal, log: Log, tmp_path: Path, seed: int, order: str
) -> None:
    cut = random.Random(seed).randrange(1, len(log.lines))
    files = parts(log, tmp_path, cut)
    halves = new()
    for file in files if order == "in order" else reversed(files):
        halves.read(file)
    assert differing(halves.rows(), whole.rows()) == [], f"cut before line {cut + 1}"


@pytest.mark.parametrize("seed", range(3))
def test_three_files_named_in_any_order_say_what_the_whole_says(
    new: New, whole: Journal, log: Log, tmp_path: Path, seed: int
) -> None:
    chosen = random.Random(seed)
    first, second = sorted(chosen.sample(range(1, len(log.lines)), 2))
    files = parts(log, tmp_path, first, second)
    chosen.shuffle(files)
    journal = new()
    journal.read(*files)
    assert differing(journal.rows(), whole.rows()) == [], f"cut before {first + 1}, {second + 1}"


def test_counters_are_the_rows(whole: Journal) -> None:
    counted = Counter((row["status"], row["direction"] or "") for row in whole.rows())
    with Reader.open(whole.directory) as reader:
        assert reader.counters() == counted


@pytest.mark.parametrize("log", ["made up"], indirect=True)
def test_rows_are_the_truth(whole: Journal, log: Log) -> None:
    facts = [json.loads(line) for line in log.path.with_suffix(".truth").read_text().splitlines()]
    true = Counter(map(_of_truth, facts))
    told = Counter(map(_of_report, whole.rows()))
    assert len(facts) > MESSAGES
    assert sorted((true - told).items()) == []
    assert sorted((told - true).items()) == []


def _of_truth(fact: Row) -> tuple[Any, ...]:
    time = datetime.fromtimestamp(fact["time_us"] // 1_000_000, UTC)
    return (
        time.strftime("%Y-%m-%dT%H:%M:%S.000Z"), tuple(fact["queue_ids"]), fact["sender"],
        fact["client_ip"], fact["login"], fact["message_id"],
        fact["recipient"], fact["final_recipient"], fact["status"], fact["reason"],
        fact["attempts"],
    )  # fmt: skip


def _of_report(row: Row) -> tuple[Any, ...]:
    return (
        row["time"], tuple(row["queue_ids"]), row["sender"], row["client_ip"], row["login"],
        row["message_id"], row["recipient"], row["final_recipient"], row["status"], row["reason"],
        row["attempts"],
    )  # fmt: skip


# -- TLS: its line stands before the one that names the queue file ------------------------

TLS = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
SESSION = [
    "smtpd[41]: connect from mail.example.net[192.0.2.10]",
    f"smtpd[41]: Anonymous TLS connection established from mail.example.net[192.0.2.10]: {TLS}",
    "smtpd[41]: 4jYHFm4rb7zJjjQ: client=mail.example.net[192.0.2.10]",
    "cleanup[42]: 4jYHFm4rb7zJjjQ: message-id=<1@mail.example.net>",
    "qmgr[43]: 4jYHFm4rb7zJjjQ: from=<partner@example.net>, size=471, nrcpt=1 (queue active)",
    "smtpd[41]: disconnect from mail.example.net[192.0.2.10] ehlo=2 mail=1 quit=1 commands=4",
    f"smtp[44]: Untrusted TLS connection established to mx.example.test[198.51.100.1]:25: {TLS}",
    "smtp[44]: 4jYHFm4rb7zJjjQ: to=<friend@example.test>, relay=mx.example.test[198.51.100.1]:25,"
    " delay=0.3, delays=0/0/0.2/0.1, dsn=2.0.0, status=sent (250 2.0.0 Ok)",
    "qmgr[43]: 4jYHFm4rb7zJjjQ: removed",
    "smtpd[41]: connect from plain.example.net[192.0.2.11]",
    "smtpd[41]: 4jYHFn4rb7zJjjR: client=plain.example.net[192.0.2.11]",
    "qmgr[43]: 4jYHFn4rb7zJjjR: from=<plain@example.net>, size=471, nrcpt=1 (queue active)",
    "smtpd[41]: disconnect from plain.example.net[192.0.2.11] ehlo=1 mail=1 quit=1 commands=3",
    "virtual[45]: 4jYHFn4rb7zJjjR: to=<alice@example.com>, relay=virtual, delay=0.1,"
    " delays=0.1/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)",
]


@pytest.fixture
def session(tmp_path: Path) -> Log:
    lines = [
        f"Nov 23 18:30:{number:02} mx postfix/{text}\n".encode()
        for number, text in enumerate(SESSION)
    ]
    path = tmp_path / "session.log"
    path.write_bytes(b"".join(lines))
    return Log(path, lines, 2026)


@pytest.mark.parametrize("order", ["in order", "reversed"])
@pytest.mark.parametrize("cut", range(1, len(SESSION)))
def test_tls_is_told_wherever_the_log_is_cut(
    session: Log, tmp_path: Path, capfd: pytest.CaptureFixture[str], cut: int, order: str
) -> None:
    files = parts(session, tmp_path, cut)
    journal = Journal(tmp_path / "journal", session, capfd)
    for file in files if order == "in order" else reversed(files):
        journal.read(file)
    told = {row["sender"]: row["tls"] for row in journal.rows()}
    assert told == {
        "partner@example.net": "TLSv1.3 TLS_AES_256_GCM_SHA384",
        "plain@example.net": None,
    }


@pytest.mark.parametrize("begin", range(len(SESSION)))
def test_reading_on_from_anywhere_keeps_tls_and_tries(
    session: Log, tmp_path: Path, capfd: pytest.CaptureFixture[str], begin: int
) -> None:
    journal = Journal(tmp_path / "journal", session, capfd)
    journal.read(session.path)
    before = journal.report()
    _, rest = parts(session, tmp_path, begin)
    journal.read(rest)
    assert journal.report() == before


# -- the years of a log that names none ----------------------------------------------------


@pytest.mark.parametrize("packed", ["plain", "gzip"])
def test_a_log_of_more_than_twelve_months_has_its_years(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], packed: str
) -> None:
    months = [(year, month) for year in (2024, 2025) for month in range(1, 13)][4:22]
    lines = [
        f"{datetime(year, month, 9):%b} {day:2} 12:00:00 mx postfix/smtpd[7]: NOQUEUE: reject: RCPT"
        f" from mail.example.net[192.0.2.10]:40{day:03}: 554 5.7.1 <{year}.{month}.{day}@example.org>:"
        f" Relay access denied; from=<a@example.net> to=<{year}.{month}.{day}@example.org>"
        " proto=ESMTP helo=<mail.example.net>\n".encode()
        for year, month in months
        for day in (9, 25)
    ]
    path = tmp_path / "old.log"
    with path.open("wb") if packed == "plain" else gzip.GzipFile(path, "wb", mtime=0) as file:
        file.write(b"".join(lines))
    end = datetime(2025, 11, 1, tzinfo=UTC).timestamp()
    os.utime(path, (end, end))
    journal = Journal(tmp_path / "journal", Log(path, lines, 0), capfd)
    journal.read(path)
    told = {row["recipient"]: row["time"][:10] for row in journal.rows()}
    assert told == {
        f"{year}.{month}.{day}@example.org": f"{year}-{month:02}-{day:02}"
        for year, month in months
        for day in (9, 25)
    }


def test_what_is_no_file_is_not_read_beforehand() -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"a\nb\n")
    os.close(theirs)
    with LogFile("-", os.fdopen(ours, "rb", 0)) as file:
        assert list(file.beforehand()) == []
        assert list(file.lines()) == [b"a", b"b"]


def test_reading_beforehand_moves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(b"a\nb\n")[:-4])
    with LogFile.open(str(path)) as file:
        assert file.head() == [b"a", b"b"]
        assert list(file.beforehand()) == [b"a", b"b"]
        lines = file.lines()
        assert [next(lines), next(lines)] == [b"a", b"b"]
        with pytest.raises(DataError):
            next(lines)
