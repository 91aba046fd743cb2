"""/v1/events of a running posttrail-queryd, while somebody writes the journal."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import cast

import pytest

from journal import keys
from journal.records import Record, Status
from query.changes import Watch
from query.httpd.hub import End, Hub, Stream
from query.httpd.keeper import Keeper
from query.local import Local
from query.match import Query
from query.scope import Scope
from query.when import Window
from tests.unit.query.conftest import Shelf, row
from tests.unit.query.serving import Served, served
from tests.unit.query.watching import Listener, listening
from tests.waiting import wait_until

STREAMS = 3
SETTINGS = f"streams = {STREAMS}\n"


@pytest.fixture
def service(shelf: Shelf, tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, shelf.directory, SETTINGS) as running:
        yield running


def test_a_stream_begins_now_and_tells_a_row_as_the_report_has_it(
    shelf: Shelf, service: Served
) -> None:
    shelf.put(row(b"before@example.com"))
    with listening(service.socket) as stream:
        message = shelf.put(row(b"now@example.com"))
        event = stream.next()
    assert event is not None
    assert event.name == "row"
    assert event.id == str(int(event.id))
    report = json.loads(service.get("/v1/messages?recipient=now@example.com")[2])
    assert json.loads(event.data) == report["rows"][0]
    assert report["rows"][0]["id"] == keys.id_text(message.id)


def test_the_answer_is_an_event_stream_that_nobody_keeps(shelf: Shelf, service: Served) -> None:
    with listening(service.socket) as stream:
        assert stream.answer.headers["Content-Type"] == "text/event-stream"
        assert stream.answer.headers["Cache-Control"] == "private, no-store"
        assert stream.parser.retry_ms == 3000


def test_filters_are_those_of_the_report(shelf: Shelf, service: Served) -> None:
    with listening(service.socket, "?recipient=@example.net&status=error,rejected") as stream:
        shelf.put(row(b"a@example.com", status=Status.ERROR))
        shelf.put(row(b"b@example.net"))
        shelf.put(row(b"c@example.net", status=Status.REJECTED))
        assert stream.rows(1)[0]["recipient"] == "c@example.net"


def test_one_message_alone_by_its_queue_id(shelf: Shelf, service: Served) -> None:
    message = shelf.put(row(status=Status.DEFERRED), queue_ids=(b"ABC",))
    with listening(service.socket, "?message=ABC") as stream:
        shelf.put(row(b"other@example.com"))
        settled = message._replace(rows=(row(),))
        shelf.writer.put(Record(settled, (), ()), None)
        shelf.writer.commit()
        assert stream.rows(1)[0]["status"] == "delivered"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?status=wrong", 400),
        ("?after=soon", 400),
        ("?limit=5", 400),
        ("?message=none", 404),
        ("?format=csv", 406),
    ],
)
def test_what_means_nothing_is_an_error_before_the_stream(
    service: Served, query: str, status: int
) -> None:
    assert service.get(f"/v1/events{query}")[0] == status


def test_who_comes_back_loses_nothing_and_gets_nothing_twice(shelf: Shelf, service: Served) -> None:
    wanted = [f"{number}@example.com" for number in range(40)]
    rows = [(row(name.encode()), row(b"x" + name.encode())) for name in wanted]
    found, last = list[str](), ""
    with listening(service.socket) as stream:
        last = stream.last_id
    for both in rows:
        shelf.put(*both)
    while len(found) < 2 * len(wanted):  # cut after each third event
        with listening(service.socket, Last_Event_ID=last) as stream:
            some = min(3, 2 * len(wanted) - len(found))
            for _ in range(some):
                event = stream.next()
                assert event is not None
                found.append(json.loads(event.data)["recipient"])
                last = event.id
    assert found == [name for each in wanted for name in (each, "x" + each)]


def test_what_changed_while_nobody_listened_is_not_taken_for_what_it_was_before(
    shelf: Shelf, service: Served
) -> None:
    message = shelf.put(row(b"a@example.com", status=Status.DEFERRED), row(b"b@example.com"))

    def change(status: Status) -> None:
        rows = (row(b"a@example.com", status=status), row(b"b@example.com"))
        shelf.writer.put(Record(message._replace(rows=rows), (), ()), None)
        shelf.writer.commit()

    quiet = threads(service)
    with listening(service.socket) as stream:
        change(Status.DELIVERED)
        assert stream.rows(1)[0]["status"] == "delivered"
    wait_until(lambda: threads(service) <= quiet + 1)  # one that reads, none that looks
    change(Status.DEFERRED)
    with listening(service.socket, "?status=deferred") as stream:
        change(Status.DELIVERED)
        event = stream.next()
    assert event is not None
    assert event.name == "gone"


def threads(service: Served) -> int:
    return len(list(Path(f"/proc/{service.process.pid}/task").iterdir()))


class Broken:
    """A journal that makes a fault of ours come out."""

    def local(self) -> Local:
        raise RuntimeError("a fault")


def test_a_fault_ends_the_streams_and_the_next_one_is_served_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr("threading.excepthook", faults.append)

    async def twice() -> None:
        hub = Hub(cast(Keeper, Broken()))
        for _ in range(2):
            stream = Stream(Watch(Query(window=Window()), Scope.all(), after=0), "root")
            hub.open(stream)
            await stream.wait(20)
            assert stream.ending is End.STOPPING
            hub.close(stream)

    asyncio.run(twice())
    wait_until(lambda: len(faults) == 2)  # told after the stream ended
    assert [str(each.exc_value) for each in faults] == ["a fault", "a fault"]


def test_more_streams_than_a_caller_may_have_are_refused(service: Served) -> None:
    opened = [listening(service.socket) for _ in range(STREAMS)]
    for each in opened:
        each.__enter__()
    try:
        status, headers, _ = service.get("/v1/events")
        assert status == 429
        assert int(headers["retry-after"]) > 0
    finally:
        for each in opened:
            each.__exit__(None, None, None)
    deadline = time.monotonic() + 10
    while service.get("/v1/events?message=none")[0] == 429:
        assert time.monotonic() < deadline, "streams that were cut still count"


def test_streams_end_when_the_service_stops_and_say_so(shelf: Shelf, service: Served) -> None:
    with listening(service.socket) as stream:
        begun = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        event = stream.next()
        assert event is not None
        assert (event.name, json.loads(event.data)) == ("end", {"reason": "stopping"})
        assert stream.next() is None
        assert service.process.wait(10) == 0
        assert time.monotonic() - begun < 8


def test_a_thousand_changes_reach_eight_streams_each_once(shelf: Shelf, tmp_path: Path) -> None:
    with served(tmp_path, shelf.directory) as service:
        opened = [listening(service.socket) for _ in range(8)]
        streams = [each.__enter__() for each in opened]
        found: list[list[str]] = [[] for _ in streams]

        def read(stream: Listener, into: list[str]) -> None:
            into += [each["recipient"] for each in stream.rows(1000)]

        threads = [Thread(target=read, args=pair) for pair in zip(streams, found, strict=True)]
        for thread in threads:
            thread.start()
        for number in range(1000):
            shelf.put(row(b"%d@example.com" % number))
        for thread in threads:
            thread.join(60)
        for each in opened:
            each.__exit__(None, None, None)
    assert found == [[f"{number}@example.com" for number in range(1000)]] * 8
