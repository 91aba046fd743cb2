"""What final agents and filters did, as rows tell it."""

from journal.events import Event, Kind
from journal.records import Status
from tests.unit.journal.test_fold import client, folded, queued, say, tried

BOB, ANN = b"bob@example.com", b"ann@example.com"


def mail(*events: Event) -> list[tuple[bytes | None, str, str, bytes | None, int | None]]:
    return [
        (row.recipient, Status(row.status).token, row.reason, row.folder, row.done_at_us)
        for row in folded([client(), queued(), *events]).message.rows
    ]


def lmtp(at_s: float, to: bytes, session: bytes) -> Event:
    reply = b"250 2.0.0 <%b> %b Saved" % (to, session)
    return tried(at_s, to, daemon=b"lmtp", text=reply, next_queue_id=session, next_hop=b"lmtp")


def filed(at_s: float, user: bytes, session: bytes, /, **fields: bytes) -> Event:
    return say(at_s, Kind.FILED, session, user=user, **{"action": b"stored", **fields})


def test_sessions_of_two_recipients_are_not_mixed_up() -> None:
    told = mail(
        filed(3, BOB, b"S1", folder=b"Spam"),
        lmtp(3.1, BOB, b"S1"),
        filed(3, ANN, b"S1:2", folder=b"Lists"),
        lmtp(3.2, ANN, b"S1:2"),
    )
    assert told == [
        (BOB, "filtered", "junk", b"Spam", 3_100_000),
        (ANN, "delivered", "stored", b"Lists", 3_200_000),
    ]


def test_a_session_that_names_its_user_otherwise_is_still_its_deliverys() -> None:
    told = mail(filed(3, b"uid17", b"S1", folder=b"Spam"), lmtp(3.1, BOB, b"S1"))
    assert told == [(BOB, "filtered", "junk", b"Spam", 3_100_000)]


def test_two_users_of_one_session_id_are_told_apart_by_name() -> None:
    told = mail(
        filed(3, BOB, b"S1", folder=b"Spam"),
        filed(3, ANN, b"S1", folder=b"INBOX"),
        lmtp(3.1, BOB, b"S1"),
        lmtp(3.2, ANN, b"S1"),
    )
    assert [(row[0], row[3]) for row in told] == [(BOB, b"Spam"), (ANN, b"INBOX")]


def test_what_was_filed_without_session_goes_to_its_users_row() -> None:
    told = mail(
        say(3, Kind.FILED, b"Q1", user=b"bob", action=b"stored", folder=b"INBOX/Junk"),
        tried(3.1, BOB, daemon=b"pipe", text=b"delivered via dovecot service"),
        tried(3.1, ANN, daemon=b"pipe", text=b"delivered via dovecot service"),
    )
    assert told == [
        (ANN, "delivered", "piped", None, 3_100_000),
        (BOB, "filtered", "junk", b"INBOX/Junk", 3_100_000),
    ]


def test_dovecot_alone_makes_a_row_a_user() -> None:
    record = folded([filed(3, BOB, b"S1"), filed(4, BOB, b"S1"), filed(3, ANN, b"S1")])
    assert [row.recipient for row in record.message.rows] == [ANN, BOB]
    assert record.message.queue_ids == ()
    assert record.message.next_queue_ids == (b"S1",)


def test_a_failure_that_is_no_outcome_changes_nothing() -> None:
    told = mail(filed(3, BOB, b"S1", action=b"failed"), lmtp(3.1, BOB, b"S1"))
    assert told == [(BOB, "delivered", "stored", None, 3_100_000)]


def test_a_verdict_about_one_recipient_is_not_the_others() -> None:
    verdict = {"filter": b"amavis", "verdict": b"discard"}
    told = mail(
        say(2.5, Kind.VERDICT, b"Q1", **verdict, recipient=BOB),
        tried(3, BOB, daemon=b"smtp", text=b"250 2.7.0 Ok, discarded, id=1"),
        tried(3, ANN, daemon=b"smtp", text=b"250 2.0.0 Ok: queued as FAR1"),
    )
    assert sorted((row[0] or b"", *row[1:3]) for row in told) == [
        (ANN, "delivered", "relayed"),
        (BOB, "filtered", "discarded"),
    ]


def test_a_filter_that_took_the_queue_file_kept_the_mail() -> None:
    told = mail(
        say(2.5, Kind.HELD, b"Q1", by=b"cleanup"),
        say(3, Kind.VERDICT, b"Q1", filter=b"mailscanner", verdict=b"quarantine"),
        say(2.7, Kind.VERDICT, b"Q1", filter=b"mailscanner", verdict=b"discard"),
    )
    assert told == [(None, "filtered", "quarantined", None, 3_000_000)]


def test_a_program_may_give_each_recipient_back_in_a_queue_file_of_its_own() -> None:
    message_id = {"message_id": b"m@example.net"}
    told = mail(
        say(2, Kind.MESSAGE_ID, b"Q1", **message_id),
        tried(3, BOB, daemon=b"pipe", text=b"delivered via filter service"),
        tried(3, ANN, daemon=b"pipe", text=b"delivered via filter service"),
        say(3.1, Kind.PICKUP, b"Q2", uid=b"5", sender=b"s@example.net"),
        say(3.2, Kind.MESSAGE_ID, b"Q2", **message_id),
        tried(4, ANN, b"deferred", b"Q2", text=b"mailbox full"),
        say(3.1, Kind.PICKUP, b"Q3", uid=b"5", sender=b"s@example.net"),
        say(3.2, Kind.MESSAGE_ID, b"Q3", **message_id),
        queued(3.3, b"Q3"),
    )
    assert sorted((row[0] or b"", *row[1:3]) for row in told) == [
        (ANN, "deferred", "quota"),
        (BOB, "in_progress", "queued"),
    ]


def test_a_queue_file_with_another_message_id_was_not_given_back() -> None:
    told = mail(
        say(2, Kind.MESSAGE_ID, b"Q1", message_id=b"m@example.net"),
        tried(3, BOB, daemon=b"pipe", text=b"delivered via filter service"),
        say(3.1, Kind.PICKUP, b"Q2", uid=b"5", sender=b"s@example.net"),
        tried(4, ANN, b"deferred", b"Q2", text=b"mailbox full"),
    )
    assert [row[:3] for row in told] == [
        (BOB, "delivered", "piped"),
        (ANN, "deferred", "quota"),
    ]


def test_a_queue_file_without_message_id_was_not_given_back() -> None:
    told = mail(
        tried(3, BOB, daemon=b"pipe", text=b"delivered via filter service"),
        say(3.1, Kind.PICKUP, b"Q2", uid=b"5", sender=b"s@example.net"),
        say(3.2, Kind.MESSAGE_ID, b"Q2"),
        tried(4, ANN, b"deferred", b"Q2", text=b"mailbox full"),
    )
    assert [row[:3] for row in told] == [
        (BOB, "delivered", "piped"),
        (ANN, "deferred", "quota"),
    ]
