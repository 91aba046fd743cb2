"""query/words/texts.toml: what providers and MTAs write, and names in it that mean nothing."""

import time

import pytest

from query.explain import explain, texts

REPLIES = [
    # providers: whose text it is, and a word of what it says
    ("550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP", "Microsoft", "low-reputation"),
    ("550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; sender not authenticated for group", "Microsoft", "inside its organisation"),
    ("550 5.7.133 RESOLVER.RST.NotAuthenticated; authentication required", "Microsoft", "inside its organisation"),
    ("550 5.1.8 Access denied, bad outbound sender", "Microsoft", "looked like spam"),
    ("554 5.2.252 SendAsDenied; a@example.com not allowed to send as b@example.com", "Microsoft", "may not send"),
    ("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant", "Microsoft", "switched off"),
    ("550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains", "Microsoft", "registered"),
    ("550 5.7.1 messages from [192.0.2.1] weren't sent, network on block list (S3140)", "Microsoft", "block list"),
    ("550 SC-001 Unfortunately, messages from 192.0.2.1 weren't sent http://mail.live.com/mail/troubleshooting.aspx", "Microsoft", "bad reputation"),
    ("554 5.2.2 STOREDRV.Deliver.Exception:QuotaExceededException; failed", "Microsoft", "full"),
    ("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "Microsoft", "mailbox store"),
    ("550 5.7.321 starttls-not-supported: the server must support STARTTLS", "Microsoft", "encrypted only"),
    ("550 5.4.310 DNS domain nowhere.example does not exist", "Microsoft", "not exist in DNS"),
    ("552-5.7.0 This message was blocked because its content presents a potential security issue. - gsmtp", "Gmail", "attachment"),
    ("550-5.4.5 Daily user sending limit exceeded. - gsmtp", "Gmail", "number of recipients"),
    ("535-5.7.8 Username and Password not accepted. - gsmtp", "Gmail", "app password"),
    ("450-4.2.1 The user is receiving mail at a rate that prevents more - gsmtp", "Gmail", "at the moment"),
    ("550-5.7.1 The IP you're using to send mail is not authorized to send email directly - gsmtp", "Gmail", "directly"),
    ("421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred - see postmaster.yahooinc.com", "Yahoo", "slows down"),
    ("553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1", "Yahoo", "Spamhaus"),
    ("554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes", "Yahoo", "DMARC"),
    ("554 5.7.1 [HM08] Message rejected due to local policy. Please visit https://support.apple.com", "Apple", "own rules"),
    ("550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.1", "Proofpoint", "blocks the sending host"),
    ("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using Barracuda; http://www.barracudacentral.org/q/192.0.2.1", "Barracuda", "block list"),
    ("554-gmx.net Nemesis ESMTP Service not available 554-Bad DNS PTR resource record.", "GMX, WEB.DE", "proper name"),
    ("554-web.de Nemesis ESMTP Service not available 554 see http://postmaster.web.de/x?c=bip", "GMX, WEB.DE", "rule"),
    ("554 IP=192.0.2.1 - A problem occurred. Ask your postmaster for help or write to tosa@rx.t-online.de", "T-Online", "does not know"),
    ("550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=x", "Mail.ru", "spam"),
    ("550 Mailbox unavailable or access denied [x]. https://service.mail.qq.com/detail/0/1013", "QQ", "no mailbox"),
    ("554 DT:SPM 163 mx9,x 1514513028, see http://mail.163.com/help/help_spam_16.htm", "NetEase", "spam"),
    ("421 mwinf5c OFR_104 Too many connections, slow down. OFR004_104", "Orange", "slows down"),
    ("550 5.7.1 554 Message blocked, see https://www.sophos.com/x", "Sophos", "Sophos"),
    ("554 5.7.1 rejected, see http://www.surbl.org/lookup", "URIBL, SURBL", "bad domains"),
    # Exim
    ("retry timeout exceeded", None, "time was over"),
    ("550 Unrouteable address", None, "no way"),
    ("all relevant MX records point to non-existent hosts", None, "do not exist"),
    ("lowest numbered MX record points to local host", None, "does not know that it is meant"),
    ("all hosts for 'example.com' have been failing for a long time (and retry time not reached)", None, "long time"),
    ("retry time not reached for any host for 'example.com'", None, "not tried"),
    ("550 Sender verify failed", None, "takes answers"),
    ("451 Could not complete sender verify callout", None, "could not find out"),
    ("550 relay not permitted", None, "pass on"),
    ("550 Administrative prohibition", None, "local rule"),
    ("554 SMTP synchronization error: SMTP protocol synchronization error", None, "before its turn"),
    ("message has lines too long for transport (received 1200, limit 998)", None, "longer"),
    ("Remote host closed connection in response to initial connection", None, "hung up"),
    # Sendmail
    ("550 5.1.2 <a@nowhere.example>... Host unknown (Name server: nowhere.example: host not found)", None, "not exist in DNS"),
    ("451 4.1.8 Domain of sender address a@example.com does not resolve", None, "does not answer in DNS"),
    ("550 5.7.1 <a@example.com>... Relaying denied. IP name lookup failed [192.0.2.1]", None, "pass on"),
    ("450 4.7.1 Access denied. IP name lookup failed [192.0.2.1]", None, "no name"),
    ("421 4.3.2 Connection rate limit exceeded.", None, "no more connections"),
    ("452 4.4.5 Insufficient disk space; try again later", None, "no room"),
    ("552 5.6.0 Headers too large (32768 max)", None, "headers"),
    ("Deferred: Name server: mx.example.com: host name lookup failure", None, "name servers"),
    # Postfix
    ("550 5.1.0 <a@example.com>: Sender address rejected: User unknown in local recipient table", None, "claims to be"),
    ("554 5.7.1 <a@example.com>: Sender address rejected: Access denied", None, "forbidden"),
    ("504 5.5.2 <a>: Sender address rejected: need fully-qualified address", None, "half"),
    ("504 5.5.2 <a>: Recipient address rejected: need fully-qualified address", None, "half"),
    ("450 4.1.8 <a@example.com>: Sender address rejected: Malformed DNS server reply", None, "sender's domain"),
    ("554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied", None, "sending host"),
    ("550 5.5.3 <DATA>: Data command rejected: Multi-recipient bounce", None, "bounce"),
    ("451 4.3.5 Server configuration error", None, "set up wrongly"),
    ("451 4.3.0 Error: queue file write error", None, "failed for now"),
    ("421 4.7.0 mx.example.com Error: too many errors", None, "mistakes"),
    ("421 4.3.2 All server ports are busy", None, "overloaded"),
    ("unknown mail transport error", None, "did not start"),
    ("mail for example.com loops back to myself", None, "does not know that it is meant"),
    ("cannot update mailbox /var/mail/a for user a. unable to lock for exclusive access", None, "may not write"),
    ("Command died with status 1: \"/usr/bin/x\"", None, "program"),
    ("unreasonable virtual_alias_maps map expansion size for user a@example.com", None, "aliases"),
    ("SMTPUTF8 is required, but was not offered by host mx.example.com[192.0.2.1]", None, "ASCII"),
    ("521 5.5.2 mx.example.com Error: bare <LF> received", None, "ends lines"),
    ("550 5.5.1 Protocol error: bad pipelining", None, "before its turn"),
    ("lost connection with mx.example.com[192.0.2.1] while receiving the initial server greeting", None, "hung up"),
    ("host mx.example.com[192.0.2.1] said: 451 4.7.1 Service unavailable - try again later", None, "no clear reason"),
    # filters and stores
    ("554 5.7.1 Spam message rejected", None, "spam"),
    ("554 5.7.0 Reject, id=20025-09 - SPAM", None, "spam"),
    ("554 5.7.1 Gtube pattern", None, "spam"),
    ("554 5.7.0 Reject, id=20025-09 - BANNED CONTENT", None, "attachment"),
    ("451 4.7.1 Service unavailable, milter unavailable - try again later", None, "not running"),
    ("451 4.5.0 Error in processing, id=1-1, virus scan failed", None, "could not look into"),
    ("550 5.7.1 DKIM signature invalid", None, "DKIM"),
    ("451 4.7.24 SPF temporary error", None, "could not be looked up"),
    ("552 5.2.2 <a@example.com> Quota exceeded (mailbox for user is full)", None, "full"),
    ("550 5.1.1 <a@example.com> User doesn't exist: a@example.com", None, "no mailbox"),
    ("550 5.2.1 This account has been disabled", None, "closed"),
    ("550 This is a closed mailing list", None, "members only"),
    ("450 4.7.1 rate limit exceeded", None, "too short a time"),
    ("554 5.7.1 Rejected 192.0.2.1 found in dnsbl.example", None, "block list"),
    ("550 5.7.1 Fix reverse DNS for 192.0.2.1", None, "reverse DNS"),
    ("550-5.7.1 Unauthenticated email from example.com is not accepted due to domain's", None, "DMARC"),
    ("550 5.7.1 Messages with multiple addresses in From: header are not accepted", None, "headers"),
    ("550 Denied by policy", None, "rule"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "who", "word"), REPLIES, ids=[each[0][:60] for each in REPLIES])
def test_a_known_text_is_explained(reply: str, who: str | None, word: str) -> None:
    found = explain(reply)
    assert found is not None
    assert (found.basis, found.who) == ("text", who)
    assert word in found.says


@pytest.mark.parametrize(
    "text",
    [
        "550 5.1.1 <spamhaus@example.com>: no",
        "550 5.1.1 gsmtp.dmarc@example.com no",
        "550 5.1.1 <mimecast.com@example.com> no",
        "550 5.1.1 <tosa@rx.example>: no",
        "host spam.greylist.example[192.0.2.1] said: 550 5.1.1 no",
        "host virus[192.0.2.1] said: 550 5.1.1 no",
        "host spamhaus.example[192.0.2.1] refused to talk to me: 550 5.1.1 no",
        "connect to mx.spam.example[2001:db8::1]:25: 550 5.1.1 no",
        "550 5.1.1 no, see https://example.com/virus/spam/dkim",
        "550 5.1.1 no, see www.example.com/quota exceeded.html",
        "550 5.1.1 mail from dmarc.spf.example no",
        '550 5.1.1 subject was "user unknown, spam, virus"',
        "550 5.1.1 Subject: Greylisted by Spamhaus",
        "550 5.1.1 antispam antivirus nospf spfx",
    ],
)
def test_names_links_and_subjects_mean_nothing(text: str) -> None:
    found = explain(text)
    assert found is not None
    assert (found.code, found.basis, found.who) == ("5.1.1", "enhanced_status", None)


def test_what_is_final_is_not_said_to_be_tried_again() -> None:
    for text in ("5.4.1", "5.4.2", "554 5.7.1 Greylisted", "550 connection timed out"):
        found = explain(text)
        assert found is not None
        assert "tried again" not in (found.next or "")
        assert "for good" in (found.outcome or "")
    expired = explain("connect to mx.example.com[192.0.2.1]:25: Connection timed out", final=True)
    assert expired is not None
    assert "tried again" not in (expired.next or "")
    assert "for good" in (expired.outcome or "")


def test_every_entry_that_waits_for_a_next_try_says_what_to_do_without() -> None:
    for entry in texts():
        if "tried again" in entry.get("next", "") or entry.get("next", "").startswith("Wait"):
            assert "tried again" not in entry["final"]


def test_an_entry_has_words_in_lower_case_and_whole() -> None:
    for entry in texts():
        assert entry.get("has") or entry.get("any")
        for part in (*entry.get("has", ()), *entry.get("any", ())):
            assert part == part.casefold() == " ".join(part.split())
            assert "*" not in part[:-1]


@pytest.mark.parametrize(
    "part", ["a.", "a@", "host ", "<", "a", "-", "subject: '", "[", "1.", "x<"]
)
def test_a_text_that_means_harm_is_read_in_no_time(part: str) -> None:
    began = time.process_time()
    explain(part * 4096)
    assert time.process_time() - began < 0.05
