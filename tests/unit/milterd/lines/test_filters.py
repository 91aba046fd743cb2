"""Filters' lines, as their programs write them, give the verdicts that they tell."""

import pytest

from journal.events import ABSENT, Event, Kind, named
from milterd.lines.formats import sniff, splitter
from milterd.lines.programs import UNKNOWN, Parsed, parse
from milterd.lines.syslog import Line, zone

QID = b"4bsM5k4xJmz4rT6"
AMAVIS = (
    b"(11412-17) Passed CLEAN {RelayedInbound}, [192.0.2.7]:60980 [192.0.2.7] <alice@example.net>"
    b" -> <bob@example.com>, Queue-ID: 2AA0F3004142, Message-ID: <m@example.net>,"
    b" mail_id: C8nxh_lSIJmK, Hits: -1.21, size: 1358, queued_as: 5776E3012027, 96 ms"
)
BLOCKED = (
    b"(11412-18) Blocked SPAM {DiscardedInbound,Quarantined}, [2001:db8::7]:25 [2001:db8::7] <>"
    b' -> <bob@example.com>,<"a, b> c"@example.com>, quarantine: s/spam-C8nxh_lSIJmK.gz,'
    b" Queue-ID: 2AA0F3004142, Message-ID: <m@example.net>, mail_id: C8nxh_lSIJmK, Hits: 17.4,"
    b" size: 1358, 960 ms"
)


def read(program: bytes, text: bytes) -> Parsed:
    instance, _, daemon = program.rpartition(b"/")
    return parse(Line(1, b"mx", instance or daemon, b"", daemon, 7, text))


def told(program: bytes, text: bytes) -> dict[str, bytes]:
    """The one event of a line, without what it does not say and without its evidence."""
    event = read(program, text)
    if isinstance(event, list):
        (event,) = event
    assert isinstance(event, Event), (text, event)
    return _said(event)


def _said(event: Event) -> dict[str, bytes]:
    assert (event.at_us, event.pid) == (1, 7)
    said = {name: value for name, value in named(event).items() if value and name != "evidence"}
    if event.kind != Kind.VERDICT:
        said["kind"] = Kind(event.kind).name.encode()
    return {"id": event.queue_id} | said if event.queue_id else said


def verdict(name: bytes, decided: bytes, reason: bytes, **said: bytes) -> dict[str, bytes]:
    return {"filter": name, "verdict": decided, "reason": reason} | said


# -- amavis --------------------------------------------------------------------------------


def test_amavis_passes_a_message_on() -> None:
    expected = verdict(
        b"amavis", b"accept", b"clean", id=b"2AA0F3004142", score=b"-1.21",
        recipient=b"bob@example.com", message_id=b"m@example.net", client_ip=b"192.0.2.7",
        sender=b"alice@example.net",
    )  # fmt: skip
    assert told(b"amavis", AMAVIS) == expected
    # Before 2.7 amavis did not know Postfix's queue id nor say what it did.
    old = AMAVIS.replace(b" {RelayedInbound}", b"").replace(b", Queue-ID: 2AA0F3004142", b"")
    assert told(b"amavis", old) == expected | {"id": b"5776E3012027"}
    verbose = AMAVIS.replace(b"[192.0.2.7] <a", b"[192.0.2.7] ESMTPS/ESMTP <a")
    assert told(b"amavis", verbose) == expected
    banked = AMAVIS.replace(b", [192.0.2.7]:60980", b", ORIGINATING/MYNETS LOCAL [192.0.2.7]:60980")
    assert told(b"amavis", banked) == expected


def test_amavis_blocks_a_message_for_two() -> None:
    events = read(b"amavis", BLOCKED)
    assert isinstance(events, list)
    expected = verdict(
        b"amavis", b"quarantine", b"spam", id=b"2AA0F3004142", score=b"17.4",
        message_id=b"m@example.net", client_ip=b"2001:db8::7",
    )  # fmt: skip
    recipients = b"bob@example.com", b'"a, b> c"@example.com'
    assert list(map(_said, events)) == [expected | {"recipient": name} for name in recipients]


@pytest.mark.parametrize(
    ("actions", "decided"),
    [
        (b" {DiscardedInbound,Quarantined}", b"quarantine"),
        (b" {DiscardedInbound}", b"discard"),
        (b" {RejectedInbound,Quarantined}", b"reject"),
        (b" {BouncedOpenRelay}", b"reject"),
        (b" {NoBounceInbound,Quarantined}", b"quarantine"),
        (b" {TempFailedInbound}", b"tempfail"),
        (b"", b"quarantine"),
    ],
)
def test_what_amavis_did(actions: bytes, decided: bytes) -> None:
    line = BLOCKED.replace(b" {DiscardedInbound,Quarantined}", actions)
    line = line.replace(b',<"a, b> c"@example.com>', b"")
    assert told(b"amavis", line)["verdict"] == decided


@pytest.mark.parametrize(
    ("category", "reason"),
    [
        (b"CLEAN", b"clean"),
        (b"SPAMMY", b"spam"),
        (b"INFECTED (Eicar-Test-Signature)", b"virus"),
        (b"BANNED (.exe,.exe-ms,setup (1).exe)", b"banned"),
        (b"BAD-HEADER-7", b"bad_header"),
        (b"UNCHECKED-ENCRYPTED", b"unchecked_encrypted"),
        (b"OVERSIZED", b"oversized"),
        (b"MTA-BLOCKED", b"mta_blocked"),
    ],
)
def test_categories_of_amavis(category: bytes, reason: bytes) -> None:
    said = told(b"amavis", AMAVIS.replace(b"CLEAN", category))
    assert (said["reason"], said["id"]) == (reason, b"2AA0F3004142")


def test_no_file_name_and_no_message_id_passes_for_amavis() -> None:
    forged = b", [192.0.2.9] <x@example.org> -> <y@example.org>, Queue-ID: FFFFF"
    assert read(b"amavis", AMAVIS.replace(b"CLEAN", b"BANNED (a)%s)" % forged)) is UNKNOWN
    said = told(b"amavis", AMAVIS.replace(b"<m@", b"<m>, Hits: 9, queued_as: FFFFF, x@"))
    assert said["id"] == b"2AA0F3004142"
    assert "score" not in said
    said = told(b"amavis", AMAVIS.replace(b", Queue-ID: 2AA0F3004142", b"").replace(
        b"<m@", b"<m>, Queue-ID: FFFFF, Hits: 9, queued_as: FFFFF, x@"))  # fmt: skip
    assert "id" not in said
    assert told(b"amavis", AMAVIS.replace(b"<m@example.net>", b"x"))["message_id"] == b"x"


def test_amavis_says_it_again_for_each_recipient() -> None:
    text = b"(1-1) Passed CLEAN, <a@example.net> -> <b@example.com>, Hits: 0, tag=-999, tag2=5"
    assert read(b"amavis", text) is None
    text = b"(1-1) Blocked BANNED (a.exe), <a@example.net> -> , Hits: -, tag=-999, L/Y/0/0"
    assert read(b"amavis", text) is None


# -- Proxmox, MailScanner: filters that are hops --------------------------------------------

PMG = b"4C2D15D36BC0F3BEF1"


def hop(recipient: bytes, text: bytes, onward: bytes = b"") -> dict[str, bytes]:
    said = {
        "kind": b"DELIVERY", "id": PMG, "daemon": b"pmg-smtp-filter", "final_recipient": recipient,
        "relay": b"pmg-smtp-filter", "enhanced_status": b"2.0.0", "outcome": b"sent", "text": text,
    }  # fmt: skip
    return said | ({"next_queue_id": onward, "next_hop": b"queued"} if onward else {})


def test_proxmox_gives_a_message_back() -> None:
    text = b"accept mail to <bob@example.com> (5E91A12BC) (rule: default-accept)"
    expected = hop(b"bob@example.com", text, b"5E91A12BC")
    assert told(b"pmg-smtp-filter", b"%s: %s" % (PMG, text)) == expected
    text = text.removesuffix(b" (rule: default-accept)")
    assert told(b"pmg-smtp-filter", b"%s: %s" % (PMG, text)) == expected | {"text": text}


@pytest.mark.parametrize(
    ("text", "decided", "reason"),
    [
        (b"moved mail for <bob@example.com> to spam quarantine - 0Ab1", b"quarantine", b"spam"),
        (
            b"moved mail for <bob@example.com> to virus quarantine - 0Ab1 (rule: Virus)",
            b"quarantine",
            b"virus",
        ),
        (b"block mail to <bob@example.com> (rule: Block Spam)", b"discard", b"policy"),
    ],
)
def test_proxmox_keeps_a_message(text: bytes, decided: bytes, reason: bytes) -> None:
    events = read(b"pmg-smtp-filter", b"%s: %s" % (PMG, text))
    assert isinstance(events, list)
    said = verdict(b"pmg", decided, reason, id=PMG, recipient=b"bob@example.com")
    assert list(map(_said, events)) == [hop(b"bob@example.com", text), said]


def test_what_else_proxmox_says() -> None:
    spam = b"%s: SA score=6/5 time=1.036 bayes=undefined autolearn=no hits=SPF_PASS(-0.001)" % PMG
    assert told(b"pmg-smtp-filter", spam) == verdict(b"pmg", b"accept", b"spam", score=b"6", id=PMG)
    assert told(b"pmg-smtp-filter", spam.replace(b"=6/", b"=4/"))["reason"] == b"ham"
    new = b"%s: new mail message-id=<m@example.net>#012" % PMG
    assert told(b"pmg-smtp-filter", new.removesuffix(b"#012")) == {
        "kind": b"MESSAGE_ID", "id": PMG, "message_id": b"m@example.net",
        "instance": b"pmg-smtp-filter",
    }  # fmt: skip
    for text in (
        b"%s: moved mail for <bob@example.com> to attachment quarantine - 0Ab1 (rule: x)" % PMG,
        b"%s: processing time: 1.2 seconds (1.1, 0.02, 0)" % PMG,
        b"starting database maintenance",
    ):
        assert read(b"pmg-smtp-filter", text) is None


def test_mailscanner() -> None:
    spam = (
        b"Message %s.A1B2C from 192.0.2.7 (alice@example.net) to example.com is spam,"
        b" SpamAssassin (not cached, score=7.181, required 4, BAYES_40 -0.20)" % QID
    )
    expected = verdict(
        b"mailscanner", b"accept", b"spam", id=QID, score=b"7.181", client_ip=b"192.0.2.7",
        sender=b"alice@example.net",
    )  # fmt: skip
    assert told(b"MailScanner", spam) == expected
    clean = spam.replace(b"is spam", b"is not spam").replace(b"7.181", b"-1.2")
    assert told(b"MailScanner", clean) == expected | {"reason": b"ham", "score": b"-1.2"}
    listed = spam.partition(b", ")[0] + b" (blacklisted)"
    assert told(b"MailScanner", listed) == {k: v for k, v in expected.items() if k != "score"}
    for actions, decided in (
        (b"deliver,header", b"accept"),
        (b"store", b"quarantine"),
        (b"delete", b"discard"),
    ):
        text = b"Spam Actions: message %s.A1B2C actions are %s" % (QID, actions)
        assert told(b"MailScanner", text) == verdict(b"mailscanner", decided, b"spam", id=QID)
    infected = b"Infected message %s.A1B2C came from 192.0.2.7" % QID
    assert told(b"MailScanner", infected)["reason"] == b"virus"


def test_mailscanner_requeues() -> None:
    events = read(b"MailScanner", b"Requeue: %s.A1B2C to 4C2D15D36B" % QID)
    assert isinstance(events, list)
    assert list(map(_said, events)) == [
        {"kind": b"REQUEUED", "id": QID, "by": b"MailScanner"},
        {"kind": b"PICKUP", "id": b"4C2D15D36B", "sender": ABSENT, "orig_queue_id": QID},
    ]


# -- filters of one line --------------------------------------------------------------------

RSPAMD = (
    b"<a1b2c3>; task; rspamd_task_write_log: id: <m@example.net>, qid: <4bsM5k4xJmz4rT6>,"
    b" ip: 192.0.2.7, user: alice, from: <alice@example.net>, (default: %s: [%s/15.00]"
    b" [MIME_GOOD(-0.10){text/plain;},ARC_NA(0.00){}], len: 821, time: 12.31ms, dns req: 4,"
    b" digest: <0123>, rcpts: <bob@example.com>, mime_rcpts: <bob@example.com>"
)


@pytest.mark.parametrize(
    ("action", "score", "decided", "reason"),
    [
        (b"F (no action)", b"0.50", b"accept", b"ham"),
        (b"T (reject)", b"17.00", b"reject", b"spam"),
        (b"F (add header)", b"6.30", b"accept", b"spam"),
        (b"F (greylist)", b"4.10", b"tempfail", b"greylisted"),
        (b"F (soft reject)", b"-0.10", b"tempfail", b"spam"),
        (b"F (rewrite subject)", b"8.00", b"accept", b"spam"),
    ],
)
def test_rspamd(action: bytes, score: bytes, decided: bytes, reason: bytes) -> None:
    assert told(b"rspamd", RSPAMD % (action, score)) == verdict(
        b"rspamd", decided, reason, id=QID, score=score, message_id=b"m@example.net",
        client_ip=b"192.0.2.7", sender=b"alice@example.net",
    )  # fmt: skip


def test_rspamd_without_a_queue_id_and_forged() -> None:
    plain = RSPAMD % (b"F (no action)", b"nan")
    said = told(b"rspamd", plain.replace(b" qid: <%s>," % QID, b""))
    assert "id" not in said
    assert "score" not in said
    assert said["message_id"] == b"m@example.net"
    assert read(b"rspamd", plain.replace(b"<m@", b"<m>, qid: <FFFFFF>, ip: x@")) is UNKNOWN
    forged = b"<x>, (default: F (no action): [0.00/15.00] [m@"
    assert read(b"rspamd", plain.replace(b"<m@", forged)) is UNKNOWN
    assert read(b"rspamd", b"<a1b2c3>; lua; greylist.lua:217: greylisted") is None


def test_rspamds_own_log_file() -> None:
    said = b"#4242(rspamd_proxy) " + RSPAMD % (b"T (reject)", b"17.00")
    stamped = b"2026-11-23 18:30:01 " + said
    assert sniff([b"2026-11-23 18:30:00 #1(main) <x>; main; main: rspamd is loading", b""]) == "own"
    line = splitter("own", timezone=zone("UTC"), reference_us=1_795_458_601_000_000).parse(stamped)
    assert line == Line(1_795_458_601_000_000, b"", b"rspamd", b"", b"rspamd", 0, said)
    event = parse(line)
    assert isinstance(event, Event)
    assert (event.queue_id, named(event)["verdict"]) == (QID, b"reject")


def test_spamd() -> None:
    line = (
        b"spamd: result: Y 9 - BAYES_99,HTML_MESSAGE scantime=0.8,size=2714,user=nobody,uid=65534,"
        b"required_score=5.0,rhost=localhost,raddr=127.0.0.1,rport=48146,mid=<m@example.net>,"
        b"bayes=0.999,autolearn=no"
    )
    expected = verdict(b"spamassassin", b"accept", b"spam", score=b"9", message_id=b"m@example.net")
    assert told(b"spamd", line) == expected
    clean = line.replace(b"Y 9", b".  -1").replace(b"BAYES_99,HTML_MESSAGE", b"")
    assert told(b"spamd", clean) == expected | {"reason": b"ham", "score": b"-1"}
    assert "message_id" not in told(b"spamd", line.replace(b"<m@example.net>", b"(unknown)"))
    assert read(b"spamd", b"spamd: identified spam (9.3/5.0) for nobody:65534 in 0.8 s.") is None


@pytest.mark.parametrize(
    ("program", "text", "name", "reason"),
    [
        (b"opendkim", b"DKIM-Signature field added (s=a, d=example.com)", b"opendkim", b"signed"),
        (b"opendkim", b"DKIM verification successful", b"opendkim", b"pass"),
        (b"opendkim", b"bad signature data", b"opendkim", b"fail"),
        (b"opendkim", b"no signature data", b"opendkim", b"none"),
        (b"opendkim", b"key retrieval failed (s=a, d=example.net)", b"opendkim", b"temperror"),
        (b"opendmarc", b"example.net pass", b"opendmarc", b"pass"),
        (b"opendmarc", b"example.net fail", b"opendmarc", b"fail"),
    ],
)
def test_milters_that_name_the_queue_id(
    program: bytes, text: bytes, name: bytes, reason: bytes
) -> None:
    assert told(program, QID + b": " + text) == verdict(name, b"accept", reason, id=QID)


def test_spf() -> None:
    python = (
        b"prepend Received-SPF: Softfail (mailfrom) identity=mailfrom; client-ip=192.0.2.7;"
        b" helo=mx.example.net; envelope-from=alice@example.net; receiver=<UNKNOWN>"
    )
    expected = verdict(
        b"spf", b"accept", b"softfail", client_ip=b"192.0.2.7", sender=b"alice@example.net"
    )
    assert told(b"policyd-spf", python) == expected
    old = python.removeprefix(b"prepend Received-SPF: ").replace(b" (mailfrom)", b";")
    assert told(b"policyd-spf", old) == expected
    perl = (
        b"SPF softfail (Mechanism '~all' matched): Envelope-from: alice@example.net,"
        b" IP Address: 192.0.2.7, Recipient: bob@example.com"
    )
    said = told(b"postfix/policy-spf", perl)
    assert said == expected | {"recipient": b"bob@example.com"}
    forged = python.replace(b"alice@", b"a; client-ip=198.51.100.1; x@")
    assert read(b"policyd-spf", forged) is None


def test_viruses() -> None:
    full = (
        b"Message %s from <alice@example.net> to <bob@example.com> with subject 'x'"
        b" message-id '<m@example.net>' date 'today' infected by Eicar-Signature" % QID
    )
    expected = verdict(
        b"clamav", b"accept", b"virus", id=QID, sender=b"alice@example.net",
        recipient=b"bob@example.com",
    )  # fmt: skip
    assert told(b"clamav-milter", full) == expected
    clean = b"Clean message from <alice@example.net> to <bob@example.com>,<carol@example.com>"
    said = {"sender": b"alice@example.net"}
    assert told(b"clamav-milter", clean.replace(b">,<carol@example.com", b"")) == (
        verdict(b"clamav", b"accept", b"clean", **said) | {"recipient": b"bob@example.com"}
    )
    smtp = b"10000A: from=alice@example.net, to=bob@example.com, status=VIRUS:Eicar"
    assert told(b"clamsmtpd", smtp) == verdict(
        b"clamsmtp", b"discard", b"virus", **said, recipient=b"bob@example.com"
    )
    assert told(b"clamsmtpd", smtp.replace(b"VIRUS:Eicar", b"CLEAN"))["reason"] == b"clean"


def test_postgrey() -> None:
    line = (
        b"action=greylist, reason=new, client_name=mx.example.net, client_address=192.0.2.7/32,"
        b" sender=alice@example.net, recipient=bob@example.com"
    )
    expected = verdict(
        b"postgrey", b"tempfail", b"greylisted", client_ip=b"192.0.2.7",
        sender=b"alice@example.net", recipient=b"bob@example.com",
    )  # fmt: skip
    assert told(b"postgrey", line) == expected
    passed = line.replace(b"greylist, reason=new", b"pass, reason=triplet found, delay=330")
    expected |= {"verdict": b"accept", "reason": b"pass"}
    assert told(b"postgrey", passed) == expected
    assert told(b"postgrey", QID + b": " + passed) == expected | {"id": QID}
    null = passed.replace(b" sender=alice@example.net,", b"")
    assert told(b"postgrey", null) == {k: v for k, v in expected.items() if k != "sender"}


def test_no_line_costs_more_than_its_length() -> None:
    for program, start, piece in (
        (b"amavis", b"(1-1) Blocked BANNED (", b"), [192.0.2.1] <a> -> <b>, Message-ID: <"),
        (b"amavis", b"(1-1) Passed CLEAN, ", b"A B/C [::1] "),
        (b"rspamd", b"x; rspamd_task_write_log: id: <", b">, ip: (default: F (no action): [0.0/"),
        (b"policyd-spf", b"Pass; ", b"client-ip=1; envelope-from="),
        (b"clamsmtpd", b"10000A: from=", b", to="),
        (b"MailScanner", b"Message A.1 from 1 (", b") to  is "),
        (b"postgrey", b"action=", b", sender=, recipient="),
    ):
        read(program, start + piece * 3000)
