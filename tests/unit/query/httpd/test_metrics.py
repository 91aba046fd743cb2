"""/metrics: only what is declared, counters that never go down and are the truth, one open port."""

import random
import re
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from journal.counters import BUCKETS_S
from journal.keys import DAY_US, day_of
from journal.reader import Reader
from journal.records import REASONS, Message, Recipient, Record, Status
from journal.writer import Writer
from posttrail import metrics
from posttrail.metrics import Kind
from query.httpd import app, metrics_files, metrics_journal
from query.httpd.caller import Caller, How, Role
from query.httpd.facts import Door, Peer
from query.httpd.ledger import Ledger
from query.httpd.state import State
from query.scope import Scope
from tests.conftest import ExpectedLog
from tests.unit.query.conftest import NOON_US, Shelf, row
from tests.unit.query.httpd.conftest import Ask, Asked

PORT = Peer(door=Door.METRICS)
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Series:
    """Every sample by its name and labels; each must be there once."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            place = sample.name, frozenset(sample.labels.items())
            assert place not in found
            found[place] = sample.value
    return found


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


def scraped(client: TestClient, path: str = "/metrics") -> Series:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(answer.text)


# -- what is in it ----------------------------------------------------------------------


def test_everything_is_declared_with_its_type_its_help_and_its_labels(
    shelf: Shelf, ask: Ask
) -> None:
    shelf.put(row(), row(status=Status.REJECTED, reason="policy", delay_ms=None))
    text = ask().get("/metrics").text
    helps = dict(re.findall(r"^# HELP (\w+) (.+)$", text, re.M))
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M):
        assert metrics.BY_NAME[name].kind.value == kind
        assert metrics.BY_NAME[name].help == helps[name]
    for name, labels in parsed(text):
        family = metrics.family_of(name)
        assert family is not None
        if family.name != "posttrail_build_info":
            assert metrics_files.is_declared(family, name, dict(labels)), (name, labels)


@pytest.mark.parametrize("family", metrics.FAMILIES, ids=lambda family: family.name)
def test_names_follow_the_rules_of_prometheus(family: metrics.Family) -> None:
    assert re.fullmatch(r"posttrail_[a-z_]+", family.name)
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    assert not re.search("milliseconds|_ms$|minutes|_kilo", family.name)
    assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
    assert family.help[0].isupper() or family.help[0].isdecimal()
    assert family.help.endswith(".")


def test_every_route_has_a_place_in_the_closed_set(ask: Ask) -> None:
    client = ask()
    for path in ("/", "/v1/messages", "/v1/messages/absent", "/static/absent", "/nowhere"):
        client.get(path)
    series = scraped(client)
    name = "posttrail_query_duration_seconds_count"
    for route in ("/", "/v1/messages", "/v1/messages/{id}", "/static/{name}", "none"):
        assert value(series, name, route=route) == 1
    handlers = {
        each.path.replace(":path}", "}") for each in app.handlers() if hasattr(each, "path")
    }
    assert handlers | {"none"} == set(metrics.ROUTES)


def test_reasons_and_directions_are_all_those_of_the_journal() -> None:
    known = {*metrics.DEFERRALS, *metrics.ERRORS, *metrics.REFUSALS, *metrics.FILTERED}
    others = {"stored", "relayed", "piped", "queued", "held", "unknown"}
    assert known | others == set(REASONS)
    assert {each.token for each in Status} == {*metrics.FINAL, *metrics.PENDING}
    assert tuple(map(float, BUCKETS_S)) == metrics.DELAYS_S


def test_nothing_that_comes_with_mail_makes_a_series(shelf: Shelf, ask: Ask) -> None:
    before = set(scraped(ask()))
    ask.release()
    chance = random.Random(3)
    for number in range(400):
        domain = b"%x.example" % chance.randrange(1 << 60)
        reply = b"550 5.1.%d %s" % (number, domain)
        shelf.put(
            row(
                b"someone@" + domain,
                status=chance.randrange(6),
                reason=chance.choice(REASONS),
                direction=chance.choice([None, 1, 2, 3]),
                delay_ms=chance.randrange(1 << 30),
                reply=reply,
                relay=domain,
            ),
            sender=b"x@" + domain,
            host=domain,
            commit=number % 50 == 49,
        )
    client = ask()
    client.get("/" + "x" * 50)
    after = scraped(client)
    new = {place for place in set(after) - before if "coverage" not in place[0]}
    assert new == set()
    assert b".example" not in client.get("/metrics").content


def test_the_figures_are_those_of_the_rows(shelf: Shelf, ask: Ask) -> None:
    shelf.put(
        row(direction=1, delay_ms=900),
        row(direction=1, delay_ms=61_000),
        row(direction=2, status=Status.ERROR, reason="expired", delay_ms=432_000_000),
        row(status=Status.DEFERRED, reason="dns", done_at_us=None),
        row(direction=None, status=Status.REJECTED, reason="spam"),
        row(status=Status.IN_PROGRESS, reason="queued", done_at_us=None, delay_ms=None),
    )
    shelf.put()
    series = scraped(ask())
    total = "posttrail_recipients_total"
    assert value(series, total, status="delivered", direction="inbound") == 2
    assert value(series, total, status="error", direction="outbound") == 1
    assert value(series, total, status="rejected", direction="unknown") == 1
    assert sum(count for (name, _), count in series.items() if name == total) == 4
    assert value(series, "posttrail_recipients", status="deferred") == 1
    assert value(series, "posttrail_recipients", status="in_progress") == 1
    assert value(series, "posttrail_deferred_recipients", reason="dns") == 1
    assert value(series, "posttrail_rejected_total", reason="spam") == 1
    assert value(series, "posttrail_errors_total", reason="expired") == 1
    assert value(series, "posttrail_abandoned_messages") == 1
    took = "posttrail_delivery_duration_seconds"
    inbound = {"status": "delivered", "direction": "inbound"}
    assert value(series, f"{took}_bucket", le="1.0", **inbound) == 1
    assert value(series, f"{took}_bucket", le="60.0", **inbound) == 1
    assert value(series, f"{took}_bucket", le="300.0", **inbound) == 2
    assert value(series, f"{took}_bucket", le="+Inf", **inbound) == 2
    assert value(series, f"{took}_sum", **inbound) == 61.9
    late = {"status": "error", "direction": "outbound"}
    assert value(series, f"{took}_bucket", le="86400.0", **late) == 0
    assert value(series, f"{took}_count", **late) == 1


def test_coverage_tells_how_long_and_what_is_missing(shelf: Shelf, ask: Ask) -> None:
    from journal.records import Gap

    shelf.writer.extend("log", NOON_US, NOON_US + 90_000_000)
    shelf.writer.gap(Gap("log", NOON_US + 90_000_000, NOON_US + 95_000_000, "rate_limited", 12))
    shelf.writer.gap(Gap("log", NOON_US - 5_000_000, NOON_US, "of_another_release"))
    shelf.put()
    series = scraped(ask())
    assert value(series, "posttrail_coverage_seconds", source="log") == 90
    assert value(series, "posttrail_coverage_seconds", source="journald") == 0
    assert (
        value(series, "posttrail_coverage_end_timestamp_seconds", source="log")
        == NOON_US / 1e6 + 90
    )
    rated = {"source": "log", "reason": "rate_limited"}
    assert value(series, "posttrail_coverage_gaps", **rated) == 1
    assert value(series, "posttrail_coverage_gap_seconds", **rated) == 5
    assert value(series, "posttrail_coverage_gaps", source="log", reason="other") == 1
    assert value(series, "posttrail_coverage_lost_lines", source="log") == 12


def test_without_a_journal_it_says_so_and_makes_no_figure_up(shelf: Shelf, ask: Ask) -> None:
    client = ask()
    (shelf.directory / "FORMAT").rename(shelf.directory / "gone")
    series = scraped(client)
    assert value(series, "posttrail_journal_readable") == 0
    assert not any(name == "posttrail_recipients_total" for name, _ in series)


# -- the programs' files ----------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "posttrail_undeclared 1",
        "posttrail_trackd_open_messages 1",  # another program's
        'posttrail_milter_queue_records{x="y"} 1',
        "posttrail_milter_queue_records NaN",
        "posttrail_milter_queue_records 1 2",
        "posttrail_milter_queue_records one",
        'posttrail_milter_queue_records{x="y} 1',
        "<script>",
    ],
)
def test_what_is_not_declared_is_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "milterd.prom"
    path.write_text(f"{line}\nposttrail_milter_records_total 7\nposttrail_milter_records_total 8\n")
    found = metrics_files.said(path, metrics.MILTERD)
    assert [sample.value for each in found for sample in each.samples] == [7]


def test_labels_of_files_are_of_their_closed_sets(tmp_path: Path) -> None:
    path = tmp_path / "trackd.prom"
    name = "posttrail_trackd_commit_duration_seconds"
    path.write_text(
        'posttrail_trackd_lines_total{source="log"} 1\n'
        'posttrail_trackd_lines_total{source="/var/log/mail.log"} 1\n'
        f'{name}_bucket{{le="0.005"}} 1\n{name}_bucket{{le="0.007"}} 1\n{name}_sum 2\n{name} 3\n'
    )
    found = metrics_files.said(path, metrics.TRACKD)
    assert [
        (sample.name, sample.labels) for each in found for sample in each.samples
    ] == [
        ("posttrail_trackd_lines_total", {"source": "log"}),
        (f"{name}_bucket", {"le": "0.005"}),
        (f"{name}_sum", {}),
    ]  # fmt: skip


# -- never down, and the truth ----------------------------------------------------------


def test_a_late_bounce_takes_nothing_back_and_new_mail_makes_up_for_it(
    shelf: Shelf, ask: Ask
) -> None:
    def total(status: str, name: str = "posttrail_recipients_total") -> float:
        found = value(scraped(ask()), name, status=status, direction="outbound")
        ask.release()
        return found

    messages = [shelf.put(row()) for _ in range(3)]
    assert total("delivered") == 3
    came_back = row(status=Status.ERROR, reason="late_bounce")
    old = Record(messages[0], (), ())
    new = Record(messages[0]._replace(rows=(came_back,)), (), ())
    shelf.writer.put(new, old)
    shelf.writer.commit()
    assert (total("delivered"), total("error")) == (3, 1)
    assert total("delivered", "posttrail_recipients_revised") == 1
    shelf.put(row())  # ``ask`` is a new process each time, on the same state
    assert (total("delivered"), total("error")) == (3, 1)
    assert total("delivered", "posttrail_recipients_revised") == 0
    shelf.put(row())
    assert total("delivered") == 4


def test_whatever_happens_counters_never_fall_and_tell_the_truth(
    tmp_path: Path,
) -> None:
    """Messages that change, merge over days and are dropped; restarts; a scrape after each."""
    chance = random.Random(11)
    directory = tmp_path / "journal"
    known: dict[bytes, Record] = {}
    dropped: list[Message] = []
    last: dict[str, int] = {}
    ledger = Ledger(State(tmp_path / "state.sqlite"))
    ledger_key = b"key"
    for turn in range(60):
        with Writer.open(directory) as writer:
            for _ in range(10):
                number = chance.randrange(80)
                at_us = NOON_US + number * DAY_US // 20  # over four days
                kept = next(
                    (each for each in known.values() if each.message.time_us == at_us), None
                )
                made = kept or _new(writer, at_us)
                rows = [_row(chance) for _ in range(chance.randrange(4))]
                after = made._replace(message=made.message._replace(rows=tuple(rows)))
                writer.put(after, kept)
                known[after.id] = after
            writer.commit()
            if turn % 7 == 6:
                old, into = chance.sample(sorted(known), 2)
                writer.tombstone(known.pop(old), into)
                writer.commit()
            if turn == 40:
                first = day_of(NOON_US)
                assert len(writer.prune(NOON_US + DAY_US, 1)) == 1
                gone = [id for id, each in known.items() if day_of(each.message.time_us) == first]
                dropped += [known.pop(id).message for id in gone]
                NOT_AGAIN.add(first)
        if turn % 5 == 4:
            ledger = Ledger(State(tmp_path / "state.sqlite"))  # posttrail-queryd starts again
        with Reader.open(directory) as reader:
            now = metrics_journal.sums(reader.totals())
        exported = ledger.raised(now, ledger_key)
        assert exported is not None
        assert all(exported[name] >= count for name, count in last.items())
        assert all(exported[name] == max(last.get(name, 0), now[name]) for name in now)
        last = exported
    rows_now = Counter(
        (Status(row.status).token, row.direction)
        for message in [*(each.message for each in known.values()), *dropped]
        for row in message.rows
    )
    for status in metrics.FINAL:
        for place, direction in enumerate(("unknown", "inbound", "outbound", "internal")):
            truth = rows_now[status, place or None]
            assert now[f"posttrail_recipients_total {status} {direction}"] == truth
    assert sum(now.values()) > 0
    with Writer.open(directory) as writer:  # new mail, and every counter is the truth again
        most = max(last[name] - now[name] for name in now if not name.endswith(" ms"))
        rows = [
            row(
                direction=direction,
                status=Status[status.upper()],
                reason=reason,
                delay_ms=seconds * 1000,
            )
            for status, reasons in (
                ("delivered", ["stored"]), ("error", metrics.ERRORS), ("filtered", metrics.FILTERED),
                ("rejected", metrics.REFUSALS),
            )
            for reason in reasons
            for direction in (None, 1, 2, 3)
            for seconds in (0, 2, 10, 40, 100, 1_000, 3_000, 9_000, 50_000, 100_000)
        ]  # fmt: skip
        for number in range(most):
            made = _new(writer, NOON_US + 3 * DAY_US + number)
            writer.put(made._replace(message=made.message._replace(rows=tuple(rows))), None)
        writer.commit()
    with Reader.open(directory) as reader:
        now = metrics_journal.sums(reader.totals())
    exported = ledger.raised(now, ledger_key)
    assert exported is not None
    counted = {name for name in now if not name.endswith(" ms")}
    assert {name: exported[name] for name in counted} == {name: now[name] for name in counted}


NOT_AGAIN: set[int] = set()


def _new(writer: Writer, at_us: int) -> Record:
    while day_of(at_us) in NOT_AGAIN:
        at_us += DAY_US
    message = Message(
        writer.new_id(at_us, b"%d" % at_us), at_us, b"mx", b"postfix", (b"Q%d" % at_us,), b"", None,
        None, None, None, None, None, None, None, None, None, 2, 0, (), (),
    )  # fmt: skip
    return Record(message, (), ())


def _row(chance: random.Random) -> Recipient:
    return row(
        status=chance.randrange(6),
        reason=chance.choice(REASONS),
        direction=chance.choice([None, 1, 2, 3]),
        delay_ms=chance.choice([None, chance.randrange(1 << 28)]),
    )


def test_another_journal_begins_anew(tmp_path: Path) -> None:
    ledger = Ledger(State(tmp_path / "state.sqlite"))
    assert ledger.raised({"a": 9}, b"first") == {"a": 9}
    assert ledger.raised({"a": 2}, b"first") == {"a": 9}
    assert ledger.raised({"a": 2}, b"second") == {"a": 2}
    again = Ledger(State(tmp_path / "state.sqlite"))
    assert again.raised({"a": 1, "b": 1}, b"second") == {"a": 2, "b": 1}


def test_a_state_that_cannot_be_read_leaves_the_counters_out(
    tmp_path: Path, shelf: Shelf, ask: Ask, expected_log: ExpectedLog
) -> None:
    shelf.put(row())
    series = scraped(ask())
    assert value(series, "posttrail_counters_kept") == 1
    client = ask()
    for path in tmp_path.glob("state.sqlite*"):
        path.unlink()
    (tmp_path / "state.sqlite").write_bytes(b"no database, but more than a hundred bytes" * 30)
    expected_log("exported counters cannot be kept")
    series = scraped(client)
    assert value(series, "posttrail_counters_kept") == 0
    assert not any(name == "posttrail_recipients_total" for name, _ in series)
    assert value(series, "posttrail_recipients", status="deferred") == 0
    (tmp_path / "state.sqlite").unlink()
    series = scraped(client)
    total = value(series, "posttrail_recipients_total", status="delivered", direction="outbound")
    assert total == 1
    assert value(series, "posttrail_counters_kept") == 1


def test_what_was_exported_is_in_the_state_before_it_is_told(tmp_path: Path) -> None:
    ledger = Ledger(State(tmp_path / "state.sqlite"))
    told = ledger.raised({"a": 9, "b": 0}, b"key")
    with sqlite3.connect(tmp_path / "state.sqlite") as db:
        kept = dict(db.execute("SELECT series, value FROM exported"))
    db.close()
    assert kept == told == {"a": 9, "b": 0}


def test_counters_that_can_be_read_again_are_kept(
    tmp_path: Path, expected_log: ExpectedLog
) -> None:
    path, aside = tmp_path / "state.sqlite", tmp_path / "aside"
    state = State(path)
    Ledger(state).raised({"a": 9}, b"key")
    state.close()
    path.rename(aside)
    ledger = Ledger(State(path, create=False))
    expected_log("exported counters cannot be kept")
    assert ledger.raised({"a": 9}, b"key") is None
    assert not ledger.kept
    aside.rename(path)
    assert ledger.raised({"a": 9}, b"key") == {"a": 9}
    assert ledger.kept


# -- who may ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/metrics", "localhost:9467", 200),
        ("GET", "/metrics", "127.0.0.1", 200),
        ("GET", "/metrics", "[::1]:9467", 200),
        ("HEAD", "/metrics", "LocalHost", 200),
        ("GET", "/metrics", "rebound.example.net", 403),
        ("GET", "/metrics", "localhost.example.net:9467", 403),
        ("GET", "/metrics", "127.0.0.1:9467:1", 403),
        ("GET", "/metrics", "", 403),
        ("POST", "/metrics", "localhost", 405),
        ("GET", "/metrics/domains", "localhost", 404),
        ("GET", "/metrics/", "localhost", 404),
        ("GET", "/healthz", "localhost", 404),
        ("GET", "/v1/messages", "localhost", 404),
        ("GET", "/", "localhost", 404),
    ],
)
def test_the_port_answers_one_request_and_to_names_of_this_machine(
    shelf: Shelf, ask: Ask, method: str, path: str, host: str, status: int
) -> None:
    shelf.put(row(b"canary@example.org"))
    answer = ask(peer=PORT).request(method, path, headers={"Host": host})
    assert answer.status_code == status
    assert "canary" not in answer.text


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (Role.OPERATOR, 200),
        (Role.METRICS, 200),
        (Role.LINKER, 403),
        (Role.MAILBOX, 403),
        (Role.DOMAIN, 403),
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/metrics/domains"])
def test_elsewhere_it_is_the_operators_and_a_tokens(
    ask: Ask, role: Role, status: int, path: str
) -> None:
    who = Caller(name="somebody", role=role, how=How.TOKEN, scope=Scope.of(delimiters=b"+"))
    assert ask(who=who).get(path).status_code == status


def test_a_token_for_metrics_sees_no_mail_and_works_on_no_open_port(shelf: Shelf, ask: Ask) -> None:
    shelf.put(row())
    client = ask(peer=Peer(door=Door.TCP))
    assert client.get("/metrics").status_code == 401
    service = client.app.service  # type: ignore[attr-defined]  # of our Front
    _, token = service.identity.tokens.add("metrics")
    client.headers["Authorization"] = f"Bearer {token}"
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics/domains").status_code == 200
    for path in ("/", "/v1/messages", "/v1/stats", "/v1/trace?address=a@example.com"):
        assert client.get(path).status_code == 403
    on_port = TestClient(
        Asked(service, PORT),
        headers={"Authorization": f"Bearer {token}", "Host": "localhost"},
    )
    assert on_port.get("/metrics").status_code == 200
    assert on_port.get("/metrics/domains").status_code == 404


def test_domains_are_those_of_the_configuration(
    shelf: Shelf, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("query.httpd.metrics.time.time_ns", lambda: (NOON_US + DAY_US) * 1000)
    shelf.put(row(b"a@example.org"), row(b"b@example.org"), at_us=NOON_US + 1)
    shelf.put(row(b"a@example.org", status=Status.DEFERRED), at_us=NOON_US + 2)
    shelf.put(row(b"a@example.org"), at_us=NOON_US - 1_000_000)  # more than a day ago
    shelf.put(row(b"a@other.example"), at_us=NOON_US + 3)
    client = ask()
    service = client.app.service  # type: ignore[attr-defined]  # of our Front
    query = replace(service.settings.query, metrics_domains=("Example.ORG", "none.example"))
    service.settings = replace(service.settings, query=query)
    series = scraped(client, "/metrics/domains")
    found = {
        (dict(labels)["domain"], dict(labels)["status"]): count
        for (_, labels), count in series.items()
        if count
    }
    assert found == {("Example.ORG", "delivered"): 1, ("Example.ORG", "deferred"): 1}
    assert len(series) == 2 * 6
    assert not any("domain" in dict(labels) for _, labels in scraped(client))


def test_a_trace_counts_by_what_it_said(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    from query.trace.tree import Question
    from tests.unit.query.httpd.conftest import trace

    client = ask()
    question = Question(address="x@elsewhere.example", sender="", entry="smtp")
    monkeypatch.setattr("query.httpd.tracing.ask", lambda *_, **__: trace(question))
    assert client.get("/v1/trace?address=x@elsewhere.example").status_code == 200
    monkeypatch.undo()
    assert client.get("/v1/trace?address=x@elsewhere.example").status_code == 503
    series = scraped(client)
    found = {
        tuple(sorted(labels)): count
        for (name, labels), count in series.items()
        if name == "posttrail_trace_total" and count
    }
    root = trace(question).root
    assert found == {
        (("source", root.source.value), ("verdict", root.verdict.value)): 1,
        (("source", "none"), ("verdict", "failed")): 1,
    }
    assert {each.value for each in type(root.verdict)} | {"failed"} == set(metrics.VERDICTS)
    assert {each.value for each in type(root.source)} | {"none"} == set(metrics.ANSWERERS)
