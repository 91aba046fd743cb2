"""Exim's lines, as its sources write them, give the events that they tell."""

from typing import Final

import pytest

from journal.events import ABSENT, Event, Kind, named
from milterd.lines import exim_scan, formats
from milterd.lines.exim_header import EximParser, inner
from milterd.lines.programs import UNKNOWN, Parsed, is_mail, parse
from milterd.lines.stamps import zone
from milterd.lines.syslog import Line, LineParser

NOW_US: Final = 1_795_458_601_000_000  # 2026-11-23T18:30:01Z
ID: Final = b"1vNQWa-0000000AbCd-1234"
OLD: Final = b"1Ulqc1-0003fr-45"


def split(raw: bytes, timezone: str = "UTC") -> Line:
    line = EximParser(timezone=zone(timezone), reference_us=NOW_US).parse(raw)
    assert line is not None
    return line


def read(text: bytes) -> Parsed:
    """What a line of the main log tells."""
    return parse(split(b"2026-11-23 18:30:01 " + text))


def told(text: bytes) -> list[dict[str, bytes]]:
    """The events of a line, by name, without what they do not say."""
    found = read(text)
    events = [found] if isinstance(found, Event) else found
    assert isinstance(events, list), found
    return [
        {"kind": Kind(event.kind).name.encode(), "id": event.queue_id}
        | {name: value for name, value in named(event).items() if value}
        for event in events
    ]


def one(text: bytes) -> dict[str, bytes]:
    """The only event of a line."""
    (found,) = told(text)
    return found


# -- headers --------------------------------------------------------------------------------


HEADERS = {
    "plain": (b"2026-11-23 18:30:01 x y", NOW_US, 0, b"x y"),
    "milliseconds": (b"2026-11-23 18:30:01.250 x", NOW_US + 250_000, 0, b"x"),
    "offset": (b"2026-11-23 19:30:01 +0100 x", NOW_US, 0, b"x"),
    "process": (b"2026-11-23 18:30:01 [4711] x", NOW_US, 4711, b"x"),
    "all three": (b"2026-11-23 17:30:01.250 -0100 [4711] x", NOW_US + 250_000, 4711, b"x"),
    "a bracket that is no process": (
        b"2026-11-23 18:30:01 [192.0.2.1] x",
        NOW_US,
        0,
        b"[192.0.2.1] x",
    ),
    "NULs before it": (b"\0\0" + b"2026-11-23 18:30:01 x", NOW_US, 0, b"x"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_main_log_line_is_split(name: str) -> None:
    raw, at_us, pid, text = HEADERS[name]
    line = split(raw)
    assert (line.at_us, line.pid, line.text) == (at_us, pid, text)
    assert (line.host, line.instance, line.daemon) == (b"", b"exim", b"exim")
    assert is_mail(line)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x",
        b"Nov 23 18:30:01 mx exim[1]: x",
        b"2026-11-23 18:30:01",
        b"2026-11-23 18:30:01x y",
        b"2026-13-23 18:30:01 y",
        b"2026-11-23T18:30:01 y",
        b"  Suggested action: either install a certificate",
    ],
)
def test_what_has_no_stamp_is_no_line(raw: bytes) -> None:
    assert EximParser(timezone=zone("UTC"), reference_us=NOW_US).parse(raw) is None


def test_local_stamps_are_told_apart_where_daylight_saving_time_ends() -> None:
    parser = EximParser(timezone=zone("Europe/Berlin"), reference_us=NOW_US)
    stamps = [b"02:10:00", b"02:50:00", b"02:10:00", b"03:10:00"]
    lines = [parser.parse(b"2026-10-25 " + stamp + b" x") for stamp in stamps]
    minutes = [(line.at_us - lines[0].at_us) // 60_000_000 for line in lines if line and lines[0]]
    assert minutes == [0, 40, 60, 120]


def test_what_syslog_repeats_is_taken_off() -> None:
    assert inner(b"2026-11-23 18:30:01 x y") == b"x y"
    assert inner(b"2026-11-23 18:30:01.250 +0100 [12] x") == b"x"
    assert inner(b"[1/5] 2026-11-23 18:30:01 x") == b"x"
    assert inner(b"[2\\5]  more of it") is None
    assert inner(b"[192.0.2.1] SSL verify error") == b"[192.0.2.1] SSL verify error"
    assert inner(OLD + b" Completed") == OLD + b" Completed"


@pytest.mark.parametrize("stamp", [b"", b"2026-11-23 18:30:01 "])
@pytest.mark.parametrize("tag", [b"exim", b"exim4"])
def test_behind_a_syslog_header_the_text_is_the_same(tag: bytes, stamp: bytes) -> None:
    parser = LineParser(timezone=zone("UTC"), reference_us=NOW_US)
    line = parser.parse(b"Nov 23 18:30:01 mx %s[4242]: %s%s Completed" % (tag, stamp, ID))
    assert line is not None
    event = parse(line)
    assert isinstance(event, Event)
    assert (event.kind, event.queue_id, event.pid) == (Kind.REMOVED, ID, 4242)
    assert line.host == b"mx"


def test_the_form_of_a_log_is_told_by_what_exim_alone_writes() -> None:
    stamp = b"2026-11-23 18:30:01 "
    exim = [
        stamp + ID + b" Completed",
        stamp + b"[12] " + OLD + b" Completed",
        stamp + b"+0100 Start queue run: pid=7",
        stamp + b"login authenticator failed for (x) [192.0.2.1]: 535 Incorrect",
    ]
    other = [
        stamp + b"mx postfix/smtpd[7]: connect from unknown[192.0.2.1]",
        stamp + b"status installed base-files:amd64 12",
        b"2026-11-23T18:30:01Z mx postfix/qmgr[7]: AB12: removed",
        b"Nov 23 18:30:01 mx exim[7]: " + OLD + b" Completed",
        b"",
    ]
    assert [formats.sniff([raw]) for raw in exim] == ["exim"] * len(exim)
    assert [formats.sniff([raw]) for raw in other] == ["syslog"] * len(other)
    assert formats.sniff([b"\0\0", b"half a line", *exim]) == "exim"
    assert formats.sniff(exim, "postfix") == "syslog"
    assert formats.sniff([other[3], *exim]) == formats.sniff([other[2], *exim]) == "syslog"
    assert formats.sniff([stamp + b"something of ours"], "exim") == "exim"
    assert formats.sniff(other[2:], "exim") == "syslog"


def test_a_followed_log_is_what_its_first_lines_say() -> None:
    exim = formats.Sniffing(timezone=zone("UTC"), reference_us=NOW_US)
    assert exim.parse(b"half of a line") is None
    line = exim.parse(b"2026-11-23 18:30:01 " + ID + b" Completed")
    assert line is not None
    assert line.daemon == b"exim"
    line = exim.parse(b"2026-11-23 18:30:02 anything goes")
    assert line is not None
    assert line.daemon == b"exim"
    exim.reference_us = NOW_US + 5
    assert (exim.reference_us, exim.year) == (NOW_US + 5, None)
    assert exim.last_us == NOW_US - 1_000_000  # the minute
    syslog = formats.Sniffing(timezone=zone("UTC"), reference_us=NOW_US)
    line = syslog.parse(b"Nov 23 18:30:01 mx postfix/qmgr[7]: AB12: removed")
    assert line is not None
    assert line.daemon == b"qmgr"
    assert syslog.parse(b"2026-11-23 18:30:01 " + ID + b" Completed") is None
    assert syslog.year == 2026


# -- arrival --------------------------------------------------------------------------------


def test_a_message_of_a_host_with_everything() -> None:
    events = told(
        ID + b" <= alice@example.net H=mx.example.net (helo.example.net) [192.0.2.9]:50312"
        b" I=[198.51.100.1]:25 U=ident Ci=4711 P=esmtpsa L. X=TLS1.3:TLS_AES_256_GCM_SHA384:256"
        b' CV=yes DN="/CN=mx.example.net" SNI=mx.example.com A=dovecot_login:alice@example.com'
        b" PRDR K S=2345 M8S=8 DKIM=example.net RT=0.1s id=a1@example.net"
        b' T="He said \\"x\\" S=1 for z@example.com" from <Alice@example.net>'
        b' for bob@example.com "a b"@example.com'
    )
    assert events == [
        {
            "kind": b"CLIENT", "id": ID, "client_name": b"mx.example.net",
            "client_ip": b"192.0.2.9", "client_port": b"50312", "login": b"alice@example.com",
            "sasl_method": b"dovecot_login", "tls": b"TLSv1.3 TLS_AES_256_GCM_SHA384",
            "helo": b"helo.example.net",
        },
        {
            "kind": b"MESSAGE_ID", "id": ID, "message_id": b"a1@example.net",
            "instance": b"exim", "subject": b'He said "x" S=1 for z@example.com',
        },
        {
            "kind": b"QUEUED", "id": ID, "sender": b"alice@example.net", "size": b"2345",
            "nrcpt": b"2", "instance": b"exim",
        },
        {"kind": b"RCPT", "id": ID, "recipient": b"bob@example.com"},
        {"kind": b"RCPT", "id": ID, "recipient": b'"a b"@example.com'},
    ]  # fmt: skip


def test_a_message_of_a_local_user() -> None:
    events = told(OLD + b" <= root@example.com U=root P=local S=300 for bob")
    assert events == [
        {"kind": b"PICKUP", "id": OLD, "uid": b"root", "sender": b"root@example.com"},
        {
            "kind": b"QUEUED", "id": OLD, "sender": b"root@example.com", "size": b"300",
            "nrcpt": b"1", "instance": b"exim",
        },
    ]  # fmt: skip


def test_a_notice_names_the_message_it_is_about() -> None:
    queued, notice = told(ID + b" <= <> R=" + OLD + b" U=Debian-exim P=local S=1500")
    assert queued == {"kind": b"QUEUED", "id": ID, "size": b"1500", "instance": b"exim"}
    assert notice == {"kind": b"NOTICE", "id": OLD, "notice": b"sender", "notice_queue_id": ID}


CLIENTS = {
    b"H=mx.example.net [192.0.2.9]": (b"mx.example.net", b"mx.example.net", b"192.0.2.9", b""),
    b"H=([192.0.2.7]) [192.0.2.9]:7": (b"", b"[192.0.2.7]", b"192.0.2.9", b"7"),
    b"H=[192.0.2.9]": (b"", b"", b"192.0.2.9", b""),
    b"DS H=a.example (b) [2001:db8::1]:9": (b"a.example", b"b", b"2001:db8::1", b"9"),
}


@pytest.mark.parametrize("host", CLIENTS)
def test_only_the_last_address_of_a_host_is_believed(host: bytes) -> None:
    client = told(ID + b" <= a@example.net " + host + b" P=smtp S=9")[0]
    found = tuple(
        client.get(name, b"") for name in ("client_name", "helo", "client_ip", "client_port")
    )
    assert found == CLIENTS[host]


@pytest.mark.parametrize(
    ("text", "sender", "size"),
    [
        (
            b'<= "x <= y S=1"@example.net H=a [192.0.2.9] P=smtp S=7',
            b'"x <= y S=1"@example.net',
            b"7",
        ),
        (b"<= a@example.net H=a [192.0.2.9] P=smtp S=7 id=S=8@x", b"a@example.net", b"7"),
        (b'(= a@example.net U=a P=local S=7 T="S=8 => b"', b"a@example.net", b"7"),
    ],
)
def test_what_a_sender_chose_is_no_field(text: bytes, sender: bytes, size: bytes) -> None:
    (queued,) = [event for event in told(ID + b" " + text) if event["kind"] == b"QUEUED"]
    assert (queued["sender"], queued["size"]) == (sender, size)


def test_a_subject_is_as_it_was() -> None:
    text = ID + b' <= a@example.net U=a P=local S=7 T="Gr\\303\\274\\303\\237e \\\\ \\"1\\"\\n"'
    assert told(text)[1]["subject"] == 'Grüße \\ "1"\n'.encode()


# -- delivery -------------------------------------------------------------------------------


DELIVERIES = {
    "local": (
        b"=> bob <bob@example.com> R=localuser T=local_delivery QT=1m3s DT=0s",
        {
            "daemon": b"local", "recipient": b"bob@example.com",
            "final_recipient": b"bob@example.com", "relay": b"local_delivery", "delay": b"63",
            "outcome": b"sent",
        },
    ),
    "alias of a local user": (
        b"=> bob <info@example.com> R=localuser T=local_delivery",
        {
            "daemon": b"local", "recipient": b"info@example.com", "final_recipient": b"bob",
            "relay": b"local_delivery", "outcome": b"sent",
        },
    ),
    "remote": (
        b"=> c@example.net R=dnslookup T=remote_smtp S=700 H=mx.example.net [192.0.2.9]:25*"
        b" I=[198.51.100.1]:41000 X=TLS1.2:ECDHE-RSA-AES256-GCM-SHA384:256 CV=yes"
        b' DN="CN=mx.example.net" A=plain:x L K DKIM=example.com:sel'
        b' C="250 2.0.0 Ok: queued as 7F5D24022C" QT=1.578s DT=0.5s',
        {
            "daemon": b"smtp", "final_recipient": b"c@example.net",
            "relay": b"mx.example.net[192.0.2.9]:25", "delay": b"1.578",
            "enhanced_status": b"2.0.0", "outcome": b"sent",
            "text": b"250 2.0.0 Ok: queued as 7F5D24022C",
            "tls": b"TLSv1.2 ECDHE-RSA-AES256-GCM-SHA384", "next_queue_id": b"7F5D24022C",
            "next_hop": b"queued",
        },
    ),
    "another address of the same delivery, to an Exim": (
        b"-> d@example.net <list@example.com> R=dnslookup T=remote_smtp"
        b' H=mx.example.net [192.0.2.9] C="250 OK id=1vNQWb-0000000AbCe-2222"',
        {
            "daemon": b"smtp", "recipient": b"list@example.com",
            "final_recipient": b"d@example.net", "relay": b"mx.example.net[192.0.2.9]",
            "outcome": b"sent", "text": b"250 OK id=1vNQWb-0000000AbCe-2222",
            "next_queue_id": b"1vNQWb-0000000AbCe-2222", "next_hop": b"queued",
        },
    ),
    "cutthrough": (
        b'>> c@example.net P=<a@example.net> R=r T=smtp H=127.0.0.1 [127.0.0.1] C="250 OK"',
        {
            "daemon": b"smtp", "final_recipient": b"c@example.net",
            "relay": b"127.0.0.1[127.0.0.1]", "outcome": b"sent", "text": b"250 OK",
        },
    ),
    "Dovecot by LMTP on a socket": (
        b"=> bob <bob@example.com> F=<a@example.net> R=virtual T=dovecot_lmtp"
        b' C="250 2.0.0 <bob@example.com> kOZvAbc Saved"',
        {
            "daemon": b"lmtp", "recipient": b"bob@example.com",
            "final_recipient": b"bob@example.com", "relay": b"dovecot_lmtp",
            "enhanced_status": b"2.0.0", "outcome": b"sent",
            "text": b"250 2.0.0 <bob@example.com> kOZvAbc Saved",
        },
    ),
    "a command": (
        b'=> |/usr/bin/autorespond "x <y@z.example> T=1" /home (owner@example.com) <info@example.com>'
        b" R=virtual_aliases T=address_pipe",
        {
            "daemon": b"pipe", "recipient": b"info@example.com",
            "final_recipient": b"owner@example.com", "relay": b"address_pipe", "outcome": b"sent",
        },
    ),
    "a pipe by the transport's name": (
        b"=> bob <bob@example.com> R=procmail T=procmail_pipe",
        {
            "daemon": b"pipe", "recipient": b"bob@example.com",
            "final_recipient": b"bob@example.com", "relay": b"procmail_pipe", "outcome": b"sent",
        },
    ),
    "a file": (
        b"=> /var/mail/archive <bob@example.com> R=filter T=address_file",
        {
            "daemon": b"local", "recipient": b"bob@example.com",
            "final_recipient": b"bob@example.com", "relay": b"address_file", "outcome": b"sent",
        },
    ),
    "nowhere": (
        b"=> :blackhole: <hole@example.com> R=system_aliases",
        {
            "daemon": b"discard", "recipient": b"hole@example.com",
            "final_recipient": b"hole@example.com", "outcome": b"sent",
        },
    ),
    "/dev/null": (
        b"=> /dev/null <hole@example.com> R=system_aliases T=**bypassed**",
        {
            "daemon": b"discard", "recipient": b"hole@example.com",
            "final_recipient": b"hole@example.com", "outcome": b"sent",
        },
    ),
    "discarded by a filter": (
        b"=> discarded <bob@example.com> R=userforward",
        {
            "daemon": b"discard", "recipient": b"bob@example.com",
            "final_recipient": b"bob@example.com", "outcome": b"sent",
        },
    ),
    "only as if (-N)": (
        b"*> c@example.net R=dnslookup T=smtp H=192.0.2.9 [192.0.2.9]"
        b' C="delivery bypassed by -N option"',
        {
            "daemon": b"discard", "final_recipient": b"c@example.net",
            "relay": b"192.0.2.9[192.0.2.9]", "outcome": b"sent",
            "text": b"delivery bypassed by -N option",
        },
    ),
    "an answer": (
        b"=> >alice@example.net <bob@example.com> R=userfilter T=address_reply",
        {
            "daemon": b"local", "recipient": b"bob@example.com",
            "final_recipient": b"bob@example.com", "relay": b"address_reply",
            "outcome": b"answered", "text": b">alice@example.net",
        },
    ),
    "refused by the other side": (
        b"** c@example.net F=<a@example.com> P=<a@example.com> R=dnslookup T=remote_smtp"
        b" H=mx.example.net [192.0.2.9]:25 X=TLS1.3:TLS_AES_128_GCM_SHA256:128 CV=yes :"
        b" SMTP error from remote mail server after RCPT TO:<c@example.net>:"
        b" 550 5.1.1 <c@example.net>: => status=sent DT=2s",
        {
            "daemon": b"smtp", "final_recipient": b"c@example.net",
            "relay": b"mx.example.net[192.0.2.9]:25", "enhanced_status": b"5.1.1",
            "outcome": b"bounced", "tls": b"TLSv1.3 TLS_AES_128_GCM_SHA256",
            "text": b"SMTP error from remote mail server after RCPT TO:<c@example.net>:"
            b" 550 5.1.1 <c@example.net>: => status=sent",
        },
    ),
    "the same before 4.90": (
        b"** c@example.net R=dnslookup T=remote_smtp: SMTP error from remote mailer after"
        b" pipelined RCPT TO:<c@example.net>: host mx.example.net [192.0.2.9]: 553 5.3.0 no",
        {
            "final_recipient": b"c@example.net", "relay": b"remote_smtp",
            "enhanced_status": b"5.3.0", "outcome": b"bounced",
            "text": b"SMTP error from remote mailer after pipelined RCPT TO:<c@example.net>:"
            b" host mx.example.net [192.0.2.9]: 553 5.3.0 no",
        },
    ),
    "not routed": (
        b"** nobody@example.com <list@example.com>: Unrouteable address",
        {
            "recipient": b"list@example.com", "final_recipient": b"nobody@example.com",
            "outcome": b"bounced", "text": b"Unrouteable address",
        },
    ),
    "given up": (
        b"** c@example.net: retry timeout exceeded",
        {
            "final_recipient": b"c@example.net", "outcome": b"bounced",
            "text": b"retry timeout exceeded",
        },
    ),
    "a command that failed": (
        b"** |/bin/false <bob@example.com> R=aliases T=address_pipe : Child process of"
        b" address_pipe transport returned 1 from command: /bin/false",
        {
            "daemon": b"pipe", "recipient": b"bob@example.com",
            "final_recipient": b"bob@example.com", "relay": b"address_pipe",
            "outcome": b"bounced",
            "text": b"Child process of address_pipe transport returned 1 from command: /bin/false",
        },
    ),
    "for now, by the other side": (
        b"== c@example.net R=dnslookup T=remote_smtp defer (-44) H=mx.example.net [192.0.2.9]:25"
        b" DT=1s: SMTP error from remote mail server after RCPT TO:<c@example.net>:"
        b" 451 4.7.1 Greylisted",
        {
            "daemon": b"smtp", "final_recipient": b"c@example.net",
            "relay": b"mx.example.net[192.0.2.9]:25", "enhanced_status": b"4.7.1",
            "outcome": b"deferred",
            "text": b"SMTP error from remote mail server after RCPT TO:<c@example.net>:"
            b" 451 4.7.1 Greylisted",
        },
    ),
    "for now, by the network": (
        b"== c@example.net R=dnslookup T=remote_smtp defer (110): Connection timed out"
        b" H=mx.example.net [192.0.2.9]: SMTP timeout after initial connection",
        {
            "daemon": b"smtp", "final_recipient": b"c@example.net",
            "relay": b"mx.example.net[192.0.2.9]", "outcome": b"deferred",
            "text": b"Connection timed out: SMTP timeout after initial connection",
        },
    ),
    "for now, by the network, as 4.96 writes it": (
        b"== c@example.net R=dnslookup T=remote_smtp defer (111): Connection refused DT=0s",
        {
            "final_recipient": b"c@example.net",
            "relay": b"remote_smtp",
            "outcome": b"deferred",
            "text": b"Connection refused",
        },
    ),
    "for now, without a host": (
        b"== bob@example.com R=localuser T=local_delivery defer (-22): mailbox is full",
        {
            "final_recipient": b"bob@example.com", "relay": b"local_delivery",
            "outcome": b"deferred", "text": b"mailbox is full",
        },
    ),
    "not tried": (
        b"== c@example.net routing defer (-52): retry time not reached",
        {
            "final_recipient": b"c@example.net", "outcome": b"deferred",
            "text": b"retry time not reached",
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DELIVERIES)
def test_a_delivery_says_whom_where_and_what(name: str) -> None:
    text, expected = DELIVERIES[name]
    assert one(ID + b" " + text) == {"kind": b"DELIVERY", "id": ID} | expected


FORGED = {
    b'=> x <y@example.com> R=a T=b@example.net <"x <y@example.com> R=a T=b"@example.net>'
    b' R=dnslookup T=smtp H=mx [192.0.2.9] C="250 OK"': b'"x <y@example.com> R=a T=b"@example.net',
    b"** x@example.com R=a T=b : no@example.net"
    b' <"x@example.com R=a T=b : no"@example.net> R=dnslookup T=smtp : no'
    b" <z@example.com> R=z : y": b'"x@example.com R=a T=b : no"@example.net',
    b'== a "b@example.net <"a \\"b"@example.net> R=r T=t defer (-1): x': b'"a \\"b"@example.net',
    b'=> /dev/null <"/dev/null"@example.com> R=r T=local_delivery': b'"/dev/null"@example.com',
    b'=> |x <"|x"@example.com> R=r T=local_delivery': b'"|x"@example.com',
    b'=> :blackhole: <":blackhole:"@example.com> R=r T=local': b'":blackhole:"@example.com',
}


@pytest.mark.parametrize("text", FORGED)
def test_an_address_with_blanks_is_not_misread(text: bytes) -> None:
    event = one(ID + b" " + text)
    assert event["final_recipient"] == event["recipient"] == FORGED[text]
    assert event.get("daemon", b"") in (b"smtp", b"local", b"")


# -- what was done to it --------------------------------------------------------------------


HANDLED: dict[bytes, dict[str, bytes] | None] = {
    b"Completed": {"kind": b"REMOVED"},
    b"Completed QT=3m45s": {"kind": b"REMOVED"},
    b"Frozen": {"kind": b"HELD", "by": b"exim", "text": b"Frozen"},
    b"Frozen (delivery error message)": {
        "kind": b"HELD", "by": b"exim", "text": b"Frozen (delivery error message)",
    },
    b"frozen by root": {"kind": b"HELD", "by": b"root", "text": b"frozen by root"},
    b"Unfrozen by errmsg timer": {"kind": b"RELEASED", "by": b"errmsg timer"},
    b"unfrozen by root": {"kind": b"RELEASED", "by": b"root"},
    b"removed by root": {"kind": b"DELETED", "by": b"root"},
    b"cancelled by root": {"kind": b"DELETED", "by": b"root"},
    b"cancelled by timeout_frozen_after": {"kind": b"EXPIRED", "word": b"timeout_frozen_after"},
    b"Message removed because older than 4d": {
        "kind": b"EXPIRED", "word": b"Message removed because older than 4d",
    },
    b"recipient <x@example.com> added by root": {"kind": b"RCPT", "recipient": b"x@example.com"},
    b"address <x@example.com> marked delivered by root": {
        "kind": b"DELIVERY", "daemon": b"discard", "final_recipient": b"x@example.com",
        "outcome": b"sent", "text": b"address <x@example.com> marked delivered by root",
    },
    b"Message is frozen": None,
    b"no immediate delivery: queued by ACL": None,
    b"DKIM: d=example.net s=sel c=relaxed/relaxed a=rsa-sha256 b=2048 [verification succeeded]": None,
    b"H=mx.example.net [192.0.2.9]: SMTP error from remote mail server after MAIL: 450 no": None,
    b"H=mx.example.net [192.0.2.9] Connection refused": None,
    b"Spool file is locked (another process is handling this message)": None,
    b"sender address changed to <x@example.com> by root": None,
    b"address <x": None,
    b"recipient <x": None,
    b"CompletedX": None,
}  # fmt: skip


@pytest.mark.parametrize("text", HANDLED)
def test_what_was_done_to_a_message(text: bytes) -> None:
    expected = HANDLED[text]
    if expected is None:
        assert read(ID + b" " + text) is None
    else:
        assert one(ID + b" " + text) == {"id": ID} | expected


# -- refusals -------------------------------------------------------------------------------


CLIENT = {"client_name": b"mx.example.net", "client_ip": b"192.0.2.9", "client_port": b"7"}
HELO = CLIENT | {"helo": b"helo"}
HOST = b"H=mx.example.net (helo) [192.0.2.9]:7"
REFUSALS: dict[bytes, dict[str, bytes]] = {
    HOST + b" I=[198.51.100.1]:25 X=TLS1.3:X:256 CV=no F=<a@example.net> A=plain:u"
    b" rejected RCPT <b@example.com>: 550 5.1.1 No such user": HELO | {
        "stage": b"RCPT", "sender": b"a@example.net", "recipient": b"b@example.com",
        "text": b"550 5.1.1 No such user", "reply_code": b"550", "enhanced_status": b"5.1.1",
    },
    HOST + b" F=<> temporarily rejected RCPT <b@example.com>: greylisted": HELO | {
        "stage": b"RCPT", "sender": b"", "recipient": b"b@example.com",
        "text": b"temporarily rejected: greylisted",
    },
    HOST + b" F=a@example.net rejected RCPT b@example.com: found in dnsbl x": HELO | {
        "stage": b"RCPT", "sender": b"a@example.net", "recipient": b"b@example.com",
        "text": b"found in dnsbl x",
    },
    HOST + b' F=<"x rejected RCPT <y@z>: no"@example.net> rejected RCPT <"a: b"@example.com>': HELO
    | {
        "stage": b"RCPT", "sender": b'"x rejected RCPT <y@z>: no"@example.net',
        "recipient": b'"a: b"@example.com',
    },
    b"U=root F=<x@y> rejected RCPT <b@z>": {
        "stage": b"RCPT", "sender": b"x@y", "recipient": b"b@z",
    },
    HOST + b" rejected MAIL <a@example.net>: no": HELO | {
        "stage": b"MAIL", "sender": b"a@example.net", "text": b"no",
    },
    HOST + b" rejected EHLO or HELO helo: no": HELO | {
        "stage": b"EHLO", "sender": ABSENT, "text": b"no",
    },
    b'H=mx.example.net [192.0.2.9]:7 rejected connection in "connect" ACL: "listed"': CLIENT | {
        "stage": b"CONNECT", "sender": ABSENT, "text": b'"listed"',
    },
    HOST + b" temporarily rejected DATA": HELO | {
        "stage": b"DATA", "sender": ABSENT, "text": b"temporarily rejected",
    },
    b"rejected MAIL FROM:<a@example.net> " + HOST + b": message too big: size=9 max=8": HELO | {
        "stage": b"MAIL", "sender": b"a@example.net", "text": b"message too big: size=9 max=8",
    },
    b"rejected EHLO from mx.example.net [192.0.2.9]:7: syntactically invalid argument(s): x y":
    CLIENT | {
        "helo": b"mx.example.net", "stage": b"EHLO", "sender": ABSENT,
        "text": b"syntactically invalid argument(s): x y",
    },
    b"refused connection from mx.example.net [192.0.2.9]:7 (host_reject_connection)": CLIENT | {
        "stage": b"CONNECT", "sender": ABSENT,
        "text": b"refused connection (host_reject_connection)",
    },
    b"Connection from mx.example.net [192.0.2.9]:7 refused: too many connections": CLIENT | {
        "stage": b"CONNECT", "sender": ABSENT, "text": b"refused: too many connections",
    },
    b"unqualified recipient rejected: <bob> " + HOST: HELO | {
        "stage": b"RCPT", "sender": ABSENT, "recipient": b"bob", "text": b"unqualified recipient",
    },
    b"unqualified sender rejected: <bob> " + HOST: HELO | {
        "stage": b"MAIL", "sender": b"bob", "text": b"unqualified sender",
    },
    b"too many recipients: excess temporarily rejected: sender=<a@example.net> " + HOST: HELO | {
        "stage": b"RCPT", "sender": b"a@example.net",
        "text": b"temporarily rejected: too many recipients",
    },
    b"SMTP protocol synchronization error (input sent without waiting for greeting): rejected"
    b' connection from H=mx.example.net [192.0.2.9]:7 input="x"': CLIENT | {
        "stage": b"CONNECT", "sender": ABSENT,
        "text": b"SMTP protocol synchronization error (input sent without waiting for greeting)",
    },
    HOST + b" F=<a@example.net> RCPT <b@example.com>: discarded by RCPT ACL: x": HELO | {
        "action": b"discard", "stage": b"RCPT", "sender": b"a@example.net",
        "recipient": b"b@example.com", "text": b"discarded by RCPT ACL: x",
    },
}  # fmt: skip

LATE: dict[bytes, dict[str, bytes]] = {
    HOST + b" F=<a@example.net> rejected after DATA: virus found": HELO | {
        "sender": b"a@example.net", "text": b"virus found",
    },
    b"F=<a@example.net> rejected by non-SMTP ACL: no": {"sender": b"a@example.net", "text": b"no"},
    b"F=a@example.net " + HOST + b" P=esmtp temporarily rejected by local_scan(): no": HELO | {
        "sender": b"a@example.net", "text": b"temporarily rejected: no",
    },
    b"rejected from <a@example.net> " + HOST + b": message too big: read=9 max=8": HELO | {
        "sender": b"a@example.net", "text": b"message too big: read=9 max=8",
    },
    b"=> blackhole (DATA ACL discarded recipients)": {
        "action": b"discard", "sender": ABSENT,
        "text": b"blackhole (DATA ACL discarded recipients)",
    },
    b"=> discarded (system filter)": {
        "action": b"discard", "sender": ABSENT, "text": b"discarded (system filter)",
    },
    b"local_scan() function timed out - message temporarily rejected (size 30)": {
        "sender": ABSENT,
        "text": b"temporarily rejected: local_scan() function timed out - message temporarily"
        b" rejected (size 30)",
    },
}  # fmt: skip


def refused(text: bytes) -> dict[str, bytes]:
    """A refusal; the null sender is kept."""
    found = read(text)
    assert isinstance(found, Event)
    assert found.kind == Kind.DOOR
    said = {name: value for name, value in named(found).items() if value}
    return {"id": found.queue_id, "sender": named(found)["sender"]} | said


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_says_whom_and_why(text: bytes) -> None:
    expected = {"id": b"", "action": b"reject", "daemon": b"exim"} | REFUSALS[text]
    assert refused(text) == expected


@pytest.mark.parametrize("text", LATE)
def test_a_refusal_after_the_data_has_the_message_s_id(text: bytes) -> None:
    whole = {"id": ID, "action": b"reject", "stage": b"END-OF-MESSAGE", "daemon": b"exim"}
    assert refused(ID + b" " + text) == whole | LATE[text]


@pytest.mark.parametrize(
    "text",
    [
        HOST + b" rejected VRFY bob",
        HOST + b" rejected AUTH plain: no",
        HOST + b" sender verify fail for <a@example.net>: rejected",
        HOST + b" Warning: rejected RCPT <b@example.com>",
        HOST + b" X=rejected",
        b"plain authenticator failed for (x) [192.0.2.9]: 535 Incorrect (set_id=rejected)",
        b"no host name found for IP address 192.0.2.9",
        b"unexpected disconnection while reading SMTP command from [192.0.2.9] D=1s",
        b"SMTP call from [192.0.2.9] dropped: too many syntax or protocol errors, rejected",
        b"Connection from [192.0.2.9]:7 is not refused",
        b"refused connection from nobody",
        b"rejected what it wants",
        b"unqualified thing rejected: <x> H=y",
        b"too many recipients: rejected",
        b"H=rejected",
        b"Start queue run: pid=7",
    ],
)
def test_other_lines_tell_nothing(text: bytes) -> None:
    assert read(text) is None


def test_what_sa_exim_thought_of_a_message() -> None:
    text = (
        b" SA: Action: %s: score=31.0 required=5.0 trigger=30.0 (scanned in 6/6 secs | Message-Id:"
        b" a1@example.net). From <a@example.net> (host=mx.example.net [192.0.2.9]) for b@example.com"
    )
    verdict, door = told(OLD + text % b"silently tossed message")
    assert verdict == {
        "kind": b"VERDICT", "id": OLD, "filter": b"sa-exim", "verdict": b"discard",
        "reason": b"silently tossed message", "score": b"31.0",
        "evidence": (text % b"silently tossed message")[1:], "recipient": b"b@example.com",
        "message_id": b"a1@example.net", "client_ip": b"192.0.2.9", "sender": b"a@example.net",
    }  # fmt: skip
    assert (door["action"], door["recipient"]) == (b"discard", b"b@example.com")
    assert one(OLD + text % b"flagged as Spam but accepted")["verdict"] == b"accept"
    assert one(OLD + text % b"permanently rejected message")["verdict"] == b"reject"
    assert one(OLD + text % b"temporarily rejected message")["verdict"] == b"tempfail"
    assert read(OLD + b" SA: Action: check skipped due to message size") is None


# -- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b" <= a@example.net H=mx",
        b" <= a@example.net U=a P=loc",
        b" => bob <bob@exam",
        b" => bob",
        b" ** x y",
        b" == c@example.net R=dnslookup T=smtp",
        b" == c@example.net R=dnslookup T=smtp defer (-4",
        b" => |/bin/cat",
    ],
)
def test_a_line_that_was_cut_is_not_guessed_at(text: bytes) -> None:
    assert read(ID + text) is UNKNOWN


def test_every_cut_and_every_damaged_byte_is_read_without_harm() -> None:
    texts = [text for text, _ in DELIVERIES.values()] + [*FORGED, *HANDLED, *LATE]
    for text in [*REFUSALS, *(ID + b" " + text for text in texts)]:
        for cut in range(len(text)):
            read(text[:cut])
            read(text[:cut] + b"\xff" + text[cut + 1 :])
            read(text[:cut] + b'"' + text[cut:])


def test_a_span_and_a_field_list_made_to_take_long_end_early() -> None:
    assert exim_scan.seconds(b"1" * 60_000 + b"s") == b""
    assert exim_scan.seconds(b"1d2h3m4s") == b"93784"
    found = exim_scan.items(b" x" * 60_000 + b" S=9", 0, frozenset())
    assert found.values == {}
