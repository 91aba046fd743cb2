"""No word of a stranger becomes a status, a recipient or a command to the terminal."""

import io
import json
import sys
from pathlib import Path

import pytest

from posttrail import cli
from posttrail.text import HOSTILE
from tests.fuzz import mutations, seeds
from tests.fuzz.forged import BANK, FORGED, Forged
from tests.fuzz.road import Road


def rows(case: Forged) -> dict[str, set[str]]:
    road = Road()
    for raw in case.lines:
        road.fold(road.events(case.form, raw))
    return road.rows()


@pytest.mark.parametrize("case", FORGED, ids=lambda case: case.name)
def test_what_a_stranger_says_is_no_status(case: Forged) -> None:
    assert rows(case) == {recipient: {status} for recipient, status in case.rows.items()}


@pytest.mark.parametrize("case", FORGED, ids=lambda case: case.name)
def test_the_lines_in_any_order_say_no_more(case: Forged) -> None:
    backwards = case._replace(lines=case.lines[::-1])
    found = rows(backwards)
    assert set(found) == set(case.rows)
    for recipient, status in case.rows.items():
        assert found[recipient] <= {status, "in_progress"}


def test_a_stranger_makes_no_row_of_someone_else() -> None:
    names = [name for case in FORGED for name in case.rows]
    assert not [name for name in names if name.endswith("@" + BANK)]


def spoken(out: str) -> list[str]:
    """Characters of an output that a terminal would act on."""
    return HOSTILE.findall(out.replace("\n", ""))


def test_nothing_of_it_speaks_to_a_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = [raw for case in FORGED for raw in case.lines if len(raw) < 10_000]
    hostile += [raw for form, raw in mutations.lines(seeds.own(), 2_000, 3) if form == "syslog"]
    log = tmp_path / "mail.log"
    log.write_bytes(b"".join(raw.replace(b"\n", b"") + b"\n" for raw in hostile))
    options = ["--journal", str(tmp_path / "journal")]
    imported = cli.main([*options, "import", "--year", "2026", "--timezone", "UTC", str(log)])
    told = capfd.readouterr()
    assert imported == 0
    assert spoken(told.out + told.err) == []
    for form in ("table", "json", "csv"):
        cli.main([*options, "report", "--limit", "all", "--format", form])
        told = capfd.readouterr()
        assert len(told.out.splitlines()) > 100
        assert spoken(told.out + told.err) == []
    cli.main([*options, "report", "--limit", "all", "--format", "json"])
    ids = {json.loads(line)["id"] for line in capfd.readouterr().out.splitlines()}
    for id in sorted(ids)[:200]:
        for form in ("text", "json"):
            assert cli.main([*options, "show", id, "--format", form]) == 0
            told = capfd.readouterr()
            assert spoken(told.out + told.err) == [], id
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log.read_bytes())))
    cli.main(["explain-line"])
    told = capfd.readouterr()
    assert len(told.out.splitlines()) > len(hostile)
    assert spoken(told.out + told.err) == []
