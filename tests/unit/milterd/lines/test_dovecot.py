"""What Dovecot's delivery agents say, in the wording of each version, gives what they did."""

import pytest

from journal.events import Event, Kind, named
from milterd.lines.formats import sniff, splitter
from milterd.lines.mutf7 import folder_name
from milterd.lines.programs import UNKNOWN, Parsed, parse
from milterd.lines.syslog import Line, zone

SESSION = b"hz3kESIo+1/dLgAAWP5Hkg"
PREFIX = b"lmtp(bob@example.com)<4242><%s>: " % SESSION


def read(text: bytes) -> Parsed:
    return parse(Line(1, b"mx", b"dovecot", b"", b"dovecot", 7, text))


def filed(text: bytes) -> dict[str, bytes]:
    """What the event says, without what it does not say and without its text."""
    event = read(text)
    assert isinstance(event, Event), (text, event)
    assert (event.at_us, event.pid, event.kind) == (1, 7, Kind.FILED)
    said = {name: value for name, value in named(event).items() if value and name != "text"}
    return {"id": event.queue_id} | said if event.queue_id else said


def stored(folder: bytes, message_id: bytes = b"a@example.net") -> dict[str, bytes]:
    return {
        "id": SESSION,
        "program": b"lmtp",
        "action": b"stored",
        "user": b"bob@example.com",
        "folder": folder,
        "message_id": message_id,
    }


def did(action: bytes) -> dict[str, bytes]:
    return {name: value for name, value in stored(b"").items() if value} | {"action": action}


@pytest.mark.parametrize(
    "prefix",
    [
        PREFIX,
        PREFIX + b"sieve: ",
        PREFIX + b"Info: ",
        b"lmtp(bob@example.com): %s: " % SESSION,
        b"lmtp(bob@example.com): %s: sieve: " % SESSION,
        b"lmtp(bob@example.com): Info: %s: sieve: " % SESSION,
        b"lmtp(4242, bob@example.com): %s: " % SESSION,
        b"lmtp(4242, bob@example.com): %s: sieve: " % SESSION,
    ],
)
@pytest.mark.parametrize(
    ("action", "folder"),
    [
        (b"saved mail to INBOX", b"INBOX"),
        (b"saved mail to Lists/Postfix users", b"Lists/Postfix users"),
        (b"stored mail into mailbox 'INBOX'", b"INBOX"),
        (b"fileinto action: stored mail into mailbox 'Junk'", b"Junk"),
        (b"fileinto action: stored mail into mailbox 'Tom's (old)'", b"Tom's (old)"),
        (b"keep action: stored mail into mailbox 'inbox' (INBOX)", b"INBOX"),
        (b"stored mail into mailbox 'Entw&APw-rfe'", "Entwürfe".encode()),
        ("stored mail into mailbox 'Entwürfe'".encode(), "Entwürfe".encode()),
    ],
)
def test_every_version_says_where_it_stored_the_mail(
    prefix: bytes, action: bytes, folder: bytes
) -> None:
    assert filed(prefix + b"msgid=<a@example.net>: " + action) == stored(folder)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        (
            b"marked message to be discarded if not explicitly delivered (discard action)",
            b"discarded",
        ),
        (
            b"discard action: Marked message to be discarded if not explicitly delivered"
            b" (discard action)",
            b"discarded",
        ),
        (b"forwarded to <carol@example.org>", b"forwarded"),
        (b"redirect action: forwarded to <carol@example.org>", b"forwarded"),
        (b"discarded duplicate forward to <carol@example.org>", b"discarded"),
        (b"rejected message from <alice@example.net> (reject)", b"rejected"),
        (b"reject action: rejected message from <alice@example.net> (ereject)", b"rejected"),
        (b"not sending reject message to <>", b"discarded"),
        (b"rejected: Quota exceeded (mailbox for user is full)", b"rejected"),
        (b"sent vacation response to <alice@example.net>", b"vacation"),
        (b"vacation action: sent vacation response to <alice@example.net>", b"vacation"),
        (b"Auto-submitted message discarded: no such folder", b"discarded"),
        (
            b"failed to redirect message to <c@example.org>: timed out (temporary failure)",
            b"failed",
        ),
    ],
)
def test_what_else_a_script_does(text: bytes, action: bytes) -> None:
    assert filed(PREFIX + b"sieve: msgid=<a@example.net>: " + text) == did(action)


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        (b"msgid=<a@example.net>: save failed to INBOX: Quota exceeded (full)", b"INBOX"),
        (b"msgid=<a@example.net>: save failed to open mailbox Lost: No such mailbox", b"Lost"),
        (b"sieve: msgid=<a@example.net>: failed to store into mailbox 'A': Quota (b): c", b"A"),
        (b"sieve: msgid=<a@example.net>: failed to store into mailbox 'a' (A): Quota", b"A"),
    ],
)
def test_what_could_not_be_stored(text: bytes, folder: bytes) -> None:
    # Dovecot names its session only where it took the mail.
    expected = {name: said for name, said in stored(folder).items() if name != "id"}
    assert filed(PREFIX + text) == expected | {"action": b"failed"}
    assert filed(PREFIX + b"Error: " + text) == expected | {"action": b"failed"}


def test_a_script_that_failed_before_any_action() -> None:
    text = b"sieve: Execution of script /home/bob/.dovecot.sieve failed, but implicit keep was successful"
    expected = {name: value for name, value in did(b"failed").items() if name != "message_id"}
    assert filed(PREFIX + text) == expected


@pytest.mark.parametrize("agent", [b"lda", b"deliver", b"dovecot-lda"])
def test_a_local_delivery_agents_session_is_no_key(agent: bytes) -> None:
    expected = {name: value for name, value in stored(b"INBOX").items() if name != "id"}
    said = b"msgid=<a@example.net>: saved mail to INBOX"
    prefixes = b"(bob@example.com)<1><AbCd>: ", b"(bob@example.com): "
    for prefix in prefixes:
        assert filed(agent + prefix + said) == expected | {"program": agent}


@pytest.mark.parametrize("session", [b"%s:2", b"%s:R2", b"%s:T2", b"%s:T2:R3", b"%s:T2:2"])
def test_further_recipients_and_messages_of_a_connection(session: bytes) -> None:
    session = session % SESSION
    said = b"msgid=<a@example.net>: saved mail to INBOX"
    for prefix in (b"lmtp(bob@example.com)<4242><%s>: ", b"lmtp(bob@example.com): %s: "):
        assert filed(prefix % session + said) == stored(b"INBOX") | {"id": session}


@pytest.mark.parametrize("user", [b"bob", b"bob smith@example.com", b"a)b@example.com", b"1234"])
def test_the_name_of_the_user(user: bytes) -> None:
    said = b": msgid=<a@example.net>: saved mail to INBOX"
    assert filed(b"lmtp(%s)<4242><%s>" % (user, SESSION) + said)["user"] == user


@pytest.mark.parametrize(
    ("value", "message_id"),
    [
        (b"", b""),
        (b"unspecified", b""),
        (b"<>", b""),
        (b"no brackets", b"no brackets"),
        (b"<a b@example.net>", b"a b@example.net"),
    ],
)
def test_the_message_id_as_its_sender_wrote_it(value: bytes, message_id: bytes) -> None:
    text = PREFIX + b"sieve: msgid=%s: fileinto action: stored mail into mailbox 'A'" % value
    expected = {name: said for name, said in stored(b"A", message_id).items() if said}
    assert filed(text) == expected


IMITATIONS = [
    b"<x>: stored mail into mailbox 'INBOX'",
    b"<x>: saved mail to INBOX",
    b"<x>: fileinto action: stored mail into mailbox 'INBOX': msgid=<y>",
    b"<x>: forwarded to <",
    b"<x>: rejected message from <y> (reject)",
    b"<x>: rejected: no",
    b"<x>: failed to redirect message to <y>: no",
    b"<x>: marked message to be discarded if not explicitly delivered (discard action)",
    b"<x>: save failed to INBOX: Quota exceeded",
]


@pytest.mark.parametrize("value", IMITATIONS)
def test_no_message_id_passes_for_what_dovecot_did(value: bytes) -> None:
    for action in (
        b"fileinto action: stored mail into mailbox 'Junk'",
        b"stored mail into mailbox 'Junk'",
        b"saved mail to Junk",
    ):
        assert filed(PREFIX + b"sieve: msgid=%s: %s" % (value, action))["folder"] == b"Junk"
    said = filed(
        PREFIX + b"sieve: msgid=%s: rejected message from <a@example.net> (reject)" % value
    )
    assert said["action"] == b"rejected"


def test_no_sender_passes_for_what_dovecot_did() -> None:
    sender = b"<\"a: stored mail into mailbox 'INBOX' (b\"@example.net>"
    for text, action in (
        (b"rejected message from %s (reject)", b"rejected"),
        (b"sent vacation response to %s", b"vacation"),
    ):
        assert filed(PREFIX + b"sieve: msgid=<a@example.net>: " + text % sender) == did(action)


def test_a_sender_that_dovecot_cut() -> None:
    sender = b'<"a: saved mail to INBOX' + b"a" * 50 + b"...>"
    text = b"sieve: msgid=<a@example.net>: rejected message from %s (reject)" % sender
    assert filed(PREFIX + text) == did(b"rejected")


def test_a_format_of_the_administrators_own() -> None:
    text = (
        b"from=alice@example.net, subject=hello: saved mail to INBOX, msgid=<a@example.net>,"
        b" size=12, stored mail into mailbox 'Junk'"
    )
    assert filed(PREFIX + b"sieve: " + text) == stored(b"Junk")
    text = b"msgid=<a@example.net>, from=Alice <alice@example.net>, size=1: saved mail to Junk"
    assert filed(PREFIX + text) == stored(b"Junk")


@pytest.mark.parametrize(
    "text",
    [
        b"imap-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.2, mpid=1",
        b"imap(bob)<1><s>: sieve: msgid=<a>: left message in mailbox 'INBOX'",
        b"auth: Error: no",
        b"master: Dovecot v2.3.19.1 (9b53102964) starting up for lmtp",
        b"lmtp(4242): Connect from local",
        b"lmtp(4242): Disconnect from local: Client has quit the connection (state=READY)",
        b"lmtp(bob)<1><s>: Debug: sieve: msgid=<a>: saved mail to INBOX",
        b"lmtp(bob)<1><s>: Error: User initialization failed",
        b"lmtp(bob)<1><s>: save: box=INBOX, uid=1, msgid=<x>: saved mail to INBOX, size=1",
        b"lmtp(bob)<1><s>: sieve: msgid=<a>: discarded duplicate vacation response to <b@example.net>",
        b"lmtp(bob)<1><s>: sieve: msgid=<a>: store into mailbox 'INBOX' skipped",
        b"lmtp(bob)<1><s>: sieve: Aborted script execution sequence with successful implicit keep",
    ],
)
def test_what_tells_nothing_of_a_message(text: bytes) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    "text",
    [
        b"lmtp(bob)<1><s>: msgid=<a>: vaporised",
        b"lmtp(bob)<1><s>: sieve: msgid=<x>: stored mail into mailbox 'INBOX': piped away",
        b"lmtp(bob)<1><s>: sieve: msgid=<x>: saved mail to INBOX: vaporised",
        b"lmtp(bob)<1><s>: sieve: msgid=<x>: stored mail into mailbox 'INB",
        b"lmtp(bob",
    ],
)
def test_what_is_not_understood_is_not_guessed(text: bytes) -> None:
    assert read(text) is UNKNOWN


@pytest.mark.parametrize(
    ("name", "words"),
    [  # RFC 3501 5.1.3
        (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
        (b"Entw&APw-rfe", "Entwürfe"),
        (b"R&-D", "R&D"),
        (b"&2D3eAA-", "😀"),
        (b"R&D", "R&D"),
        (b"R&D-Team", "R&D-Team"),
        (b"&AGE-", "&AGE-"),  # a letter that needs no code
        (b"&2D0-", "&2D0-"),  # half of a pair
        ("Entw&APw-rfe ü".encode(), "Entw&APw-rfe ü"),  # both forms: neither
    ],
)
def test_names_of_folders(name: bytes, words: str) -> None:
    assert folder_name(name) == words.encode()


def test_a_long_line_costs_no_more_than_its_length() -> None:
    for piece in (
        b": saved mail to ",
        b": forwarded to <",
        b": stored mail into mailbox '",
        b")<1><",
    ):
        read(PREFIX + b"msgid=" + piece * 4000)
        read(b"lmtp(" + piece * 4000)


# -- the file that Dovecot writes itself ----------------------------------------------------

OWN = b"lmtp(bob smith@example.com)<4242><%s>: Info: msgid=<a@example.net>: saved mail to INBOX" % (
    SESSION
)
NOW_US = 1_795_458_601_000_000  # 2026-11-23T18:30:01Z


@pytest.mark.parametrize(
    "stamp", [b"Nov 23 18:30:01 ", b"2026-11-23 18:30:01 ", b"2026-11-23T18:30:01+00:00 "]
)
def test_dovecots_own_log_file(stamp: bytes) -> None:
    head = [stamp + b"master: Info: Dovecot v2.3.19.1 (9b53102964) starting up for lmtp", OWN]
    assert sniff(head) == "own"
    parser = splitter("own", timezone=zone("UTC"), reference_us=NOW_US)
    line = parser.parse(stamp + OWN)
    assert line == Line(NOW_US, b"", b"dovecot", b"", b"dovecot", 0, OWN)
    event = parse(line)
    assert isinstance(event, Event)
    assert named(event)["user"] == b"bob smith@example.com"
    assert parser.last_us is not None


def test_other_lines_in_dovecots_own_log_file() -> None:
    parser = splitter("own", timezone=zone("UTC"), reference_us=NOW_US)
    line = parser.parse(b"Nov 23 18:30:01 mx postfix/smtpd[7]: connect from x[192.0.2.1]")
    assert line is not None
    assert (line.host, line.daemon) == (b"mx", b"smtpd")
    assert parser.parse(b"no stamp: Info: at all") is None
    assert sniff([b"Nov 23 18:30:01 mx dovecot: master: Info: x"]) == "syslog"
