"""The correlator against real LMDB: two feeds that lag, repeat and break off give one truth."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal.events import Event, Kind
from journal.records import Record, Status
from milterd.track.sessions import MOST_OUTBOUND, Sessions
from tests.unit.milterd.track.feeds import (
    HOST,
    Run,
    Story,
    line,
    rcpt,
    told,
    transaction,
)


def plain(story: Story, at: float, queue_id: str, to: str, port: int) -> None:
    """One message that the milter saw and virtual(8) stored."""
    story.spool.append(transaction(at, queue_id, [rcpt(to)], port=port))
    client = f"{queue_id}: client=mail.example.net[192.0.2.5]:{port}"
    reply = "delay=0.5, delays=0.1/0.1/0.1/0.2, dsn=2.0.0, status=sent (delivered to maildir)"
    story.log += [
        line(at + 0.2, "smtpd[11]", client),
        line(at + 0.4, "cleanup[12]", f"{queue_id}: message-id=<{queue_id}.{port}@example.net>"),
        line(at + 1.0, "qmgr[2]", f"{queue_id}: from=<s@example.net>, size=9, nrcpt=1 (queue active)"),
        line(at + 1.2, "virtual[13]", f"{queue_id}: to=<{to}>, relay=virtual, {reply}"),
        line(at + 1.3, "qmgr[2]", f"{queue_id}: removed"),
    ]  # fmt: skip


def refused(story: Story, at: float, port: int) -> None:
    """A session whose two recipients were refused; the log has no queue id."""
    rcpts = [rcpt("x@example.com", refused=True), rcpt("y@example.com", refused=True)]
    story.spool.append(transaction(at, "", rcpts, port=port, stage="rcpt", aborted=True))
    for number, who in enumerate("xy"):
        text = (
            f"NOQUEUE: reject: RCPT from mail.example.net[192.0.2.5]:{port}: 550 5.1.1"
            f" <{who}@example.com>: Recipient address rejected: User unknown;"
            f" from=<s@example.net> to=<{who}@example.com> proto=ESMTP helo=<mail.example.net>"
        )
        story.log.append(line(at + 0.3 + number / 10, "smtpd[21]", text))


def mixed(story: Story, at: float, queue_id: str, port: int) -> None:
    """First a refused recipient (NOQUEUE), then an accepted one that bounces with a notice."""
    rcpts = [rcpt("x@example.com", refused=True), rcpt("b@example.com")]
    story.spool.append(transaction(at, queue_id, rcpts, port=port))
    door = f"mail.example.net[192.0.2.5]:{port}"
    story.log += [
        line(at + 0.1, "smtpd[31]", f"NOQUEUE: reject: RCPT from {door}: 550 5.1.1 <x@example.com>:"
             " Recipient address rejected: User unknown; from=<s@example.net> to=<x@example.com>"
             " proto=ESMTP helo=<mail.example.net>"),
        line(at + 0.2, "smtpd[31]", f"{queue_id}: client={door}"),
        line(at + 0.4, "cleanup[12]", f"{queue_id}: message-id=<{queue_id}@example.net>"),
        line(at + 1.0, "qmgr[2]", f"{queue_id}: from=<s@example.net>, size=9, nrcpt=1 (queue active)"),
        line(at + 1.2, "smtp[33]", f"{queue_id}: to=<b@example.com>, relay=none, delay=1,"
             " delays=1/0/0/0, dsn=5.4.4, status=bounced (Host or domain name not found)"),
        line(at + 1.3, "cleanup[12]", f"N{queue_id}: message-id=<n.{queue_id}@mx.example.com>"),
        line(at + 1.3, "bounce[34]", f"{queue_id}: sender non-delivery notification: N{queue_id}"),
        line(at + 1.4, "qmgr[2]", f"N{queue_id}: from=<>, size=99, nrcpt=1 (queue active)"),
        line(at + 1.4, "qmgr[2]", f"{queue_id}: removed"),
        line(at + 2.2, "smtp[35]", f"N{queue_id}: to=<s@example.net>, relay=a.example.net[192.0.2.9]:25,"
             " delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as FAR77)"),
        line(at + 2.4, "qmgr[2]", f"N{queue_id}: removed"),
    ]  # fmt: skip


def filtered(story: Story, at: float, outer: str, inner: str, port: int) -> None:
    """Through a content filter: a second queue file, one message."""
    story.spool.append(transaction(at, outer, [rcpt("info@example.com")], port=port))
    story.log += [
        line(at + 0.1, "smtpd[41]", f"{outer}: client=mail.example.net[192.0.2.5]:{port}"),
        line(at + 0.2, "cleanup[12]", f"{outer}: message-id=<{outer}@example.net>"),
        line(at + 0.3, "qmgr[2]", f"{outer}: from=<s@example.net>, size=9, nrcpt=1 (queue active)"),
        line(at + 1.0, "10025/smtpd[42]", f"{inner}: client=localhost[127.0.0.1]:999"),
        line(at + 1.1, "cleanup[12]", f"{inner}: message-id=<{outer}@example.net>"),
        line(at + 1.2, "qmgr[2]", f"{inner}: from=<s@example.net>, size=19, nrcpt=2 (queue active)"),
        line(at + 1.2, "smtp[43]", f"{outer}: to=<info@example.com>, relay=127.0.0.1[127.0.0.1]:10024,"
             f" delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {inner})"),
        line(at + 1.3, "qmgr[2]", f"{outer}: removed"),
        line(at + 1.5, "virtual[44]", f"{inner}: to=<a@example.com>, orig_to=<info@example.com>,"
             " relay=virtual, delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)"),
        line(at + 1.6, "virtual[44]", f"{inner}: to=<c@example.com>, orig_to=<info@example.com>,"
             " relay=virtual, delay=1, delays=1/0/0/0, dsn=4.2.2, status=deferred (mailbox is full)"),
        line(at + 300, "virtual[45]", f"{inner}: to=<c@example.com>, orig_to=<info@example.com>,"
             " relay=virtual, delay=300, delays=1/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)"),
        line(at + 301, "qmgr[2]", f"{inner}: removed"),
    ]  # fmt: skip


def whole_story() -> Story:
    story = Story()
    plain(story, 0, "AAAAAA1111", "a@example.com", 4001)
    refused(story, 1, 4002)
    filtered(story, 2, "BBBBBB2222", "CCCCCC3333", 4003)
    mixed(story, 3, "DDDDDD4444", 4004)
    plain(story, 7, "4cbw7S2L75zkQv", "long@example.com", 4005)
    plain(story, 400, "AAAAAA1111", "again@example.com", 4006)  # a short id comes again
    refused(story, 401, 4002)  # and so does a port
    story.log.sort(key=lambda raw: raw[:26])
    return story


STORY = whole_story()


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return Run(tmp_path_factory.mktemp("truth") / "journal", STORY).finish()


def test_the_story_in_order(truth: list[Record]) -> None:
    rows = sorted(
        (row.recipient or b"", row.final_recipient or b"", Status(row.status).token, row.reason)
        for record in truth
        for row in record.message.rows
    )
    assert rows == [
        (b"a@example.com", b"a@example.com", "delivered", "stored"),
        (b"again@example.com", b"again@example.com", "delivered", "stored"),
        (b"b@example.com", b"b@example.com", "error", "bounced"),
        (b"info@example.com", b"a@example.com", "delivered", "stored"),
        (b"info@example.com", b"c@example.com", "delivered", "stored"),
        (b"long@example.com", b"long@example.com", "delivered", "stored"),
        (b"s@example.net", b"s@example.net", "delivered", "relayed"),
        (b"x@example.com", b"", "rejected", "unknown_user"),
        (b"x@example.com", b"", "rejected", "unknown_user"),
        (b"x@example.com", b"", "rejected", "unknown_user"),
        (b"y@example.com", b"", "rejected", "unknown_user"),
        (b"y@example.com", b"", "rejected", "unknown_user"),
    ]
    assert len(truth) == 8
    both = [record for record in truth if record.message.sources == 3]
    assert len(both) == 7  # all but the bounce notice, which no milter sees
    chains = sorted(record.message.queue_ids for record in truth if record.message.queue_ids)
    assert (b"BBBBBB2222", b"CCCCCC3333") in chains
    assert chains.count((b"AAAAAA1111",)) == 2


def steps() -> Iterator[st.SearchStrategy[tuple[str, int]]]:
    yield st.tuples(st.sampled_from(["log", "spool"]), st.integers(1, 12))
    yield st.tuples(st.just("commit"), st.sampled_from([0, 2, 1000]))
    yield st.tuples(st.just("restart"), st.integers(0, 60))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=st.lists(st.one_of(*steps()), max_size=25))
def test_lag_repetition_and_restarts_give_the_same_records(
    truth: list[Record], plan: list[tuple[str, int]]
) -> None:
    with TemporaryDirectory() as folder:
        run = Run(Path(folder) / "journal", STORY)
        committed = dict(run.read)
        for what, number in plan:
            if what == "commit":
                run.commit(number)
                committed = dict(run.read)
            elif what == "restart":
                run.read = dict(committed)
                run.restart(number)
                committed = dict(run.read)
            else:
                run.take(what, number)
        assert told(run.finish()) == told(truth)


@pytest.mark.parametrize("first", ["log", "spool"])
def test_one_source_wholly_before_the_other(
    tmp_path: Path, truth: list[Record], first: str
) -> None:
    run = Run(tmp_path / "journal", STORY)
    run.take(first, 1000)
    run.commit(0)
    assert told(run.finish()) == told(truth)


def test_every_cut_of_the_log_into_two_halves_in_either_order(
    tmp_path: Path, truth: list[Record]
) -> None:
    log = STORY.log
    for number, cut in enumerate(range(1, len(log), 3)):
        for back, halves in enumerate(itertools.permutations((log[:cut], log[cut:]))):
            run = Run(tmp_path / f"{number}-{back}", STORY)
            run.take("spool", 1000)
            for half in halves:
                for raw in half:
                    run.intake.take(raw)
                run.commit(0)
            run.read["log"] = len(log)
            assert told(run.finish()) == told(truth), (cut, back)


def test_delivery_processes_that_never_say_goodbye_are_let_go() -> None:
    sessions = Sessions()
    for pid in range(MOST_OUTBOUND + 50):
        told = (b"mx.example.net[192.0.2.1]:25", b"TLSv1.3 X")
        sessions.note(Event(pid, int(Kind.TLS_OUT), 1, pid, b"", told), HOST)
    assert len(json.loads(sessions.dump())["out"]) == MOST_OUTBOUND
