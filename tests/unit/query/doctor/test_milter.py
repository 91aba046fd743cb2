"""The milter's socket, seen through its protocol and through the rights of Postfix's user."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from posttrail.config import Config, Milter
from posttrail.postconf import Service, Settings
from query.doctor import milter
from query.doctor.access import Account, Entry
from query.doctor.finding import Finding, State
from query.doctor.milter import Facts
from query.doctor.place import Place

QUEUE = Path("/var/spool/postfix")
PATH = "/var/spool/postfix/posttrail/milter.sock"
POSTFIX = Account("postfix", 105, frozenset({105}))
OPEN = tuple(Entry(path=each, kind="folder", mode=0o755) for each in ("/", "/var", "/var/spool"))
OURS = Entry(path=f"{QUEUE}/posttrail", kind="folder", mode=0o2750, uid=900, gid=105)
SOCKET = Entry(path=PATH, kind="socket", mode=0o770, uid=900, gid=105)
GOOD = Facts(name=f"unix:{PATH}", socket=SOCKET, folders=(*OPEN, OURS), answer="version 6")
MOVE = ("move", "restart")


def settings(chroot: str = "n") -> Settings:
    services = (Service("smtp", "inet", "n", "-", chroot, "-", "smtpd", ()),
                Service("cleanup", "unix", "n", "-", "n", "0", "cleanup", ()))  # fmt: skip
    return Settings(main={"mail_owner": "postfix"}, services=services)


def reached(facts: Facts, chroot: str = "n", user: Account | None = POSTFIX) -> Finding:
    return milter.reached(facts, user, settings(chroot), QUEUE, MOVE)


def with_socket(**changes: Any) -> Facts:
    return replace(GOOD, socket=replace(SOCKET, **changes))


def test_owner_group_and_mode_as_they_should_be() -> None:
    assert reached(GOOD).state is State.OK
    assert reached(GOOD, chroot="y").state is State.OK


@pytest.mark.parametrize("changes", [{"mode": 0o750}, {"gid": 106}, {"mode": 0o600}])
def test_a_socket_that_postfix_may_not_write_to(changes: dict[str, int]) -> None:
    found = reached(with_socket(**changes))
    assert found.state is State.PROBLEM
    assert found.mend[1] == f"chmod 660 {PATH}"


def test_a_folder_that_postfix_may_not_enter() -> None:
    closed = replace(OURS, gid=900)
    found = reached(replace(GOOD, folders=(*OPEN, closed)))
    assert found.state is State.PROBLEM
    assert found.seen[0].where == f"{QUEUE}/posttrail"
    assert found.mend[1] == f"chmod 2750 {QUEUE}/posttrail"
    above = replace(OPEN[2], mode=0o700)
    found = reached(replace(GOOD, folders=(*OPEN[:2], above, OURS)))
    assert found.mend == ("chmod o+x /var/spool",)


def test_a_chrooted_service_sees_its_queue_directory_alone() -> None:
    outside = replace(SOCKET, path="/run/posttrail/milter.sock")
    facts = Facts(name="unix:/run/posttrail/milter.sock", socket=outside, folders=OPEN)
    assert reached(facts).state is State.OK
    found = reached(facts, chroot="y")
    assert found.state is State.PROBLEM
    assert found.seen[0].what == "chroot: smtp/inet"
    assert found.mend == MOVE


def test_what_cannot_be_known_is_not_said() -> None:
    assert reached(with_socket(acl=1, gid=7)).state is State.UNCHECKED
    assert reached(GOOD, user=None).state is State.UNCHECKED
    assert reached(with_socket(kind="missing")).state is State.UNCHECKED
    assert reached(Facts(name="inet:8899@127.0.0.1", socket=None)).state is State.OK


@pytest.mark.parametrize(
    ("kind", "state", "command"),
    [
        ("socket", State.OK, None),
        ("missing", State.PROBLEM, "start"),
        ("file", State.PROBLEM, f"rm {PATH}"),
        ("hidden", State.UNCHECKED, None),
    ],
)
def test_what_has_the_sockets_name(kind: str, state: State, command: str | None) -> None:
    found = milter.there(with_socket(kind=kind), "start")
    assert found.state is state
    assert found.mend[:1] == ((command,) if command else ())


def test_a_missing_folder_is_made() -> None:
    gone = replace(with_socket(kind="missing"), folders=(*OPEN, replace(OURS, kind="missing")))
    assert milter.there(gone, "start").mend == ("systemd-tmpfiles --create posttrail.conf", "start")


# -- the protocol ---------------------------------------------------------------------------

Serve = Callable[[socket.socket], None]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    name = f"unix:{tmp_path}/milter.sock"
    return Place(config=Config(milter=Milter(socket=name)), journal=tmp_path, now_us=0)


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[[Serve], None]]:
    """Serves one connection."""
    listening = socket.socket(socket.AF_UNIX)
    threads = []

    def start(serve: Serve) -> None:
        listening.bind(str(tmp_path / "milter.sock"))
        listening.listen()

        def run() -> None:
            made, _ = listening.accept()
            with made:
                serve(made)

        threads.append(threading.Thread(target=run))
        threads[0].start()

    yield start
    listening.close()
    for thread in threads:
        thread.join(10)


def test_a_milter_that_negotiates_is_told_goodbye(
    place: Place, listen: Callable[[Serve], None]
) -> None:
    heard = []

    def serve(made: socket.socket) -> None:
        heard.append(made.recv(17, socket.MSG_WAITALL))
        made.sendall(struct.pack(">IcIII", 13, b"O", 6, 0, 0))
        heard.append(made.recv(5, socket.MSG_WAITALL))
        heard.append(made.recv(1))
        done.set()

    done = threading.Event()
    listen(serve)
    facts = milter.gather(place)
    assert done.wait(10)
    assert facts.answer == "version 6"
    assert milter.answers(facts, "start").state is State.OK
    assert heard[0][:9] == b"\0\0\0\x0dO\0\0\0\x06"
    assert heard[1:] == [b"\0\0\0\x01Q", b""]  # SMFIC_QUIT, and nothing that would be recorded


@pytest.mark.parametrize(
    "answer", [b"", b"220 mx ESMTP Postfix\r\n", b"\0\0\0\x0dX" + bytes(12), b"\0\0"]
)
def test_who_speaks_another_protocol_is_no_milter(
    place: Place, listen: Callable[[Serve], None], answer: bytes
) -> None:
    def serve(made: socket.socket) -> None:
        made.recv(17, socket.MSG_WAITALL)
        made.sendall(answer)

    listen(serve)
    assert milter.answers(milter.gather(place), "start").state is State.PROBLEM


def test_nobody_listens(place: Place, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "milter.sock"))
    found = milter.answers(milter.gather(place), "start")
    assert found.state is State.PROBLEM
    assert found.seen[0].what == "Connection refused"
    assert found.mend == ("start",)
