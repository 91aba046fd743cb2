"""A real Prometheus that scrapes a real run: the exposition is sound, every panel has data."""

import json
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from posttrail.demo import mails
from posttrail.demo.stage import Stage, folder, free_port, stage
from posttrail.errors import UnavailableError
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SCRAPES = 4  # after the last mail: the programs write every 5 s
WINDOW = "2m"
PANELS = [
    (panel["title"], target["expr"])
    for panel in json.loads((DEPLOY / "grafana" / "posttrail.json").read_text("utf-8"))["panels"]
    for target in panel.get("targets", [])
]

needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus") or not shutil.which("promtool"), reason="no Prometheus here"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A Prometheus that has scraped a run, and the run."""

    port: int
    running: Stage

    def api(self, path: str, **parameters: str) -> Any:
        """The data of an answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            found = json.load(connection.getresponse())
        finally:
            connection.close()
        assert found["status"] == "success", found
        return found["data"]

    def values(self, query: str) -> list[float]:
        """The finite values of an instant query."""
        found = self.api("query", query=query)["result"]
        values = [float(each["value"][1]) for each in found]
        return [value for value in values if math.isfinite(value)]

    def exposition(self) -> str:
        """/metrics as Prometheus gets it."""
        host, _, port = self.running.metrics.partition(":")
        connection = HTTPConnection(host, int(port), timeout=20)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read().decode()
        finally:
            connection.close()


def wait_for(condition: Callable[[], object], what: str) -> None:
    def holds() -> bool:
        try:
            return bool(condition())
        except (OSError, ValueError):  # not there yet, or "Service Unavailable"
            return False

    wait_until(holds, told=lambda: what)


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[int]:
    """Debian's Prometheus on loopback, ended by its process id; its port."""
    directory.mkdir()
    port = free_port()
    rules = [str(DEPLOY / "prometheus" / name) for name in ("rules.yml", "alerts.yml")]
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": rules,
        "scrape_configs": [{"job_name": "posttrail", "static_configs": [{"targets": [target]}]}],
    }
    (directory / "prometheus.yml").write_text(json.dumps(settings))  # YAML, too
    command = (
        "prometheus", f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
    )  # fmt: skip
    with (directory / "log").open("wb") as log:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield port
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Prometheus scrapes from before the first mail, so that rates have something to see."""
    with folder(None, keep=False) as directory:
        try:
            with stage(directory) as running:
                place = tmp_path_factory.mktemp("prometheus") / "of"
                with prometheus(place, running.metrics) as port:
                    made = Asked(port, running)
                    wait_for(lambda: made.values("posttrail_gauges_age_seconds"), "a scrape")
                    mails.send_all(running.lab)
                    wait_for(lambda: settled(running), "every mail's fate")
                    since = time.time()
                    up = f"count_over_time(up[{WINDOW}] @ end()) >= 0"
                    wait_for(lambda: newest(made, up) > since + SCRAPES, "scrapes of the end")
                    yield made
        except UnavailableError as error:
            pytest.skip(str(error))


def settled(running: Stage) -> bool:
    """Whether every status is there and nothing moves in the queue."""
    if any(entry["queue_name"] in {"active", "incoming"} for entry in running.lab.pending()):
        return False
    return {row["status"] for row in running.rows()} >= {
        "delivered", "deferred", "error", "rejected", "filtered",
    }  # fmt: skip


def newest(made: Asked, query: str) -> float:
    """When the programs had last written what Prometheus has."""
    assert made.values(query)
    return max(made.values("posttrail_queryd_written_seconds"), default=0.0)


@needs_prometheus
def test_promtool_has_nothing_to_say_of_the_exposition(asked: Asked) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=asked.exposition(), text=True,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_prometheus
def test_every_panel_has_data(asked: Asked) -> None:
    assert len(PANELS) > 40
    empty = []
    for title, expression in PANELS:
        query = expression.replace("$__rate_interval", WINDOW).replace("$__range", WINDOW)
        assert "$" not in query
        if not asked.values(query):
            empty.append((title, query))
    assert empty == []


@needs_prometheus
def test_every_rule_can_be_evaluated(asked: Asked) -> None:
    groups = asked.api("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 30
    wait_for(
        lambda: all(
            rule["health"] == "ok"
            for group in asked.api("rules")["groups"]
            for rule in group["rules"]
        ),
        "rules",
    )


@needs_prometheus
def test_totals_are_the_rows_of_the_report(asked: Asked) -> None:
    final = {"delivered", "error", "rejected", "filtered"}
    rows = [row for row in asked.running.rows() if row["status"] in final]
    for status in final:
        count = sum(row["status"] == status for row in rows)
        query = (
            f'sum(posttrail_recipients_total{{status="{status}"}} - posttrail_recipients_revised)'
        )
        assert asked.values(query) == [count]


@needs_prometheus
def test_nothing_of_mail_is_in_it(asked: Asked) -> None:
    text = asked.exposition()
    assert text.count("\n# TYPE ") > 50
    assert "@" not in text
    for row in asked.running.rows():
        for name in ("recipient", "sender", "subject", "queue_ids"):
            found = row[name]
            if isinstance(found, str) and len(found) > 8:
                assert found not in text


@needs_prometheus
@pytest.mark.parametrize("names", [("rules.yml", "alerts.yml")])
def test_promtool_takes_the_rules(names: tuple[str, ...]) -> None:
    paths = [str(DEPLOY / "prometheus" / name) for name in names]
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint-fatal", *paths],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_each_alert_fires_for_its_fault_alone() -> None:
    paths = [str(path) for path in (DEPLOY / "prometheus").glob("*.test.yml")]
    assert len(paths) == 2
    done = subprocess.run(
        ["promtool", "test", "rules", *paths],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_the_example_of_a_configuration_is_one(tmp_path: Path) -> None:
    text = (DEPLOY / "prometheus" / "scrape.yml").read_text("utf-8")
    path = tmp_path / "prometheus.yml"
    path.write_text(text.replace("/usr/share/doc/posttrail/prometheus", str(DEPLOY / "prometheus")))
    done = subprocess.run(
        ["promtool", "check", "config", str(path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
