"""/v1 as its callers meet it: forms, pages, errors, limits, and who may see what."""

import csv
import io
import json
import re
from typing import TYPE_CHECKING

import pytest

from journal.records import Status
from query.httpd import service
from query.httpd.caller import Caller, How, Role
from query.httpd.facts import Door, Peer
from query.rows import FIELDS
from query.scope import Scope
from tests.unit.query.conftest import NOON_US, Shelf, row
from tests.unit.query.httpd.conftest import ROOT

if TYPE_CHECKING:
    from tests.unit.query.httpd.conftest import Ask

MINE = b"anna@example.com"
FOREIGN = b"canary@example.com"
ANNA = Caller(name="anna", role=Role.MAILBOX, how=How.TOKEN, scope=Scope.of(mailboxes=[MINE]))
BERT = Caller(
    name="bert", role=Role.MAILBOX, how=How.TOKEN, scope=Scope.of(mailboxes=[b"bert@example.com"])
)
LINKER = Caller(name="webmail", role=Role.LINKER, how=How.PEER, scope=ANNA.scope)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
}


def fill(shelf: Shelf, count: int = 5) -> None:
    for number in range(count):
        shelf.put(row(MINE), at_us=NOON_US + number * 1_000_000)
        shelf.put(row(FOREIGN, status=Status.ERROR), at_us=NOON_US + number * 1_000_000)


def ids(text: str) -> list[str]:
    return re.findall(r'"id":"(\w+)"', text)


def test_pages_follow_the_link_to_the_end(shelf: Shelf, ask: "Ask") -> None:
    fill(shelf)
    client, path, found = ask(), "/v1/messages?limit=3", []
    for _ in range(5):
        answer = client.get(path)
        assert answer.status_code == 200
        found += [each["id"] for each in answer.json()["rows"]]
        if answer.json()["next"] is None:
            break
        path = answer.links["next"]["url"]
        assert answer.json()["next"] in path
    assert len(found) == len(set(found)) == 10


def test_filters_combine(shelf: Shelf, ask: "Ask") -> None:
    fill(shelf)
    client = ask()
    both = "/v1/messages?recipient=canary@example.com&status=error&status=delivered"
    assert len(client.get(both).json()["rows"]) == 5
    assert client.get("/v1/messages?address=@example.com&status=deferred").json()["rows"] == []


def test_ndjson_says_that_it_is_whole(shelf: Shelf, ask: "Ask") -> None:
    fill(shelf)
    answer = ask().get("/v1/messages?limit=all", headers={"Accept": "application/x-ndjson"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [len(each) for each in lines] == [len(FIELDS)] * 10 + [1]
    assert lines[-1] == {"end": True}


def test_csv_has_no_formulas(shelf: Shelf, ask: "Ask") -> None:
    shelf.put(row(b"=cmd()@example.com"), subject=b"+1", sender=b"")
    answer = ask().get("/v1/messages", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    heading, only = csv.reader(io.StringIO(answer.text))
    found = dict(zip(heading, only, strict=True))
    assert (found["recipient"], found["subject"]) == ("'=cmd()@example.com", "'+1")
    assert found["sender"] == "<>"


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/v1/messages?colour=red", 400, "bad-filter"),
        ("/v1/messages?since=soon", 400, "bad-filter"),
        ("/v1/messages?limit=0", 400, "bad-filter"),
        ("/v1/messages?limit=1001", 400, "bad-filter"),
        ("/v1/messages?limit=1&limit=2", 400, "bad-filter"),
        ("/v1/messages?cursor=AAAA", 400, "bad-filter"),
        ("/v1/messages?" + "a=&" * 65, 400, "bad-filter"),
        ("/v1/stats?by=colour", 400, "bad-filter"),
        ("/v1/days?tz=Nowhere/At_all", 400, "bad-filter"),
        ("/v1/days?tz=../../etc/passwd", 400, "bad-filter"),
        ("/v1/trace", 400, "bad-filter"),
        ("/v1/trace?address=a%00b", 400, "bad-filter"),
        ("/v1/messages/absent", 404, "not-found"),
        ("/nothing", 404, "not-found"),
        ("/static/..%2f..%2fetc%2fpasswd", 404, "not-found"),
        ("/v1/messages?format=xml", 406, "not-acceptable"),
        ("/v1/messages?text=" + "x" * 9000, 414, "too-long"),
    ],
)
def test_what_cannot_be_answered_is_a_problem(
    shelf: Shelf, ask: "Ask", path: str, status: int, kind: str
) -> None:
    answer = ask().get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["type"] == f"urn:posttrail:problem:{kind}"
    assert found["status"] == status
    assert found["request_id"] == answer.headers["x-request-id"]
    assert HEADERS.items() <= answer.headers.items()
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_method_that_is_not_there_is_refused_with_those_that_are(ask: "Ask") -> None:
    answer = ask().post("/v1/stats")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_too_much_is_refused(ask: "Ask") -> None:
    client = ask()
    assert client.post("/v1/messages", content=b"x" * 70_000).status_code == 413
    assert client.get("/healthz", headers={"X-Long": "x" * 17_000}).status_code == 431


def test_a_browser_gets_a_page_of_the_problem(ask: "Ask") -> None:
    answer = ask().get("/v1/messages/%3Cb%3E", headers={"Accept": "text/html,*/*;q=0.1"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "<b>" not in answer.text


@pytest.mark.parametrize("peer", [None, Peer(door=Door.TCP), Peer(door=Door.PROXY, uid=0)])
def test_nobody_sees_nothing(shelf: Shelf, ask: "Ask", peer: Peer | None) -> None:
    fill(shelf)
    client = ask(peer=peer)
    for path in ("/v1/messages", "/v1/messages/x", "/v1/stats", "/v1/coverage", "/metrics"):
        answer = client.get(path)
        assert answer.status_code in (401, 403)
        assert "canary" not in answer.text
    assert client.get("/healthz").status_code == 200


def test_a_linker_reads_nothing(shelf: Shelf, ask: "Ask") -> None:
    fill(shelf)
    client = ask(who=LINKER)
    for path in ("/v1/messages", "/v1/stats", "/v1/trace?address=a@b.example", "/", "/metrics"):
        assert client.get(path).status_code == 403


def test_a_mailbox_sees_its_own_alone(shelf: Shelf, ask: "Ask") -> None:
    fill(shelf)
    answer = ask(who=ANNA).get("/v1/messages?limit=100")
    assert len(answer.json()["rows"]) == 5
    stats = ask(who=ANNA).get("/v1/stats").json()
    assert {each["key"]: each["rows"] for each in stats["groups"] if each["rows"]} == {
        "delivered": 5
    }
    assert ask(who=ANNA).get("/metrics").status_code == 403


def test_what_is_foreign_is_what_is_absent(shelf: Shelf, ask: "Ask") -> None:
    fill(shelf)
    (foreign, *_) = ids(ask().get("/v1/messages?status=error").text)
    client = ask(who=ANNA)
    ours, absent = client.get(f"/v1/messages/{foreign}"), client.get("/v1/messages/a4m8912h10v7b")
    assert (ours.status_code, absent.status_code) == (404, 404)
    drop = re.compile(r'"(instance|request_id)":"[^"]*"')
    assert drop.sub("", ours.text) == drop.sub("", absent.text)
    named = {name for name in ours.headers if name != "x-request-id"}
    assert named == {name for name in absent.headers if name != "x-request-id"}


def test_a_cursor_of_another_scope_is_refused(shelf: Shelf, ask: "Ask") -> None:
    fill(shelf)
    cursor = ask().get("/v1/messages?limit=1").json()["next"]
    assert ask(who=ANNA).get(f"/v1/messages?limit=1&cursor={cursor}").status_code == 400
    own = ask(who=ANNA).get("/v1/messages?limit=1").json()["next"]
    assert ask(who=BERT).get(f"/v1/messages?limit=1&cursor={own}").status_code == 400


def test_an_answer_is_not_sent_twice_until_it_changes(shelf: Shelf, ask: "Ask") -> None:
    fill(shelf)
    first = ask().get("/v1/messages")
    had = {"If-None-Match": f'"other", {first.headers["etag"]}'}
    again = ask().get("/v1/messages", headers=had)
    assert (again.status_code, again.content) == (304, b"")
    assert ask().get("/v1/messages?limit=1", headers=had).status_code == 200
    assert ask(who=ANNA).get("/v1/messages", headers=had).status_code == 200
    ask.release()
    shelf.put(row(MINE))
    assert ask().get("/v1/messages", headers=had).status_code == 200


def test_a_message_is_found_by_queue_id_and_names_the_others(shelf: Shelf, ask: "Ask") -> None:
    old = shelf.put(row(), queue_ids=(b"SAME",))
    shelf.put(row(), queue_ids=(b"SAME",), at_us=NOON_US + 9 * 86_400_000_000)
    answer = ask().get("/v1/messages/SAME")
    assert answer.json()["queue_ids"] == ["SAME"]
    (other,) = [link for link in answer.links.values() if link["rel"] == "alternate"]
    found = ask().get(other["url"]).json()
    assert found["time"] == "2026-11-23T12:00:00.000Z"
    assert old.queue_ids == (b"SAME",)


def test_without_a_journal_there_is_503_and_then_there_is_one(shelf: Shelf, ask: "Ask") -> None:
    shelf.close()
    shelf.directory.rename(shelf.directory.with_name("away"))
    client = ask()
    for path in ("/v1/messages", "/readyz", "/v1/coverage"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert str(shelf.directory) not in answer.text
    assert client.get("/healthz").status_code == 200
    shelf.directory.with_name("away").rename(shelf.directory)
    assert client.get("/readyz").status_code == 200


def test_work_that_takes_too_long_is_given_up(
    shelf: Shelf, ask: "Ask", monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shelf)
    monkeypatch.setattr(service, "PATIENCE_S", -1.0)
    answer = ask().get("/v1/messages?text=x")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:posttrail:problem:busy")


@pytest.mark.usefixtures("traced")
def test_a_mailbox_traces_itself_and_strangers_but_no_neighbour(shelf: Shelf, ask: "Ask") -> None:
    client = ask(who=ANNA)
    own = client.get("/v1/trace?address=anna@example.com")
    assert own.status_code == 200
    assert "canary" not in own.text
    assert "10.9.8.7" not in own.text
    assert "other@example.net" not in own.text
    stranger = client.get("/v1/trace?address=x@example.net").json()["root"]
    assert stranger["hosts"][0]["name"] == "mx.example.net"
    for neighbour in ("bert@example.com", "x@hosted.example", "bert"):
        answer = client.get(f"/v1/trace?address={neighbour}")
        assert answer.status_code == 404
        assert answer.json()["detail"] == "nothing is known under this address"
    assert "canary" in ask().get("/v1/trace?address=bert@example.com").text


@pytest.mark.usefixtures("traced")
def test_traces_have_a_rate(shelf: Shelf, ask: "Ask", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("query.trace.limits.Limits.wait_s", lambda *_: 2.5)
    answer = ask().get("/v1/trace?address=x@example.net")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


def test_without_a_tracer_the_trace_alone_is_missing(ask: "Ask") -> None:
    answer = ask().get("/v1/trace?address=x@example.net")
    assert answer.status_code == 503
    assert "posttrail-traced" in answer.json()["detail"]


def test_a_reply_is_explained(ask: "Ask") -> None:
    assert ask().get("/v1/explain?text=550+5.1.1+no").json()["code"] == "5.1.1"
    assert ask().get("/v1/explain?text=hello").status_code == 404


def test_metrics_are_gauges_and_no_text_of_mail(shelf: Shelf, ask: "Ask") -> None:
    fill(shelf)
    client = ask()
    (shelf.directory.parent / "trackd.prom").write_text(
        "# TYPE posttrail_trackd_open_messages gauge\nposttrail_trackd_open_messages 15\n<script>\n"
    )
    text = client.get("/metrics").text
    assert "posttrail_trackd_open_messages 15.0\n" in text
    assert "script" not in text
    assert 'posttrail_gauges_age_seconds{program="trackd"}' in text
    assert ROOT.uid == 0


def test_one_caller_cannot_have_all_threads(
    shelf: Shelf, ask: "Ask", monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shelf)
    client = ask()
    assert client.get("/v1/messages").status_code == 200  # and its place is free again
    monkeypatch.setattr("query.httpd.app.AT_ONCE", 1)
    for _ in range(3):
        assert client.get("/v1/messages").status_code == 200
    monkeypatch.setattr("query.httpd.app.AT_ONCE", 0)
    answer = client.get("/v1/messages")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert client.get("/readyz").status_code == 200
