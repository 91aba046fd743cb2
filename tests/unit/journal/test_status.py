"""Every rule of the status table, by the facts that meet it."""

import pytest

from journal import status
from journal.records import REASONS, Status
from journal.status import Facts

SENT: list[tuple[Facts, int, str]] = [
    (Facts(b"sent", b"discard", b"2.0.0", b"policy"), Status.FILTERED, "discarded"),
    (Facts(b"sent", b"local", b"2.0.0", b"discarded"), Status.FILTERED, "discarded"),
    (Facts(b"sent", b"local", b"2.0.0", b"delivered to file: /dev/null"), 2, "discarded"),
    (Facts(b"sent", b"local", b"2.0.0", b"delivered to file: /dev/nullify"), 0, "stored"),
    (Facts(b"sent", b"local", b"2.0.0", b"delivered to mailbox"), Status.DELIVERED, "stored"),
    (Facts(b"sent", b"local", b"2.0.0", b"delivered to command: x"), Status.DELIVERED, "piped"),
    (Facts(b"sent", b"local", text=b'"|/usr/bin/procmail"'), Status.DELIVERED, "piped"),
    (Facts(b"sent", b"pipe", b"2.0.0", b"delivered via x service"), Status.DELIVERED, "piped"),
    (Facts(b"sent", b"virtual", b"2.0.0", b"delivered to maildir"), Status.DELIVERED, "stored"),
    (Facts(b"sent", b"lmtp", b"2.0.0", b"250 2.0.0 <a@example.com> x Saved"), 0, "stored"),
    (Facts(b"sent", b"smtp", b"2.0.0", b"250 2.0.0 Ok: queued as A"), 0, "relayed"),
    (Facts(b"sent", b"smtp", b"2.7.0", b"250 2.7.0 BLOCKED (1A2B)"), 2, "discarded"),
    (Facts(b"sent", b"smtp", b"2.7.0", b"250 2.7.0 Ok, discarded, id=1"), 2, "discarded"),
    (Facts(b"sent", b"smtp", b"2.5.0", b"250 moved to quarantine"), 2, "quarantined"),
]

FILED: list[tuple[Facts, int, str]] = [
    (Facts(b"sent", b"lmtp", text=b"250 x Saved", filed=b"stored"), Status.DELIVERED, "stored"),
    (Facts(b"sent", b"pipe", text=b"delivered via x", filed=b"junk"), Status.FILTERED, "junk"),
    (Facts(b"sent", b"lmtp", filed=b"discarded"), Status.FILTERED, "discarded"),
    (Facts(b"sent", b"lmtp", filed=b"rejected"), Status.ERROR, "bounced"),
    (Facts(b"sent", b"lmtp", filed=b"forwarded"), Status.DELIVERED, "relayed"),
    (Facts(filed=b"junk"), Status.FILTERED, "junk"),  # the final agent alone spoke
    # the queue manager's word on a failure counts more than what the agent tried
    (Facts(b"deferred", b"lmtp", b"4.2.2", b"x", filed=b"stored"), Status.DEFERRED, "quota"),
    (Facts(b"bounced", b"lmtp", b"5.2.2", b"x", filed=b"stored"), Status.ERROR, "bounced"),
    # a bounce that came back makes an error of a delivery only
    (Facts(b"sent", b"smtp", text=b"250 Ok", late=True), Status.ERROR, "late_bounce"),
    (Facts(b"sent", b"lmtp", filed=b"junk", late=True), Status.FILTERED, "junk"),
    (Facts(b"deferred", b"smtp", b"4.4.1", b"x", late=True), Status.DEFERRED, "connection"),
    # a filter that kept the mail, by its own log
    (
        Facts(b"sent", b"smtp", text=b"250 Ok, discarded, id=1", verdict=b"quarantine"),
        2,
        "quarantined",
    ),
    (Facts(queued=True, verdict=b"quarantine"), Status.FILTERED, "quarantined"),
    (Facts(held=b"smtpd", queued=True, verdict=b"discard"), Status.FILTERED, "discarded"),
    (
        Facts(b"sent", b"smtp", text=b"250 2.0.0 Ok: queued as A", verdict=b"quarantine"),
        0,
        "relayed",
    ),
]

OTHERS: list[tuple[Facts, int, str]] = [
    (Facts(b"bounced", b"smtp", b"5.1.1", b"said: 550"), Status.ERROR, "bounced"),
    (Facts(b"bounced", b"smtp", b"5.4.6", b"mail for x loops"), Status.ERROR, "looped"),
    (Facts(b"bounced", b"local", b"", b"mail forwarding loop for x"), Status.ERROR, "looped"),
    (Facts(b"bounced", b"", b"", b"retry timeout exceeded"), Status.ERROR, "expired"),
    (Facts(b"bounced", b"smtp", b"", b"SMTP timeout: retry timeout exceeded"), 5, "expired"),
    (
        Facts(b"bounced", b"", b"", b"all hosts for 'x' have been failing for a long time"),
        5,
        "expired",
    ),
    (Facts(b"answered", b"local", removed=True, queued=True), Status.DELIVERED, "piped"),
    (Facts(b"answered", b"local", queued=True), Status.IN_PROGRESS, "queued"),
    (Facts(door=b"reject", reply_code=b"554", text=b"no"), Status.REJECTED, "policy"),
    (Facts(door=b"discard", text=b"no"), Status.FILTERED, "discarded"),
    (Facts(b"deferred", b"smtp", b"4.4.1", b"x", deleted=True), Status.ERROR, "deleted"),
    (Facts(b"deferred", b"smtp", b"4.4.1", b"x", expired=True), Status.ERROR, "expired"),
    (Facts(held=b"milter", queued=True), Status.FILTERED, "quarantined"),
    (Facts(held=b"postsuper", queued=True), Status.IN_PROGRESS, "held"),
    (Facts(b"deferred", b"smtp", b"4.4.1", b"x"), Status.DEFERRED, "connection"),
    (Facts(queued=True), Status.IN_PROGRESS, "queued"),
    (Facts(queued=True, removed=True), Status.IN_PROGRESS, "unknown"),
    (Facts(), Status.IN_PROGRESS, "unknown"),
    # what ended counts more than what went before
    (Facts(b"sent", b"smtp", text=b"250 ok", deleted=True), Status.DELIVERED, "relayed"),
    (Facts(b"bounced", b"smtp", b"5.0.0", b"x", door=b"reject"), Status.ERROR, "bounced"),
]


@pytest.mark.parametrize(("facts", "expected", "reason"), SENT + FILED + OTHERS)
def test_facts_make_the_status_and_its_reason(facts: Facts, expected: int, reason: str) -> None:
    assert status.decide(facts) == (expected, reason)


@pytest.mark.parametrize(
    ("code", "enhanced", "text", "reason"),
    [
        (b"450", b"4.2.0", b"Recipient address rejected: Greylisted, see x", "greylisted"),
        (b"550", b"5.7.1", b"infected: Eicar-Test", "virus"),
        (b"554", b"5.7.1", b"Service unavailable; client blocked using bl.test", "blocklist"),
        (b"554", b"5.7.1", b"<x@example.org>: Relay access denied", "relay_denied"),
        (b"554", b"5.7.1", b"Spam message rejected", "spam"),
        (b"552", b"5.3.4", b"Message size exceeds fixed limit", "size"),
        (b"552", b"5.3.4", b"", "size"),
        (b"550", b"5.1.1", b"no mailbox here", "unknown_user"),
        (b"550", b"", b"User unknown in virtual mailbox table", "unknown_user"),
        (b"451", b"4.3.5", b"Server configuration problem", "temporary"),
        (b"", b"4.7.1", b"try later", "temporary"),
        (b"", b"", b"temporarily rejected: Could not complete sender verify", "temporary"),
        (b"", b"", b"Unrouteable address", "unknown_user"),
        (b"", b"", b"relay not permitted", "relay_denied"),
        (b"", b"", b"192.0.2.1 is in an RBL: see x", "blocklist"),
        (b"", b"5.7.1", b"refused", "policy"),
        (b"", b"", b"", "policy"),
        (b"554", b"5.7.1", b"554 5.7.1 <a@spam.example>: Sender address rejected", "policy"),
        (b"554", b"5.7.1", b"<unclosed: spam", "spam"),
        (b"550", b"5.7.1", b"Message content rejected, UBE, id=1-2", "spam"),
        (b"550", b"5.7.1", b"very low reputation of the sending IP, a spam source", "blocklist"),
        (b"550", b"5.5.0", b"550 User not found", "unknown_user"),
        (b"550", b"", b"sorry, no such address here", "unknown_user"),
        (b"550", b"", b"The sending IP is listed in a database of ours", "blocklist"),
        (b"550", b"", b"You are not permitted to relay through this server", "relay_denied"),
        (b"550", b"", b"Requested action not taken: mailbox unavailable", "unknown_user"),
        (b"450", b"", b"Requested action not taken: mailbox unavailable", "temporary"),
        (b"553", b"5.1.8", b"Domain of sender address x does not exist", "policy"),
        (b"501", b"5.7.1", b"This system is not configured to relay mail", "relay_denied"),
    ],
)
def test_refusals_name_their_reason(code: bytes, enhanced: bytes, text: bytes, reason: str) -> None:
    assert status.refusal(code, enhanced, text) == reason


@pytest.mark.parametrize(
    ("enhanced", "text", "reason"),
    [
        (b"4.3.0", b"delivery temporarily suspended: connect to x: refused", "suspended"),
        (b"4.2.0", b"host x said: 450 4.2.0 Greylisted", "greylisted"),
        (b"4.2.2", b"host x said: 452 4.2.2 full", "quota"),
        (b"4.0.0", b"mailbox is full", "quota"),
        (b"4.0.0", b"the recipient has exceeded the storage limit", "quota"),
        (b"4.0.0", b"The email account that you tried to reach is out of storage", "quota"),
        (b"4.1.2", b"host x said: 450 4.1.2 Domain not found", "dns"),
        (b"4.4.3", b"Host or domain name not found. Name service error", "dns"),
        (b"", b"connect to mx.example.com[192.0.2.1]:25: Connection timed out", "connection"),
        (b"4.4.2", b"lost connection while sending RCPT TO", "connection"),
        (b"4.0.0", b"host x said: 451 busy", "other"),
        (b"4.0.0", b"host greylist.example[192.0.2.1] said: 451 busy", "other"),
    ],
)
def test_deferrals_name_their_reason(enhanced: bytes, text: bytes, reason: str) -> None:
    assert status.deferral(enhanced, text) == reason


EXIM = b"SMTP error from remote mail server after "


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (b"250 2.0.0 Ok", b"250 2.0.0 Ok"),
        (
            b"host mx said: 450 4.2.0 no (in reply to RCPT TO)",
            b"450 4.2.0 no (in reply to RCPT TO)",
        ),
        (EXIM + b"RCPT TO:<a: 550 x@example.net>: 451 4.7.1 later", b"451 4.7.1 later"),
        (EXIM + b"end of data: host mx.test [192.0.2.1]: 554-5.7.1 spam", b"554-5.7.1 spam"),
        (b"LMTP error after RCPT TO:<a@example.com: 550", b"550"),
        (EXIM + b"HELO mx: 55x", b""),
        (EXIM + b"a: b: c: d: e: 550 too far", b""),
        (b"Connection refused: 550 no", b""),
    ],
)
def test_a_reply_is_found_where_the_mta_puts_it(text: bytes, reply: bytes) -> None:
    at = status.reply_at(text)
    assert (text[at:] if at >= 0 else b"") == reply


def test_a_host_s_name_is_no_reason_in_exim_s_words_either() -> None:
    text = EXIM + b"RCPT TO:<a@example.net>: host greylist.test [192.0.2.1]: 450 later"
    assert status.deferral(b"", text) == "other"
    assert status.deferral(b"", EXIM + b"QUIT") == "other"


def test_every_reason_of_the_table_has_a_number_on_disk() -> None:
    tables = *status.REFUSAL_WORDS, *status.PERMANENT_WORDS, *status.DEFERRAL_WORDS
    words = {line[0] for line in tables}
    assert words <= set(REASONS)
    assert len(set(REASONS)) == len(REASONS)


def test_the_worst_status_is_the_largest() -> None:
    order = [Status.DELIVERED, Status.IN_PROGRESS, Status.FILTERED]
    order += [Status.DEFERRED, Status.REJECTED, Status.ERROR]
    assert sorted(Status) == order
