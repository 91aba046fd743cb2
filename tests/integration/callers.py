"""Those who ask posttrail-queryd in the tests of who may see what: by uid, header, token, session.

A Unix connection of another user is made in a child that gives up root and hands the connected
socket back: SO_PEERCRED is of whoever called connect() (unix(7)).
"""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Final, NoReturn

from posttrail.demo.stage import free_port
from query.httpd.caller import Role
from tests.unit.query.serving import Served, served

TIMEOUT_S: Final = 30
UIDS: Final = {"root": 0, "daemon": 1, "bin": 2, "games": 5, "man": 6, "news": 9}
"""Users that Debian always has (base-passwd)."""
CONFIG: Final = """\
local_users = true
proxy_socket = "{0}/proxy.sock"
tcp = "127.0.0.1:{1}"
base_url = "http://127.0.0.1:{1}"
link_logins = ["news"]
proxy_operators = ["chief"]
[trace]
socket = "{0}/traced.sock"
per_minute = 100000
[mta]
host = "mx.example.com"
local_domains = ["example.com", "foreign.example"]
[users]
daemon = ["@example.com"]
games = ["alice@example.com"]
man = []
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def bytes(self) -> bytes:
        """Every byte of it: headers and body."""
        head = "".join(f"{name}: {value}\n" for name, value in self.headers)
        return head.encode("latin-1") + self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One who asks."""

    name: str
    role: Role | None  # None: nobody
    connect: Callable[[], HTTPConnection]
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, target: str, body: object = None, **more: str) -> Answer:
        """One request on a connection of its own."""
        headers = {
            **self.headers,
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        sent = None
        if body is not None:
            sent, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        connection = self.connect()
        try:
            connection.request(method, target, sent, headers)
            got = connection.getresponse()
            kind = got.getheader("Content-Type", "")
            # A stream has no end: what it says first must do.
            read = got.fp.readline() if kind.startswith("text/event-stream") else got.read()
            return Answer(status=got.status, headers=tuple(got.getheaders()), body=read)
        finally:
            connection.close()


def unix(path: Path, uid: int = 0) -> HTTPConnection:
    """A connection that a user of this machine made."""
    if uid not in _users:
        _users[uid] = _User(uid)
    made = HTTPConnection("localhost", timeout=TIMEOUT_S)
    made.sock = _users[uid].connect(path)
    made.sock.settimeout(TIMEOUT_S)
    return made


class _User:
    """A child that is somebody: it connects where it is told to, and hands the socket over."""

    def __init__(self, uid: int) -> None:
        self._uid = uid
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            self._ours.close()
            _serve_as(uid, theirs)
        theirs.close()

    def connect(self, path: Path) -> socket.socket:
        self._ours.send(os.fsencode(path))
        _, handles, _, _ = socket.recv_fds(self._ours, 1, 1)
        assert handles, f"uid {self._uid} cannot connect to {path}"
        return socket.socket(fileno=handles[0])

    def end(self) -> None:
        self._ours.close()
        os.waitpid(self._pid, 0)


_users: dict[int, _User] = {}


def _serve_as(uid: int, asked: socket.socket) -> NoReturn:
    """In the child: until nobody asks any more."""
    try:
        for user in _users.values():  # of others that were begun before
            user._ours.close()
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        while path := asked.recv(1 << 12):
            with socket.socket(socket.AF_UNIX) as made:
                made.connect(path)
                socket.send_fds(asked, [b"x"], [made.fileno()])
    finally:
        os._exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """A running service, and all who ask it."""

    service: Served
    clients: dict[str, Client]


@contextmanager
def town(directory: Path, journal: Path) -> Iterator[Town]:
    """posttrail-queryd with all its doors on a journal."""
    directory.chmod(0o755)
    port = free_port()
    with served(directory, journal, CONFIG.format(directory, port)) as service:
        try:
            yield Town(service=service, clients=_clients(directory, service, port))
        finally:
            while _users:
                _users.popitem()[1].end()


def _clients(directory: Path, service: Served, port: int) -> dict[str, Client]:
    from query.httpd.state import State
    from query.httpd.tokens import Tokens

    state = State(directory / "state" / "state.sqlite")
    tokens = Tokens(state, delimiters=b"+")

    def tcp() -> HTTPConnection:
        return HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def by_uid(name: str) -> Callable[[], HTTPConnection]:
        return lambda: unix(service.socket, UIDS[name])

    def proxied() -> HTTPConnection:
        return unix(directory / "proxy.sock")

    def bearer(scope: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {tokens.add(scope)[1]}"}

    def user(name: str) -> dict[str, str]:
        return {"X-Posttrail-User": name}

    page = {"Sec-Fetch-Site": "same-origin"}
    root = Client(name="root", role=Role.OPERATOR, connect=by_uid("root"))
    cookie = {"Cookie": session(root, Client(name="", role=None, connect=tcp)), **page}
    every = [
        root,
        Client(name="uid of a domain", role=Role.DOMAIN, connect=by_uid("daemon")),
        Client(name="uid of a mailbox", role=Role.MAILBOX, connect=by_uid("games")),
        Client(name="uid of a webmail", role=Role.LINKER, connect=by_uid("news")),
        Client(name="uid of nobody", role=None, connect=by_uid("man")),
        Client(name="token of all", role=Role.OPERATOR, connect=tcp, headers=bearer("operator")),
        Client(name="token of a domain", role=Role.DOMAIN, connect=tcp, headers=bearer("@example.com")),
        Client(name="token of a mailbox", role=Role.MAILBOX, connect=tcp, headers=bearer("alice@example.com")),
        Client(name="token of a webmail", role=Role.LINKER, connect=tcp, headers=bearer("links")),
        Client(name="no token", role=None, connect=tcp, headers=user("chief")),
        Client(name="session", role=Role.MAILBOX, connect=tcp, headers=cookie),
        Client(name="proxied chief", role=Role.OPERATOR, connect=proxied, headers=user("chief") | page),
        Client(name="proxied domain", role=Role.DOMAIN, connect=proxied, headers=user("daemon") | page),
        Client(name="proxied mailbox", role=Role.MAILBOX, connect=proxied, headers=user("alice@example.com") | page),
        Client(name="proxy itself", role=None, connect=proxied),
    ]  # fmt: skip
    state.close()
    return {each.name: each for each in every}


def session(operator: Client, browser: Client, address: str = "alice@example.com") -> str:
    """The cookie that a link gives a browser which presses the button."""
    made = json.loads(operator.ask("POST", "/v1/links", {"address": address}).body)
    path = re.sub(r"^http://[^/]+", "", made["url"])
    assert browser.ask("GET", path).status == 200
    opened = browser.ask("POST", path, Sec_Fetch_Site="same-origin")
    assert opened.status == 303, opened
    cookie = dict(opened.headers)["set-cookie"]
    return cookie.partition(";")[0]
