"""deploy/grafana and deploy/prometheus: made of declared metrics, and what the generator makes."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from posttrail import cli, metrics

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "posttrail.json"
RULES = ROOT / "deploy" / "prometheus"
METRIC = re.compile(r"\bposttrail_\w+")


def test_the_dashboard_is_what_its_generator_makes() -> None:
    made = runpy.run_path(str(ROOT / "tools" / "dashboard"))["text"]()
    assert DASHBOARD.read_text("utf-8") == made, "tools/dashboard writes it anew"


def test_the_dashboard_asks_a_data_source_that_the_reader_chooses() -> None:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    assert found["uid"] == "posttrail"
    assert [each["name"] for each in found["templating"]["list"]] == ["datasource"]
    panels = [each for each in found["panels"] if each["type"] != "row"]
    assert len({each["id"] for each in found["panels"]}) == len(found["panels"])
    for panel in panels:
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("path", [DASHBOARD, RULES / "rules.yml", RULES / "alerts.yml"])
def test_only_declared_metrics_are_asked_for(path: Path) -> None:
    text = path.read_text("utf-8")
    named = set(METRIC.findall(text))
    assert len(named) > 3
    assert {name for name in named if metrics.family_of(name) is None} == set()
    recorded = set(re.findall(r"- record: (\S+)", (RULES / "rules.yml").read_text("utf-8")))
    assert set(re.findall(r"\bposttrail:[\w:]+", text)) <= recorded


def test_bounds_that_rules_name_are_bounds_of_the_histogram() -> None:
    bounds = {metrics.le(bound) for bound in metrics.DELAYS_S}
    for path in (DASHBOARD, RULES / "rules.yml"):
        found = set(re.findall(r'\ble=\\?"([\d.]+)\\?"', path.read_text("utf-8")))
        assert found
        assert found <= bounds


def alerts() -> dict[str, str]:
    """The text of each alert."""
    parts = (RULES / "alerts.yml").read_text("utf-8").split("- alert: ")[1:]
    return {part.partition("\n")[0]: part for part in parts}


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_what_it_means_and_the_next_command(name: str) -> None:
    text = alerts()[name]
    for key in ("summary", "description", "command"):
        assert re.search(rf"^          {key}: \S", text, re.M), key
    assert re.search(r"severity: (page|ticket)\b", text)
    command = re.search(r"^          command: \"?(.*?)\"?$", text, re.M)
    assert command
    words = command[1].split()
    assert words[0] in {"posttrail", "journalctl", "systemctl", "df"}
    if words[0] == "posttrail":
        assert words[1] in cli.VERBS
        page = (ROOT / "docs/man/posttrail.1").read_text("utf-8").replace("\\-", "-")
        assert all(word in page for word in words if word.startswith("--"))
    tests = [path.read_text("utf-8") for path in RULES.glob("*.test.yml")]
    assert any(f'alertname="{name}"' in each for each in tests), "a test makes it fire"
