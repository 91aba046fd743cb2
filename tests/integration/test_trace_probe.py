"""--probe against servers that really answer: the sinks, a private Postfix with TLS, and rude ones."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from posttrail.demo.lab import Lab
from posttrail.demo.sinks import Sinks
from posttrail.demo.stage import folder
from query.trace.probe import How, ask, probed
from query.trace.tree import Host, Node, Question, Source, Step, Trace, Verdict

HOW = How(helo="mx.example.com", total_s=10.0)


def end(
    port: int, *, address: str = "user@example.com", nexthop: str | None = None, dead: int = 0
) -> Node:
    hosts = [
        Host(name="127.0.0.1", addresses=("127.0.0.1",), port=number) for number in (dead, port)
    ]
    return Node(
        address=address,
        step=Step.DELIVER,
        transport="smtp",
        nexthop=f"[127.0.0.1]:{port}" if nexthop is None else nexthop,
        hosts=tuple(host for host in hosts if host.port),
    )


def asked(node: Node, how: How = HOW) -> Node:
    answer = ask(node, how, time.monotonic() + how.total_s)
    assert isinstance(answer, Node), answer
    assert answer.source is Source.PROBE
    return answer


@pytest.fixture(scope="module")
def sinks() -> Iterator[Sinks]:
    with Sinks() as running:
        yield running


@pytest.mark.parametrize(
    ("sink", "verdict", "code", "word"),
    [
        ("accepts", Verdict.OK, "2.1.5", "remote answered"),
        ("unknown", Verdict.PERMANENT, "5.1.1", "User unknown"),
        ("full", Verdict.TEMPORARY, "4.2.2", "Mailbox full"),
        ("greylists", Verdict.TEMPORARY, "4.7.1", "greylisting"),
    ],
)
def test_what_a_remote_host_answers(
    sink: str, verdict: Verdict, code: str, word: str, sinks: Sinks
) -> None:
    answer = asked(end(sinks.ports[sink]))
    assert (answer.verdict, answer.enhanced_status) == (verdict, code)
    assert word in answer.text
    assert "deliver" not in answer.text


def test_every_step_has_its_time(sinks: Sinks) -> None:
    notes = " ".join(asked(end(sinks.ports["accepts"])).notes)
    places = [
        notes.index(f"] {step} ")
        for step in ("connect", "greeting", "EHLO", "MAIL", "RCPT", "RSET", "QUIT")
    ]
    assert places == sorted(places)
    assert notes.count(" ms") == 7


def test_the_next_host_is_asked_where_one_is_dead(sinks: Sinks) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        answer = asked(end(sinks.ports["accepts"], dead=closed.getsockname()[1]))
    assert answer.verdict is Verdict.OK
    assert "Connection refused" in answer.notes[0]


@pytest.mark.parametrize(
    ("address", "nexthop"),
    [
        ("user@example.com", "example.com"),
        ("user@EXAMPLE.com", "example.com"),
        ("user@[127.0.0.1]", "[127.0.0.1]"),
        ("user@127.0.0.1", "[127.0.0.1]"),
        ("user@bücher.example", "xn--bcher-kva.example"),
        ("user%evil.example@example.com", "evil.example"),
        ("evil.example!user@example.com", "evil.example"),
        ("user@example.com", ""),
    ],
)
def test_whose_dns_points_at_us_gets_no_connection(address: str, nexthop: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        node = end(server.getsockname()[1], address=address, nexthop=nexthop)
        trace = Trace(question=Question(address=address), mta="postfix", as_of="", root=node)
        root = probed(trace, HOW).root
        assert root.children == ()
        assert "not probed: 127.0.0.1 is no public address" in root.notes[0]
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_mapped_loopback_address_is_no_way_around() -> None:
    host = Host(name="mx.example.com", addresses=("::ffff:127.0.0.1",))
    node = Node(address="a@example.com", step=Step.DELIVER, nexthop="example.com", hosts=(host,))
    assert isinstance(ask(node, HOW, time.monotonic() + 1), str)


def test_the_answer_counts_in_the_tree(sinks: Sinks) -> None:
    children = (end(sinks.ports["accepts"]), end(sinks.ports["unknown"]))
    root = Node(address="list@example.com", step=Step.VIRTUAL_ALIAS, children=children)
    trace = Trace(question=Question(address="list@example.com"), mta="postfix", as_of="", root=root)
    found = probed(trace, HOW).root
    assert found.verdict is Verdict.PERMANENT
    assert [child.verdict for child in found.children] == [Verdict.OK, Verdict.PERMANENT]
    assert all(child.children[0].source is Source.PROBE for child in found.children)


def test_a_real_postfix_with_tls() -> None:
    with (
        folder(None, keep=False) as directory,
        Sinks() as sinks,
        Lab(directory, sinks=sinks.ports, milter=False) as lab,
    ):
        known = asked(end(lab.ports.mx, address="alice@example.com"))
        unknown = asked(end(lab.ports.mx, address="nobody-of-that-name@example.com"))
        assert lab.pending() == []
    assert known.verdict is Verdict.OK
    assert any("TLS handshake" in note and "TLSv1" in note for note in known.notes)
    assert (unknown.verdict, unknown.enhanced_status) == (Verdict.PERMANENT, "5.1.1")


@contextmanager
def rude(*says: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that says its piece without listening; then keeps what it is sent until it is left."""
    heard: list[bytes] = []

    def serve() -> None:
        client = server.accept()[0]
        with client, suppress(ConnectionError):  # who has heard enough may hang up
            for piece in says:
                client.sendall(piece)
            while got := client.recv(4096):
                heard.append(got)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], heard
        thread.join(10)
        assert not thread.is_alive()


def test_time_is_up_however_slow_the_remote_is() -> None:
    began = time.monotonic()
    with rude(b"220-wait\r\n") as (port, _):
        answer = asked(end(port), How(helo="mx.example.com", total_s=0.5))
    assert answer.verdict is Verdict.UNKNOWN
    assert "0.5 s are over" in answer.text
    assert time.monotonic() - began < 5


def test_no_time_left_is_no_evidence(sinks: Sinks) -> None:
    assert ask(end(sinks.ports["accepts"]), HOW, time.monotonic()) == "10 s are over"


@pytest.mark.parametrize("piece", [b"SSH-2.0-server\r\n", b"220-on and on\r\n" * 500, b"2" * 9000])
def test_what_is_no_smtp_is_told(piece: bytes) -> None:
    with rude(piece) as (port, heard):
        answer = asked(end(port))
    assert answer.text == "no remote host would talk to us"
    assert heard == []


def test_the_script_of_a_probe_never_says_data() -> None:
    script = (
        b"220 hi\r\n",
        b"250 hi\r\n",
        b"250 ok\r\n",
        b"250 ok\r\n",
        b"250 ok\r\n",
        b"221 bye\r\n",
    )
    with rude(*script) as (port, heard):
        asked(end(port))
    assert b"".join(heard).split(b"\r\n") == [
        *(
            b"EHLO mx.example.com",
            b"MAIL FROM:<>",
            b"RCPT TO:<user@example.com>",
            b"RSET",
            b"QUIT",
            b"",
        ),
    ]


def test_an_address_in_another_script_needs_smtputf8() -> None:
    with rude(b"220 hi\r\n", b"250 hi\r\n", b"221 bye\r\n") as (port, heard):
        answer = asked(end(port, address="büro@example.com"))
    assert answer.verdict is Verdict.UNKNOWN
    assert "SMTPUTF8" in answer.text
    assert b"RCPT" not in b"".join(heard)


def test_an_address_cannot_smuggle_a_command() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = end(server.getsockname()[1], address="a@example.com>\r\nDATA")
        assert isinstance(ask(node, HOW, time.monotonic() + 1), str)
