"""Name servers that answer, refuse, are silent or are not there; and Postfix's own resolver."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posttrail.config import Config, Trace
from query.doctor import resolver
from query.doctor.finding import State
from query.doctor.place import Place
from query.doctor.resolver import Answered, Facts

Serve = Callable[[bytes], bytes | None]


@pytest.fixture
def server() -> Iterator[Callable[[Serve], str]]:
    """A name server for one question; its address."""
    made: list[tuple[socket.socket, threading.Thread]] = []

    def start(serve: Serve) -> str:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(10)

        def run() -> None:
            question, sender = udp.recvfrom(512)
            answer = serve(question)
            if answer is not None:
                udp.sendto(answer, sender)

        thread = threading.Thread(target=run)
        thread.start()
        made.append((udp, thread))
        return f"127.0.0.1:{udp.getsockname()[1]}"

    yield start
    for udp, thread in made:
        thread.join(10)
        udp.close()


def answer(code: int) -> Serve:
    return lambda question: question[:2] + bytes([0x81, 0x80 | code]) + question[4:]


@pytest.mark.parametrize(
    ("code", "why"), [(0, ""), (3, ""), (2, "SERVFAIL"), (5, "REFUSED"), (9, "code 9")]
)
def test_the_code_of_the_answer_counts(server: Callable[[Serve], str], code: int, why: str) -> None:
    assert resolver.ask(server(answer(code))) == why


def test_the_question_is_for_the_roots_name_servers(server: Callable[[Serve], str]) -> None:
    heard: list[bytes] = []

    def serve(question: bytes) -> bytes:
        heard.append(question)
        return question[:2] + b"\x81\x80" + question[4:]

    assert resolver.ask(server(serve)) == ""
    _, flags, questions, *others = struct.unpack_from(">6H", heard[0])
    assert (flags, questions, others) == (0x0100, 1, [0, 0, 0])  # RD; RFC 1035 4.1.1
    assert heard[0][12:] == b"\0\0\x02\0\x01"  # the root, NS, IN


def test_silence_nonsense_and_nobody(server: Callable[[Serve], str]) -> None:
    assert resolver.ask(server(lambda _: None), 0.2) == "no answer within 0.2 s"
    assert resolver.ask(server(lambda _: b"hello")) == "what came is no answer"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
    assert resolver.ask(f"127.0.0.1:{port}") == "Connection refused"
    assert "no IP address" in resolver.ask("dns.example.com")


def test_the_servers_of_resolv_conf() -> None:
    text = "# x\nsearch example.com\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\n"
    assert resolver.servers_of(text) == ("192.0.2.1", "2001:db8::1")
    assert resolver.servers_of("options edns0\n") == ("127.0.0.1",)
    assert len(resolver.servers_of("nameserver 192.0.2.1\n" * 5)) == 3


def place(tmp_path: Path, **trace: Any) -> Place:
    return Place(
        config=Config(trace=Trace(**trace)), journal=tmp_path, now_us=0, root=tmp_path,
        config_file=Path("/etc/posttrail/posttrail.toml"), why_not="no mail server here",
    )  # fmt: skip


def test_one_dead_name_server_is_a_warning_all_a_problem(tmp_path: Path) -> None:
    good, dead = Answered(server="192.0.2.1"), Answered(server="192.0.2.2", why="timeout")
    here = place(tmp_path)

    def state(*servers: Answered) -> State:
        return resolver.name_servers(Facts(servers=servers, source="/r"), here).state

    assert state(good) is State.OK
    assert state(good, dead) is State.WARNING
    assert state(dead) is State.PROBLEM
    found = resolver.name_servers(Facts(servers=(good, dead), source="/r"), here)
    assert found.mend == ("sed -i '/^nameserver[[:space:]]*192.0.2.2/d' /r",)


def test_the_traces_own_name_servers_are_asked_instead(
    tmp_path: Path, server: Callable[[Serve], str]
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    good = server(answer(0))
    facts = resolver.gather(place(tmp_path, nameservers=(good,)))
    assert facts == Facts(servers=(Answered(server=good),), source="trace.nameservers")


def test_without_postfix_its_resolver_is_not_asked(tmp_path: Path) -> None:
    found = resolver.rewrite(place(tmp_path))
    assert found.state is State.UNCHECKED
    assert "no mail server here" in found.said
