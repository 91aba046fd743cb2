"""What is joined without a queue id of its own: Dovecot, filters, pipes, proxies, late bounces.

Every story is read in order, from either source first, in halves in either order, and with a
restart in the middle: always the same records.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from journal.events import Kind, named
from journal.records import Record, Status
from tests.unit.milterd.track.feeds import (
    BASE_US,
    SECOND,
    Run,
    Story,
    line,
    other,
    rcpt,
    told,
    transaction,
)

SESSION = "f3K0abcdEFghIJklMNopQR"


def begin(
    story: Story, at: float, queue_id: str, message_id: str, sender: str = "s@example.net"
) -> None:
    """A queue file for a client, up to its entry into the queue."""
    story.log += [
        line(at, "smtpd[11]", f"{queue_id}: client=mail.example.net[192.0.2.5]"),
        line(at + 0.1, "cleanup[12]", f"{queue_id}: message-id=<{message_id}>"),
        line(at + 0.2, "qmgr[2]", f"{queue_id}: from=<{sender}>, size=9, nrcpt=1 (queue active)"),
    ]  # fmt: skip


def sent(at: float, daemon: str, queue_id: str, to: str, relay: str, reply: str) -> bytes:
    return line(at, f"{daemon}[13]", f"{queue_id}: to=<{to}>, relay={relay}, delay=1, delays=0/0/0/1,"
                f" dsn=2.0.0, status=sent ({reply})")  # fmt: skip


def lmtp(story: Story, at: float, queue_id: str, to: str, session: str = SESSION) -> None:
    reply = f"250 2.0.0 <{to}> {session} Saved"
    story.log += [
        sent(at, "lmtp", queue_id, to, "mx[private/dovecot-lmtp]", reply),
        line(at + 0.1, "qmgr[2]", f"{queue_id}: removed"),
    ]


def dovecot(at: float, user: str, text: str, session: str = SESSION) -> bytes:
    return other(at, "dovecot", f"lmtp({user})<77><{session}>: {text}")


class Expect(NamedTuple):
    """The rows that must come of a story: recipient, final, status, reason, folder."""

    rows: list[tuple[str, str, str, str, str]]
    messages: int = 1


STORIES: dict[str, tuple[Callable[[Story], None], Expect]] = {}


def a_story(expect: Expect) -> Callable[[Callable[[Story], None]], Callable[[Story], None]]:
    def register(tell: Callable[[Story], None]) -> Callable[[Story], None]:
        STORIES[tell.__name__] = tell, expect
        return tell

    return register


BOB = "bob@example.com"
INBOX = (BOB, BOB, "delivered", "stored", "INBOX")


@a_story(Expect([INBOX]))
def saved_in_the_inbox(story: Story) -> None:
    begin(story, 0, "AAAA1111", "m@example.net")
    story.log.append(dovecot(1, BOB, "msgid=<m@example.net>: saved mail to INBOX"))
    lmtp(story, 1.1, "AAAA1111", BOB)


@a_story(Expect([(BOB, BOB, "filtered", "junk", "Junk")]))
def filed_as_junk_and_the_postfix_line_comes_first(story: Story) -> None:
    begin(story, 0, "AAAA1111", "m@example.net")
    lmtp(story, 1, "AAAA1111", BOB)
    text = "sieve: msgid=<m@example.net>: fileinto action: stored mail into mailbox 'Junk'"
    story.log.append(dovecot(1.1, BOB, text))


@a_story(Expect([INBOX]))
def a_copy_in_the_inbox_beats_the_one_in_junk(story: Story) -> None:
    begin(story, 0, "AAAA1111", "m@example.net")
    for place, folder in enumerate(("Junk", "INBOX")):
        text = f"sieve: msgid=<m@example.net>: stored mail into mailbox '{folder}'"
        story.log.append(dovecot(1 + place / 100, BOB, text))
    lmtp(story, 1.1, "AAAA1111", BOB)


@a_story(Expect([(BOB, BOB, "filtered", "junk", "Junk")]))
def a_message_id_that_dovecot_cuts_hides_nothing(story: Story) -> None:
    begin(story, 0, "AAAA1111", "x" * 300 + "@example.net")
    text = f"sieve: msgid=<{'x' * 196}...: fileinto action: stored mail into mailbox 'Junk'"
    story.log.append(dovecot(1, BOB, text))
    lmtp(story, 1.1, "AAAA1111", BOB)


@a_story(
    Expect([
        ("a@example.com", "a@example.com", "filtered", "junk", "INBOX.Spam"),
        ("b@example.com", "b@example.com", "delivered", "stored", "INBOX"),
    ])
)  # fmt: skip
def two_recipients_of_one_session(story: Story) -> None:
    begin(story, 0, "AAAA1111", "m@example.net")
    for suffix, user, folder in (("", "a", "INBOX.Spam"), (":2", "b", "INBOX")):
        who, session = f"{user}@example.com", SESSION + suffix
        text = f"sieve: msgid=<m@example.net>: stored mail into mailbox '{folder}'"
        story.log.append(dovecot(1, who, text, session))
        reply = f"250 2.0.0 <{who}> {session} Saved"
        story.log.append(sent(1.1, "lmtp", "AAAA1111", who, "mx[private/dovecot-lmtp]", reply))
    story.log.append(line(1.2, "qmgr[2]", "AAAA1111: removed"))


@a_story(
    Expect([
        (BOB, BOB, "delivered", "stored", "INBOX"),
        (BOB, BOB, "filtered", "junk", "Junk"),
    ], messages=2)
)  # fmt: skip
def two_mails_through_one_session(story: Story) -> None:
    for place, folder in enumerate(("INBOX", "Junk")):
        queue_id, message_id = f"AAAA111{place}", f"m{place}@example.net"
        begin(story, place * 2, queue_id, message_id)
        text = f"sieve: msgid=<{message_id}>: stored mail into mailbox '{folder}'"
        story.log.append(dovecot(place * 2 + 1, BOB, text))
        lmtp(story, place * 2 + 1.1, queue_id, BOB)


@a_story(Expect([("bob", "bob", "filtered", "junk", "Spam")]))
def dovecot_alone_makes_a_row(story: Story) -> None:
    story.log.append(dovecot(1, "bob", "msgid=<m@example.net>: saved mail to Spam"))


@a_story(Expect([(BOB, BOB, "filtered", "junk", "Spam")]))
def the_delivery_agent_behind_pipe_names_no_session(story: Story) -> None:
    begin(story, 0, "AAAA1111", "m@example.net")
    text = f"lda(bob)<77><{SESSION}>: msgid=<m@example.net>: saved mail to Spam"
    story.log += [
        other(1, "dovecot", text),
        sent(1.1, "pipe", "AAAA1111", BOB, "dovecot", "delivered via dovecot service"),
        line(1.2, "qmgr[2]", "AAAA1111: removed"),
    ]


@a_story(Expect([(BOB, BOB, "filtered", "junk", "Spam")]))
def the_old_delivery_agent_has_no_session_at_all(story: Story) -> None:
    begin(story, 0, "AAAA1111", "m@example.net")
    story.log += [
        other(1, "dovecot", "lda(bob): msgid=<m@example.net>: saved mail to Spam"),
        sent(1.1, "pipe", "AAAA1111", BOB, "dovecot", "delivered via dovecot service"),
        line(1.2, "qmgr[2]", "AAAA1111: removed"),
    ]


@a_story(Expect([(BOB, BOB, "error", "bounced", "")]))
def a_script_that_rejects_after_acceptance(story: Story) -> None:
    begin(story, 0, "AAAA1111", "m@example.net")
    text = "sieve: msgid=<m@example.net>: rejected message from <s@example.net> (reject)"
    story.log.append(dovecot(1, BOB, text))
    lmtp(story, 1.1, "AAAA1111", BOB)


def given_back(story: Story, sender: str = "s@example.net", after: float = 2.0) -> None:
    begin(story, 0, "AAAA1111", "m@example.net")
    story.log += [
        line(after, "pickup[3]", f"BBBB2222: uid=110 from=<{sender}>"),
        sent(2.1, "pipe", "AAAA1111", BOB, "spamfilter", "delivered via spamfilter service"),
        line(2.2, "qmgr[2]", "AAAA1111: removed"),
        line(after + 0.3, "cleanup[12]", "BBBB2222: message-id=<m@example.net>"),
        line(after + 0.4, "qmgr[2]", f"BBBB2222: from=<{sender}>, size=19, nrcpt=1 (queue active)"),
        line(after + 1, "virtual[14]", f"BBBB2222: to=<{BOB}>, relay=virtual, delay=1,"
             " delays=0/0/0/1, dsn=4.2.2, status=deferred (mailbox is full)"),
    ]  # fmt: skip


@a_story(Expect([(BOB, BOB, "deferred", "quota", "")]))
def a_program_gives_the_mail_back_through_sendmail(story: Story) -> None:
    given_back(story)


@a_story(
    Expect([
        (BOB, BOB, "deferred", "quota", ""),
        (BOB, BOB, "delivered", "piped", ""),
    ], messages=2)
)  # fmt: skip
def a_list_that_sends_on_under_its_own_name_is_another_message(story: Story) -> None:
    given_back(story, "list-bounces@example.com")


@a_story(
    Expect([
        (BOB, BOB, "deferred", "quota", ""),
        (BOB, BOB, "delivered", "piped", ""),
    ], messages=2)
)  # fmt: skip
def the_same_message_id_an_hour_later_is_another_message(story: Story) -> None:
    given_back(story, after=3600.0)


@a_story(Expect([(BOB, BOB, "delivered", "stored", "")]))
def a_filter_names_the_message_id_before_anybody_else(story: Story) -> None:
    story.log.append(
        other(0, "spamd[5]", "spamd: result: . -1 - ALL scantime=0.1,size=9,user=x,uid=1,"
              "required_score=5.0,rhost=::1,raddr=::1,rport=1,mid=<m@example.net>,autolearn=no")
    )  # fmt: skip
    begin(story, 0.5, "AAAA1111", "m@example.net")
    story.log.append(sent(1.1, "virtual", "AAAA1111", BOB, "virtual", "delivered to maildir"))


@a_story(Expect([(BOB, BOB, "delivered", "stored", "")]))
def behind_a_proxy_filter_two_sessions_are_one_message(story: Story) -> None:
    story.spool.append(transaction(0, "", [rcpt(BOB)], port=4001))
    reply = "250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as BBBB2222"
    story.log += [
        line(0.1, "smtpd[11]", "NOQUEUE: client=mail.example.net[192.0.2.5]"),
        line(0.4, "10025/smtpd[21]", "BBBB2222: client=localhost[127.0.0.1],"
             " orig_client=mail.example.net[192.0.2.5]:4001"),
        line(0.5, "cleanup[12]", "BBBB2222: message-id=<m@example.net>"),
        line(0.6, "qmgr[2]", "BBBB2222: from=<s@example.net>, size=19, nrcpt=1 (queue active)"),
        line(0.7, "smtpd[11]", f"proxy-accept: END-OF-MESSAGE: {reply}; from=<s@example.net>"
             f" to=<{BOB}> proto=ESMTP helo=<mail.example.net>"),
        sent(1.1, "virtual", "BBBB2222", BOB, "virtual", "delivered to maildir"),
        line(1.2, "qmgr[2]", "BBBB2222: removed"),
    ]  # fmt: skip


def sent_out(story: Story, message_id: str, sender: str, to: list[str]) -> None:
    story.spool.append(transaction(
        0, "AAAA1111", [rcpt(one) for one in to], sender=sender, message_id=message_id,
    ))  # fmt: skip
    begin(story, 0.1, "AAAA1111", message_id, sender)
    for one in to:
        reply = "250 2.0.0 Ok: queued as FAR77"
        story.log.append(sent(1.1, "smtp", "AAAA1111", one, "mx.example.org[192.0.2.9]:25", reply))
    story.log.append(line(1.2, "qmgr[2]", "AAAA1111: removed"))


def came_back(story: Story, to: str, report: list[str], subject: str) -> None:
    """A notice from outside, an hour later."""
    story.spool.append(transaction(
        3600, "NNNN9999", [rcpt(to)], sender="", message_id="n@example.org", subject=subject,
        report=report, port=4100,
    ))  # fmt: skip
    story.log += [
        line(3600.2, "smtpd[11]", "NNNN9999: client=mail.example.net[192.0.2.5]:4100"),
        line(3600.3, "cleanup[12]", "NNNN9999: message-id=<n@example.org>"),
        line(3600.4, "qmgr[2]", "NNNN9999: from=<>, size=9, nrcpt=1 (queue active)"),
        sent(3601, "virtual", "NNNN9999", to, "virtual", "delivered to maildir"),
        line(3602, "qmgr[2]", "NNNN9999: removed"),
    ]


DSN = "multipart/report; report-type=delivery-status; boundary=x"
ANN, CAT, DAN = "ann@example.com", "cat@example.org", "dan@example.org"
NOTICE = (ANN, ANN, "delivered", "stored", "")


@a_story(
    Expect([
        NOTICE, (CAT, CAT, "error", "late_bounce", ""), (DAN, DAN, "delivered", "relayed", ""),
    ], messages=2)
)  # fmt: skip
def a_notice_that_names_the_failed_recipient(story: Story) -> None:
    sent_out(story, "m@example.com", ANN, [CAT, DAN])
    came_back(story, ANN, ["text/plain", CAT, "", "<m@example.com>", ""], "failed")


@a_story(Expect([NOTICE, (CAT, CAT, "error", "late_bounce", "")], messages=2))
def a_delivery_report_about_the_only_recipient(story: Story) -> None:
    sent_out(story, "m@example.com", ANN, [CAT])
    came_back(
        story, ANN, [DSN, "", "<m@example.com>", "", ""], "Undelivered Mail Returned to Sender"
    )


@a_story(
    Expect([
        ("news-cat=example.org@example.com", "news-cat=example.org@example.com",
         "delivered", "stored", ""),
        (CAT, CAT, "error", "late_bounce", ""),
    ], messages=2)
)  # fmt: skip
def a_report_to_the_sender_that_names_its_recipient(story: Story) -> None:
    sender = "news-cat=example.org@example.com"
    sent_out(story, "m@example.com", sender, [CAT])
    came_back(story, sender, [DSN, "", "", "", "auto-replied"[:0]], "Delivery Failure")


NOTHING_PROVEN = Expect(
    [
        NOTICE,
        (CAT, CAT, "delivered", "relayed", ""),
        (DAN, DAN, "delivered", "relayed", ""),
    ],
    messages=2,
)


@a_story(NOTHING_PROVEN)
def a_report_that_does_not_tell_which_of_two_changes_nothing(story: Story) -> None:
    sent_out(story, "m@example.com", ANN, [CAT, DAN])
    came_back(
        story, ANN, [DSN, "", "<m@example.com>", "", ""], "Undelivered Mail Returned to Sender"
    )


@a_story(NOTHING_PROVEN)
def a_notice_of_delay_changes_nothing(story: Story) -> None:
    sent_out(story, "m@example.com", ANN, [CAT, DAN])
    came_back(
        story, ANN, [DSN, "", "<m@example.com>", "", ""], "Delayed Mail (still being retried)"
    )


@a_story(NOTHING_PROVEN)
def an_automatic_answer_changes_nothing(story: Story) -> None:
    sent_out(story, "m@example.com", ANN, [CAT, DAN])
    came_back(story, ANN, ["text/plain", CAT, "<m@example.com>", "", "auto-replied"], "Away")


@a_story(
    Expect([
        ("eve@example.com", "eve@example.com", "delivered", "stored", ""),
        (CAT, CAT, "delivered", "relayed", ""),
    ], messages=2)
)  # fmt: skip
def a_notice_to_somebody_who_did_not_send_it_changes_nothing(story: Story) -> None:
    sent_out(story, "m@example.com", ANN, [CAT])
    came_back(story, "eve@example.com", [DSN, CAT, "<m@example.com>", "", ""], "failure notice")


def the(name: str) -> Story:
    story = Story()
    STORIES[name][0](story)
    story.log.sort(key=lambda raw: raw[:26])
    return story


def rows_of(records: list[Record]) -> list[tuple[str, str, str, str, str]]:
    return sorted(
        (
            (row.recipient or b"").decode(),
            (row.final_recipient or b"").decode(),
            Status(row.status).token,
            row.reason,
            (row.folder or b"").decode(),
        )
        for record in records
        for row in record.message.rows
    )


@pytest.mark.parametrize("name", STORIES)
def test_what_happened(name: str, tmp_path: Path) -> None:
    records = Run(tmp_path / "journal", the(name)).finish()
    expect = STORIES[name][1]
    assert rows_of(records) == sorted(expect.rows)
    assert len(records) == expect.messages


@pytest.mark.parametrize("name", STORIES)
def test_order_and_restarts_change_nothing(name: str, tmp_path: Path) -> None:
    story = the(name)
    truth = told(Run(tmp_path / "truth", story).finish())
    first = Run(tmp_path / "log first", story)
    first.take("log", 1000)
    first.commit(0)
    assert told(first.finish()) == truth
    for cut, keep in itertools.product(range(len(story.log) + 1), (0, 1000)):
        run = Run(tmp_path / f"{cut} {keep}", story)
        run.take("spool", 1)
        run.take("log", cut)
        run.commit(keep)
        run.restart(back=0)
        assert told(run.finish()) == truth, (cut, keep)


@pytest.mark.parametrize("name", STORIES)
def test_halves_of_the_log_in_either_order(name: str, tmp_path: Path) -> None:
    story = the(name)
    truth = rows_of(Run(tmp_path / "truth", story).finish())
    for cut in range(1, len(story.log)):
        run = Run(tmp_path / f"{cut}", story)
        for half in (story.log[cut:], story.log[:cut]):
            for raw in half:
                run.intake.take(raw)
            run.correlator.adopt_orphans()
            run.commit(0)
        run.read["log"] = len(story.log)
        assert rows_of(run.finish()) == truth, cut


def test_a_late_bounce_names_the_notice_and_keeps_the_delivery(tmp_path: Path) -> None:
    records = Run(tmp_path / "journal", the("a_delivery_report_about_the_only_recipient")).finish()
    record = next(one for one in records if one.message.sender == b"ann@example.com")
    row = record.message.rows[0]
    assert row.relay == b"mx.example.org[192.0.2.9]:25"
    assert row.reply == b"Undelivered Mail Returned to Sender"
    assert row.done_at_us == BASE_US + 3600 * SECOND
    late = next(named(event) for event in record.events if event.kind == Kind.LATE_BOUNCE)
    assert (late["recipient"], late["notice_queue_id"]) == (b"cat@example.org", b"NNNN9999")


def test_the_client_behind_a_proxy_filter_is_the_outer_one(tmp_path: Path) -> None:
    name = "behind_a_proxy_filter_two_sessions_are_one_message"
    [record] = Run(tmp_path / "journal", the(name)).finish()
    message = record.message
    assert (message.client_ip, message.client_port) == (b"192.0.2.5", 4001)
    assert message.queue_ids == (b"BBBB2222",)
    assert message.sources == 3


def test_what_waits_for_its_message_outlasts_a_restart(tmp_path: Path) -> None:
    run = Run(tmp_path / "journal", the("a_filter_names_the_message_id_before_anybody_else"))
    run.take("log", 1)
    run.commit(0)
    run.restart(back=0)
    [record] = run.finish()
    assert record.message.spam_score == -1.0
    [verdict] = [event for event in record.events if event.kind == Kind.VERDICT]
    assert verdict.queue_id == b"AAAA1111"
