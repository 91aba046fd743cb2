"""Each daemon's lines, as Postfix writes them, give the event that they tell."""

from collections import Counter
from pathlib import Path

import pytest

from journal.events import ABSENT, Event, Kind, named
from milterd.lines.programs import UNKNOWN, Parsed, parse
from milterd.lines.syslog import LineParser, zone

NOW_US = 1_795_458_601_000_000  # 2026-11-23T18:30:01Z
RECORDED = Path(__file__).parent / "data" / "postfix-3.7.log"


def read(tag: str, text: bytes) -> Parsed:
    """The event of a line of that tag."""
    parser = LineParser(timezone=zone("UTC"), reference_us=NOW_US)
    line = parser.parse(b"Nov 23 18:30:01 mx %s[4242]: %s" % (tag.encode(), text))
    assert line is not None
    return parse(line)


def fields(tag: str, text: bytes) -> dict[str, bytes]:
    """What the event says by name, without what it does not say."""
    event = read(tag, text)
    assert isinstance(event, Event), event
    assert (event.at_us, event.pid) == (NOW_US, 4242)
    said = {name: value for name, value in named(event).items() if value}
    return {"kind": Kind(event.kind).name.encode(), "id": event.queue_id} | said


DELIVERIES = {
    "plain": (
        b"AB12CD34: to=<bob@example.net>, relay=mx.example.net[192.0.2.9]:25, delay=1.2,"
        b" delays=0.1/0/0.5/0.6, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 7F5D24022C)",
        {
            "final_recipient": b"bob@example.net",
            "relay": b"mx.example.net[192.0.2.9]:25",
            "delay": b"1.2",
            "delays": b"0.1/0/0.5/0.6",
            "enhanced_status": b"2.0.0",
            "outcome": b"sent",
            "text": b"250 2.0.0 Ok: queued as 7F5D24022C",
            "next_queue_id": b"7F5D24022C",
            "next_hop": b"queued",
        },
    ),
    "to Dovecot, second recipient": (
        b"AB12CD34: to=<bob@example.com>, relay=mx.example.com[private/dovecot-lmtp], delay=0.1,"
        b" delays=0.06/0.02/0/0.01, dsn=2.0.0, status=sent"
        b" (250 2.0.0 <bob@example.com> IkiQKTt+117kJgAAWP5H/g:2 Saved)",
        {
            "final_recipient": b"bob@example.com",
            "relay": b"mx.example.com[private/dovecot-lmtp]",
            "delay": b"0.1",
            "delays": b"0.06/0.02/0/0.01",
            "enhanced_status": b"2.0.0",
            "outcome": b"sent",
            "text": b"250 2.0.0 <bob@example.com> IkiQKTt+117kJgAAWP5H/g:2 Saved",
            "next_queue_id": b"IkiQKTt+117kJgAAWP5H/g:2",
            "next_hop": b"lmtp",
        },
    ),
    "verified by sendmail -bv, an alias": (
        b"AB12CD34: to=<list@example.com>, relay=local, delay=0.1, delays=0.1/0/0/0, dsn=2.0.0,"
        b" status=expanded (alias expanded)",
        {
            "final_recipient": b"list@example.com",
            "relay": b"local",
            "delay": b"0.1",
            "delays": b"0.1/0/0/0",
            "enhanced_status": b"2.0.0",
            "outcome": b"deliverable",
            "text": b"alias expanded",
        },
    ),
    "before 2.3": (
        b"AB12CD34: to=<bob@example.net>, relay=mx.example.net[192.0.2.9], delay=3,"
        b" status=sent (250 OK)",
        {
            "final_recipient": b"bob@example.net",
            "relay": b"mx.example.net[192.0.2.9]",
            "delay": b"3",
            "outcome": b"sent",
            "text": b"250 OK",
        },
    ),
    "every field, long queue id": (
        b"4PbC4x469Jz3tBr: to=<bob@example.net>, orig_to=<info@example.net>,"
        b" relay=mx.example.net[2001:db8::9]:25, conn_use=2, delay=1, delays=1/0/0/0,"
        b" tls=dane/requiretls?, dsn=4.7.1, status=deferred (host mx.example.net[2001:db8::9]"
        b" said: 450 4.7.1 later (in reply to RCPT TO command))",
        {
            "final_recipient": b"bob@example.net",
            "recipient": b"info@example.net",
            "relay": b"mx.example.net[2001:db8::9]:25",
            "delay": b"1",
            "delays": b"1/0/0/0",
            "tls_policy": b"dane/requiretls?",
            "enhanced_status": b"4.7.1",
            "outcome": b"deferred",
            "text": b"host mx.example.net[2001:db8::9] said: 450 4.7.1 later"
            b" (in reply to RCPT TO command)",
        },
    ),
    "without brackets, without blank, padded": (
        b"  AB12CD34:to=bob@example.net, orig_to=root, relay=none, delay=0, delays=0/0/0/0,"
        b" dsn=5.1.1, status=bounced (no) such)\r",
        {
            "final_recipient": b"bob@example.net",
            "recipient": b"root",
            "relay": b"none",
            "delay": b"0",
            "delays": b"0/0/0/0",
            "enhanced_status": b"5.1.1",
            "outcome": b"bounced",
            "text": b"no) such",
        },
    ),
    "soft bounce": (
        b"AB12CD34: to=<bob@example.net>, relay=none, delay=0, delays=0/0/0/0, dsn=5.1.1,"
        b" status=SOFTBOUNCE (unknown user)#012",
        {
            "final_recipient": b"bob@example.net",
            "relay": b"none",
            "delay": b"0",
            "delays": b"0/0/0/0",
            "enhanced_status": b"5.1.1",
            "outcome": b"deferred",
            "text": b"unknown user",
        },
    ),
}


@pytest.mark.parametrize("name", DELIVERIES)
@pytest.mark.parametrize("daemon", ["smtp", "lmtp", "virtual", "pipe", "error", "retry", "discard"])
def test_a_delivery_agents_line_is_one_attempt(daemon: str, name: str) -> None:
    text, said = DELIVERIES[name]
    queue_id = text.strip().partition(b":")[0]
    expected = {"kind": b"DELIVERY", "id": queue_id, "daemon": daemon.encode()} | said
    assert fields(f"postfix/{daemon}", text) == expected


def tail(outcome: bytes, reply: bytes) -> bytes:
    return (
        b"AB12CD34: to=<bob@example.net>, relay=local, delay=0, delays=0/0/0/0, dsn=2.0.0,"
        b" status=%s (%s)" % (outcome, reply)
    )


@pytest.mark.parametrize(
    ("daemon", "reply", "next_id", "hop"),
    [
        ("local", b"forwarded as 9Z8Y7X6W5V", b"9Z8Y7X6W5V", b"forwarded"),
        ("local", b"delivered to command: procmail; queued as AB12", b"", b""),
        ("local", b"forwarded as nothing at all", b"", b""),
        ("smtp", b"forwarded as 9Z8Y7X6W5V", b"", b""),
        (
            "smtp",
            b"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 9Z8Y7X6W5V",
            b"9Z8Y7X6W5V",
            b"queued",
        ),
        ("smtp", b"250 OK id=1abc-2def", b"", b""),
        ("smtp", b"250 queued as ", b"", b""),
    ],
)
def test_where_a_message_goes_on(daemon: str, reply: bytes, next_id: bytes, hop: bytes) -> None:
    said = fields(f"postfix/{daemon}", tail(b"sent", reply))
    assert (said.get("next_queue_id", b""), said.get("next_hop", b"")) == (next_id, hop)


def test_only_what_was_sent_goes_on() -> None:
    assert "next_queue_id" not in fields("postfix/smtp", tail(b"deferred", b"queued as ABCDEF"))


@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        (
            "postfix/smtpd",
            b"connect from mail.example.com[192.0.2.1]:4711",
            {
                "kind": b"CONNECT",
                "client_name": b"mail.example.com",
                "client_ip": b"192.0.2.1",
                "client_port": b"4711",
            },
        ),
        (
            "postfix/submission/smtpd",
            b"connect from unknown[unix]",
            {"kind": b"CONNECT", "client_name": b"unknown"},
        ),
        (
            "mx-in/smtpd",
            b"disconnect from unknown[2001:db8::1] ehlo=1 quit=1 commands=2",
            {"kind": b"DISCONNECT", "client_ip": b"2001:db8::1"},
        ),
        (
            "postfix/smtpd",
            b"Anonymous TLS connection established from h.example[192.0.2.1]:99: TLSv1.3 with"
            b" cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519",
            {
                "kind": b"TLS_IN",
                "client_ip": b"192.0.2.1",
                "tls": b"TLSv1.3 TLS_AES_256_GCM_SHA384",
            },
        ),
        (
            "postfix/smtp",
            b"Verified TLS connection established to mx.example.net[192.0.2.9]:25: TLSv1.2 with"
            b" cipher ECDHE-RSA-AES128-GCM-SHA256 (128/128 bits)",
            {
                "kind": b"TLS_OUT",
                "relay": b"mx.example.net[192.0.2.9]:25",
                "tls": b"TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256",
            },
        ),
        (
            "postfix/smtpd",
            b"AB12: client=unknown[192.0.2.1]:5, sasl_method=PLAIN, sasl_username=a, client=b[1],"
            b" sasl_sender=c@example.com, orig_queue_id=Q1, orig_client=o.example[192.0.2.7]",
            {
                "kind": b"CLIENT",
                "id": b"AB12",
                "client_name": b"unknown",
                "client_ip": b"192.0.2.1",
                "client_port": b"5",
                "login": b"a, client=b[1]",
                "sasl_method": b"PLAIN",
                "orig_client": b"o.example[192.0.2.7]",
                "orig_queue_id": b"Q1",
            },
        ),
        (
            "postfix/pickup",
            b"AB12: uid=1000 from=<alice>",
            {"kind": b"PICKUP", "id": b"AB12", "uid": b"1000", "sender": b"alice"},
        ),
        (
            "postfix/pickup",
            b"AB12: uid=102 from=<> orig_id=CD34",
            {"kind": b"PICKUP", "id": b"AB12", "uid": b"102", "orig_queue_id": b"CD34"},
        ),
        (
            "postfix/cleanup",
            b"AB12: message-id=<a, b=c> d@example.com>",
            {
                "kind": b"MESSAGE_ID",
                "id": b"AB12",
                "message_id": b"a, b=c",
                "instance": b"postfix",
            },
        ),
        (
            "mx-out/qmgr",
            b"AB12: from=<a@example.com>, size=12, nrcpt=3 (queue active)",
            {
                "kind": b"QUEUED",
                "id": b"AB12",
                "sender": b"a@example.com",
                "size": b"12",
                "nrcpt": b"3",
                "instance": b"mx-out",
            },
        ),
        (
            "postfix/nqmgr",
            b"AB12: from=root, size=12 (queue active)",
            {
                "kind": b"QUEUED",
                "id": b"AB12",
                "sender": b"root",
                "size": b"12",
                "instance": b"postfix",
            },
        ),
        ("postfix/cleanup", b"AB12: removed (canceled)", {"kind": b"REMOVED", "id": b"AB12"}),
        (
            "postfix/qmgr",
            b"AB12: from=<>, status=expired, returned to sender",
            {"kind": b"EXPIRED", "id": b"AB12", "word": b"expired"},
        ),
        (
            "postfix/qmgr",
            b"AB12: from=<a@example.com>, status=force-expired, returned to sender",
            {
                "kind": b"EXPIRED",
                "id": b"AB12",
                "word": b"force-expired",
                "sender": b"a@example.com",
            },
        ),
        ("postfix/qmgr", b"AB12: removed", {"kind": b"REMOVED", "id": b"AB12"}),
        (
            "postfix/bounce",
            b"AB12: sender non-delivery notification: CD34",
            {
                "kind": b"NOTICE",
                "id": b"AB12",
                "notice": b"sender non-delivery",
                "notice_queue_id": b"CD34",
            },
        ),
        (
            "postfix/bounce",
            b"AB12: postmaster delay notification: CD34",
            {
                "kind": b"NOTICE",
                "id": b"AB12",
                "notice": b"postmaster delay",
                "notice_queue_id": b"CD34",
            },
        ),
        (
            "postfix/postsuper",
            b"AB12: removed",
            {"kind": b"DELETED", "id": b"AB12", "by": b"postsuper"},
        ),
        (
            "postfix/postsuper",
            b"AB12: requeued",
            {"kind": b"REQUEUED", "id": b"AB12", "by": b"postsuper"},
        ),
        (
            "postfix/postsuper",
            b"AB12: placed on hold",
            {"kind": b"HELD", "id": b"AB12", "by": b"postsuper"},
        ),
        (
            "postfix/postsuper",
            b"AB12: released from hold",
            {"kind": b"RELEASED", "id": b"AB12", "by": b"postsuper"},
        ),
        (
            "postfix/smtpd",
            b"warning: connect to Milter service unix:m.sock: No such file or directory",
            {
                "kind": b"GAP",
                "source": b"milter",
                "reason": b"milter_unreachable",
                "text": b"connect to Milter service unix:m.sock: No such file or directory",
            },
        ),
        (
            "rsyslogd",
            b"imuxsock[pid 1]: begin to drop messages due to rate-limiting",
            {
                "kind": b"GAP",
                "source": b"log",
                "reason": b"rate_limited",
                "text": b"imuxsock[pid 1]: begin to drop messages due to rate-limiting",
                "phase": b"begins",
            },
        ),
        (
            "systemd-journald",
            b"Suppressed 12 messages from postfix@-.service",
            {
                "kind": b"GAP",
                "source": b"log",
                "reason": b"rate_limited",
                "text": b"Suppressed 12 messages from postfix@-.service",
                "lost": b"12",
                "unit": b"postfix@-.service",
            },
        ),
    ],
)
def test_a_line_gives_its_event(tag: str, text: bytes, expected: dict[str, bytes]) -> None:
    assert fields(tag, text) == {"id": b""} | expected


def test_empty_senders_and_message_ids_are_kept() -> None:
    queued = read("postfix/qmgr", b"AB12: from=<>, size=1, nrcpt=1 (queue active)")
    named_nothing = read("postfix/cleanup", b"AB12: message-id=<>")
    assert isinstance(queued, Event)
    assert isinstance(named_nothing, Event)
    assert queued.fields[0] == named_nothing.fields[0] == b""


def test_a_repeated_message_is_as_many_events_each_at_its_own_instant() -> None:
    refused = (
        b"NOQUEUE: reject: RCPT from unknown[192.0.2.4]: 450 4.7.1 Client host rejected: cannot"
        b" find your hostname, [192.0.2.4]; from=<s@example.org> to=<x@example.com> proto=SMTP"
        b" helo=<h.example>"
    )
    once = read("postfix/smtpd", refused)
    assert isinstance(once, Event)
    for text in (b"message repeated 3 times: [ %s]", b"message repeated 3 times: [%s]"):
        told = read("postfix/smtpd", text % refused)
        assert told == [once._replace(at_us=once.at_us + step) for step in (1, 2, 3)]
    many = read("postfix/smtpd", b"message repeated 999999 times: [ %s]" % refused)
    assert isinstance(many, list)
    assert len(many) == 1_000
    assert read("postfix/smtpd", b"message repeated 0 times: [ %s]" % refused) is None
    chatter = b"lost connection after AUTH from unknown[192.0.2.4]"
    assert read("postfix/smtpd", b"message repeated 2 times: [ %s]" % chatter) is None


@pytest.mark.parametrize(
    "text",
    [
        b"message repeated x times: [ AB12: removed]",
        b"message repeated 2 times",
        b"message repeated 9999999999 times: [ AB12: removed]",
        b"message repeated 2 times: [ message repeated 2 times: [ AB12: removed]]",
        b"message repeated 2 times: [ what is this]",
    ],
)
def test_what_only_looks_repeated_is_unknown(text: bytes) -> None:
    assert read("postfix/qmgr", text) is UNKNOWN


@pytest.mark.parametrize(
    ("logged", "message_id"),
    [
        (b"<1@example.com>+29A6080B", b"1@example.com"),
        (b"<1@example.com> (added by relay)", b"1@example.com"),
        (b"<cut at the length of a lo", b"cut at the length of a lo"),
        (b"=?UTF-8?B?PDE5?=", b"=?UTF-8?B?PDE5?="),
        (b" 1@example.com ", b"1@example.com"),
    ],
)
def test_a_damaged_message_id_is_what_stands_in_its_brackets(
    logged: bytes, message_id: bytes
) -> None:
    event = read("postfix/cleanup", b"AB12: message-id=" + logged)
    assert isinstance(event, Event)
    assert event.fields[0] == message_id


CLIENT = {"client_name": b"unknown", "client_ip": b"192.0.2.4"}
ENVELOPE = {"sender": b"s@example.org", "recipient": b"x@example.com"}
END = b"from=<s@example.org> to=<x@example.com> proto=ESMTP helo=<h.example>"
WHO = CLIENT | ENVELOPE | {"proto": b"ESMTP", "helo": b"h.example"}


@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        (
            "postfix/smtpd",
            b"NOQUEUE: reject: RCPT from unknown[192.0.2.4]:88: 550 5.1.1 <x>: no; " + END,
            WHO
            | {
                "action": b"reject",
                "stage": b"RCPT",
                "reply_code": b"550",
                "enhanced_status": b"5.1.1",
                "text": b"550 5.1.1 <x>: no",
                "client_port": b"88",
            },
        ),
        (
            "postfix/smtpd",
            b"reject: RCPT from unknown[192.0.2.4]: 554 Blocked; see http://b.example/?x; " + END,
            WHO
            | {
                "action": b"reject",
                "stage": b"RCPT",
                "reply_code": b"554",
                "text": b"554 Blocked; see http://b.example/?x",
            },
        ),
        (
            "postfix/smtpd",
            b"NOQUEUE: reject: CONNECT from unknown[192.0.2.4]: 554 5.7.1 No; proto=SMTP",
            CLIENT
            | {
                "action": b"reject",
                "stage": b"CONNECT",
                "reply_code": b"554",
                "enhanced_status": b"5.7.1",
                "text": b"554 5.7.1 No",
                "proto": b"SMTP",
                "sender": ABSENT,
            },
        ),
        (
            "postfix/smtpd",
            b"NOQUEUE: reject: MAIL from unknown[192.0.2.4]: 421 4.3.0 h Server local data error",
            CLIENT
            | {
                "action": b"reject",
                "stage": b"MAIL",
                "reply_code": b"421",
                "enhanced_status": b"4.3.0",
                "text": b"421 4.3.0 h Server local data error",
                "sender": ABSENT,
            },
        ),
        (
            "postfix/smtpd",
            b"NOQUEUE: reject: RCPT from unknown[192.0.2.4]: 450 4.7.1 later; "
            + END
            + b" sasl_username=<a> to=<b>",
            WHO
            | {
                "action": b"reject",
                "stage": b"RCPT",
                "reply_code": b"450",
                "enhanced_status": b"4.7.1",
                "text": b"450 4.7.1 later",
            },
        ),
        (
            "postfix/smtpd",
            b"AB12: redirect: RCPT from unknown[192.0.2.4]: <x@example.com>: Recipient address"
            b" triggers REDIRECT new@example.net; " + END,
            WHO
            | {
                "id": b"AB12",
                "action": b"redirect",
                "stage": b"RCPT",
                "text": b"<x@example.com>: Recipient address triggers REDIRECT new@example.net",
                "recipient": b"new@example.net",
            },
        ),
        (
            "postfix/cleanup",
            b"AB12: milter-reject: END-OF-MESSAGE from unknown[192.0.2.4]: 5.7.1 spam; " + END,
            WHO
            | {
                "id": b"AB12",
                "action": b"milter-reject",
                "stage": b"END-OF-MESSAGE",
                "enhanced_status": b"5.7.1",
                "text": b"5.7.1 spam",
                "daemon": b"cleanup",
            },
        ),
        (
            "postfix/cleanup",
            b"AB12: reject: header Subject: a from b[1] from unknown[192.0.2.4]; "
            + END
            + b": 5.7.1 no",
            WHO
            | {
                "id": b"AB12",
                "action": b"reject",
                "stage": b"header",
                "enhanced_status": b"5.7.1",
                "text": b"5.7.1 no",
                "daemon": b"cleanup",
            },
        ),
        (
            "postfix/cleanup",
            b"AB12: hold: header Subject: a from local; from=<s@example.org> to=<x@example.com>: kept",
            ENVELOPE
            | {
                "id": b"AB12",
                "action": b"hold",
                "stage": b"header",
                "text": b"kept",
                "daemon": b"cleanup",
            },
        ),
        (
            "postfix/cleanup",
            b"AB12: milter-header-redirect: header X: y from unknown[192.0.2.4]; "
            + END
            + b": n@example.net",
            WHO
            | {
                "id": b"AB12",
                "action": b"milter-header-redirect",
                "stage": b"header",
                "text": b"n@example.net",
                "recipient": b"n@example.net",
                "daemon": b"cleanup",
            },
        ),
        (
            "postfix/cleanup",
            b"AB12: discard: body bad words from unknown[192.0.2.4]; " + END,
            WHO
            | {
                "id": b"AB12",
                "action": b"discard",
                "stage": b"body",
                "text": b"bad words",
                "daemon": b"cleanup",
            },
        ),
        (
            "postfix/smtpd",
            b"proxy-reject: END-OF-MESSAGE: 554 5.7.0 from MTA(x): spam; " + END,
            ENVELOPE
            | {
                "action": b"proxy-reject",
                "stage": b"END-OF-MESSAGE",
                "reply_code": b"554",
                "enhanced_status": b"5.7.0",
                "text": b"554 5.7.0 from MTA(x): spam",
                "proto": b"ESMTP",
                "helo": b"h.example",
            },
        ),
        (
            "postfix/postscreen",
            b"NOQUEUE: reject: RCPT from [2001:db8::4]:48504: 550 5.7.1 Service unavailable;"
            b" client [2001:db8::4] blocked using b.example; from=<s@example.org>,"
            b" to=<x@example.com>, proto=ESMTP, helo=<h.example>",
            ENVELOPE
            | {
                "action": b"reject",
                "stage": b"RCPT",
                "reply_code": b"550",
                "enhanced_status": b"5.7.1",
                "text": b"550 5.7.1 Service unavailable; client [2001:db8::4] blocked using b.example",
                "client_ip": b"2001:db8::4",
                "client_port": b"48504",
                "proto": b"ESMTP",
                "helo": b"h.example",
                "daemon": b"postscreen",
            },
        ),
        (
            "postfix/smtpd",
            b"NOQUEUE: reject: RCPT from unknown[192.0.2.4]: 553 5.7.1 no; "
            + END
            + b" sasl_method=PLAIN sasl_username=jo; from=<f@example.net> sasl_sender=x",
            WHO
            | {
                "action": b"reject",
                "stage": b"RCPT",
                "reply_code": b"553",
                "enhanced_status": b"5.7.1",
                "text": b"553 5.7.1 no",
            },
        ),
        (
            "postfix/smtpd",
            b"NOQUEUE: reject: RCPT from unknown[192.0.2.4]: 553 5.7.1 <a; from=<f@example.net>"
            b" to=<v@example.com> sasl_method=x>: no; " + END,
            WHO
            | {
                "action": b"reject",
                "stage": b"RCPT",
                "reply_code": b"553",
                "enhanced_status": b"5.7.1",
                "text": b"553 5.7.1 <a; from=<f@example.net> to=<v@example.com> sasl_method=x>: no",
            },
        ),
        (
            "postfix/smtpd",
            b"AB12: reject: DATA content from unknown[192.0.2.4]: bare <LF> received; " + END,
            WHO
            | {
                "id": b"AB12",
                "action": b"reject",
                "stage": b"DATA content",
                "text": b"bare <LF> received",
            },
        ),
        (
            "postfix/cleanup",
            b"AB12: reject: mime-error improper use of 8-bit data in message header: X: y"
            b" from unknown[192.0.2.4]; from=<s@example.org> to=<unknown>",
            CLIENT
            | {
                "id": b"AB12",
                "action": b"reject",
                "stage": b"mime-error",
                "text": b"improper use of 8-bit data in message header: X: y",
                "sender": b"s@example.org",
                "daemon": b"cleanup",
            },
        ),
        (
            "postfix/smtpd",
            b"warning: AB12: queue file size limit exceeded",
            {
                "id": b"AB12",
                "action": b"too-large",
                "stage": b"DATA",
                "reply_code": b"552",
                "enhanced_status": b"5.3.4",
                "text": b"queue file size limit exceeded",
                "sender": ABSENT,
            },
        ),
    ],
)
def test_what_happens_at_the_door(tag: str, text: bytes, expected: dict[str, bytes]) -> None:
    assert fields(tag, text) == {"kind": b"DOOR", "id": b"", "daemon": b"smtpd"} | expected


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("postfix/smtpd", b"NOQUEUE: reject_warning: RCPT from unknown[192.0.2.4]: 450 x; " + END),
        (
            "postfix/smtpd",
            b"NOQUEUE: reject: VRFY from unknown[192.0.2.4]: 550 x; to=<x@example.com>",
        ),
        ("postfix/smtpd", b"NOQUEUE: client=unknown[192.0.2.4]"),
        ("postfix/smtpd", b"lost connection after DATA (19 bytes) from unknown[192.0.2.4]"),
        ("postfix/smtpd", b"warning: hostname x.example does not resolve to address 192.0.2.4"),
        ("postfix/cleanup", b"AB12: warning: header Subject: x from local; from=<a> to=<b>: seen"),
        ("postfix/cleanup", b"AB12: replace: header X: y from local; from=<a> to=<b>: z"),
        ("postfix/cleanup", b"AB12: resent-message-id=<x@example.com>"),
        ("postfix/qmgr", b"AB12: skipped, still being delivered"),
        (
            "postfix/smtpd",
            b"AB12: lost connection after DATA (19 bytes) from x.example[2001:db8::4]",
        ),
        ("postfix/smtpd", b"AB12: timeout after BDAT (19 bytes) from unknown[192.0.2.4]"),
        ("postfix/smtpd", b"NOQUEUE: too many errors after RCPT from unknown[192.0.2.4]"),
        ("postfix/smtpd", b"AB12: reply filter in: 550 5.1.1 status=sent (x)"),
        ("postfix/smtpd", b'unknown[192.0.2.4]: replacing command "EHLO x" with "EHLO y"'),
        ("postfix/smtpd", b"mapping DSN status 5.1.1 into Recipient status 5.1.1"),
        ("postfix/smtpd", b"NOQUEUE: hangup: RCPT from unknown[192.0.2.4]: x; " + END),
        ("postfix/qmqpd", b"NOQUEUE: unknown[192.0.2.4]: lost connection while receiving"),
        ("postfix/cleanup", b"AB12: status=deferred (bounce failed)"),
        (
            "postfix/cleanup",
            b"AB12: masquerade_exceptions map lookup problem -- message not accepted",
        ),
        (
            "postfix/bounce",
            b"AB12: not sending trace/success notification for double-bounce message",
        ),
        ("postfix/postscreen", b'[192.0.2.4]:48504: replacing command "RCPT" with "NOOP"'),
        ("postfix/postscreen", b"BDAT without valid RCPT from [192.0.2.4]:48504"),
        ("postfix/smtp", b"Unverified: subject_CN=mx.example.net, issuer=x"),
        (
            "postfix/smtp",
            b"host mx.example.net[192.0.2.9] offers SMTPUTF8 support, but not 8BITMIME",
        ),
        ("postfix/smtp", b"AB12: Sender requested REQUIRETLS, but it was not offered by host x"),
        ("postfix/lmtp", b"AB12: status=deferred (bounce failed)"),
        ("postfix/qmgr", b"warning: connect to transport private/x: Connection refused"),
        ("postfix/smtp", b"AB12: host mx.example.net[192.0.2.9] said: 450 status=sent (x)"),
        ("postfix/smtp", b"connect to mx.example.net[192.0.2.9]:25: Connection timed out"),
        ("postfix/smtp", b"AB12: lost connection with mx.example.net[192.0.2.9] while sending"),
        ("postfix/postscreen", b"PASS NEW [192.0.2.4]:48504"),
        (
            "postfix/postscreen",
            b"NOQUEUE: reject: CONNECT from [192.0.2.4]:4: too many connections",
        ),
        ("postfix/postsuper", b"Deleted: 115 messages"),
        ("postfix/postsuper", b"AB12: expired"),
        ("postfix/anvil", b"statistics: max cache size 1 at Nov 23 18:30:01"),
        ("postfix/scache", b"statistics: start interval Nov 23 18:30:01"),
        ("sshd", b"AB12: removed"),
        ("smtpd", b"connect from unknown[192.0.2.4]"),
        ("dovecot/lmtp", b"AB12: to=<x@example.com>, relay=none, delay=0, status=sent (x)"),
        ("a/b/c/d", b"anything"),
    ],
)
def test_what_tells_nothing_is_none(tag: str, text: bytes) -> None:
    assert read(tag, text) is None


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("postfix/smtp", b"AB12: to=<bob@exa"),
        ("postfix/smtp", b"AB12: to=<b@example.com>, relay=none, delay=1, status=lost (x)"),
        ("postfix/smtp", b"AB12: to=<b@example.com>, relay=none, delay=1, x=1, status=sent (x)"),
        ("postfix/smtp", b'AB12: to=<"b@example.com>, relay=none, delay=1, status=sent (x)'),
        ("postfix/smtp", b"AB12: something new, status=sent (250 ok)"),
        ("postfix/smtp", b"to=<x@example.com>, relay=none, delay=0, status=sent (no queue id)"),
        ("postfix/qmgr", b"AB12: from=<a@example.com>, size=12, nrc"),
        ("postfix/cleanup", b"AB12: something new"),
        ("postfix/smtpd", b"connect from somewhere"),
        ("postfix/bounce", b"AB12: sender notification: none at all"),
        ("postfix/pickup", b"AB12: from=<x>"),
        ("postfix/postsuper", b"AB12: polished"),
        ("postfix/smtpd", b""),
    ],
)
def test_what_is_not_understood_is_unknown(tag: str, text: bytes) -> None:
    assert read(tag, text) is UNKNOWN


@pytest.mark.parametrize("daemon", ["smtpd", "qmgr", "cleanup", "bounce", "pickup", "postscreen"])
def test_status_is_believed_from_delivery_agents_only(daemon: str) -> None:
    agents_own = {"qmgr", "cleanup"}  # these bounce and defer by themselves, in a line of this form
    event = read(f"postfix/{daemon}", b"AB12: x to=<b@example.com>, relay=none, status=sent (x)")
    assert event is UNKNOWN
    assert read(f"postfix/{daemon}", tail(b"sent", b"x")) is UNKNOWN
    event = read(f"postfix/{daemon}", tail(b"bounced", b"x"))
    assert isinstance(event, Event) == (daemon in agents_own)


def test_everything_a_real_postfix_wrote_is_understood() -> None:
    parser = LineParser(timezone=zone("UTC"), reference_us=NOW_US)
    kinds: Counter[str] = Counter()
    sent_to_sink = []
    for raw in RECORDED.read_bytes().splitlines():
        line = parser.parse(raw)
        assert line is not None, raw
        event = parse(line)
        assert event is not UNKNOWN, raw
        if isinstance(event, Event):
            kinds[Kind(event.kind).name] += 1
            said = named(event)
            if event.kind == Kind.DELIVERY and said["final_recipient"].startswith(b'"b>, relay'):
                domain = said["final_recipient"].rpartition(b"@")[2]
                sent_to_sink.append((domain, said["outcome"], said["relay"].partition(b"[")[0]))
    assert set(sent_to_sink) == {
        (b"sink.test", b"sent", b"127.0.0.1"),
        (b"defer.test", b"deferred", b"127.0.0.1"),
        (b"reject.test", b"bounced", b"127.0.0.1"),
        (b"late.test", b"bounced", b"127.0.0.1"),
        (b"dead.test", b"deferred", b"none"),
        (b"discard.test", b"sent", b"none"),
    }
    assert set(kinds) == {
        "CLIENT", "CONNECT", "DELETED", "DELIVERY", "DISCONNECT", "DOOR", "EXPIRED", "GAP", "HELD",
        "MESSAGE_ID", "NOTICE", "PICKUP", "QUEUED", "RELEASED", "REMOVED", "REQUEUED", "TLS_IN",
    }  # fmt: skip


def test_the_recorded_forgeries_of_header_and_sender_fail() -> None:
    parser = LineParser(timezone=zone("UTC"), reference_us=NOW_US)
    lines = [parser.parse(raw) for raw in RECORDED.read_bytes().splitlines()]
    events = [event for line in lines if line and isinstance(event := parse(line), Event)]
    doors = [named(event) for event in events if event.kind == Kind.DOOR]
    assert doors
    for door in doors:
        assert door["sender"] != b"bank@example.com"
        assert door["recipient"] not in (b"v@example.net", b"fake@example.org")
        assert door["client_ip"] != b"192.0.2.5"
    senders = {named(event)["sender"] for event in events if event.kind == Kind.QUEUED}
    assert b'"x>, size=1, nrcpt=9 (queue active)"@example.com' in senders
    assert b'"x>, status=expired, returned to sender"@example.com' in senders
