"""Lines in which a stranger's words imitate what the mail system says, and what is true of them.

A stranger chooses addresses, HELO, login, Message-ID, headers and what his server replies. The
expected statuses are reasoned from the formats: what the program itself wrote decides. ``BANK`` is
who the stranger would like to have something said about; of nobody by that name is there a row.
"""

from typing import Final, NamedTuple

BANK: Final = "bank.example"


class Forged(NamedTuple):
    """A hazard, its lines, and the statuses of each recipient."""

    name: str
    lines: list[bytes]
    rows: dict[str, str]  # recipient as latin-1 → status
    form: str = "syslog"


Q: Final = b"4Q1zzz0aaaz1b"
SESSION: Final = b"gkYlNfrPJGkYAAAAUpV1Kg"
FAKE: Final = b"to=<v@bank.example>, relay=mx.bank.example[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)"
FAKE_BOUNCE: Final = FAKE.replace(
    b"dsn=2.0.0, status=sent (250 ok)", b"dsn=5.1.1, status=bounced (no)"
)
FAKE_LINE: Final = b"Nov 23 18:30:09 mx postfix/smtp[9]: " + Q + b": " + FAKE
NOT_TRIED: Final = b"delay=0, delays=0/0/0/0, dsn=%s, status=%s (%s)"
ESCAPES: Final = b"\x1b]0;pwn\x07\x1b[2J\xc2\x9b31m\xe2\x80\xae\xe2\x81\xa6\xe2\x80\xa8\x7f"


def say(daemon: bytes, text: bytes, second: int = 1, host: bytes = b"mx") -> bytes:
    """A line of a Postfix daemon."""
    return b"Nov 23 18:30:%02d %b postfix/%b[9]: %b" % (second, host, daemon, text)


def begun(queue_id: bytes = Q, sender: bytes = b"a@example.org") -> list[bytes]:
    """A message that was taken from a client and queued."""
    return [
        say(b"smtpd", queue_id + b": client=mail.example.org[192.0.2.9]"),
        say(b"cleanup", queue_id + b": message-id=<" + queue_id + b"@example.org>"),
        say(b"qmgr", b"%b: from=<%b>, size=900, nrcpt=1 (queue active)" % (queue_id, sender)),
    ]


def tried(
    address: bytes,
    dsn: bytes,
    word: bytes,
    reply: bytes,
    *,
    daemon: bytes = b"smtp",
    relay: bytes = b"mx.example.net[192.0.2.25]:25",
    original: bytes = b"",
    queue_id: bytes = Q,
) -> bytes:
    """A delivery attempt as the agent logs it."""
    orig = b", orig_to=<%b>" % original if original else b""
    rest = NOT_TRIED % (dsn, word, reply)
    return say(daemon, b"%b: to=<%b>%b, relay=%b, %b" % (queue_id, address, orig, relay, rest), 3)


def quoted(words: bytes, domain: bytes = b"test.example") -> bytes:
    """An address with these words as its quoted local part."""
    return b'"%b"@%b' % (words, domain)


def _addresses() -> list[Forged]:
    """In the local part of recipient and sender (reliability B 1)."""
    inside = (
        b">, relay=mx.bank.example[192.0.2.1]:25, delay=1, dsn=2.0.0, status=sent (250 ok) x=",
        b"b>, orig_to=<v@bank.example>, relay=none, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (ok)",
        b'a\\">, relay=x, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (ok) \\"',
        b"\\\\>, relay=x, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (ok) \\\\",
        b"@bank.example>, relay=x, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (ok) @",
        b" status=sent (250 2.0.0 Ok: queued as 4Q9zzz0aaaz1b)",
        b"x??" + FAKE_LINE,
        ESCAPES,
        b"\xff\xfe\xc3",
        b"#012" + FAKE_LINE,
    )
    found = []
    for number, words in enumerate(inside):
        to = quoted(words)
        none = b"none"
        found += [
            Forged(
                f"recipient {number} bounced",
                [*begun(), tried(to, b"5.4.4", b"bounced", b"Host not found", relay=none)],
                {to.decode("latin-1"): "error"},
            ),
            Forged(
                f"orig_to {number} deferred",
                [
                    *begun(),
                    tried(
                        b"r@example.net",
                        b"4.4.1",
                        b"deferred",
                        b"timed out",
                        relay=none,
                        original=to,
                    ),
                ],
                {to.decode("latin-1"): "deferred"},
            ),
            Forged(
                f"sender {number} deferred",
                [*begun(sender=to), tried(b"r@example.net", b"4.4.1", b"deferred", b"timed out")],
                {"r@example.net": "deferred"},
            ),
            Forged(
                f"refused recipient {number}",
                [
                    say(
                        b"smtpd",
                        b"NOQUEUE: reject: RCPT from unknown[192.0.2.4]: 550 5.1.1 <%b>: Recipient address"
                        b" rejected: User unknown; from=<a@example.org> to=<%b> proto=ESMTP helo=<h.example>"
                        % (to, to),
                    )
                ],
                {to.decode("latin-1"): "rejected"},
            ),
        ]
    expired = (
        b">, status=expired, returned to sender",
        b">, size=1, nrcpt=1 (queue active) removed",
    )
    for words in expired:
        found.append(
            Forged(
                f"sender that expires {len(found)}",
                [
                    *begun(sender=quoted(words)),
                    tried(b"r@example.net", b"4.4.1", b"deferred", b"later"),
                ],
                {"r@example.net": "deferred"},
            )
        )
    return found


def _replies() -> list[Forged]:
    """In what a remote server says (B 4)."""
    said = (
        b"host mx.example.net[192.0.2.25] said: 550 ok), status=sent (250 ok (in reply to RCPT TO command)",
        b"host x said: 550 5.1.1 " + FAKE,
        b"550 >, relay=x, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (250 ok",
        b"550 " + Q + b": removed",
        b"550 queued as " + Q,
        b"550 ??" + FAKE_LINE,
        b"550 #012" + FAKE_LINE,
        b"550 " + ESCAPES,
        b"550 \xff\xfe ((((",
        b"550 <r@example.net> " + SESSION + b" Saved",
        b"550 delivered to maildir) (forwarded as " + Q,
        b"550 " + b"status=sent (250 ok) " * 3000,
        b"550 " + b"(" * 60_000,
    )
    found = [
        Forged(
            f"reply {number} of a bounce",
            [*begun(), tried(b"r@example.net", b"5.1.1", b"bounced", reply)],
            {"r@example.net": "error"},
        )
        for number, reply in enumerate(said)
    ]
    found += [
        Forged(
            f"reply {number} of a deferral",
            [
                *begun(),
                tried(b"r@example.net", b"4.1.1", b"deferred", reply.replace(b"550", b"450", 1)),
            ],
            {"r@example.net": "deferred"},
        )
        for number, reply in enumerate(said)
    ]
    fates = (
        b"250 ok status=bounced (no",
        b"250 " + FAKE_BOUNCE,
        b"250 discarded",
        b"250 BLOCKED x",
        b"250 2.7.0 ok, BLOCKED",
    )
    found += [
        Forged(
            f"reply {number} of a delivery",
            [*begun(), tried(b"r@example.net", b"2.0.0", b"sent", reply)],
            {"r@example.net": "delivered"},
        )
        for number, reply in enumerate(fates[:3])
    ]
    other = b"4Q2zzz0aaaz1b"
    found.append(
        Forged(
            "a remote host that names another message's queue id",
            [
                *begun(other),
                tried(b"o@example.net", b"4.4.1", b"deferred", b"timed out", queue_id=other),
                *begun(),
                tried(b"r@example.net", b"2.0.0", b"sent", b"250 2.0.0 Ok: queued as " + other),
            ],
            {"r@example.net": "delivered", "o@example.net": "deferred"},
        )
    )
    return found


def _clients() -> list[Forged]:
    """In HELO, reverse name, login, Message-ID and headers (B 2, 5, 6)."""
    words = (
        b"x, client=bank.example[192.0.2.1]",
        b"x>: " + FAKE,
        b"x??" + FAKE_LINE,
        b"x#012" + FAKE_LINE,
        b"bob, sasl_method=PLAIN, sasl_username=v@bank.example",
        b"> to=<v@bank.example> proto=ESMTP helo=<y",
        b"; from=<v@bank.example> to=<v@bank.example> proto=ESMTP helo=<y",
        ESCAPES,
        b"caf\xe9.example",
        b"\\" * 60_000,
        b'"' * 60_000,
    )
    end = tried(b"r@example.net", b"5.1.1", b"bounced", b"550 no")
    truth = {"r@example.net": "error"}
    found = []
    for number, said in enumerate(words):
        client = say(
            b"smtpd",
            Q + b": client=mail.example.org[192.0.2.9], sasl_method=PLAIN, sasl_username=" + said,
        )
        found += [
            Forged(f"login {number}", [client, *begun()[1:], end], truth),
            Forged(
                f"message-id {number}",
                [begun()[0], say(b"cleanup", Q + b": message-id=<" + said + b">"), begun()[2], end],
                truth,
            ),
            Forged(
                f"header that is only warned of {number}",
                [
                    *begun(),
                    say(
                        b"cleanup",
                        Q
                        + b": warning: header Subject: "
                        + said
                        + b" from mail.example.org[192.0.2.9];"
                        b" from=<a@example.org> to=<r@example.net> proto=ESMTP helo=<h.example>",
                    ),
                    end,
                ],
                truth,
            ),
            Forged(
                f"HELO {number}",
                [
                    say(
                        b"smtpd",
                        b"NOQUEUE: reject: RCPT from unknown[192.0.2.4]: 450 4.7.1 <r@example.com>: Recipient"
                        b" address rejected: Greylisted; from=<a@example.org> to=<r@example.com> proto=ESMTP helo=<"
                        + said.translate(None, b'<>;" ')
                        + b">",
                    )
                ],
                {"r@example.com": "rejected"},
            ),
            Forged(
                f"sender of a refusal {number}",
                [
                    say(
                        b"smtpd",
                        b"NOQUEUE: reject: RCPT from unknown[192.0.2.4]: 554 5.7.1 <%b>: Sender address rejected;"
                        b" from=<%b> to=<r@example.com> proto=ESMTP helo=<h.example>"
                        % ((quoted(said.replace(b"\\", b"").replace(b'"', b"")),) * 2),
                    )
                ],
                {"r@example.com": "rejected"},
            ),
        ]
    return found


def _programs() -> list[Forged]:
    """Programs that have no say, and lines that are about something else (B 2, 3)."""
    end = tried(b"r@example.net", b"4.4.1", b"deferred", b"timed out")
    truth = {"r@example.net": "deferred"}
    idle = (
        say(b"smtpd", Q + b": " + FAKE),
        say(b"qmgr", Q + b": " + FAKE),
        say(b"cleanup", Q + b": " + FAKE),
        say(b"anvil", Q + b": " + FAKE),
        say(b"smtp", b"warning: " + Q + b": " + FAKE),
        say(b"smtp", Q + b": host mx.example.net[192.0.2.25] said: 450 " + FAKE),
        say(b"smtp", Q + b": lost connection with " + FAKE),
        say(b"smtp", b"connect to x[192.0.2.1]:25: " + Q + b": " + FAKE),
        say(b"smtpd", b"warning: unknown[192.0.2.4]: SASL LOGIN authentication failed: " + FAKE),
        say(
            b"smtpd",
            b"improper command pipelining after DATA from unknown[192.0.2.4]: " + FAKE_LINE,
        ),
        b"Nov 23 18:30:02 mx smtp[9]: " + Q + b": " + FAKE,
        b"Nov 23 18:30:02 mx sshd[9]: postfix/smtp[9]: " + Q + b": " + FAKE,
        b"Nov 23 18:30:02 mx sshd[9]: Invalid user " + FAKE_LINE + b" from 192.0.2.4",
        b"Nov 23 18:30:02 mx sshd[9]: " + FAKE_LINE,
        b"Nov 23 18:30:02 mx cyrus/smtp[9]: " + Q + b": " + FAKE,
        b"Nov 23 18:30:02 mx dovecot: imap-login: Login: user=<" + Q + b": " + FAKE + b">",
        b"Nov 23 18:30:02 mx " + Q + b": " + FAKE,
    )
    return [
        Forged(f"line {number} of a program without a say", [*begun(), line, end], truth)
        for number, line in enumerate(idle)
    ]


def _dovecot() -> list[Forged]:
    """In the Message-ID and folder that Dovecot prints."""
    handed = tried(
        b"v@example.com", b"2.0.0", b"sent", b"250 2.0.0 <v@example.com> " + SESSION + b" Saved",
        daemon=b"lmtp", relay=b"mx[private/dovecot-lmtp]",
    )  # fmt: skip
    junk, inbox = b": stored mail into mailbox 'Junk'", b": stored mail into mailbox 'INBOX'"
    told = (
        b"Nov 23 18:30:03 mx dovecot: lmtp(v@example.com)<7><" + SESSION + b">: sieve: msgid=<%b>%b"
    )
    found = []
    for name, fake, true, status in (
        ("junk", junk, inbox, "delivered"),
        ("inbox", inbox, b": fileinto action" + junk, "filtered"),
        ("discard", b": discarded message", inbox, "delivered"),
        ("reject", b": rejected message from <a@example.org> (reason)", inbox, "delivered"),
        ("forward", b": forwarded to <v@bank.example>", inbox, "delivered"),
        ("a line", b": x??" + FAKE_LINE, inbox, "delivered"),
        ("brackets", b">" + junk + b" <", inbox, "delivered"),
    ):
        message_id = b"x@example.org" + fake
        named = say(b"cleanup", Q + b": message-id=<" + message_id + b">")
        lines = [begun()[0], named, begun()[2], handed, told % (message_id, true)]
        found.append(Forged(f"dovecot's msgid with {name}", lines, {"v@example.com": status}))
    return found


def _sendmail() -> list[Forged]:
    """In Sendmail's addresses, Message-ID and replies."""

    def says(text: bytes, second: int = 1) -> bytes:
        return b"Nov 23 18:30:%02d mx sm-mta[9]: 3ANIU1x0000012: %b" % (second, text)

    def taken(sender: bytes = b"<a@example.org>", msgid: bytes = b"<m@example.org>") -> bytes:
        return says(
            b"from=%b, size=900, class=0, nrcpts=1, msgid=%b, proto=ESMTP, daemon=MTA,"
            b" relay=mail.example.org [192.0.2.9]" % (sender, msgid)
        )

    def gave(to: bytes, dsn: bytes, stat: bytes) -> bytes:
        return says(
            b"to=%b, delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=120900,"
            b" relay=mx.example.net. [192.0.2.25], dsn=%b, stat=%b" % (to, dsn, stat),
            3,
        )

    fake = b"to=<v@bank.example>, mailer=esmtp, relay=x, dsn=2.0.0, stat=Sent (ok)"
    end = gave(b"<r@example.net>", b"5.1.1", b"User unknown")
    truth = {"r@example.net": "error"}
    found = [
        Forged(
            "sendmail's msgid with a delivery", [taken(msgid=b"<x, " + fake + b">"), end], truth
        ),
        Forged("sendmail's msgid with escapes", [taken(msgid=b"<x" + ESCAPES + b">"), end], truth),
        Forged(
            "sendmail's quoted sender with a delivery",
            [taken(sender=b'<"x>, ' + fake + b'"@example.org>'), end],
            truth,
        ),
        Forged(
            "sendmail's reply with another stat",
            [taken(), gave(b"<r@example.net>", b"4.0.0", b"Deferred: 450 x, stat=Sent (ok)")],
            {"r@example.net": "deferred"},
        ),
        Forged(
            "sendmail's refusal with another stat",
            [
                taken(),
                gave(
                    b"<r@example.net>",
                    b"5.0.0",
                    b"Service unavailable: 550 stat=Sent, dsn=2.0.0, stat=Sent",
                ),
            ],
            truth,
        ),
        Forged(
            "sendmail's acceptance with another stat",
            [
                taken(),
                gave(b"<r@example.net>", b"2.0.0", b"Sent (250 ok, dsn=5.1.1, stat=User unknown)"),
            ],
            {"r@example.net": "delivered"},
        ),
    ]
    to = b'"v@bank.example>, mailer=esmtp, dsn=2.0.0, stat=Sent (ok) "@test.example'
    found.append(
        Forged(
            "sendmail's quoted recipient with a delivery",
            [taken(), gave(b"<" + to + b">", b"5.1.1", b"User unknown")],
            {to.decode(): "error"},
        )
    )
    return found


FORGED: Final = [*_addresses(), *_replies(), *_clients(), *_programs(), *_dovecot(), *_sendmail()]
