"""Sendmail's lines, as its source writes them, give the events that they tell."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal.events import ABSENT, Event, Kind, named
from milterd.lines.programs import UNKNOWN, Parsed, is_mail, parse
from milterd.lines.syslog import Line, LineParser, zone
from milterd.track.lives import is_long

NOW_US = 1_795_458_601_000_000  # 2026-11-23T18:30:01Z
ID = b"6AP3wHcH025849"
TRY = b", delay=1+02:03:04, xdelay=00:00:02, mailer=esmtp, pri=120057, relay=mx.example.net. [192.0.2.9], "


def split(tag: str, text: bytes) -> Line:
    parser = LineParser(timezone=zone("UTC"), reference_us=NOW_US)
    line = parser.parse(b"Nov 23 18:30:01 mx %s[4242]: %s" % (tag.encode(), text))
    assert line is not None
    return line


def read(text: bytes, tag: str = "sm-mta") -> Parsed:
    return parse(split(tag, text))


def told(text: bytes, tag: str = "sm-mta") -> list[dict[str, bytes]]:
    """What each event of a line says by name, without what it does not say."""
    events = read(text, tag)
    found = [events] if isinstance(events, Event) else events
    assert isinstance(found, list), found
    return [
        {"kind": Kind(event.kind).name.encode(), "id": event.queue_id}
        | {name: value for name, value in named(event).items() if value and value != ABSENT}
        for event in found
    ]


def one(text: bytes, tag: str = "sm-mta") -> dict[str, bytes]:
    (event,) = told(text, tag)
    return event


# -- from= ----------------------------------------------------------------------------------


def test_from_tells_client_envelope_and_message_id() -> None:
    text = (
        b"from=<a@example.net>, size=1234, class=-60, nrcpts=2, msgid=<x@example.net>,"
        b" bodytype=8BITMIME, proto=ESMTPS, daemon=MTA, tls_verify=NONE, auth=PLAIN,"
        b" relay=out.example.net [192.0.2.1] (may be forged)"
    )
    client, queued, message_id = told(ID + b": " + text)
    assert client == {
        "kind": b"CLIENT", "id": ID, "client_name": b"out.example.net", "client_ip": b"192.0.2.1",
    }  # fmt: skip
    assert queued == {
        "kind": b"QUEUED", "id": ID, "sender": b"a@example.net", "size": b"1234", "nrcpt": b"2",
        "instance": b"sendmail",
    }  # fmt: skip
    assert message_id["message_id"] == b"x@example.net"


@pytest.mark.parametrize(
    ("relay", "name", "ip", "login"),
    [
        (b"[192.0.2.1]", b"unknown", b"192.0.2.1", b""),
        (b"[IPv6:2001:DB8::1]", b"unknown", b"2001:DB8::1", b""),
        (b"mx.example.net. [192.0.2.1]", b"mx.example.net", b"192.0.2.1", b""),
        (b"IDENT:bob@pc.example.net [192.0.2.1]", b"pc.example.net", b"192.0.2.1", b""),
        (b"root@localhost", b"", b"", b"uid=root"),
        (b"localhost [127.0.0.1]", b"localhost", b"127.0.0.1", b""),
    ],
)
def test_clients(relay: bytes, name: bytes, ip: bytes, login: bytes) -> None:
    client = told(ID + b": from=bob, size=1, class=0, nrcpts=1, relay=" + relay)[0]
    found = (client.get("client_name", b""), client.get("client_ip", b""), client.get("login", b""))
    assert found == (name, ip, login)


def test_a_notice_has_no_client() -> None:
    line = ID + b": from=<>, size=2100, class=0, nrcpts=1, msgid=<n@x>, relay=[RESPONSE]"
    assert [event["kind"] for event in told(line)] == [b"QUEUED", b"MESSAGE_ID"]


def test_a_sender_that_is_cut_is_cut_by_its_length() -> None:
    address = b"<" + b"a" * 250 + b"@example.net>"
    line = (
        ID
        + b": from="
        + address[:200]
        + b", size=1, class=0, nrcpts=1, msgid=<y>, relay=[192.0.2.1]"
    )
    assert told(line)[1]["sender"] == address[:200]


def test_what_a_sender_writes_is_no_field() -> None:
    line = (
        ID + rb': from=<"a\\"@x>, size=7, class=0, nrcpts=0, relay=[192.0.2.66]"@example.net>,'
        b" size=60, class=0, nrcpts=1, msgid=<i, proto=SMTP, daemon=MTA, relay=[192.0.2.66]>,"
        b" proto=ESMTP, daemon=MTA, relay=pc.example.com [198.51.100.7]"
    )
    client, queued, message_id = told(line)
    assert (
        queued["sender"] == rb'"a\"@x>, size=7, class=0, nrcpts=0, relay=[192.0.2.66]"@example.net'
    )
    assert (queued["size"], queued["nrcpt"]) == (b"60", b"1")
    assert client["client_ip"] == b"198.51.100.7"
    assert message_id["message_id"] == b"i, proto=SMTP, daemon=MTA, relay=[192.0.2.66]"


def test_sendmail_8_9_has_the_priority_between() -> None:
    line = b"FAA01234: from=<a@b.example>, size=9, class=0, pri=30009, nrcpts=1, msgid=<1@b>, relay=root@localhost"
    assert told(line)[1]["nrcpt"] == b"1"


# -- to= ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "outcome", "enhanced", "text"),
    [
        (b"dsn=2.0.0, stat=Sent", b"sent", b"2.0.0", b"Sent"),
        (b"dsn=2.0.0, stat=Sent (ok, stat=Deferred)", b"sent", b"2.0.0", b"Sent (ok, stat=Deferred)"),
        (b"dsn=4.4.1, stat=Deferred: Connection refused by x", b"deferred", b"4.4.1",
         b"Deferred: Connection refused by x"),
        (b"dsn=4.0.0, stat=Deferred", b"deferred", b"4.0.0", b"Deferred"),
        (b"dsn=5.1.1, stat=User unknown", b"bounced", b"5.1.1", b"User unknown"),
        (b"dsn=4.0.0, stat=Operating system error", b"deferred", b"4.0.0", b"Operating system error"),
        (b"stat=Operating system error", b"deferred", b"", b"Operating system error"),
        (b"stat=Service unavailable", b"bounced", b"", b"Service unavailable"),
        (b"dsn=5.5.0, stat=Remote protocol error", b"bounced", b"5.5.0", b"Remote protocol error"),
        (b"dsn=5.1.1, reply=550 5.1.1 no, stat=Sent (y), stat=User unknown", b"bounced", b"5.1.1",
         b"Sent (y), stat=User unknown (host mx.example.net[192.0.2.9] said: 550 5.1.1 no)"),
        (b"dsn=4.7.1, reply=450 4.7.1 later, stat=Deferred: 450 4.7.1 later", b"deferred",
         b"4.7.1", b"Deferred (host mx.example.net[192.0.2.9] said: 450 4.7.1 later)"),
        (b"ntries=3, stage=2, reply=421 bye, stat=Deferred: 421 bye", b"deferred", b"",
         b"Deferred (host mx.example.net[192.0.2.9] said: 421 bye)"),
    ],
)  # fmt: skip
def test_outcomes(rest: bytes, outcome: bytes, enhanced: bytes, text: bytes) -> None:
    event = one(ID + b": to=<bob@example.net>" + TRY + rest)
    assert event["outcome"] == outcome
    assert event.get("enhanced_status", b"") == enhanced
    assert event["text"] == text
    assert event["delay"] == b"%d" % (86400 + 2 * 3600 + 3 * 60 + 4)
    assert event["relay"] == b"mx.example.net[192.0.2.9]"


def test_each_recipient_of_a_line_is_an_attempt() -> None:
    words = b'<a@example.net>,"b, c"@example.net,\\\\carol,"|/bin/prog -x a,b",/var/mail/f'
    events = told(ID + b": to=" + words + TRY + b"stat=Sent")
    assert [event["final_recipient"] for event in events] == [
        b"a@example.net", b'"b, c"@example.net', b"carol", b'"|/bin/prog -x a,b"', b"/var/mail/f",
    ]  # fmt: skip


def test_addresses_of_a_header_have_names_and_comments() -> None:
    words = b'"Smith, Al" <alice@x.example>,carol@x.example (Carol, really),Bob B <"b,c"@x.example>'
    events = told(ID + b": to=" + words + b", ctladdr=root (0/0)" + TRY + b"stat=Sent")
    assert [event["final_recipient"] for event in events] == [
        b"alice@x.example", b"carol@x.example", b'"b,c"@x.example',
    ]  # fmt: skip
    assert {event["controller"] for event in events} == {b"root"}


def test_mail_that_loops_fails_without_a_to_line() -> None:
    words = b"SYSERR(root): Too many hops 61 (25 max): from <l@x.example> via y, to <a@x.example>"
    event = one(ID + b": " + words)
    assert (event["outcome"], event["final_recipient"], event["enhanced_status"]) == (
        b"bounced", b"a@x.example", b"5.4.6",
    )  # fmt: skip


def test_a_loop_without_its_recipient_is_cut() -> None:
    assert read(ID + b": SYSERR(root): Too many hops 61 (25 max): from <l@x") is UNKNOWN


def test_a_client_that_goes_silent_in_the_middle_is_lost() -> None:
    words = b"SYSERR(root): collect: relay=a.example, from=<x@y.example>, info=read timeout"
    assert one(ID + b": " + words)["action"] == b"lost"


def test_the_oldest_lines_have_no_mailer() -> None:
    event = one(b"AAA01234: to=<a@x.example>, delay=00:00:01, stat=Sent")
    assert (event["kind"], event["outcome"]) == (b"DELIVERY", b"sent")


def test_a_list_that_is_too_long_goes_on() -> None:
    events = told(ID + b": to=<a@x.example>,<b@x.example>, [more]" + TRY + b"stat=Sent")
    assert [event["final_recipient"] for event in events] == [b"a@x.example", b"b@x.example"]


@pytest.mark.parametrize(
    ("words", "controller"),
    [
        (b"<alice@example.com> (4200/4200)", b"alice@example.com"),
        (b"alice@example.com (0/0)", b"alice@example.com"),
        (b"<owner-list@example.com>", b"owner-list@example.com"),
        (b"<aaaaaaaaaaaaaaaaaaaaaaaaa...aaaa@example.com> (1/1)", b"aaaaaaaaaaaaaaaaaaaaaaaaa...aaaa@example.com"),
    ],
)  # fmt: skip
def test_who_controls_a_delivery(words: bytes, controller: bytes) -> None:
    event = one(ID + b": to=<b@x.example>, ctladdr=" + words + TRY + b"stat=Sent")
    assert event["controller"] == controller


@pytest.mark.parametrize(
    ("mailer", "daemon", "relay"),
    [
        (b"local", b"local", b"local"),
        (b"prog", b"pipe", b"prog"),
        (b"*file*", b"local", b"*file*"),
        (b"cyrusv2", b"lmtp", b"cyrusv2"),
        (b"esmtp", b"smtp", b""),
        (b"mine", b"mine", b"mine"),
    ],
)
def test_mailers(mailer: bytes, daemon: bytes, relay: bytes) -> None:
    line = (
        ID + b": to=bob, delay=00:00:00, xdelay=00:00:00, mailer=" + mailer + b", pri=1, stat=Sent"
    )
    event = one(line)
    assert (event["daemon"], event.get("relay", b"")) == (daemon, relay)


@pytest.mark.parametrize(
    ("stat", "next_id"),
    [
        (b"Sent (6AP3wHcH025850 Message accepted for delivery)", b"6AP3wHcH025850"),
        (b"Sent (Ok: queued as BED022D77BDB)", b"BED022D77BDB"),
        (b"Sent (OK id=1EkGv9-0003Zf-00)", b"1EkGv9-0003Zf-00"),
        (b"Sent (ok dirdel)", b""),
        (b"Sent", b""),
    ],
)
def test_the_next_queue_id(stat: bytes, next_id: bytes) -> None:
    event = one(ID + b": to=<b@x.example>" + TRY + b"stat=" + stat)
    assert event.get("next_queue_id", b"") == next_id


def test_queued_is_no_outcome() -> None:
    event = one(ID + b": to=<b@x.example>, delay=00:00:00, mailer=esmtp, pri=30018, stat=queued")
    assert (event["outcome"], event.get("text")) == (b"queued", None)


def test_a_message_that_was_not_taken_is_refused_for_each_recipient() -> None:
    events = told(
        ID + b": to=<a@x.example>,<b@x.example>, delay=00:00:00, pri=1, stat=Virus X found"
    )
    assert [(e["kind"], e["action"], e["stage"], e["recipient"]) for e in events] == [
        (b"DOOR", b"reject", b"END-OF-MESSAGE", b"a@x.example"),
        (b"DOOR", b"reject", b"END-OF-MESSAGE", b"b@x.example"),
    ]


@pytest.mark.parametrize("stat", [b"aborted by sender", b"RSET"])
def test_a_client_that_begins_anew_was_not_refused(stat: bytes) -> None:
    assert read(ID + b": to=<a@x.example>, delay=00:00:00, pri=1, stat=" + stat) is None


def test_quarantined() -> None:
    line = (
        b": to=<a@x.example>, delay=00:00:00, mailer=local, pri=1, quarantine=odd, stat=quarantined"
    )
    event = one(ID + line)
    assert (event["action"], event["text"], event["recipient"]) == (
        b"milter-hold", b"odd", b"a@x.example",
    )  # fmt: skip


# -- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "action", "stage", "recipient", "sender", "ip", "code"),
    [
        (b"ruleset=check_rcpt, arg1=<v@x.example>, relay=a.example [192.0.2.1] (may be forged),"
         b" reject=550 5.7.1 <v@x.example>... Relaying denied",
         b"reject", b"RCPT", b"v@x.example", None, b"192.0.2.1", b"550"),
        (b"ruleset=check_mail, arg1=<s@x.example>, relay=[192.0.2.1],"
         b" reject=451 4.1.8 Domain of sender address s@x.example does not resolve",
         b"reject", b"MAIL", b"", b"s@x.example", b"192.0.2.1", b"451"),
        (b"ruleset=check_relay, arg1=[192.0.2.1], arg2=192.0.2.1, relay=[192.0.2.1],"
         b" reject=421 4.3.2 Connection rate limit exceeded.",
         b"reject", b"CONNECT", b"", None, b"192.0.2.1", b"421"),
        (b"ruleset=CheckSubject, arg1=buy, relay=e [192.0.2.66], reject=250 no, relay=a.example"
         b" [192.0.2.1], reject=553 5.7.1 no thanks",
         b"reject", b"DATA", b"", None, b"192.0.2.1", b"553"),
        (b"ruleset=check_rcpt, arg1=<a@x.example>, relay=a.example [192.0.2.1], discard",
         b"discard", b"RCPT", b"a@x.example", None, b"192.0.2.1", b""),
        (b"ruleset=check_rcpt, arg1=<a@x.example>, relay=a.example [192.0.2.1], quarantine=odd",
         b"milter-hold", b"RCPT", b"a@x.example", None, b"192.0.2.1", b""),
        (b"Milter: to=<a@x.example>, reject=550 5.7.1 no", b"milter-reject", b"RCPT",
         b"a@x.example", None, b"", b"550"),
        (b"Milter: from=<s@x.example>, reject=451 4.7.1 later", b"milter-reject", b"MAIL", b"",
         b"s@x.example", b"", b"451"),
        (b"Milter: data, reject=511 Virus found in email!", b"milter-reject", b"END-OF-MESSAGE",
         b"", None, b"", b"511"),
        (b"Milter: cmd=data, reject=550 5.7.1 no", b"milter-reject", b"DATA", b"", None, b"", b"550"),
        (b"Milter: data, discard", b"milter-discard", b"END-OF-MESSAGE", b"", None, b"", b""),
        (b"Milter: to=<a@x.example>, discard", b"milter-discard", b"END-OF-MESSAGE",
         b"a@x.example", None, b"", b""),
        (b"Milter: connect: host=a.example, addr=192.0.2.1, rejecting commands", b"milter-reject",
         b"CONNECT", b"", None, b"192.0.2.1", b""),
        (b"milter=filter, quarantine=odd", b"milter-hold", b"END-OF-MESSAGE", b"", None, b"", b""),
        (b"rejecting commands from  [192.0.2.1] due to pre-greeting traffic after 0 seconds",
         b"reject", b"CONNECT", b"", None, b"192.0.2.1", b""),
        (b"<nosuch@x.example>... User unknown", b"reject", b"RCPT", b"nosuch@x.example", None,
         b"", b""),
        (b"discarded", b"discard", b"END-OF-MESSAGE", b"", None, b"", b""),
        (b"collect: premature EOM: unexpected close", b"lost", b"DATA", b"", None, b"", b""),
    ],
)  # fmt: skip
def test_what_was_done_at_the_door(
    words: bytes,
    action: bytes,
    stage: bytes,
    recipient: bytes,
    sender: bytes | None,
    ip: bytes,
    code: bytes,
) -> None:
    event = one(ID + b": " + words)
    assert event["kind"] == b"DOOR"
    assert (event["action"], event["stage"]) == (action, stage)
    assert (event.get("recipient", b""), event.get("sender")) == (recipient, sender)
    assert (event.get("client_ip", b""), event.get("reply_code", b"")) == (ip, code)


def test_a_refusal_without_queue_id() -> None:
    words = b"ruleset=check_relay, arg1=a.example, arg2=192.0.2.1, relay=a.example [192.0.2.1], reject=554 5.7.1 no"
    assert one(words)["id"] == b""
    assert one(b"NOQUEUE: " + words)["id"] == b""


def test_an_address_in_a_ruleset_is_no_field() -> None:
    address = rb'"x\\", relay=[192.0.2.66], reject=250 ok"@y.example'
    line = b"ruleset=check_rcpt, arg1=<%b>, relay=[192.0.2.1], reject=550 5.7.1 <%b>... Relaying denied"
    event = one(ID + b": " + line % (address, address))
    assert (event["client_ip"], event["reply_code"]) == (b"192.0.2.1", b"550")
    assert event["recipient"] == address.replace(b"\\\\", b"\\")


# -- the rest -------------------------------------------------------------------------------


def test_notices() -> None:
    child = b"6AP3wHcH025850"
    notice = one(ID + b": " + child + b": DSN: User unknown")
    assert notice == {
        "kind": b"NOTICE", "id": ID, "notice": b"sender non-delivery", "notice_queue_id": child,
    }  # fmt: skip
    assert one(ID + b": " + child + b": DSN: Return receipt")["notice"] == b"sender delivery status"
    assert one(ID + b": " + child + b": sender notify: Warning: x")["notice"] == b"sender delay"
    expired = told(ID + b": " + child + b": DSN: Cannot send message for 5 days")
    assert [event["kind"] for event in expired] == [b"EXPIRED", b"NOTICE"]
    clone = one(ID + b": " + child + b": clone: owner=owner-list")
    assert clone == {
        "kind": b"PICKUP", "id": child, "sender": b"owner-list", "orig_queue_id": ID,
    }  # fmt: skip


def test_sessions() -> None:
    tls = b"version=TLSv1.3, verify=NO, cipher=TLS_AES_256_GCM_SHA384, bits=256/256"
    assert one(b"STARTTLS=server, relay=pc.example.net [192.0.2.1], " + tls) == {
        "kind": b"TLS_IN", "id": b"", "client_ip": b"192.0.2.1",
        "tls": b"TLSv1.3 TLS_AES_256_GCM_SHA384",
    }  # fmt: skip
    assert one(b"STARTTLS=client, relay=mx.example.net., " + tls)["relay"] == b"mx.example.net"
    login = b"AUTH=server, relay=pc.example.net [192.0.2.1], authid=bob, mech=PLAIN, bits=0"
    assert one(login) == {
        "kind": b"LOGIN", "id": b"", "client_ip": b"192.0.2.1", "login": b"bob",
        "sasl_method": b"PLAIN",
    }  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        b"lost input channel from a.example [192.0.2.1] to MTA after rcpt",
        b"a.example [192.0.2.1] did not issue MAIL/EXPN/VRFY/ETRN during connection to MTA",
        b"[192.0.2.1]: EXPN root [rejected]",
        b"a.example [192.0.2.1]: VRFY alice",
        b"timeout waiting for input from a.example during server cmd read",
        b"Milter (filter1): to error state",
        b"Milter add: header: X-Spam: yes",
        b"SYSERR(root): putbody: write error: Broken pipe",
        b"Authentication-Warning: mx: www set sender to a@x.example using -f",
        b"message size (284057) exceeds maximum (200000)",
        b"ruleset=check_vrfy, arg1=root, relay=[192.0.2.1], reject=550 5.7.1 no",
        b"Milter: connect to filters",
    ],
)
def test_lines_that_tell_nothing_of_a_message(words: bytes) -> None:
    assert read(ID + b": " + words) is None


@pytest.mark.parametrize(
    "words",
    [
        b"starting daemon (8.17.1.9): SMTP+queueing@00:10:00",
        b"alias database /etc/mail/aliases rebuilt by root",
        b"/etc/mail/aliases: 10 aliases, longest 44 bytes, 242 bytes total",
        b"gethostbyaddr(192.0.2.2) failed: 1",
        b"STARTTLS=client, error: connect failed=-1",
    ],
)
def test_lines_about_no_message(words: bytes) -> None:
    assert read(words) is None


@pytest.mark.parametrize(
    "words",
    [
        b"to=<a@x.example",
        b"from=<a@x.example>, size=x, class=0",
        b"no words of ours",
        b"to=<a>, x=1",
    ],
)
def test_lines_not_understood(words: bytes) -> None:
    assert read(ID + b": " + words) is UNKNOWN


def test_parts_of_a_line_that_was_too_long() -> None:
    first = b"[1]: from=<a@x.example>, size=1, class=0, nrcpts=1, msgid=<y>, ..."
    assert told(ID + first)[0]["kind"] == b"QUEUED"
    assert read(ID + b"[2]: proto=ESMTP, relay=[192.0.2.1]") is None


def test_postfix_own_sendmail_is_not_sendmail() -> None:
    line = split("postfix/sendmail", b"fatal: usage")
    assert parse(line) is None
    assert is_mail(split("sm-mta", b"x"))
    assert is_mail(split("sendmail", b"x"))


def test_freebsd_names_facility_and_level_before_the_host() -> None:
    parser = LineParser(timezone=zone("UTC"), reference_us=NOW_US)
    for _ in range(2):
        line = parser.parse(b"Nov 23 18:30:01 <mail.info> mx sm-mta[4242]: x")
        assert line is not None
        assert (line.host, line.daemon, line.pid) == (b"mx", b"sm-mta", 4242)


@pytest.mark.parametrize(
    ("queue_id", "never_again"),
    [
        (b"l5QI4nYq012345", True),
        (b"6AP3wHcH025849", True),
        (b"xA32R2PQ3529565", True),
        (b"g8U2LVi03161", True),
        (b"FAA01234", False),  # 8.9: hour, number and pid
        (b"3B9C7A1234567890", False),  # microseconds and inode in hexadecimal
        (b"2BC793B8A4", False),
        (b"4jYHDW6b9kzJk1G", True),
    ],
)
def test_ids_that_never_come_again(queue_id: bytes, never_again: bool) -> None:
    assert is_long(queue_id) is never_again


PIECES = st.sampled_from(
    [b"from=", b"to=", b"<a@b>", b'"', b"\\", b", ", b"size=1", b"class=0", b"nrcpts=1", b"relay=",
     b"[192.0.2.1]", b"delay=00:00:00", b"mailer=local", b"stat=", b"Sent", b"reply=", b"ruleset=",
     b"check_rcpt", b"arg1=", b"reject=550 5.7.1 x", b"Milter: ", b"\\377", b"quarantine=", b"(1/1)",
     b"ctladdr=", b"STARTTLS=server", b"AUTH=server", b"authid=", b"mech=", b"version=", ID, b": "]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, st.binary(max_size=4)), max_size=14))
@settings(max_examples=400, deadline=None)
def test_nothing_raises(pieces: list[bytes]) -> None:
    text = ID + b": " + b"".join(pieces)
    line = Line(NOW_US, b"mx", b"sm-mta", b"", b"sm-mta", 1, text)
    found = parse(line)
    for event in [found] if isinstance(found, Event) else found if isinstance(found, list) else []:
        assert len(event.fields) == len(named(event))
