"""The same rows through the same writers, whether a journal is read or posttrail-queryd is asked."""

import io
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from journal.records import Status
from posttrail import cli
from posttrail.errors import RefusedError, TryAgainError, UnavailableError, UsageError
from query import remote, report, summary
from query.answers import Answers
from query.filters import Filters
from query.local import Within
from query.remote import Remote
from query.scope import Scope
from tests.unit.query.conftest import NOON_US, Shelf, row
from tests.unit.query.serving import Served, served
from tests.unit.query.test_show import EVENTS, ROWS

EVIL = b"=\x1b[2J\xc2\x9b\xe2\x80\xae\xff\r\n"
HOUR_US = 3_600_000_000
PEOPLE = [b"anna@example.com", b"bert@example.net", b"o'hara+x@example.org", b"\xff@example.com"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Eighty messages of four days, with every status, null senders and hostile bytes."""
    shelf = Shelf(tmp_path_factory.mktemp("parity") / "journal")
    dice = random.Random(5)
    shelf.put(*ROWS, events=EVENTS)
    for number in range(80):
        to = [row(dice.choice(PEOPLE), status=dice.choice(list(Status))) for _ in range(number % 3)]
        shelf.put(
            *to,
            at_us=NOON_US + dice.randrange(-96, 1) * HOUR_US,
            sender=dice.choice([*PEOPLE, b"", None]),
            login=dice.choice([None, b"anna", b"bert@example.net"]),
            client_ip=dice.choice([b"192.0.2.1", b"2001:db8::1"]),
            subject=dice.choice([b"hello", EVIL, None]),
            queue_ids=(dice.choice([b"SAME", b"Q%d" % number]),),
        )
    shelf.writer.extend("log", NOON_US, NOON_US + HOUR_US)
    shelf.writer.commit()
    shelf.close()
    yield shelf
    shelf.close()


@pytest.fixture(scope="module")
def service(filled: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("service"), filled.directory) as running:
        yield running


FILTERS: dict[str, list[str]] = {
    "address": ["anna@example.com", "ANNA@Example.com", "@example.com", "@example.net", "\udcff@example.com", "nobody@example.test"],
    "since": ["2026-11-20", "2026-11-22T10:00:00Z", "9000d"],
    "until": ["2026-11-23", "2026-11-23T12:00:00+02:00"],
    "status": ["error", "deferred,error", "delivered", "rejected,filtered,in_progress"],
    "reason": ["relayed", "bounced,relayed"],
    "direction": ["outbound", "inbound,internal"],
    "sender": ["<>", "", "bert@example.net", "@example.com"],
    "recipient": ["o'hara+x@example.org", "@example.org"],
    "queue_id": ["SAME", "Q7", "a/b?c"],
    "message_id": ["m3@example.com", "<m4@example.com>"],
    "client_ip": ["192.0.2.1", "2001:DB8:0::1"],
    "login": ["anna", "@example.net"],
    "text": ["HELLO", "\x1b[2j", "ok"],
    "silent_for": ["1d"],
}  # fmt: skip


def questions(count: int) -> list[tuple[dict[str, str | None], int | None]]:
    """Filters and limits, the same on every run."""
    dice = random.Random(200)
    found: list[tuple[dict[str, str | None], int | None]] = [({}, None)]
    while len(found) < count:
        names = dice.sample(sorted(FILTERS), dice.choice([0, 1, 1, 1, 2, 2, 3]))
        given: dict[str, str | None] = {name: dice.choice(FILTERS[name]) for name in names}
        found.append((given, dice.choice([1, 5, 50, None])))
    return found


def written(answers: Answers, filters: Filters, limit: int | None, form: str) -> list[bytes]:
    """The first pages of a report as the command line writes them."""
    pages, cursor = [], None
    for _ in range(3):
        raw = io.BytesIO()
        out = io.TextIOWrapper(raw, "utf-8", errors="backslashreplace")
        page = answers.page(filters, limit=limit, cursor=cursor, count=form == "table")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            code = report.write(page, form)
        pages.append(b"%d\n" % code + raw.getvalue())
        cursor = page.next
        if cursor is None:
            break
    return pages


def test_200_questions_have_the_same_answer_in_every_form(
    filled: Shelf, service: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    here: Answers = Within(filled.source, Scope.all())
    there: Answers = Remote(service.socket)
    some = 0
    for filters, limit in questions(200):
        for form in report.FORMATS:
            ours = written(here, filters, limit, form)
            assert written(there, filters, limit, form) == ours, filters
            some += ours[0][:1] == b"0"
    assert some > 150  # most of them find something


def test_documents_are_the_same(filled: Shelf, service: Served) -> None:
    here: Answers = Within(filled.source, Scope.all())
    there: Answers = Remote(service.socket)
    for name in ("SAME", "Q7", here.message("SAME")[0].id, "absent", "a/b", "..", "\udcff", ""):
        assert there.message(name) == here.message(name)
    assert len(here.message("SAME")) > 1
    for by in ("status", "domain", "hour"):
        for since in ("", "2026-11-22", "9000d"):
            ours = here.stats(by, since=since, until="", limit=2)
            if since != "9000d":  # a time ago is told by the clock
                assert there.stats(by, since=since, until="", limit=2) == ours
    for by in summary.BY:
        sent = here.summary(by, since="2026-11-22", until="", limit=2)
        assert there.summary(by, since="2026-11-22", until="", limit=2) == sent
    for sender in ("anna@example.com", "nobody@example.test", "@example.com"):
        for recipient in (None, "nobody@example.test"):
            asked = {"sender": sender, "recipient": recipient, "since": "2026-11-20"}
            asked["until"] = "2026-11-24"
            assert there.never(asked) == here.never(asked)
    assert there.coverage() == here.coverage()
    asked = {"address": "@example.com", "since": "2026-11-20"}
    days = here.days(asked, zone=ZoneInfo("Asia/Tokyo"))
    assert there.days(asked, zone=ZoneInfo("Asia/Tokyo")) == days
    assert any(day.rows for day in days.days)


def test_verbs_ask_the_configured_socket_and_read_the_named_journal(
    filled: Shelf, service: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    filled.close()  # a process has a journal open once
    only_socket = tmp_path / "posttrail.toml"
    only_socket.write_text(
        f'[journal]\ndirectory = "{tmp_path}/none"\n[query]\nsocket = "{service.socket}"\n'
    )
    assert cli.main(["--config", str(only_socket), "stats"]) == 0
    asked = capfd.readouterr().out
    assert cli.main(["--journal", str(filled.directory), "stats"]) == 0
    assert capfd.readouterr().out == asked
    named = ["--config", str(only_socket), "--journal", str(tmp_path / "none")]
    assert cli.main([*named, "stats"]) == 69
    assert "none" in capfd.readouterr().err
    assert cli.main(["--socket", str(service.socket), "show", "absent"]) == 1
    assert "nothing found under absent" in capfd.readouterr().err


def test_a_socket_where_nobody_listens_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="--journal DIR"):
        Remote(tmp_path / "none").coverage()


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (400, "bad-filter", UsageError),
        (401, "no-proof", RefusedError),
        (403, "forbidden", RefusedError),
        (429, "too-many", TryAgainError),
        (503, "busy", TryAgainError),
        (503, "unavailable", UnavailableError),
        (500, "fault", UnavailableError),
    ],
)
def test_a_problem_is_our_own_error_again(status: int, kind: str, error: type[Exception]) -> None:
    body = b'{"type":"urn:posttrail:problem:%s","detail":"why"}' % kind.encode()
    found = remote._error(status, body)
    assert type(found) is error
    assert "why" in str(found)


def test_an_answer_that_was_cut_is_no_answer(service: Served) -> None:
    asked = Remote(service.socket)
    lines = asked._get("/v1/messages", {"limit": "3"}, remote.NDJSON).read().splitlines(True)
    assert len(lines) == 4
    with pytest.raises(UnavailableError, match="broke off"):
        list(asked._lines(io.BytesIO(b"".join(lines[:-1]))))  # type: ignore[arg-type]
