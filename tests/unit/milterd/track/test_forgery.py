"""What a client, a sender or a remote server writes never passes for what Postfix wrote."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from journal.events import Event, Kind, named
from milterd.lines.postfix import parse
from milterd.lines.syslog import Line, LineParser, zone

PIECES = st.sampled_from(
    [
        b">", b"<", b", ", b"; ", b"@", b"a", b" ", b"=", b"(", b")", b"from=<", b" to=<",
        b">, relay=mx.bank.example[192.0.2.1]:25", b", delay=1", b", delays=0/0/0/0", b", dsn=2.0.0",
        b", status=sent (", b", status=bounced (", b"250 ok)", b", orig_to=<", b"; from=<bank@x>",
        b" proto=ESMTP helo=<z>", b": removed", b"queued as ABCDEF", b'\\"', b"\\\\", b"\xc3\xa9",
    ]
)  # fmt: skip
LOCAL = st.lists(PIECES, max_size=12).map(b"".join)
TEXT = st.lists(PIECES | st.just(b'"'), max_size=12).map(b"".join)


def told(daemon: bytes, text: bytes) -> dict[str, bytes]:
    event = parse(Line(0, b"mx", b"postfix", b"", daemon, 1, text))
    assert isinstance(event, Event), text
    return {"kind": Kind(event.kind).name.encode()} | named(event)


@given(LOCAL, st.sampled_from([b"sent", b"deferred", b"bounced"]), TEXT)
def test_a_quoted_local_part_round_trips(local: bytes, outcome: bytes, reply: bytes) -> None:
    address = b'"%s"@example.com' % local
    said = told(
        b"smtp",
        b"AB12: to=<%s>, orig_to=<%s>, relay=none, delay=0, delays=0/0/0/0, dsn=4.0.0,"
        b" status=%s (%s)" % (address, address, outcome, reply),
    )
    assert said["final_recipient"] == said["recipient"] == address
    assert (said["relay"], said["outcome"], said["text"]) == (b"none", outcome, reply)


@given(LOCAL)
def test_a_quoted_sender_round_trips(local: bytes) -> None:
    address = b'"%s"@example.com' % local
    queued = told(b"qmgr", b"AB12: from=<%s>, size=7, nrcpt=1 (queue active)" % address)
    assert (queued["kind"], queued["sender"], queued["size"]) == (b"QUEUED", address, b"7")
    expired = told(b"qmgr", b"AB12: from=<%s>, status=expired, returned to sender" % address)
    assert expired["kind"] == b"EXPIRED"


@given(LOCAL, LOCAL, st.booleans())
def test_a_refusal_names_its_true_envelope(sender: bytes, local: bytes, bare: bool) -> None:
    recipient = b'"%s"@example.com' % local
    shown = (local if bare else b'"%s"' % local) + b"@example.com"
    said = told(
        b"smtpd",
        b"NOQUEUE: reject: RCPT from unknown[192.0.2.4]: 550 5.1.1 <%s>: Recipient address"
        b' rejected; from=<"%s"@example.org> to=<%s> proto=ESMTP helo=<h.example>'
        % (shown, sender, recipient),
    )
    assert (said["kind"], said["action"], said["client_ip"]) == (b"DOOR", b"reject", b"192.0.2.4")
    assert said["sender"] != b"bank@x"
    assert said["recipient"] not in (b"z", b"bank@x")
    if not bare:
        assert (said["sender"], said["recipient"]) == (b'"%s"@example.org' % sender, recipient)


@given(TEXT)
@example(b"; from=<")
def test_a_header_cannot_name_another_envelope(content: bytes) -> None:
    said = told(
        b"cleanup",
        b"AB12: reject: header Subject: %s from unknown[192.0.2.4]; from=<a@example.org>"
        b" to=<b@example.com> proto=ESMTP helo=<h.example>: 5.7.1 no" % content,
    )
    assert (said["stage"], said["text"], said["sender"]) == (
        b"header",
        b"5.7.1 no",
        b"a@example.org",
    )
    assert (said["recipient"], said["client_ip"]) == (b"b@example.com", b"192.0.2.4")


@given(TEXT)
def test_a_message_id_is_only_a_message_id(content: bytes) -> None:
    said = told(b"cleanup", b"AB12: message-id=<%s>" % content)
    assert said["kind"] == b"MESSAGE_ID"
    assert said.get("message_id", b"") == content.partition(b">")[0]


@given(
    st.binary(max_size=200), st.sampled_from([b"smtp", b"smtpd", b"qmgr", b"cleanup", b"bounce"])
)
def test_no_line_raises(text: bytes, daemon: bytes) -> None:
    parser = LineParser(timezone=zone("UTC"), reference_us=0)
    for raw in (text, b"Nov 23 18:30:01 mx postfix/%s[1]: %s" % (daemon, text)):
        line = parser.parse(raw)
        if line is not None:
            parse(line)


def steps(work: Callable[[], object]) -> int:
    """How many lines of Python the work takes: a count, not a time."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


FILLERS = [
    b"; from=<", b"> to=<", b'"', b'\\"', b'"@', b">, relay=", b", status=", b" (", b"[", b"]:1",
    b": ", b" from ", b"; proto=", b"queued as ", b"#012", b"\0", b" ",
]  # fmt: skip
SHAPES = [
    (b"smtp", b"AB12: to=<%s>, relay=none, delay=0, status=sent (%s)"),
    (b"smtp", b'AB12: to=<"%s"@example.com>, relay=none, delay=0, status=sent (%s)'),
    (b"smtpd", b"NOQUEUE: reject: RCPT from %s[192.0.2.4]: 550 %s; from=<a> to=<b>"),
    (b"cleanup", b"AB12: reject: header %s from x; from=<%s> to=<b> proto=E helo=<h>: t"),
    (b"qmgr", b"AB12: from=<%s>, size=%s, nrcpt=1 (queue active)"),
    (b"smtpd", b"AB12: client=%s, sasl_username=%s"),
]


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_the_work_grows_no_faster_than_the_line(shape: int, filler: bytes) -> None:
    daemon, form = SHAPES[shape]

    def work(size: int) -> int:
        filled = filler * (size // len(filler))
        raw = b"Nov 23 18:30:01 mx postfix/%s[1]: %s" % (daemon, form % (filled, filled))
        parser = LineParser(timezone=zone("UTC"), reference_us=0)

        def parse_it() -> None:
            line = parser.parse(raw)
            assert line is not None
            parse(line)

        return steps(parse_it)

    assert work(16_000) <= 2 * work(8_000) + 100
