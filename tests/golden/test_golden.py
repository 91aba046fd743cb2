"""Lines that a real Postfix wrote, and the rows that must come of them.

``<hazard>/mail.log`` was recorded from a private Postfix 3.7 (posttrail.demo.lab) and cut to
the hazard's lines; ``expected.json`` was reasoned by hand from docs/statuses.md: one object a
row, every field of the report but ``id`` and ``row``, null where it is left out. Some logs were
changed after the recording: in short-queue-ids the second message got the first one's queue
id and comes an hour later, in rfc3339 the stamps of two-fates took the other form, in container
its lines stand in another syslog's, in login-refused the client's address is another. exim-* is
the main log of a private Exim 4.96 (Debian's, unpacked) in a network of its own.
 sendmail-* were
recorded by ``record_sendmail.py`` from Debian's Sendmail 8.17, unpacked, in a network of its own.

The logs with Dovecot, amavis, spamd and postgrey were recorded by ``record.py`` beside this file
(Dovecot 2.3.19, amavis 2.13, SpamAssassin 4.0). Two were not recorded but written after the
program's source: proxmox-filter (pmg-smtp-filter) and mailscanner-requeue (MailScanner 5).
"""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from posttrail import cli
from query.rows import FIELDS

HERE = Path(__file__).parent
HAZARDS = sorted(path.parent.name for path in HERE.glob("*/mail.log"))
UNNAMED = {"id", "row"}

CONFIG = """
[mta]
host = "mx.example.com"
local_domains = ["example.com", "lists.example.com"]
inside_networks = ["198.51.100.0/24"]
"""

Row = dict[str, Any]


class Imported:
    """A journal that log files were read into."""

    def __init__(self, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        directory.mkdir()
        config = directory / "posttrail.toml"
        config.write_text(CONFIG)
        self._options = ["--config", str(config), "--journal", str(directory / "journal")]

    def read(self, *logs: Path) -> dict[str, Any]:
        """Import; the summary."""
        stamps = ["--year", "2026", "--timezone", "UTC", "--format", "json"]
        assert cli.main([*self._options, "import", *stamps, *map(str, logs)]) == 0
        summary: dict[str, Any] = json.loads(self._capfd.readouterr().out)
        return summary

    def rows(self) -> list[Row]:
        """The report without the fields that are ours to choose, in an order of its own."""
        code = cli.main([*self._options, "report", "--limit", "all", "--format", "json"])
        lines = self._capfd.readouterr().out.splitlines()
        assert code == (0 if lines else 1)
        return in_order([json.loads(line) for line in lines])


def in_order(rows: list[Row]) -> list[Row]:
    named = [name for name in FIELDS if name not in UNNAMED]
    whole = [{name: row.get(name) for name in named} for row in rows]
    return sorted(whole, key=repr)


def expected(hazard: str) -> list[Row]:
    rows = json.loads((HERE / hazard / "expected.json").read_text("utf-8"))
    unknown = {name for row in rows for name in row} - set(FIELDS)
    assert not unknown
    return in_order(rows)


@pytest.mark.parametrize("hazard", HAZARDS)
def test_rows_are_what_the_log_says(
    hazard: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    imported = Imported(tmp_path / "a", capfd)
    summary = imported.read(HERE / hazard / "mail.log")
    assert summary["unknown"] == 0, summary["first_unknown"]
    assert imported.rows() == expected(hazard)


@pytest.mark.parametrize("hazard", HAZARDS)
def test_halves_in_any_order_say_the_same(
    hazard: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = (HERE / hazard / "mail.log").read_bytes().splitlines(keepends=True)
    cut = random.Random(hazard).randrange(len(lines) + 1)
    halves = tmp_path / "first.log", tmp_path / "second.log"
    for path, part in zip(halves, (lines[:cut], lines[cut:]), strict=True):
        path.write_bytes(b"".join(part) or b"Nov 23 18:00:00 mx postfix/anvil[1]: statistics: x\n")
    for name, order in (("in order", halves), ("reversed", halves[::-1])):
        imported = Imported(tmp_path / name, capfd)
        for path in order:
            imported.read(path)
        assert imported.rows() == expected(hazard), f"cut before line {cut + 1}, {name}"


def test_every_hazard_is_in_the_table() -> None:
    table = (HERE / "README.md").read_text("utf-8")
    rows = [line.rpartition(" | ")[2].strip(" |") for line in table.splitlines() if "|" in line]
    named = {name for row in rows for name in re.split(r"[,;] ", row)}
    families = {name.removesuffix("*") for name in named if name.endswith("*")}
    missing = [
        hazard
        for hazard in HAZARDS
        if hazard not in named and not any(hazard.startswith(family) for family in families)
    ]
    assert not missing


def test_hazards_are_there() -> None:
    assert len(HAZARDS) >= 30
