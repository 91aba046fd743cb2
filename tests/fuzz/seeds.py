"""Lines to start from: the project's own logs, one of every grammar, and others' where they are.

Each comes with the form of the log it is of (``milterd.lines.formats``).
"""

import gzip
import os
from pathlib import Path
from typing import Final

from milterd.lines import formats

PROJECT: Final = Path(__file__).parents[2]
CORPORA: Final = Path(os.environ.get("POSTTRAIL_CORPORA", PROJECT.parent / "shared" / "corpora"))
SAMPLE: Final = PROJECT / "posttrail" / "demo" / "sample.log.gz"
_MOST_A_FILE: Final = 400
_LONGEST: Final = 4_000

Seed = tuple[str, bytes]

OWN: Final = rb"""
Nov 23 18:30:01 mx postfix/smtpd[9]: 4Q1zzz0aaaz1b: client=mail.example.org[192.0.2.9]:2525, sasl_method=PLAIN, sasl_username=bob
Nov 23 18:30:01 mx postfix/smtpd[9]: NOQUEUE: reject: RCPT from unknown[192.0.2.4]: 550 5.1.1 <x@example.com>: Recipient address rejected: User unknown; from=<a@example.org> to=<x@example.com> proto=ESMTP helo=<h.example>
Nov 23 18:30:01 mx postfix/smtp[8]: 4Q1zzz0aaaz1b: to=<"a b"@example.net>, orig_to=<c@example.com>, relay=mx.example.net[192.0.2.25]:25, conn_use=2, delay=1, delays=0/0/0/1, tls=s, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as ABCDEF0123)
Nov 23 18:30:01 mx postfix/smtp[8]: Trusted TLS connection established to mx.example.net[192.0.2.25]:25: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)
Nov 23 18:30:01 mx dovecot: lmtp(bob@example.com)<12><abcdefghijklmnop0123>: sieve: msgid=<m@example.org>: stored mail into mailbox 'Junk'
Nov 23 18:30:01 mx dovecot: lmtp(bob@example.com): abcdefghijklmnop0123: msgid=<m@example.org>: saved mail to INBOX
Nov 23 18:30:01 mx dovecot: lda(bob@example.com)<12><abcdefghijklmnop0123>: sieve: msgid=<m@example.org>: forwarded to <c@example.net>
Nov 23 18:30:01 mx amavis[12]: (00012-01) Passed SPAMMY {RelayedTaggedInbound}, [192.0.2.9]:2525 [192.0.2.9] <a@example.org> -> <b@example.com>,<c@example.com>, Queue-ID: 4Q1zzz0aaaz1b, Message-ID: <m@example.org>, mail_id: Ab-cd_ef, Hits: 6.3, size: 1200, queued_as: 4Q2zzz0aaaz1b, 812 ms
Nov 23 18:30:01 mx spamd[12]: spamd: result: Y 12 - BAYES_99,HTML_MESSAGE scantime=0.3,size=1200,user=bob,uid=1000,required_score=5.0,rhost=127.0.0.1,raddr=127.0.0.1,rport=783,mid=<m@example.org>,bayes=1,autolearn=no
Nov 23 18:30:01 mx pmg-smtp-filter[12]: 4Q1zzz0aaaz1b: moved mail for <b@example.com> to spam quarantine - 12AB34 (rule: Quarantine)
Nov 23 18:30:01 mx opendmarc[12]: 4Q1zzz0aaaz1b: example.org fail
Nov 23 18:30:01 mx policyd-spf[12]: 550 5.7.23 Message rejected due to: SPF fail - not authorized. Identity=mailfrom; client-ip=192.0.2.9; helo=h.example; envelope-from=a@example.org; receiver=b@example.com
Nov 23 18:30:01 mx MailScanner[12]: Message 4Q1zzz0aaaz1b.A1B2C from 192.0.2.9 (a@example.org) to example.com is spam, SpamAssassin (not cached, score=12.3, required 5, BAYES_99 3.50)
Nov 23 18:30:01 mx sm-mta[12]: 3ANIU1x0000012: from=<a@example.org>, size=1200, class=0, nrcpts=2, msgid=<m@example.org>, proto=ESMTP, daemon=MTA, relay=mail.example.org [192.0.2.9]
Nov 23 18:30:01 mx sm-mta[12]: 3ANIU1x0000012: to=<b@example.com>,<c@example.com>, ctladdr=<a@example.org> (1000/1000), delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=120000, relay=mx.example.com. [192.0.2.25], dsn=2.0.0, stat=Sent (ok 3ANIU1x0000099 Message accepted for delivery)
Nov 23 18:30:01 mx sm-mta[12]: ruleset=check_rcpt, arg1=<b@example.com>, relay=mail.example.org [192.0.2.9], reject=550 5.7.1 <b@example.com>... Relaying denied
Nov 23 18:30:01 mx sm-mta[12]: 3ANIU1x0000012: Milter: to=<b@example.com>, reject=550 5.7.1 no
2026-11-23 18:30:01 1rABCd-000123-4e <= a@example.org H=(h.example) [192.0.2.9]:2525 P=esmtps X=TLS1.3:TLS_AES_256_GCM_SHA384:256 A=plain:bob S=1200 id=m@example.org T="a \"b\" => c" for b@example.com c@example.com
2026-11-23 18:30:01 1rABCd-000123-4e => c@example.com <b@example.com> R=dnslookup T=remote_smtp H=mx.example.com [192.0.2.25]:25 X=TLS1.3:x:256 CV=yes C="250 2.0.0 Ok: queued as 1rABCe-000124-5f" QT=1s DT=0s
2026-11-23 18:30:01 1rABCd-000123-4e ** b@example.com R=dnslookup T=remote_smtp H=mx.example.com [192.0.2.25]: SMTP error from remote mail server after RCPT TO:<b@example.com>: 550 5.1.1 no
2026-11-23 18:30:01 1rABCd-000123-4e == b@example.com R=dnslookup T=remote_smtp defer (-44) H=mx.example.com [192.0.2.25]: SMTP error from remote mail server after RCPT TO:<b@example.com>: 451 later
2026-11-23 18:30:01 H=(h.example) [192.0.2.9]:2525 F=<a@example.org> rejected RCPT <b@example.com>: relay not permitted
2026-11-23 18:30:01 1rABCd-000123-4e Completed
<22>1 2026-11-23T18:30:01.123456+01:00 mx postfix/qmgr 9 - [a@1 b="c\\" ]"][d@1 e=""] 4Q1zzz0aaaz1b: removed
{"__REALTIME_TIMESTAMP":"1795458600000000","_HOSTNAME":"mx","SYSLOG_IDENTIFIER":"postfix/qmgr","_PID":"9","_SYSTEMD_UNIT":"postfix@-.service","_UID":"0","_TRANSPORT":"syslog","MESSAGE":[52,81,49,58,32,114,101,109,111,118,101,100]}
{"log":"Nov 23 18:30:01 mx postfix/qmgr[9]: 4Q1zzz0aaaz1b: removed\ud800\n","stream":"stdout","time":"2026-11-23T18:30:01.5Z"}
2026-11-23T18:30:01.123456789Z stdout F 2026-11-23T18:30:01.123456+01:00 mx postfix/qmgr[9]: 4Q1zzz0aaaz1b: removed
mail-1  | Nov 23 18:30:01 mx postfix/qmgr[9]: 4Q1zzz0aaaz1b: from=<>, status=expired, returned to sender
Nov 23 18:30:01 box docker/mail[9]: 2026-11-23T18:30:01.123456+01:00 mx postfix/cleanup[9]: 4Q1zzz0aaaz1b: message-id=<m@example.org>
""".strip().split(b"\n")


def own() -> list[Seed]:
    """What the project carries."""
    found = [_seed(line) for line in OWN]
    for log in sorted((PROJECT / "tests" / "golden").glob("*/mail.log")):
        found += _of_file(log.read_bytes())
    found += _of_file(gzip.decompress(SAMPLE.read_bytes()))
    return found


def corpora() -> list[Seed]:
    """What others' logs have, where they are."""
    found: list[Seed] = []
    for path in sorted(CORPORA.glob("*/**/*")):
        if path.is_file() and path.name != "SOURCE.md":
            found += _of_file(path.read_bytes())
    return found


def _of_file(data: bytes) -> list[Seed]:
    """Lines from the whole of a file, not from its beginning alone."""
    lines = [line[:_LONGEST] for line in data.split(b"\n") if line]
    form = formats.sniff(lines[:50])
    return [(form, line) for line in lines[:: max(1, len(lines) // _MOST_A_FILE)]]


def _seed(line: bytes) -> Seed:
    return formats.sniff([line]), line
