"""The application in this process, asked as root, as nobody, or as whoever a test says."""

import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from posttrail.config import Config, Journal, Mta, Query, Run
from posttrail.config import Trace as TraceSettings
from query.httpd import app
from query.httpd.caller import Caller
from query.httpd.facts import Door, Facts, Peer
from query.httpd.identity import Identity
from query.httpd.keeper import Keeper
from query.httpd.marker import Marker
from query.httpd.service import Service
from query.trace import document
from query.trace.tree import Host, Node, Question, Step, Trace
from tests.unit.query.conftest import Shelf

ROOT = Peer(door=Door.QUERYD, uid=0, gid=0, pid=1)


class Fixed(Identity):
    """An identity that finds the caller it was given."""

    def __init__(self, settings: Config, who: Caller) -> None:
        super().__init__(settings)
        self._who = who

    def identify(self, facts: Facts, *, is_use: bool = True) -> Caller:
        return self._who


class Asked:
    """The application with the other end of its connections made up."""

    def __init__(self, service: Service, peer: Peer | None) -> None:
        self.service = service
        self._front = app.make(service)
        self._peer = peer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["state"] = {**scope.get("state", {}), "peer": self._peer}
        await self._front(scope, receive, send)


def settings(directory: Path, journal: Path) -> Config:
    return Config(
        journal=Journal(directory=journal),
        run=Run(directory=directory),
        mta=Mta(local_domains=("example.com",)),
        query=replace(Query(), state=directory / "state.sqlite"),
        trace=TraceSettings(socket=directory / "traced.sock", per_minute=100_000),
    )


def service(directory: Path, journal: Path, who: Caller | None = None) -> Service:
    known = settings(directory, journal)
    keeper = Keeper(journal, Marker(directory / "touching", journal))
    return Service(known, keeper, Fixed(known, who) if who else Identity(known))


class Ask:
    """Makes clients, one at a time: a process has a journal open once."""

    def __init__(self, shelf: Shelf, directory: Path) -> None:
        self._shelf = shelf
        self._directory = directory
        self._made: list[Service] = []

    def __call__(self, *, who: Caller | None = None, peer: Peer | None = ROOT) -> TestClient:
        """A client that is root, somebody, or at the other end of some socket."""
        self.release()
        self._made.append(service(self._directory, self._shelf.directory, who))
        return TestClient(Asked(self._made[-1], peer))

    def release(self) -> None:
        """Close the journal, on whichever side it is open."""
        self._shelf.close()
        while self._made:
            self._made.pop().keeper.close()


@pytest.fixture
def ask(shelf: Shelf, tmp_path: Path) -> Iterator[Ask]:
    """``ask()`` is a client of the application on the shelf's journal, by default root."""
    made = Ask(shelf, tmp_path)
    yield made
    made.release()


class _Handler(socketserver.StreamRequestHandler):
    """What posttrail-traced would say: an alias of anna, a mailbox, DNS for all others."""

    def handle(self) -> None:
        asked = json.loads(self.rfile.readline())
        named = {name: asked[name] for name in ("address", "sender", "entry")}
        question = Question(**named)
        self.wfile.write(document.line(trace(question)).encode())


def trace(question: Question) -> Trace:
    """A way out for strangers; for example.com and hosted.example a mailbox and a forward."""
    name = question.address
    if name.endswith(("@example.com", "@hosted.example")):
        inside = Node(
            address=name, step=Step.DELIVER, address_class="virtual_mailbox", transport="lmtp",
            nexthop="inet:10.9.8.7:24", table="hash:/etc/postfix/canary", text="virtual_user to local delivery",
            router="virtual_user", mailbox="/var/canary",
        )  # fmt: skip
        outside = _outside("other@example.net")
        root = Node(
            address=name, step=Step.VIRTUAL_ALIAS, address_class="virtual_alias",
            table="hash:/etc/postfix/canary", children=(inside, outside),
        )  # fmt: skip
    else:
        root = _outside(name)
    return Trace(question=question, mta="postfix 3.7.11", as_of="2026-11-23T12:00:00Z", root=root)


def _outside(name: str) -> Node:
    domain = name.rpartition("@")[2]
    host = Host(name=f"mx.{domain}", addresses=("192.0.2.25",), preference=10)
    return Node(
        address=name, step=Step.DELIVER, address_class="default", transport="smtp", nexthop=domain,
        router="lookuphost", hosts=(host,), text=f"lookuphost via mx.{domain}",
    )  # fmt: skip


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[None]:
    """A posttrail-traced at the configured socket."""
    with traced_at(tmp_path / "traced.sock"):
        yield


class traced_at:
    """The daemon for as long as the block lasts."""

    def __init__(self, path: Path) -> None:
        self._server = socketserver.ThreadingUnixStreamServer(str(path), _Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}
        )

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
