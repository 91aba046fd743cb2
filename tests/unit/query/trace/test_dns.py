"""DNS for traces, with a name server that is a function and clocks that are told the time."""

from collections.abc import Callable
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from posttrail.errors import ConfigError
from query.trace.dns import (
    MAX_ALIASES,
    MAX_QUERIES,
    MAX_TIME_S,
    Dns,
    Exchange,
    Lookup,
    Server,
    a_label,
    u_label,
)

Says = Callable[[str, str], tuple[str, list[str]]]
"""Name and type -> rcode and records ("example.com. 300 IN A 192.0.2.1")."""


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def server(says: Says, sent: list[str] | None = None, *, flags: int = 0) -> Exchange:
    def send(message: dns.message.Message, where: Server, timeout_s: float) -> dns.message.Message:
        question = message.question[0]
        name, kind = question.name.to_text(), question.rdtype.name
        if sent is not None:
            sent.append(f"{name} {kind} {where[0]}")
        code, records = says(name, kind)
        answer = dns.message.make_response(message)
        answer.set_rcode(dns.rcode.from_text(code))
        answer.flags |= flags
        for record in records:
            owner, ttl, _, rdtype, *rest = record.split(" ")
            found = dns.rrset.from_text(owner, int(ttl), "IN", rdtype, " ".join(rest))
            answer.answer.append(found)
        return dns.message.from_wire(answer.to_wire())

    return send


def silent(clock: Clock, sent: list[float] | None = None) -> Exchange:
    def send(message: dns.message.Message, where: Server, timeout_s: float) -> dns.message.Message:
        clock.now += timeout_s
        if sent is not None:
            sent.append(timeout_s)
        raise dns.exception.Timeout

    return send


def always(code: str, *records: str) -> Says:
    return lambda name, kind: (code, list(records))


@pytest.mark.parametrize(
    ("code", "records", "lookup"),
    [
        ("NOERROR", ["example.com. 300 IN MX 10 MX.example.com."], Lookup.FOUND),
        ("NOERROR", [], Lookup.NODATA),
        ("NXDOMAIN", [], Lookup.NXDOMAIN),
        ("SERVFAIL", [], Lookup.SERVFAIL),
        ("REFUSED", [], Lookup.REFUSED),
        ("NOTIMP", [], Lookup.SERVFAIL),
    ],
)
def test_what_a_server_says_is_told_apart(code: str, records: list[str], lookup: Lookup) -> None:
    answer = (
        Dns(["192.0.2.53"], send=server(always(code, *records))).question().ask("example.com", "MX")
    )
    assert answer.lookup is lookup
    assert answer.records == (("10 mx.example.com",) if records else ())
    assert ("192.0.2.53" in answer.why) == lookup.temporary


def test_silence_is_a_timeout_and_asked_twice() -> None:
    clock, sent = Clock(), list[float]()
    lookups = Dns(["192.0.2.53"], ticks=clock, send=silent(clock, sent)).question()
    assert lookups.ask("example.com", "MX").lookup is Lookup.TIMEOUT
    assert sent == [1.0, 2.0]


def test_a_trace_waits_no_longer_than_its_budget() -> None:
    clock = Clock()
    lookups = Dns(["192.0.2.53"], ticks=clock, send=silent(clock)).question()
    said = [lookups.ask(f"mx{number}.example.com", "A").lookup for number in range(9)]
    assert said[:2] == [Lookup.TIMEOUT, Lookup.TIMEOUT]
    assert set(said[2:]) == {Lookup.LIMIT}
    assert clock.now - 1_000_000.0 == MAX_TIME_S
    assert lookups.limit == "5 s"


def test_a_trace_sends_no_more_than_its_budget() -> None:
    sent = list[str]()
    dns_ = Dns(["192.0.2.53"], send=server(always("NXDOMAIN"), sent))
    lookups = dns_.question()
    answers = [lookups.ask(f"mx{number}.example.com", "A") for number in range(60)]
    assert len(sent) == lookups.queries == MAX_QUERIES
    assert answers[-1].lookup is Lookup.LIMIT
    assert "50 queries" in answers[-1].why
    assert dns_.question().ask("other.example.com", "A").lookup is Lookup.NXDOMAIN


def test_a_server_that_is_not_there_is_not_asked_again() -> None:
    sent = list[str]()

    def send(message: dns.message.Message, where: Server, timeout_s: float) -> dns.message.Message:
        sent.append(where[0])
        raise ConnectionRefusedError(111, "Connection refused")

    lookups = Dns(["192.0.2.53"], send=send).question()
    answers = [lookups.ask(name, "A") for name in ("a.example.com", "b.example.com")]
    assert [answer.lookup for answer in answers] == [Lookup.DOWN, Lookup.DOWN]
    assert sent == ["192.0.2.53"]


def test_the_next_server_is_asked_where_one_fails() -> None:
    def send(message: dns.message.Message, where: Server, timeout_s: float) -> dns.message.Message:
        code = "SERVFAIL" if where[0] == "192.0.2.1" else "NXDOMAIN"
        return server(always(code))(message, where, timeout_s)

    lookups = Dns(["192.0.2.1", "192.0.2.2"], send=send).question()
    assert lookups.ask("example.com", "MX").lookup is Lookup.NXDOMAIN


def test_an_answer_is_kept_for_its_time_to_live() -> None:
    sent, clock = list[str](), Clock()
    kept = server(always("NOERROR", "example.com. 60 IN A 192.0.2.1"), sent)
    dns_ = Dns(["192.0.2.53"], clock, send=kept)
    for _ in range(3):
        answer = dns_.question().ask("EXAMPLE.com", "A")
    assert (len(sent), answer.at) == (1, 1_000_000.0)
    clock.now += 60
    assert dns_.question().ask("example.com", "A").at == 1_000_060.0
    clock.now -= 120  # set back: nobody knows how old it is
    dns_.question().ask("example.com", "A")
    assert len(sent) == 3


def test_trouble_is_not_kept() -> None:
    sent = list[str]()
    dns_ = Dns(["192.0.2.53"], send=server(always("SERVFAIL"), sent))
    for _ in range(2):
        dns_.question().ask("example.com", "A")
    assert len(sent) == 2


@pytest.mark.parametrize(
    ("where", "flags", "secure"),
    [
        ("127.0.0.1", dns.flags.AD, True),
        ("127.0.0.1", 0, False),
        ("[::1]:5353", dns.flags.AD, True),
        ("192.0.2.53", dns.flags.AD, None),
    ],
)
def test_ad_is_believed_on_loopback_only(where: str, flags: int, secure: bool | None) -> None:
    send = server(always("NOERROR", "example.com. 60 IN A 192.0.2.1"), flags=flags)
    assert Dns([where], send=send).question().ask("example.com", "A").secure is secure


def test_dnssec_is_asked_for() -> None:
    seen = list[dns.message.Message]()

    def send(message: dns.message.Message, where: Server, timeout_s: float) -> dns.message.Message:
        seen.append(message)
        return server(always("NXDOMAIN"))(message, where, timeout_s)

    Dns(["127.0.0.1"], send=send).question().ask("example.com", "A")
    assert seen[0].ednsflags & dns.flags.DO
    assert seen[0].flags & dns.flags.AD


CHAIN = {
    "a.example.com.": ["a.example.com. 60 IN CNAME b.example.com."],
    "b.example.com.": [
        "b.example.com. 60 IN CNAME c.example.com.",
        "c.example.com. 60 IN A 192.0.2.3",
    ],
    "loop.example.com.": ["loop.example.com. 60 IN CNAME pool.example.com."],
    "pool.example.com.": ["pool.example.com. 60 IN CNAME loop.example.com."],
}


def test_aliases_are_followed_to_their_end() -> None:
    lookups = Dns(
        ["127.0.0.1"], send=server(lambda name, kind: ("NOERROR", CHAIN[name]))
    ).question()
    answer = lookups.ask("a.example.com", "A")
    assert (answer.records, answer.canonical) == (("192.0.2.3",), "c.example.com")


def test_aliases_in_a_circle_end() -> None:
    sent = list[str]()
    send = server(lambda name, kind: ("NOERROR", CHAIN[name]), sent)
    answer = Dns(["127.0.0.1"], send=send).question().ask("loop.example.com", "A")
    assert answer.lookup is Lookup.SERVFAIL
    assert str(MAX_ALIASES) in answer.why
    assert len(sent) == 2  # the rest is in the cache


def test_records_have_one_form() -> None:
    texts = {
        "MX": ("0 .", "0 ."),
        "AAAA": ("2001:DB8:0:0::1", "2001:db8::1"),
        "TXT": ('"v=STSv1; " "id=1"', "v=STSv1; id=1"),
        "TLSA": ("3 1 1 " + "AB" * 32, "3 1 1 " + "ab" * 32),
    }
    for kind, (wire, text) in texts.items():
        send = server(always("NOERROR", f"example.com. 60 IN {kind} {wire}"))
        assert Dns(["127.0.0.1"], send=send).question().ask("example.com", kind).records == (text,)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..example",
        "x" * 64 + ".example",
        "12.34",
        "a b",
        "a\\.b",
        "-a.example",
        "*.example",
        "@",
        "\u3002",
        "xn--\x80.example",
    ],
)
def test_what_is_no_name_is_never_sent(name: str) -> None:
    sent = list[str]()
    answer = Dns(["127.0.0.1"], send=server(always("NOERROR"), sent)).question().ask(name, "A")
    assert (answer.lookup, sent) == (Lookup.INVALID, [])


def test_names_in_other_scripts_have_two_forms() -> None:
    assert a_label("BÜCHER.example") == "xn--bcher-kva.example"
    assert u_label("xn--bcher-kva.example") == "bücher.example"
    assert u_label("example.com") is None


def test_the_hosts_file_is_read_and_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(
        "# 192.0.2.9 mx\n192.0.2.1 other Mx.example.com # mx.example.org\n"
    )
    lookups = Dns(["127.0.0.1"], hosts=tmp_path / "hosts").question()
    assert lookups.hosts_file("MX.example.com") == ("192.0.2.1",)
    assert lookups.hosts_file("mx.example.org") == ()
    assert Dns(["127.0.0.1"], hosts=tmp_path / "none").question().hosts_file("mx") == ()


def test_a_name_server_that_is_none_is_an_error() -> None:
    with pytest.raises(ConfigError, match="resolver"):
        Dns(["resolver.example.com"])
