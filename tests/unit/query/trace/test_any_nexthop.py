"""Whoever asks for a trace writes the address: no next hop and no name makes it fall over."""

import dns.message
from hypothesis import example, given
from hypothesis import strategies as st

from query.trace.dns import Answer, Dns, Lookup, Server, a_label, read
from query.trace.hosts import Smtp, way
from query.trace.nexthop import destination
from tests.unit.query.trace.scripted import Scripted

ANY = st.text(st.characters(exclude_categories=()), max_size=80)  # lone surrogates too
LIKELY = st.text("[]:,. -_ipv6unxab0129@\u00fc\u00df\u3002\udc80\x00", max_size=40)
NAMES = ANY | LIKELY


@given(NAMES, st.booleans())
@example("unix:", True)
@example("[ipv6:::ffff:127.0.0.1%lo]", False)
def test_every_next_hop_has_an_end(text: str, lmtp: bool) -> None:
    names = Scripted({})
    found = way(text, Smtp(lmtp=lmtp), names)
    assert found.text
    assert all(a_label(question.split()[0]) for question in names.asked)


@given(NAMES)
def test_a_destination_is_read_or_refused(text: str) -> None:
    try:
        found = destination(text, port=25)
    except ValueError:
        return
    assert found.host
    assert 0 < found.port < 65536


def _silent(message: dns.message.Message, server: Server, timeout_s: float) -> dns.message.Message:
    return dns.message.make_response(message)


@given(NAMES)
def test_every_name_is_asked_for_or_is_none(name: str) -> None:
    answer = Dns(["127.0.0.1"], send=_silent).question().ask(name, "MX")
    assert answer.lookup in (Lookup.NODATA, Lookup.INVALID)


@given(st.binary(max_size=200))
def test_no_answer_of_a_server_makes_it_fall_over(tail: bytes) -> None:
    question = dns.message.make_query("example.com", "MX")
    wire = bytearray(question.to_wire())
    wire[2] |= 0x80
    wire[7] = 1
    blank = Answer(name="example.com", kind="MX", lookup=Lookup.DOWN)
    try:
        message = dns.message.from_wire(bytes(wire) + tail)
    except (dns.exception.DNSException, ValueError):  # what ``exchange`` raises of it
        return
    assert read(message, blank, ("127.0.0.1", 53)).lookup is not Lookup.DOWN
